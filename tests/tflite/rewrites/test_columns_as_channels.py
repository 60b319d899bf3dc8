"""The first convolution reads pairs of columns as six channels: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.edit import add_constant, add_tensor, make_operator
from ghostedge.tflite.model import operator_name, pack, unpack
from ghostedge.tflite.rewrites.columns_as_channels import columns_as_channels

pytest.importorskip("ai_edge_litert")

LINEAR = Path(__file__).parents[2] / "data" / "linear" / "fp32.tflite"
_VALID, _RELU = 1, 1  # schema.fbs


def network(
    *,
    size: tuple[int, int] = (8, 12),
    channels: int = 3,
    stride: int = 2,
    taps: int = 3,
    pads: int = 1,
    other: str = "",
) -> Any:
    """PAD and CONV_2D, ReLU; `other` is a second reader of the ``"image"`` or of what is ``"padded"``."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = unpack(LINEAR.read_bytes(), LINEAR.name)
    graph, rng = model.subgraphs[0], np.random.default_rng(3)
    rows, columns = (number + 2 * pads for number in size)
    made = tuple((number - taps) // stride + 1 for number in (rows, columns))
    graph.operators, graph.tensors, model.signatureDefs = [], [], None
    image = add_tensor(graph, (1, *size, channels), "FLOAT32", "image")
    padded = add_tensor(graph, (1, rows, columns, channels), "FLOAT32", "image/padded")
    result = add_tensor(graph, (1, *made, 16), "FLOAT32", "result")
    widths = np.array([[0, 0], [pads, pads], [pads, pads], [0, 0]], np.int32)
    weights = rng.standard_normal((16, taps, taps, channels), np.float32)
    constants = [add_constant(model, graph, weights, "w"), add_constant(model, graph, weights[:, 0, 0, 0], "b")]
    options = schema.Conv2DOptionsT()
    options.padding, options.fusedActivationFunction = _VALID, _RELU
    options.strideH = options.strideW = stride
    options.dilationHFactor = options.dilationWFactor = 1
    pad = [image, add_constant(model, graph, widths, "widths")]
    graph.operators.append(make_operator(model, "PAD", pad, [padded], schema.PadOptionsT()))
    graph.operators.append(make_operator(model, "CONV_2D", [padded, *constants], [result], options))
    graph.inputs, graph.outputs = np.array([image], np.int32), [result]
    if other:
        read = {"image": image, "padded": padded}[other]
        graph.outputs.append(add_tensor(graph, tuple(graph.tensors[read].shape), "FLOAT32", "other"))
        graph.operators.append(make_operator(model, "ABS", [read], graph.outputs[1:], schema.AbsOptionsT()))
    graph.outputs = np.array(graph.outputs, np.int32)
    return model


def run(data: bytes) -> np.ndarray:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=data)
    interpreter.allocate_tensors()
    (taken,) = interpreter.get_input_details()
    interpreter.set_tensor(taken["index"], np.random.default_rng(0).standard_normal(taken["shape"], dtype=np.float32))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


@pytest.mark.parametrize("size", [(8, 12), (2, 2), (10, 6)])
def test_it_computes_the_same(size: tuple[int, int], tmp_path: Path) -> None:
    before = run(pack(network(size=size)))
    model = network(size=size)
    assert columns_as_channels(model)
    kinds = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert kinds == ["RESHAPE", "PAD", "CONV_2D"]
    after = tmp_path / "pairs.tflite"
    after.write_bytes(pack(model))
    np.testing.assert_allclose(run(after.read_bytes()), before, atol=2e-6)
    assert np.abs(before).max() > 1
    assert coverage(after).whole


@pytest.mark.parametrize(
    "what",
    [
        {"size": (8, 11)},
        {"size": (9, 12)},
        {"channels": 4},
        {"stride": 1},
        {"taps": 5},
        {"pads": 2},
        {"other": "image"},
        {"other": "padded"},
    ],
)
def test_what_it_does_not_fit_stays(what: dict[str, Any]) -> None:
    model = network(**what)
    before = pack(model)
    assert not columns_as_channels(model)
    assert pack(model) == before


def test_a_network_that_begins_otherwise_stays() -> None:
    assert not columns_as_channels(unpack(LINEAR.read_bytes(), LINEAR.name))
