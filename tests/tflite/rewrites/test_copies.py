"""Models for float16 hold no PAD of pixels and no dense layer in disguise, and compute what they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.edit import add_constant, add_tensor, make_operator
from ghostedge.tflite.model import operator_name, pack, unpack
from ghostedge.tflite.rewrites.copies import _group_size, drop_spare_channels, group_pixels, pad_rows
from tests.tflite.rewrites.test_columns_as_channels import network

pytest.importorskip("ai_edge_litert")


def run(data: bytes, batch: int = 1) -> Any:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=data)
    (taken,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(taken["index"], [batch, *taken["shape"][1:]])
    interpreter.allocate_tensors()
    shape = (batch, *taken["shape"][1:])
    interpreter.set_tensor(taken["index"], np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def kinds(model: Any) -> list[str]:
    return [operator_name(model, operator) for operator in model.subgraphs[0].operators]


def pads_of_pixels(model: Any) -> int:
    """PADs that XNNPACK would execute pixel by pixel in float16: those of an image, not of rows."""
    graph = model.subgraphs[0]
    pads = [operator for operator in graph.operators if operator_name(model, operator) == "PAD"]
    return sum(len(graph.tensors[pad.inputs[0]].shape) == 4 for pad in pads)


# -- pads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fields", [{}, {"taps": 5, "pads": 2}, {"size": (7, 9)}, {"stride": 1, "channels": 4}])
def test_pads_of_rows_make_the_same_values(fields: dict[str, Any], batch: int, tmp_path: Path) -> None:
    before = run(pack(network(**fields)), batch)
    model = network(**fields)
    assert pads_of_pixels(model) == 1
    assert pad_rows(model) == 1
    assert pads_of_pixels(model) == 0
    assert kinds(model) == ["RESHAPE", "PAD", "RESHAPE", "CONV_2D"]
    assert np.array_equal(run(pack(model), batch), before)
    (tmp_path / "m.tflite").write_bytes(pack(model))
    assert coverage(tmp_path / "m.tflite").whole


def test_what_no_window_reaches_is_not_padded() -> None:
    model = network(size=(8, 12))
    pad_rows(model)
    (padded,) = (t for t in model.subgraphs[0].tensors if t.name == b"image/padded/rows/padded")
    assert padded.shape.tolist() == [1, 9, 13 * 3]


def test_a_padded_image_that_others_read_stays() -> None:
    model = network(other="padded")
    assert pad_rows(model) == 0
    assert pads_of_pixels(model) == 1


# -- dynamically quantised convolutions -------------------------------------------------------------------------------


def pointwise(size: tuple[int, int] = (28, 28), kind: type = np.int8, taps: int = 1, channels: int = 32) -> Any:
    """CONV_2D of `taps` x `taps` on 16 channels, dynamically quantised where its weights are int8, and an ABS."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = network(channels=16)
    graph, rng = model.subgraphs[0], np.random.default_rng(1)
    graph.operators, graph.tensors = [], []
    image = add_tensor(graph, (1, *size, 16), "FLOAT32", "image")
    middle = add_tensor(graph, (1, *size, channels), "FLOAT32", "middle")
    result = add_tensor(graph, (1, *size, channels), "FLOAT32", "result")
    weights = add_constant(model, graph, rng.integers(-127, 128, (channels, taps, taps, 16)).astype(kind), "w")
    bias = add_constant(model, graph, rng.standard_normal(channels, np.float32), "b")
    if kind is np.int8:
        quantisation = schema.QuantizationParametersT()
        quantisation.scale = np.linspace(0.01, 0.02, channels, dtype=np.float32)
        quantisation.zeroPoint = np.zeros(channels, np.int64)
        graph.tensors[weights].quantization = quantisation
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
    graph.operators.append(make_operator(model, "CONV_2D", [image, weights, bias], [middle], options))
    graph.operators.append(make_operator(model, "ABS", [middle], [result], schema.AbsOptionsT()))
    graph.inputs, graph.outputs = np.array([image], np.int32), np.array([result], np.int32)
    return model


def dense_layers(model: Any) -> int:
    """Dynamically quantised convolutions that XNNPACK takes for dense layers: 1 x 1, of stride 1."""
    graph, found = model.subgraphs[0], 0
    for operator in graph.operators:
        if operator_name(model, operator) == "CONV_2D":
            weights, options = graph.tensors[operator.inputs[1]], operator.builtinOptions
            dynamic = weights.type == require("ai_edge_litert.schema_py_generated", "tflite").TensorType.INT8
            found += dynamic and tuple(weights.shape[1:3]) == (1, 1) and options.strideH == options.strideW == 1
    return found


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (1, 1), (14, 14)])
def test_grouped_pixels_are_quantised_a_little_coarser(size: tuple[int, int], tmp_path: Path) -> None:
    before, model = run(pack(pointwise(size))), pointwise(size)
    assert dense_layers(model) == 1
    assert group_pixels(model) == 1
    assert dense_layers(model) == 0
    after = run(pack(model))
    assert after.shape == before.shape
    noise = np.square(after - before).sum() / np.square(before).sum()
    assert noise < 1e-4
    (tmp_path / "m.tflite").write_bytes(pack(model))
    assert coverage(tmp_path / "m.tflite").whole


def test_groups_follow_the_batch() -> None:
    model = pointwise()
    group_pixels(model)
    assert run(pack(model), batch=2).shape == (2, 28, 28, 32)


@pytest.mark.parametrize("fields", [{"kind": np.float32}, {"taps": 3}])
def test_other_convolutions_stay(fields: dict[str, Any]) -> None:
    assert group_pixels(pointwise(**fields)) == 0


def test_groups_fill_the_tiles_of_kernels() -> None:
    assert [_group_size(pixels) for pixels in (784, 196, 49, 12, 3, 13 * 17)] == [8, 4, 7, 12, 3, 13]


# -- spare channels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.float32])
def test_channels_that_a_slice_drops_are_not_computed(kind: type) -> None:
    def sliced() -> Any:
        schema = require("ai_edge_litert.schema_py_generated", "tflite")
        model = pointwise(kind=kind)
        graph = model.subgraphs[0]
        part = add_tensor(graph, (1, 28, 28, 20), "FLOAT32", "part")
        ends = ([0, 0, 0, 0], [1, 28, 28, 20], [1, 1, 1, 1])
        bounds = [add_constant(model, graph, np.array(v, np.int32), f"bound{i}") for i, v in enumerate(ends)]
        slicing = [int(graph.operators[0].outputs[0]), *bounds]
        graph.operators[1] = make_operator(model, "STRIDED_SLICE", slicing, [part], schema.StridedSliceOptionsT())
        graph.outputs = np.array([part], np.int32)
        return model

    before, model = run(pack(sliced())), sliced()
    assert drop_spare_channels(model) == 1
    assert kinds(model) == ["CONV_2D"]
    after = run(pack(model))
    assert after.shape == before.shape == (1, 28, 28, 20)
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-4)
    assert drop_spare_channels(pointwise(kind=kind)) == 0


# -- what the stages make ---------------------------------------------------------------------------------------------


def test_what_the_stages_make_holds_neither(
    tiny_tflite: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ghostedge.model import Model, StageOutput
    from ghostedge.tflite import from_onnx as tflite
    from ghostedge.tflite.quantize.stage import QuantizeTFLiteStage

    grouped: list[str] = []

    def group(model: Any) -> int:
        grouped.append("once")
        return group_pixels(model)

    monkeypatch.setattr(tflite, "group_pixels", group)  # the tiny network has no convolution that would be
    source, found = tiny_tflite["fp32"], {}
    for precision in ("f16", "f32"):
        path = tmp_path / f"{precision}.tflite"
        output = StageOutput(
            Model(path, "tflite", source.input, source.labels, "dynamic"), {"inference_precision": precision}
        )
        QuantizeTFLiteStage().build(source, (output,))
        found[precision] = pads_of_pixels(unpack(path.read_bytes(), "m"))
    assert found == {"f16": 0, "f32": 1}
    assert grouped == ["once"]
