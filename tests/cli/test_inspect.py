"""``ghostedge inspect``: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from ghostedge.cli.inspect import table
from ghostedge.cli.main import main
from ghostedge.description import Description
from ghostedge.inspection import ModelSummary, Port, Weights
from ghostedge.tflite.coverage import Coverage
from ghostedge.types import InputSpec


def test_one_json_document_holds_every_model(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(tiny_onnx), str(tiny_onnx)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [model["format"] for model in document["models"]] == ["onnx", "onnx"]
    assert document["models"][0]["operators"]["Conv"] == 2


def test_the_table_has_one_line_a_fact(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_onnx)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tiny_onnx}: ONNX, 0.0")
    facts = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[1:] if line[2] != " ")
    assert facts["input"] == "input: float32 (batch, 3, 32, 32)"
    assert facts["multiply-adds"] == "0.1 million an image"
    assert facts["quantised"] == "no"


def test_what_is_slow_stands_in_the_table() -> None:
    spec = InputSpec(layout="NHWC", dtype="uint8", range="raw", height=32, width=32, resize=36)
    summary = ModelSummary(
        path=Path("model.tflite"),
        format="tflite",
        files={"model.tflite": 2_500_000},
        producer="",
        inputs=(Port("image", "uint8", (1, 32, 32, 3), 0.0078125, 128),),
        outputs=(Port("logits", "int8", (1, 5)),),
        operators={"CONV_2D": 2, "CUSTOM": 1},
        weights=Weights.of([("int8", 900, 900), ("int32", 100, 400)]),
        macs=None,
        quantised_per_tensor=3,
        quantised_per_channel=2,
        description=Description(spec, ("cat", "dog"), "int8"),
        xnnpack=Coverage(nodes=3, delegated=2, partitions=2, outside=("CUSTOM",)),
        spatial_transposes=("features",),
    )
    text = table(summary)
    assert "model.tflite: TFLite, 2.50 MB" in text
    assert "image: uint8 (1, 32, 32, 3), step 0.0078125, zero point 128" in text
    assert "1,000 in 0.00 MB (int8 90.0%, int32 10.0%)" in text
    assert "2 tensors per channel, 3 per tensor" in text
    assert "2 of 3 operators in 2 partition(s)" in text
    assert "outside XNNPACK  CUSTOM" in text
    assert "1 of feature maps: features" in text
    assert "NHWC uint8 RGB, raw 0..255" in text
    assert "2: cat, ..., dog" in text
    assert "unknown" in text


def test_a_damaged_file_is_one_line_and_nothing_is_printed_before(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny_onnx.read_bytes()[:100])
    assert main(["inspect", str(tiny_onnx), str(broken)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "broken.onnx" in captured.err
