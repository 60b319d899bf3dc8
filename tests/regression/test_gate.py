"""A gate passes what it was written from, and blocks everything that is worse, missing or of other bytes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from ghostedge.errors import BaselineError, GhostedgeError, ParityError, UsageError
from ghostedge.evaluation.ledger import read_ledger, write_ledger
from ghostedge.model import InputSpec
from ghostedge.regression.baseline import SCHEMA_PATH, Baseline, Bounds, schema
from ghostedge.regression.gate import GateReport, run_gate, update
from ghostedge.regression.measure import Inputs
from tests.regression.conftest import DATA, Project, described, sha256

Change = Callable[[Path], object]

OTHER_INPUT = InputSpec(layout="NHWC", height=32, width=32, resize=40)

WRONG = {
    "golden": {"file": "m.golden.npz", "sha256": "0" * 64, "images": 4, "source_sha256": ""},
    "snr_db": 3.0, "max_abs": 9.0, "finite": True, "top1_agreement": 0.25, "disagreeing": [],
    "bounds": {"min_snr_db": 60.0, "min_top1_agreement": 1.0, "from": "model"},
    "repeats": {
        "inferences": 100, "identical": True, "first_different": None, "snr_db": None, "after_timing_identical": True
    },
    "duration_s": 1.0, "correct": False, "reason": "3 dB",
}  # fmt: skip


def problems(report: GateReport) -> list[tuple[str, str, str]]:
    return [(check.verdict, check.kind, check.artifact) for check in report.checks if check.verdict != "PASS"]


def changed(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))


@pytest.fixture
def gated(project: Project, tmp_path: Path) -> tuple[Path, Inputs]:
    """A baseline and what it was written from."""
    inputs = project()
    assert update(tmp_path / "gate.json", inputs).verdict == "PASS"
    return tmp_path / "gate.json", inputs


# -- The file ---------------------------------------------------------------------------------------------------------


def test_what_a_baseline_was_written_from_passes_it(gated: tuple[Path, Inputs]) -> None:
    report = run_gate(*gated)
    assert report.verdict == "PASS"
    assert [(check.kind, check.artifact, check.where) for check in report.checks] == [
        ("accuracy", "int8.tflite", "int8.tflite.parquet"),
        ("instructions", "int8.tflite", "cortex-a72"),
        ("instructions", "int8.tflite", "cortex-a76"),
        ("size", "int8.tflite", ""),
        ("latency", "tiny.onnx", "pi5, tiny-onnxruntime-1t"),
        ("size", "tiny.onnx", ""),
    ]


def test_the_file_is_that_of_its_schema_and_the_same_each_time(gated: tuple[Path, Inputs]) -> None:
    path, inputs = gated
    written = path.read_bytes()
    jsonschema.Draft202012Validator(schema()).validate(json.loads(written))
    assert json.loads(SCHEMA_PATH.read_text()) == json.loads(json.dumps(schema()))
    update(path, replace(inputs, artifacts=inputs.artifacts[::-1]))
    assert path.read_bytes() == written
    assert Baseline.read(path).to_json().encode() == written


def test_bounds_stay_until_they_are_set(gated: tuple[Path, Inputs]) -> None:
    path, inputs = gated
    update(path, inputs, max_size_growth_percent=7.0)
    update(path, inputs, max_drop_points=1.5)
    assert Baseline.read(path).bounds == Bounds(max_drop_points=1.5, max_size_growth_percent=7.0)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"schema_version": 2}, "schema version 2, this ghostedge reads 1"),
        ({"measured": []}, r"\$\.measured"),
        ({"bounds": {"max_drop_points": "0.5"}}, r"\$\.bounds\.max_drop_points"),
        ({"bounds": {"max_drop_points": 0}}, "max_drop_points is 0; it must be above 0"),
        ({"bounds": {"max_size_growth_percent": -1}}, "max_size_growth_percent is -1; it must be 0 or more"),
        ({"measured": {"artifacts": [], "reference": None, "accuracies": [], "costs": []}}, "has no artifact"),
    ],
)
def test_a_damaged_baseline_is_one_line_that_names_it(
    gated: tuple[Path, Inputs], fields: dict[str, Any], said: str
) -> None:
    path, inputs = gated
    changed(path, **fields)
    with pytest.raises(BaselineError, match=said) as caught:
        run_gate(path, inputs)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_baseline_that_is_not_there_names_the_command_that_writes_it(project: Project, tmp_path: Path) -> None:
    with pytest.raises(BaselineError, match=r"does not exist; 'ghostedge gate --update' writes it"):
        run_gate(tmp_path / "gate.json", project())


@pytest.mark.parametrize("flips", [{"losses": 60, "gains": 20}], ids=["beyond the margin"])
def test_a_baseline_that_nothing_could_pass_is_not_written(
    gated: tuple[Path, Inputs], project: Project, flips: dict[str, int]
) -> None:
    path, _ = gated
    written = path.read_bytes()
    with pytest.raises(ParityError, match=r"is not written: int8.tflite: top-1 drops by at least 1\.\d+ points"):
        update(path, project(**flips))
    assert path.read_bytes() == written
    assert not list(path.parent.glob(".partial-*"))


def test_a_latency_that_is_not_valid_is_no_baseline(project: Project, tmp_path: Path) -> None:
    inputs = project()
    spoil_record(tmp_path, valid=False)
    with pytest.raises(ParityError, match="not a valid measurement: too warm"):
        update(tmp_path / "gate.json", inputs)
    assert not (tmp_path / "gate.json").exists()


# -- What is worse ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("losses", "gains", "verdict"), [(3, 2, "PASS"), (12, 3, "INCONCLUSIVE"), (60, 20, "FAIL"), (0, 60, "PASS")]
)
def test_accuracy_is_judged_as_parity_does(
    gated: tuple[Path, Inputs], project: Project, losses: int, gains: int, verdict: str
) -> None:
    path, _ = gated
    report = run_gate(path, project(losses=losses, gains=gains))
    [check] = [check for check in report.checks if check.kind == "accuracy"]
    assert (check.verdict, report.verdict) == (verdict, verdict)
    if verdict == "INCONCLUSIVE":
        assert "images would decide it" in check.text


@pytest.mark.parametrize(("now", "verdict"), [(101e6, "PASS"), (101e6 + 1, "FAIL"), (50e6, "PASS")])
def test_a_cost_may_grow_by_its_bound_and_no_more(
    gated: tuple[Path, Inputs], project: Project, now: float, verdict: str
) -> None:
    path, _ = gated
    assert run_gate(path, project(instructions=now)).verdict == verdict


def spoil_record(folder: Path, valid: bool = True, verification: dict[str, Any] | None = None) -> None:
    [path] = folder.glob("latency/pi5/*.json")
    record = json.loads(path.read_text())
    reasons = [] if valid else [{"code": "warm", "text": "too warm"}]
    path.write_text(json.dumps({**record, "valid": valid, "invalid_reasons": reasons, "verification": verification}))


def edit_counts(folder: Path, **fields: Any) -> None:
    path = folder / "counts.json"
    path.write_text(json.dumps([{**count, **fields} for count in json.loads(path.read_text())]))


def slow(folder: Path) -> None:
    [path] = folder.glob("latency/pi5/*.json")
    record = json.loads(path.read_text())
    record["latency_ms"]["p50"] *= 1.11
    path.write_text(json.dumps(record))


def grow(folder: Path) -> None:
    with open(folder / "tiny.onnx", "ab") as file:
        file.write(b"\xc2\x3e\x20" + bytes(32))  # field 1000, which no reader knows


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (slow, {("FAIL", "latency", "tiny.onnx")}),
        (lambda folder: spoil_record(folder, valid=False), {("INCONCLUSIVE", "latency", "tiny.onnx")}),
        (lambda folder: spoil_record(folder, verification=WRONG), {("FAIL", "latency", "tiny.onnx")}),
        # The record is of the bytes before they grew.
        (grow, {("FAIL", "size", "tiny.onnx"), ("FAIL", "missing", "tiny.onnx")}),
        (lambda folder: edit_counts(folder, sha256="0" * 64), {("FAIL", "missing", "int8.tflite")}),
        (lambda folder: edit_counts(folder, cpu="cortex-a55"), {
            ("FAIL", "missing", "int8.tflite"), ("FAIL", "baseline", "int8.tflite")
        }),
        (lambda folder: (folder / "tiny.onnx").unlink(), {("FAIL", "missing", "tiny.onnx")}),
        (lambda folder: described(folder / "int8.tflite", input=OTHER_INPUT), {
            ("FAIL", "preprocessing", "int8.tflite"), ("FAIL", "missing", "int8.tflite")
        }),
        (lambda folder: described(folder / "int8.tflite", source_sha256="d" * 64), {
            ("FAIL", "baseline", "int8.tflite"), ("FAIL", "missing", "int8.tflite")
        }),
    ],
)  # fmt: skip
def test_what_is_worse_missing_or_of_other_bytes_does_not_pass(
    gated: tuple[Path, Inputs], tmp_path: Path, change: Change, expected: set[tuple[str, str, str]]
) -> None:
    path, inputs = gated
    change(tmp_path)
    assert set(problems(run_gate(path, inputs))) == expected


@pytest.mark.parametrize("option", ["instructions", "latency", "accuracy"])
def test_what_the_baseline_has_must_be_given_again(gated: tuple[Path, Inputs], option: str) -> None:
    path, inputs = gated
    less = {"reference": None, "ledgers": ()} if option == "accuracy" else {option: None}
    found = problems(run_gate(path, replace(inputs, **less)))
    assert {(verdict, kind) for verdict, kind, _ in found} == {("FAIL", "missing")}


def test_an_artifact_that_the_baseline_does_not_have_is_blocked_until_it_does(
    gated: tuple[Path, Inputs], tmp_path: Path
) -> None:
    path, inputs = gated
    described(tmp_path / "new.tflite")
    more = replace(inputs, artifacts=(*inputs.artifacts, tmp_path / "new.tflite"))
    assert problems(run_gate(path, more)) == [("FAIL", "baseline", "new.tflite")]
    update(path, more)
    assert problems(run_gate(path, more)) == []


@pytest.mark.parametrize("option", ["--ledger", "--instructions", "--latency"])
def test_what_is_of_no_artifact_makes_no_baseline(gated: tuple[Path, Inputs], tmp_path: Path, option: str) -> None:
    _, inputs = gated
    described(tmp_path / "new.tflite", precision="new")
    field = {"--ledger": ("reference", "ledgers")}.get(option, (option[2:],))
    other = Inputs((tmp_path / "new.tflite",), **{name: getattr(inputs, name) for name in field})
    with pytest.raises(UsageError, match=f"^{option}: nothing in it is of an --artifact"):
        update(tmp_path / "other.json", other)
    assert not (tmp_path / "other.json").exists()


def test_another_reference_makes_the_baseline_stale(gated: tuple[Path, Inputs], tmp_path: Path) -> None:
    path, inputs = gated
    ledger = read_ledger(tmp_path / "reference.parquet")
    write_ledger(tmp_path / "reference.parquet", replace(ledger, metadata=replace(ledger.metadata, device="Ascend")))
    assert problems(run_gate(path, inputs)) == [("FAIL", "baseline", "")]


def test_a_ledger_of_other_pictures_is_wrong_preprocessing_and_of_other_images_an_error(
    gated: tuple[Path, Inputs], tmp_path: Path
) -> None:
    path, inputs = gated
    [file] = inputs.ledgers
    ledger = read_ledger(file)
    write_ledger(file, replace(ledger, metadata=replace(ledger.metadata, preprocessing="pillow_bilinear")))
    report = run_gate(path, inputs)
    assert problems(report) == [("FAIL", "preprocessing", "int8.tflite")]
    assert "resize rule opencv_linear and pillow_bilinear" in report.checks[0].text
    fewer = ledger.table.slice(0, 100)
    dataset = {"images": 100, "ids_sha256": ids_of(ledger.image_ids[:100])}
    write_ledger(file, replace(ledger, table=fewer, metadata=replace(ledger.metadata, dataset=dataset)))
    with pytest.raises(GhostedgeError, match="the reference has 2,000 images and the candidate 100"):
        run_gate(path, inputs)


def ids_of(ids: Any) -> str:
    from ghostedge.evaluation.ledger import ids_sha256

    return ids_sha256(np.char.encode(ids, "utf-8"))


def test_other_weights_beside_the_same_graph_make_a_ledger_stale(tmp_path: Path, project: Project) -> None:
    inputs = project()
    for name in ("tiny.xml", "tiny.bin"):
        shutil.copy(DATA / "tiny" / name, tmp_path)
    graph, weights = sha256(tmp_path / "tiny.xml"), sha256(tmp_path / "tiny.bin")
    ledger = read_ledger(inputs.ledgers[0])
    model = {"file": "tiny.xml", "sha256": graph, "weights_sha256": weights}
    write_ledger(tmp_path / "ir.parquet", replace(ledger, metadata=replace(ledger.metadata, model=model)))
    ir = Inputs((tmp_path / "tiny.xml",), inputs.reference, (tmp_path / "ir.parquet",))
    update(tmp_path / "ir.json", ir)
    assert run_gate(tmp_path / "ir.json", ir).verdict == "PASS"
    (tmp_path / "tiny.bin").write_bytes((tmp_path / "tiny.bin").read_bytes()[::-1])
    assert problems(run_gate(tmp_path / "ir.json", ir)) == [("FAIL", "missing", "tiny.xml")]


def test_a_ledger_of_a_renamed_file_is_known_by_its_bytes(gated: tuple[Path, Inputs]) -> None:
    path, inputs = gated
    ledger = read_ledger(inputs.ledgers[0])
    model = {**ledger.metadata.model, "file": "candidate.tflite"}
    write_ledger(inputs.ledgers[0], replace(ledger, metadata=replace(ledger.metadata, model=model)))
    assert run_gate(path, inputs).verdict == "PASS"


def test_an_artifact_that_neither_has_is_an_error(gated: tuple[Path, Inputs], tmp_path: Path) -> None:
    path, inputs = gated
    with pytest.raises(GhostedgeError, match=r"other\.tflite does not exist"):
        run_gate(path, replace(inputs, artifacts=(*inputs.artifacts, tmp_path / "other.tflite")))


@pytest.mark.parametrize(
    ("less", "said"),
    [
        ({"reference": None}, "--reference and --ledger go together"),
        ({"ledgers": ()}, "--reference and --ledger go together"),
        ({"instructions": Path("gone.json")}, "--instructions gone.json cannot be read: No such file"),
        ({"artifacts": (Path("a/m.onnx"), Path("b/m.onnx"))}, "two files are named m.onnx"),
    ],
)
def test_what_does_not_go_together_is_one_line(gated: tuple[Path, Inputs], less: dict[str, Any], said: str) -> None:
    path, inputs = gated
    with pytest.raises(UsageError, match=said):
        run_gate(path, replace(inputs, **less))


@pytest.mark.parametrize(
    ("counts", "said"),
    [({}, r"Expected `array`.*; benchmarks/arm64/cost\.py --json prints it"), ([{"model": "m"}], r"\$\[0\]")],
)
def test_damaged_counts_name_the_field(gated: tuple[Path, Inputs], tmp_path: Path, counts: Any, said: str) -> None:
    path, inputs = gated
    (tmp_path / "counts.json").write_text(json.dumps(counts))
    with pytest.raises(UsageError, match=said):
        run_gate(path, inputs)


# -- What a pull request shows ----------------------------------------------------------------------------------------


def test_the_summary_names_what_blocks_first_and_has_every_number(gated: tuple[Path, Inputs], project: Project) -> None:
    path, _ = gated
    lines = run_gate(path, project(losses=60, gains=20, instructions=103e6)).to_markdown().splitlines()
    assert lines[:3] == ["## Gate: FAIL", "", "3 of 6 checks do not pass."]
    assert lines[4].startswith("- **FAIL, accuracy of int8.tflite:** top-1 drops by at least ")
    assert "grew by 3.0%, from 100.00 M to 103.00 M; 1% is the bound" in lines[5]
    table = [line for line in lines if line.startswith("| ")]
    assert len(table) == 2 + 6
    assert any("tiny.onnx | latency, pi5, tiny-onnxruntime-1t |" in line and line.endswith("PASS |") for line in table)


def test_a_summary_of_what_passes_says_so(gated: tuple[Path, Inputs]) -> None:
    report = run_gate(*gated)
    assert report.to_markdown().startswith("## Gate: PASS\n\nAll 6 checks are within the bounds")
    assert "The one check is within the bounds" in GateReport(report.checks[:1]).to_markdown()
