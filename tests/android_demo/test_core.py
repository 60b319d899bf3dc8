"""The demo's core on a desktop JVM: its own tests, and what they leave is read by the Python side."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ghostedge.data.golden import read_golden
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import read_ledger
from tests.latency.schemas import check_record

CORE = Path(__file__).resolve().parents[2] / "android_demo" / "core" / "src"

RECORDS = ("valid", "quick", "spoiled", "overhead", "hot", "busy", "sustained", "silent",
           "cpu", "gpu", "gpu_right_once",
           "right", "unchecked", "wrong_weight", "right_once", "wrong_once", "wrong_later", "beside")  # fmt: skip

RESOURCES = CORE / "test" / "resources"


def test_every_java_test_passes(java_tests: dict[str, Any]) -> None:
    assert java_tests["code"] == 0, java_tests["said"]
    (count,) = re.findall(r"OK \((\d+) tests\)", java_tests["said"])
    assert int(count) == sum(path.read_text().count("@Test") for path in CORE.rglob("*Test.java"))


def test_the_golden_files_are_what_python_answers_today(make_golden: ModuleType) -> None:
    assert (RESOURCES / "golden.json").read_text(encoding="utf-8") == make_golden.text()
    assert (RESOURCES / "linear_described.tflite").read_bytes() == make_golden.described_linear()
    # By content: how it is compressed is the business of the zlib that is there.
    found, made = read_golden(RESOURCES / "linear.golden.npz"), make_golden.linear_golden()
    np.testing.assert_array_equal(found.crops, made.crops)
    np.testing.assert_array_equal(found.logits, made.logits)
    assert (found.names, found.class_names, found.source_sha256) == (made.names, made.class_names, made.source_sha256)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_fits_the_schema_and_has_the_verdict_of_the_script(
    java_tests: dict[str, Any], edge: ModuleType, name: str
) -> None:
    record = json.loads((java_tests["out"] / "records" / f"{name}.json").read_text())
    check_record(record)
    assert record["name"] == name
    assert record["schema_version"] == edge.SCHEMA_VERSION
    reasons, warnings = edge.judge(record)
    for ours, theirs in ((record["invalid_reasons"], reasons), (record["warnings"], warnings)):
        assert [finding["code"] for finding in ours] == [finding["code"] for finding in theirs]
    if record["verification"] is not None:
        reason = edge.wrong_answers(record["verification"])
        if name == "wrong_later":
            reason = "after the timed samples one picture got another answer than before"
        assert (record["verification"]["correct"], record["verification"]["reason"]) == (reason is None, reason)
    summary = edge.summarise(record["samples_ms"])
    assert record["latency_ms"] == pytest.approx(summary, abs=1.001e-6)


@pytest.mark.parametrize(("name", "correct"), [("verified", True), ("verified_wrong", False), ("slow", True)])
def test_a_verification_record_fits_its_schema(java_tests: dict[str, Any], name: str, correct: bool) -> None:
    record = json.loads((java_tests["out"] / "records" / f"{name}.json").read_text())
    check_record(record)
    assert record["verification"]["correct"] is correct


def test_the_phone_says_of_the_answers_what_the_script_says(
    java_tests: dict[str, Any], edge: ModuleType, tmp_path: Path
) -> None:
    phone = json.loads((java_tests["out"] / "records" / "verified.json").read_text())
    model, golden = RESOURCES / "linear_described.tflite", RESOURCES / "linear.golden.npz"
    code = edge.main([str(model), "--golden", str(golden), "--verify-only", "--output", str(tmp_path)])
    assert code == 0
    (path,) = tmp_path.glob("*.json")
    script = json.loads(path.read_text())
    assert list(phone) == list(script)
    assert phone["artifact"] == script["artifact"]
    for key in ("golden", "finite", "top1_agreement", "disagreeing", "bounds", "repeats", "correct", "reason"):
        assert phone["verification"][key] == script["verification"][key], key
    assert list(phone["verification"]) == list(script["verification"])
    # The interpreter is a stand-in that sums in float64.
    for record in (phone, script):
        assert record["verification"]["max_abs"] <= 1e-6


def test_the_records_make_the_latency_report(java_tests: dict[str, Any]) -> None:
    from ghostedge.reports.latency import latency_html

    records = [json.loads((java_tests["out"] / "records" / f"{name}.json").read_text()) for name in RECORDS]
    page = latency_html([("phone", record) for record in records])
    assert "Fake 9" in page
    assert "litert 2.3.0 (GPU)" in page


def test_sysfs_is_read_as_the_script_reads_it(
    java_tests: dict[str, Any], edge: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge, "SYS", java_tests["out"] / "sys")
    found = json.loads((java_tests["out"] / "device_files.json").read_text())
    assert found == {
        "governor": edge.per_cpu("scaling_governor"),
        "frequency_mhz": edge.per_cpu("scaling_cur_freq", 1000),
        "temperature_c": edge.cpu_temperature(),
        "temperatures_c": edge.temperatures(),
    }


@pytest.fixture(scope="module")
def evaluated(parity_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ledger of the same model on the same images, made by ghostedge with LiteRT."""
    from ghostedge.cli.main import main

    folder = tmp_path_factory.mktemp("evaluated")
    model = CORE / "test" / "resources" / "linear_described.tflite"
    arguments = [
        "--artifact",
        model,
        "--data",
        parity_images,
        "--output",
        folder,
        "--logits",
        "--on-error",
        "skip",
    ]
    assert main(["evaluate", "--quiet", *map(str, arguments)]) == 0
    (ledger,) = folder.glob("*.parquet")
    return ledger


def test_the_phones_ledger_is_that_of_ghostedge(
    java_tests: dict[str, Any], evaluated: Path, parity_images: Path
) -> None:
    ours, theirs = read_json_lines(java_tests["out"] / "phone_logits.jsonl"), read_ledger(evaluated)
    assert ours.image_ids.tolist() == theirs.image_ids.tolist()
    assert len(ours) == len(list(parity_images.glob("*.png")))
    np.testing.assert_array_equal(ours.labels, theirs.labels)
    np.testing.assert_array_equal(ours.top5_class, theirs.top5_class)
    # The interpreter is a stand-in that sums in float64; everything before it is bit for bit the same.
    for column in ("top5_logit", "label_logit", "log_sum_exp"):
        np.testing.assert_allclose(getattr(ours, column), getattr(theirs, column), atol=2e-6)
    assert [image for image, error in zip(ours.image_ids, ours.errors, strict=True) if error] == ["image99.png"]
    assert ours.metadata.input == theirs.metadata.input
    assert ours.metadata.model == theirs.metadata.model
    assert ours.metadata.dataset == theirs.metadata.dataset


def test_parity_judges_the_phones_ledger(
    java_tests: dict[str, Any], evaluated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from ghostedge.cli.main import main

    phone = java_tests["out"] / "phone.jsonl"
    report = tmp_path / "parity.html"
    # 3: 41 images are too few for a verdict of half a point, whatever they say.
    code = main(
        ["parity", "--reference", str(evaluated), "--ledger", str(phone), "--report", str(report), "--max-drop", "0.5"]
    )
    assert code in (0, 3)
    said = capsys.readouterr().out
    assert "linear_described.tflite" in said
    assert "100.00%" in said
    assert "Fake" not in said
    assert report.is_file()
