"""A pick of channels becomes operators that XNNPACK has: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import VALID, Graph, options
from ghostedge.tflite.rewrites.channels import pick_by_copies
from tests.tflite.graphs import empty, kinds, run

pytest.importorskip("ai_edge_litert")

#: Of six channels: the picks, and the operators that make them.
PICKS = {
    "a shuffle of two groups": ([0, 3, 1, 4, 2, 5], ["RESHAPE", "TRANSPOSE", "RESHAPE"]),
    "a shuffle of three groups": ([0, 2, 4, 1, 3, 5], ["RESHAPE", "TRANSPOSE", "RESHAPE"]),
    "neighbours": ([2, 3, 4], ["STRIDED_SLICE"]),
    "two runs": ([4, 5, 0, 1, 2], ["STRIDED_SLICE", "STRIDED_SLICE", "CONCATENATION"]),
    "any order": ([5, 3, 1, 0, 4, 2, 2], ["CONV_2D"]),
}


def picking(channels: list[int], activation: int = 0, factor: float = 1) -> Graph:
    """Channels of an image of 4 x 5 pixels and 6 channels, by a convolution with ones."""
    graph = empty()
    image = graph.add_tensor((1, 4, 5, 6), "FLOAT32", "image")
    picked = graph.add_tensor((1, 4, 5, len(channels)), "FLOAT32", "picked")
    weights = np.zeros((len(channels), 1, 1, 6), np.float32)
    weights[np.arange(len(channels)), 0, 0, channels] = factor
    constants = [graph.add_constant(value, "c") for value in (weights, np.zeros(len(channels), np.float32))]
    windows = options("Conv2D", padding=VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
    windows.fusedActivationFunction = activation
    graph.operators = [graph.make("CONV_2D", [image, *constants], [picked], windows)]
    graph.inputs, graph.outputs = [image], [picked]
    return graph


@pytest.mark.parametrize("activation", ["", "RELU", "RELU6"])
@pytest.mark.parametrize("pick", PICKS)
def test_a_pick_of_channels(pick: str, activation: str, tmp_path: Path) -> None:
    channels, expected = PICKS[pick]
    graph, path = picking(channels, {"": 0, "RELU": 1, "RELU6": 3}[activation]), tmp_path / "picked.tflite"
    before, before_two = run(graph), run(graph, batch=2)
    stays = expected == ["CONV_2D"]
    assert pick_by_copies(graph) == (not stays)
    assert kinds(graph) == expected + [activation] * (bool(activation) and not stays)
    np.testing.assert_array_equal(run(graph), before)
    np.testing.assert_array_equal(run(graph, batch=2), before_two)
    path.write_bytes(pack(graph))
    assert coverage(path).whole


def test_what_does_more_than_pick_stays() -> None:
    for graph in (picking([0, 1, 2], factor=2), picking([0, 1, 2], activation=4)):  # tanh
        assert pick_by_copies(graph) == 0
        assert kinds(graph) == ["CONV_2D"]
    graph = picking([0, 1, 2])
    graph.set_constant(graph.operators[0].inputs[2], np.ones(3, np.float32))
    assert pick_by_copies(graph) == 0
