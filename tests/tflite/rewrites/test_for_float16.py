"""Models for float16 hold no PAD of pixels and no dense layer in disguise, and compute what they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph, options, schema
from ghostedge.tflite.rewrites.for_float16 import _group_size, drop_spare_channels, group_pixels, pad_rows
from tests.tflite.graphs import empty, kinds, run
from tests.tflite.rewrites.test_for_xnnpack import network

pytest.importorskip("ai_edge_litert")


def pads_of_pixels(graph: Graph) -> int:
    """PADs that XNNPACK would execute pixel by pixel in float16: those of an image, not of rows."""
    return sum(len(graph.shape(operator.inputs[0])) == 4 for operator in graph.operators if operator.kind == "PAD")


# -- pads -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("fields", [{}, {"taps": 5, "pads": 2}, {"size": (7, 9)}, {"stride": 1, "channels": 4}])
def test_pads_of_rows_make_the_same_values(fields: dict[str, Any], batch: int, tmp_path: Path) -> None:
    before = run(network(**fields), batch)
    graph = network(**fields)
    assert pads_of_pixels(graph) == 1
    assert pad_rows(graph) == 1
    assert pads_of_pixels(graph) == 0
    assert kinds(graph) == ["RESHAPE", "PAD", "RESHAPE", "CONV_2D"]
    assert np.array_equal(run(graph, batch), before)
    (tmp_path / "m.tflite").write_bytes(pack(graph))
    assert coverage(tmp_path / "m.tflite").whole


def test_what_no_window_reaches_is_not_padded() -> None:
    graph = network(size=(8, 12))
    pad_rows(graph)
    (padded,) = (t for t in range(len(graph.tensors)) if graph.name(t) == "image/padded/rows/padded")
    assert graph.shape(padded) == (1, 9, 13 * 3)


def test_a_padded_image_that_others_read_stays() -> None:
    graph = network(other="padded")
    assert pad_rows(graph) == 0
    assert pads_of_pixels(graph) == 1


# -- dynamically quantised convolutions -------------------------------------------------------------------------------


def pointwise(size: tuple[int, int] = (28, 28), kind: type = np.int8, taps: int = 1, channels: int = 32) -> Graph:
    """CONV_2D of `taps` x `taps` on 16 channels, dynamically quantised where its weights are int8, and an ABS."""
    graph, rng = empty(), np.random.default_rng(1)
    image = graph.add_tensor((1, *size, 16), "FLOAT32", "image")
    middle = graph.add_tensor((1, *size, channels), "FLOAT32", "middle")
    result = graph.add_tensor((1, *size, channels), "FLOAT32", "result")
    weights = graph.add_constant(rng.integers(-127, 128, (channels, taps, taps, 16)).astype(kind), "w")
    bias = graph.add_constant(rng.standard_normal(channels, np.float32), "b")
    if kind is np.int8:
        quantisation = graph.tensors[weights].quantization = schema().QuantizationParametersT()
        quantisation.scale = np.linspace(0.01, 0.02, channels, dtype=np.float32)
        quantisation.zeroPoint = np.zeros(channels, np.int64)
    windows = options("Conv2D", strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    graph.operators = [
        graph.make("CONV_2D", [image, weights, bias], [middle], windows),
        graph.make("ABS", [middle], [result], options("Abs")),
    ]
    graph.inputs, graph.outputs = [image], [result]
    return graph


def dense_layers(graph: Graph) -> int:
    """Dynamically quantised convolutions that XNNPACK takes for dense layers: 1 x 1, of stride 1."""
    found = 0
    for operator in graph.operators:
        if operator.kind == "CONV_2D":
            weights, windows = operator.inputs[1], operator.options
            narrow = graph.shape(weights)[1:3] == (1, 1) and windows.strideH == windows.strideW == 1
            found += narrow and graph.dtype(weights) == "INT8"
    return found


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (1, 1), (14, 14)])
def test_grouped_pixels_are_quantised_a_little_coarser(size: tuple[int, int], tmp_path: Path) -> None:
    before, graph = run(pointwise(size)), pointwise(size)
    assert dense_layers(graph) == 1
    assert group_pixels(graph) == 1
    assert dense_layers(graph) == 0
    after = run(graph)
    assert after.shape == before.shape
    noise = np.square(after - before).sum() / np.square(before).sum()
    assert noise < 1e-4
    (tmp_path / "m.tflite").write_bytes(pack(graph))
    assert coverage(tmp_path / "m.tflite").whole


def test_groups_follow_the_batch() -> None:
    graph = pointwise()
    group_pixels(graph)
    assert run(graph, batch=2).shape == (2, 28, 28, 32)


@pytest.mark.parametrize("fields", [{"kind": np.float32}, {"taps": 3}])
def test_other_convolutions_stay(fields: dict[str, Any]) -> None:
    assert group_pixels(pointwise(**fields)) == 0


def test_groups_fill_the_tiles_of_kernels() -> None:
    assert [_group_size(pixels) for pixels in (784, 196, 49, 12, 3, 13 * 17)] == [8, 4, 7, 12, 3, 13]


# -- spare channels ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.float32])
def test_channels_that_a_slice_drops_are_not_computed(kind: type) -> None:
    def sliced() -> Graph:
        graph = pointwise(kind=kind)
        part = graph.add_tensor((1, 28, 28, 20), "FLOAT32", "part")
        ends = ([0, 0, 0, 0], [1, 28, 28, 20], [1, 1, 1, 1])
        bounds = [graph.add_constant(np.array(v, np.int32), f"bound{i}") for i, v in enumerate(ends)]
        conv = graph.operators[0]
        slicing = graph.make("STRIDED_SLICE", [conv.output, *bounds], [part], options("StridedSlice"))
        graph.operators, graph.outputs = [conv, slicing], [part]
        return graph

    before, graph = run(sliced()), sliced()
    assert drop_spare_channels(graph) == 1
    assert kinds(graph) == ["CONV_2D"]
    after = run(graph)
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

    def group(graph: Graph) -> int:
        grouped.append("once")
        return group_pixels(graph)

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
