"""A model card says what manifest, ledgers and records hold, says what they do not, and its header is YAML."""

from __future__ import annotations

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghostedge.compare import Difference
from ghostedge.errors import ManifestError, UsageError
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import InputSpec
from ghostedge.reports.card import Measurements, model_card, read_measurements, yaml_lines

DATA = Path(__file__).parents[1] / "data"

CALIBRATION = {"source": "photos", "seed": 7, "available": 300, "count": 200, "notes": [], "images": []}


def exported(folder: Path, name: str, **what: Any) -> ArtifactRecord:
    difference = Difference(10, 0.5, 31.21, 0.9)
    fields: dict[str, Any] = {
        "recipe": name, "recipe_sha256": "", "target": "tflite", "precision": "fp32", "source": "m.ckpt", "classes": 20,
        "build_key": "", "verify_key": "", "packages": {"ghostedge": "0.2.0", "numpy": "1.26.4"}, "build_seconds": 1.0,
        "runtime": {}, "difference": difference, "reference_difference": difference, "bounds": {},
        "files": (FileRecord.of(folder / name),), "input": InputSpec(layout="NHWC"),
    }  # fmt: skip
    return ArtifactRecord(**fields | what)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of two files, one of them calibrated."""
    build = tmp_path / "build"
    build.mkdir()
    for name in ("tiny.onnx", "tiny_int8.tflite"):
        shutil.copy(DATA / "tiny" / name, build)
    records = [
        exported(build, "tiny.onnx", target="onnx", input=InputSpec()),
        exported(build, "tiny_int8.tflite", precision="int8", calibration=CALIBRATION),
    ]
    source = {"file": "m.ckpt", "sha256": "c" * 64, "network": "GhostNetV2", "variant": "1x", "classes": 20}
    Manifest(
        source={**source, "parameters": 5_132_108},
        images=({"name": "a.jpg", "sha256": "0" * 64},),
        artifacts={record.recipe: record for record in records},
        environment={"ghostedge": "0.2.0", "python": "3.11.7", "platform": "Linux-6.18-x86_64"},
        warnings=("the gates' upsampling is assumed",),
    ).write(build)
    return build


@pytest.fixture
def measured(folder: Path, make_ledger: Any, paired_logits: Any) -> Measurements:
    """Accuracy of the int8 file, latency of the ONNX, counts of the int8 file."""
    pytest.importorskip("pyarrow")
    from ghostedge.evaluation.ledger import write_ledger

    parent = folder.parent
    labels, reference, candidate = paired_logits(losses=12, gains=3)
    write_ledger(parent / "ref.parquet", make_ledger(reference, labels, file="m.ckpt", runtime="MindSpore"))
    model = {"file": "tiny_int8.tflite", "sha256": FileRecord.of(folder / "tiny_int8.tflite").sha256}
    write_ledger(parent / "int8.parquet", make_ledger(candidate, labels, model=model))
    (parent / "latency" / "pi5").mkdir(parents=True)
    shutil.copy(DATA / "latency_record.json", parent / "latency" / "pi5" / "tiny-onnxruntime-1t.json")
    count = {"model": "tiny_int8.tflite", "cpu": "cortex-a72", "xnnpack": True, "instructions": 87.9e6}
    (parent / "counts.json").write_text(json.dumps([count, {**count, "model": "other.tflite"}]))
    return read_measurements(
        folder,
        reference=parent / "ref.parquet",
        ledgers=[parent / "int8.parquet"],
        latency=parent / "latency",
        instructions=parent / "counts.json",
    )


def header(card: str) -> Any:
    yaml = pytest.importorskip("yaml")
    start, front, _ = card.split("---\n", 2)
    assert start == ""
    return yaml.safe_load(front)


def test_a_mixed_file_is_tagged_as_quantised(folder: Path) -> None:
    manifest = Manifest.of_export(folder)
    records = {
        name: dataclasses.replace(record, precision="mixed")
        for name, record in manifest.artifacts.items()
        if record.precision == "int8"
    }
    dataclasses.replace(manifest, artifacts=records).write(folder)
    assert "quantized" in header(model_card(folder, Measurements()))["tags"]


def test_the_header_is_what_hugging_face_reads(folder: Path, measured: Measurements) -> None:
    front = header(model_card(folder, measured, "apache-2.0"))
    assert front["license"] == "apache-2.0"
    assert (front["library_name"], front["pipeline_tag"]) == ("ghostedge", "image-classification")
    assert front["tags"] == ["image-classification", "onnx", "tflite", "quantized"]
    assert front["metrics"] == ["accuracy"]
    [model] = front["model-index"]
    [result] = model["results"]
    assert model["name"] == "m"
    assert result["task"] == {"type": "image-classification"}
    assert result["dataset"]["name"].startswith("2,000 labelled images, ids sha256 ")
    assert result["metrics"] == [{"type": "accuracy", "name": "Top-1 of tiny_int8.tflite", "value": 0.7355}]


def test_the_card_says_what_is_known(folder: Path, measured: Measurements) -> None:
    card = model_card(folder, measured, "apache-2.0")
    for text in (
        "GhostNetV2 1x, 20 classes, 5.13 million parameters, for edge devices: made by ghostedge 0.2.0 from `m.ckpt`",
        "ghostedge predict photo.jpg --artifact tiny",
        FileRecord.of(folder / "tiny.onnx").sha256,
        "31.2 dB",
        "- shorter side 256 by opencv\\_linear, centre 224 x 224; NHWC float32 RGB normalised",
        "73.55%",
        "INCONCLUSIVE",
        "images would decide it",
        "| pi5 | tiny.onnx | onnxruntime 1.23.0 |",
        "- pi5: Raspberry Pi 5 Model B, brcm,bcm2712, aarch64, Debian GNU/Linux 12 (bookworm)",
        "| tiny\\_int8.tflite | cortex-a72 | 87.90 |",
        "- tiny\\_int8.tflite: 200 of 300 images of photos, drawn with seed 7",
        "ghostedge 0.2.0, numpy 1.26.4",
        "Python 3.11.7 on Linux-6.18-x86\\_64.",
    ):
        assert text in card, text
    tables = [line for line in card.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in tables)
    assert "\n\n\n" not in card
    assert "numpy 1.26.4\n\nPython" in card
    assert card.endswith(".\n")


def test_what_is_missing_is_said(folder: Path, measured: Measurements) -> None:
    card = model_card(folder, Measurements())
    assert header(card)["license"] == "unknown"
    assert "model-index" not in card
    limits = card.split("## Limits\n")[1]
    for text in (
        "The licence of the weights is not recorded",
        "Training data, intended use and biases are not recorded",
        "The gates' upsampling is assumed.",
        "There is no accuracy on this card.",
        "There is no latency on this card.",
        "There is no count of ARM64 instructions on this card.",
    ):
        assert text in limits, text
    assert card.count("Not measured.") == 1
    limits = model_card(folder, measured).split("## Limits\n")[1]
    assert "Accuracy was not measured of tiny.onnx." in limits
    assert "Latency was not measured of tiny\\_int8.tflite." in limits
    assert "Not valid measurements of latency: tiny.onnx on pi5 (too short" in limits
    assert "on this card" not in limits


def test_golden_vectors_are_named_where_they_are_published(folder: Path) -> None:
    (folder / "m.golden.npz").write_bytes(b"golden")
    manifest = Manifest.read(folder)
    assert manifest is not None
    assert "golden" not in model_card(folder, Measurements())
    replace(manifest, golden=FileRecord.of(folder / "m.golden.npz"), golden_key="k").write(folder)
    assert "`m.golden.npz` (sha256 `" in model_card(folder, Measurements())
    (folder / "m.golden.npz").write_bytes(b"other")
    assert "golden" not in model_card(folder, Measurements())


def test_the_source_may_be_any_network(folder: Path) -> None:
    manifest = Manifest.read(folder)
    assert manifest is not None
    replace(manifest, source={"file": "net.mindir", "sha256": "e" * 64}).write(folder)
    card = model_card(folder, Measurements())
    assert "# net\n\nA network, for edge devices: made by ghostedge 0.2.0 from `net.mindir` (sha256 `eee" in card


def test_a_file_that_is_not_published_is_said_and_one_of_other_bytes_is_refused(folder: Path) -> None:
    (folder / "tiny.onnx").unlink()
    card = model_card(folder, Measurements())
    assert "The manifest records files that are not published here: tiny.onnx." in card
    assert "| tiny.onnx |" not in card
    with open(folder / "tiny_int8.tflite", "ab") as file:
        file.write(b"\0")
    with pytest.raises(ManifestError, match=r"tiny_int8\.tflite is not the file that manifest\.json records"):
        model_card(folder, Measurements())


def test_what_was_measured_of_files_that_are_not_published_is_left_out(folder: Path, measured: Measurements) -> None:
    parent = folder.parent
    more: dict[str, Any] = {"latency": parent / "latency", "instructions": parent / "counts.json"}
    (folder / "tiny.onnx").unlink()
    found = read_measurements(folder, reference=parent / "ref.parquet", ledgers=[parent / "int8.parquet"], **more)
    assert found.report is not None
    assert (len(found.report.comparisons), found.latencies, len(found.counts)) == (1, [], 1)
    shutil.copy(DATA / "tiny" / "tiny.onnx", folder)
    (folder / "tiny_int8.tflite").unlink()
    found = read_measurements(folder, reference=parent / "ref.parquet", ledgers=[parent / "int8.parquet"], **more)
    assert (found.report, len(found.latencies), found.counts) == (None, 1, [])
    assert "tiny_int8" not in model_card(folder, found).replace("not published here: tiny\\_int8", "")


def test_a_file_name_at_the_beginning_of_a_sentence_stays(folder: Path) -> None:
    manifest = Manifest.of_export(folder)
    replace(manifest, warnings=("tiny_int8.tflite is slow", "net.onnx, again")).write(folder)
    card = model_card(folder, Measurements())
    assert "- tiny\\_int8.tflite is slow." in card
    assert "- net.onnx, again." in card
    assert "- Training data, intended use" in card


def test_what_does_not_belong_is_refused(
    folder: Path, measured: Measurements, make_ledger: Any, paired_logits: Any
) -> None:
    from ghostedge.evaluation.ledger import write_ledger

    parent = folder.parent
    labels, _, candidate = paired_logits()
    write_ledger(parent / "other.parquet", make_ledger(candidate, labels, file="other.tflite"))
    with pytest.raises(UsageError, match=r"other\.parquet is of another file than those of"):
        read_measurements(folder, reference=parent / "ref.parquet", ledgers=[parent / "other.parquet"])
    with pytest.raises(UsageError, match="--reference and --ledger go together"):
        read_measurements(folder, ledgers=[parent / "int8.parquet"])
    with pytest.raises(ManifestError, match=r"holds no manifest\.json"):
        model_card(parent, Measurements())
    later = replace(measured.counts[0], sha256="0" * 64)
    (parent / "counts.json").write_text(json.dumps([vars(later)]))
    assert read_measurements(folder, instructions=parent / "counts.json").counts == []


@pytest.mark.parametrize(
    "value",
    [
        {"a": 'with "quotes": and # and - signs', "b": ["x", {"c": 1, "d": [True, None, 0.5]}, "- y"], "e": "no"},
        {"name": "ein Modell für Füchse 🦊", "list": [{"only": "one"}]},
    ],
)  # fmt: skip
def test_any_text_survives_the_header(value: dict[str, Any]) -> None:
    yaml = pytest.importorskip("yaml")
    assert yaml.safe_load("\n".join(yaml_lines(value))) == value
