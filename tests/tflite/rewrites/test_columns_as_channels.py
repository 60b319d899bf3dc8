"""The first convolution reads pairs of columns as six channels: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import VALID, Graph, options
from ghostedge.tflite.rewrites.columns_as_channels import columns_as_channels
from tests.tflite.graphs import empty, kinds, linear, run

pytest.importorskip("ai_edge_litert")

_RELU = 1  # schema.fbs


def network(
    *,
    size: tuple[int, int] = (8, 12),
    channels: int = 3,
    stride: int = 2,
    taps: int = 3,
    pads: int = 1,
    other: str = "",
) -> Graph:
    """PAD and CONV_2D, ReLU; `other` is a second reader of the ``"image"`` or of what is ``"padded"``."""
    graph, rng = empty(), np.random.default_rng(3)
    rows, columns = (number + 2 * pads for number in size)
    made = tuple((number - taps) // stride + 1 for number in (rows, columns))
    image = graph.add_tensor((1, *size, channels), "FLOAT32", "image")
    padded = graph.add_tensor((1, rows, columns, channels), "FLOAT32", "image/padded")
    result = graph.add_tensor((1, *made, 16), "FLOAT32", "result")
    weights = rng.standard_normal((16, taps, taps, channels), np.float32)
    constants = [graph.add_constant(weights, "w"), graph.add_constant(weights[:, 0, 0, 0], "b")]
    widths = graph.add_constant(np.array([[0, 0], [pads, pads], [pads, pads], [0, 0]], np.int32), "widths")
    ones = {"dilationHFactor": 1, "dilationWFactor": 1}
    windows = options("Conv2D", padding=VALID, fusedActivationFunction=_RELU, strideH=stride, strideW=stride, **ones)
    pad = graph.make("PAD", [image, widths], [padded], options("Pad"))
    graph.operators = [pad, graph.make("CONV_2D", [padded, *constants], [result], windows)]
    graph.inputs, graph.outputs = [image], [result]
    if other:
        read = {"image": image, "padded": padded}[other]
        second = graph.add_tensor(graph.shape(read), "FLOAT32", "other")
        graph.operators = (*graph.operators, graph.make("ABS", [read], [second], options("Abs")))
        graph.outputs = [result, second]
    return graph


@pytest.mark.parametrize("size", [(8, 12), (2, 2), (10, 6)])
def test_it_computes_the_same(size: tuple[int, int], tmp_path: Path) -> None:
    graph, after = network(size=size), tmp_path / "pairs.tflite"
    before = run(graph)
    assert columns_as_channels(graph) == 1
    assert kinds(graph) == ["RESHAPE", "PAD", "CONV_2D"]
    after.write_bytes(pack(graph))
    np.testing.assert_allclose(run(graph), before, atol=2e-6)
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
    graph = network(**what)
    before = pack(graph)
    assert not columns_as_channels(graph)
    assert pack(graph) == before


def test_a_network_that_begins_otherwise_stays() -> None:
    assert not columns_as_channels(linear())
