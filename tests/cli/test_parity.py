"""``ghostedge parity`` from ledger files to verdict, exit code and report."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from PIL import Image

from ghostedge.cli import main as cli
from ghostedge.evaluation.ledger import read_ledger, write_ledger
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.reports.parity import SCHEMA_PATH

Run = Callable[..., int]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """`run("--plan")`: the exit code of ``ghostedge parity --plan``, started in an empty folder."""
    monkeypatch.setattr(cli, "COMMANDS", {"parity": "ghostedge.cli.parity"})
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: cli.main(["parity", *map(str, arguments)])


@pytest.fixture(scope="session")
def ledgers(tmp_path_factory: pytest.TempPathFactory, make_ledger: Any, paired_logits: Any) -> dict[str, Path]:
    """Files: a reference and candidates that pass, need more images, fail, and belong to something else."""
    folder = tmp_path_factory.mktemp("ledgers")
    labels, reference, good = paired_logits()
    lossy = {"int8": {"losses": 60, "gains": 20}, "dynamic": {"losses": 12, "gains": 3}}
    made = {
        "ref": make_ledger(reference, labels, file="m.ckpt", runtime="MindSpore"),
        "fp32": make_ledger(good, labels, file="fp32.tflite"),
        **{name: make_ledger(paired_logits(**what)[2], labels, file=f"{name}.tflite") for name, what in lossy.items()},
        "other": make_ledger(good[:50], labels[:50]),
    }
    for name, ledger in made.items():
        write_ledger(folder / f"{name}.parquet", ledger)
    return {name: folder / f"{name}.parquet" for name in made}


@pytest.mark.parametrize(
    ("candidates", "code"),
    [
        (["fp32"], 0),
        (["int8"], 2),
        (["dynamic"], 3),
        (["fp32", "dynamic"], 3),
        (["dynamic", "int8", "fp32"], 2),
    ],
)
def test_the_exit_code_is_the_worst_verdict(
    run: Run, ledgers: dict[str, Path], candidates: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--reference", ledgers["ref"], "--ledger", *(ledgers[name] for name in candidates)) == code
    printed = capsys.readouterr().out.splitlines()
    for name in candidates:
        [row] = [line for line in printed if line.startswith(f"{name}.tflite  ")]
        assert any(verdict in row for verdict in ("PASS", "FAIL", "INCONCLUSIVE"))


def test_a_wider_margin_lets_more_pass(run: Run, ledgers: dict[str, Path]) -> None:
    arguments = ("--reference", ledgers["ref"], "--ledger", ledgers["int8"], "--quiet", "--max-drop")
    assert [run(*arguments, margin) for margin in (0.5, 2, 4)] == [2, 3, 0]


def test_json_is_one_document_of_the_schema_and_the_reports_agree(
    run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["--reference", ledgers["ref"], "--ledger", ledgers["fp32"], "--ledger", ledgers["int8"]]
    assert run(*arguments, "--report", "parity.html", "--json", "--quiet") == 2
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))).validate(document)
    assert captured.err == ""
    assert json.loads((tmp_path / "parity.json").read_text(encoding="utf-8")) == document
    assert "int8.tflite" in (tmp_path / "parity.md").read_text(encoding="utf-8")
    assert document["reference"]["sha256"] in (tmp_path / "parity.html").read_text(encoding="utf-8")


def test_the_noise_of_the_reference_is_a_band_behind_every_artifact(
    run: Run,
    ledgers: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    make_ledger: Any,
    paired_logits: Any,
) -> None:
    labels, reference, other = paired_logits(losses=10, gains=6)
    told = {"runtime": "mindspore", "file": "m.ckpt"}
    for name, logits, asked in (("ref", reference, "float32"), ("again", other, "default")):
        write_ledger(tmp_path / f"{name}.parquet", make_ledger(logits, labels, **told, arithmetic=Arithmetic(asked)))
    arguments = ("--reference", "ref.parquet", "--ledger", ledgers["dynamic"], ledgers["int8"], "--report", "r.html")
    assert run(*arguments, "--noise-floor", "again.parquet", "--quiet") == 2
    printed = capsys.readouterr().out.splitlines()
    (row,) = [line for line in printed if "noise floor  " in line]
    assert row.startswith("m.ckpt (again.parquet)")
    assert "arithmetic of the reference: float32" in printed
    assert (
        "noise floor: float32 on CPU, and default on CPU: 16 flips, drops within −0.56 to 0.56 points are not"
        in " ".join(printed)
    )
    (inside, outside) = [line for line in printed if line.startswith(("dynamic.tflite:", "int8.tflite:"))]
    assert "The observed drop is within the noise floor of ±0.56 points" in inside
    assert "The observed drop is beyond the noise floor of ±0.56 points" in outside
    page, text = ((tmp_path / f"r.{suffix}").read_text(encoding="utf-8") for suffix in ("html", "md"))
    assert page.count('class="noise"') == 2, "the plot in two widths"
    assert "arithmetic: float32)" in page
    assert "Noise floor: the reference's checkpoint run twice (float32 on CPU, and default on CPU)" in text
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    Draft202012Validator(json.loads(SCHEMA_PATH.read_text(encoding="utf-8"))).validate(document)
    assert (document["noise_floor"]["flips"], document["noise_floor"]["ledger"]["file"]) == (16, "again.parquet")
    # Without it: the ledgers that MindSpore made in another arithmetic are named.
    assert run("--reference", "ref.parquet", "--ledger", "again.parquet", "--quiet") == 3
    assert "was computed in float32, the candidate in default; how much that makes" in capsys.readouterr().out
    assert run(*arguments, "--noise-floor", ledgers["other"]) == 1
    assert "a noise floor is between two runs of one model" in capsys.readouterr().err


def test_an_arithmetic_that_nobody_recorded_is_said_so(
    run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    reference = read_ledger(ledgers["ref"])
    told = dataclasses.replace(reference.metadata, runtime={"name": "mindspore", "version": "2.2"}, device="Ascend")
    write_ledger(tmp_path / "old.parquet", dataclasses.replace(reference, metadata=told))
    assert run("--reference", "old.parquet", "--ledger", ledgers["fp32"], "--report", "r.html", "--quiet") == 0
    printed = capsys.readouterr().out
    assert "arithmetic of the reference: not recorded" in printed
    assert "note: the reference does not record its arithmetic, and Ascend has others than float32" in printed
    for name in ("r.html", "r.md"):
        assert "not recorded" in (tmp_path / name).read_text(encoding="utf-8")


def test_a_drop_is_split_by_steps(run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    steps = [
        f"{step}={ledgers[name]}" for step, name in (("float", "fp32"), ("weights", "dynamic"), ("activations", "int8"))
    ]
    attributes = [argument for step in steps for argument in ("--attribute", step)]
    assert run("--reference", ledgers["ref"], "--ledger", ledgers["int8"], *attributes) == 2
    assert capsys.readouterr().out.splitlines()[-1] == "charged: Activation quantisation"


def test_flips_get_pictures_from_the_data(run: Run, ledgers: dict[str, Path], tmp_path: Path) -> None:
    images = tmp_path / "val"
    images.mkdir()
    for i in range(1, 61):
        Image.new("RGB", (64, 64), (4 * i, 0, 0)).save(images / f"ILSVRC2012_val_{i:08d}.JPEG")
    arguments = ("--reference", ledgers["ref"], "--ledger", ledgers["int8"], "--report", "r.html", "--data", images)
    assert run(*arguments, "--quiet") == 2
    assert (tmp_path / "r.html").read_text(encoding="utf-8").count("data:image/jpeg;base64,") == 20


def test_class_names_come_from_a_file(run: Run, ledgers: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\n".join(f"flower {i}" for i in range(20)))
    arguments = (
        "--reference",
        ledgers["ref"],
        "--ledger",
        ledgers["int8"],
        "--report",
        "r.html",
        "--labels",
        "names.txt",
    )
    assert run(*arguments, "--quiet") == 2
    assert "flower 7" in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_two_models_of_one_name_are_told_apart(
    run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path, make_ledger: Any,
    paired_logits: Any,
) -> None:  # fmt: skip
    labels, _, good = paired_logits(noise=1e-4)
    write_ledger(tmp_path / "phone.parquet", make_ledger(good, labels, file="fp32.tflite"))
    assert run("--reference", ledgers["ref"], "--ledger", ledgers["fp32"], "phone.parquet") == 0
    printed = capsys.readouterr().out
    assert "fp32.tflite (fp32.parquet)" in printed
    assert "fp32.tflite (phone.parquet)" in printed


def test_a_plan_needs_no_ledger(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--plan", "--max-drop", "0.5", "--discordance", "2", "--json") == 0
    [entry] = json.loads(capsys.readouterr().out)["plans"]
    assert entry["verdict"] == "PASS"
    # Of the order of (1.645 + 0.842)^2 * 0.02 / 0.005^2 = 4,950, the textbook's normal approximation.
    assert entry["images"] == pytest.approx(4950, rel=0.05)
    assert run("--plan") == 0
    assert "Images needed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give --reference and at least one --ledger, or --plan"),
        (["--reference", "REF"], "at least one --ledger"),
        (["--reference", "none.parquet", "--ledger", "FP32"], "none.parquet cannot be read as a ledger"),
        (["--reference", "REF", "--ledger", "OTHER"], "1,950 only in the reference (ILSVRC2012_val_00000051.JPEG, "),
        (["--reference", "REF", "--ledger", "FP32", "--max-drop", "0"], "must be above 0"),
        (["--reference", "REF", "--ledger", "FP32", "--report", "r.json"], "does not end in .html"),
        (["--reference", "REF", "--ledger", "FP32", "--published", "ghostnetv2_1x"], "this model has 20"),
        (["--reference", "REF", "--ledger", "FP32", "--attribute", "weights"], "write STEP=LEDGER"),
        (["--reference", "REF", "--ledger", "FP32", "--attribute", "wieghts=x"], "did you mean 'weights'"),
        (["--plan", "--reference", "REF"], "leave --reference out"),
        (["--plan", "--attribute", "float=x", "--data", "D"], "leave --attribute and --data out"),
        (["--reference", "REF", "--ledger", "FP32", "--data", "D", "--labels", "F"], "--data and --labels: for the"),
        (["--reference", "REF", "--ledger", "FP32", "--expected-drop", "0"], "--expected-drop: for --plan alone"),
        (["--plan", "--discordance", "1", "--expected-drop", "2"], "cannot hold a drop of 2 points"),
        (["--plan", "--expected-drop", "9"], "give --discordance"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_1(
    run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], complaint: str
) -> None:
    names = {name.upper(): str(path) for name, path in ledgers.items()}
    assert run("--quiet", *(names.get(argument, argument) for argument in arguments)) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("ghostedge: error: ")
    assert complaint in line


def test_data_without_the_images_is_said_and_the_report_written(
    run: Run, ledgers: dict[str, Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "val").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "val" / "elsewhere.png")
    arguments = ("--reference", ledgers["ref"], "--ledger", ledgers["int8"], "--report", "r.html", "--data", "val")
    assert run(*arguments, "--quiet") == 2
    assert "has none of the 20 images" in capsys.readouterr().err
    assert (tmp_path / "r.html").is_file()
