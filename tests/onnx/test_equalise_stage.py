"""The equalised ONNX is the network it was, described anew, the same bytes each time."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.compare import compare
from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.formats import open_model
from ghostedge.model import CalibrationImage, CalibrationSet, InputSpec, Model, StageOutput
from ghostedge.pipeline.stages import make_stage, source_precision
from ghostedge.runtimes import open_runtime

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SPEC = InputSpec(height=32, width=32, resize=36)


@pytest.fixture(scope="module")
def calibration() -> CalibrationSet:
    rng, images = np.random.default_rng(5), []
    for index in range(16):
        data = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (40, 44, 3), np.uint8)).save(data, "PNG")
        encoded = data.getvalue()
        images.append(CalibrationImage(f"{index}.png", hashlib.sha256(encoded).hexdigest(), encoded))
    return CalibrationSet("noise", tuple(images), 0, 16)


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two convolutions with a ReLU between, whose eight channels are of widths 1 to 128."""
    rng, make = np.random.default_rng(6), onnx.helper
    wide = rng.standard_normal((8, 3, 3, 3)) * np.exp2(np.arange(8)).reshape(-1, 1, 1, 1)
    constants = [
        onnx.numpy_helper.from_array(value.astype(np.float32), name)
        for name, value in (("w1", wide), ("b1", rng.standard_normal(8)), ("w2", rng.standard_normal((5, 8, 1, 1))))
    ]
    nodes = [
        make.make_node("Conv", ["input", "w1", "b1"], ["a"], "first"),
        make.make_node("Relu", ["a"], ["b"], "relu"),
        make.make_node("Conv", ["b", "w2"], ["c"], "second"),
        make.make_node("GlobalAveragePool", ["c"], ["d"], "mean"),
        make.make_node("Flatten", ["d"], ["logits"], "flatten"),
    ]
    kind = onnx.TensorProto.FLOAT
    ends = [make.make_tensor_value_info("input", kind, ["n", 3, 32, 32])]
    outs = [make.make_tensor_value_info("logits", kind, ["n", 5])]
    graph = make.make_graph(nodes, "uneven", ends, outs, constants)
    path = tmp_path_factory.mktemp("uneven") / "uneven.onnx"
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), path)
    return path


Equalise = Callable[..., Model]


@pytest.fixture
def equalise(uneven: Path, calibration: CalibrationSet, tmp_path: Path) -> Equalise:
    def equalise(source: Path = uneven, options: Any = None, images: Any = calibration, **fields: Any) -> Model:
        artifact = Model(source, "onnx", SPEC, tuple("abcde"))
        wanted = Model(tmp_path / "equalised.onnx", "onnx", SPEC, artifact.labels, "equalised")
        output = StageOutput(dataclasses.replace(wanted, **fields), options or {}, images)
        (made,) = make_stage("onnx", "equalised").build(artifact, (output,))
        return made

    return equalise


def test_it_gives_the_logits_of_its_source_and_says_what_it_is(
    equalise: Equalise, uneven: Path, calibration: CalibrationSet
) -> None:
    made = open_model(equalise(options={"strength": 1.0}).path)
    assert (made.precision, made.input, made.labels) == ("equalised", SPEC, tuple("abcde"))
    logits = []
    for artifact in (Model(uneven, "onnx", SPEC), made):
        with open_runtime(artifact) as runtime:
            logits.append(runtime.run(calibration_batch(calibration, SPEC)))
    assert compare(*logits).snr_db > 110


def test_equal_inputs_give_equal_bytes(equalise: Equalise, tmp_path: Path) -> None:
    first = equalise().path.read_bytes()
    assert equalise(path=tmp_path / "again.onnx").path.read_bytes() == first
    assert equalise(path=tmp_path / "other.onnx", options={"strength": 0.3}).path.read_bytes() != first


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"images": None}, UsageError, "needs images to calibrate on"),
        ({"precision": "int8"}, UsageError, "int8"),
        ({"options": {"strenght": 1}}, UsageError, "strength"),
        ({"options": {"strength": "much"}}, UsageError, "must be a number"),
        ({"options": {"strength": 1.5}}, UsageError, "within 0 and 1"),
        ({"options": {"limit": 0.5}}, UsageError, "at least 1"),
        ({"input": InputSpec()}, ConvertError, "its input must be that of uneven.onnx"),
    ],
)
def test_what_cannot_be_made_is_refused(
    equalise: Equalise, tmp_path: Path, fields: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        equalise(**fields)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_or_absent_source_is_one_line(equalise: Equalise, uneven: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.onnx"
    cut.write_bytes(uneven.read_bytes()[:700])
    for source in (cut, tmp_path / "absent.onnx"):
        with pytest.raises((ArtifactError, ConvertError), match=source.name) as caught:
            equalise(source)
        assert "\n" not in str(caught.value)


def test_what_each_precision_is_made_from() -> None:
    assert source_precision("tflite", "int8") == source_precision("openvino", "int8") == "equalised"
    assert source_precision("tflite", "equalised") == "equalised"
    assert {source_precision(*made) for made in (("onnx", "equalised"), ("tflite", "dynamic"), ("tflite", "fp16"))} == {
        "fp32"
    }
