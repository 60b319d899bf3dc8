"""A pick of channels becomes operators that XNNPACK has: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import Graph, options
from ghostedge.tflite.rewrites.channels import gather_as_copies
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


def gathering(channels: list[int], axis: int = 3) -> Graph:
    """Rounded-down channels of an image of 4 x 5 pixels and 6 channels."""
    graph = empty()
    image, given = (graph.add_tensor((1, 4, 5, 6), "FLOAT32", name) for name in ("image", "given"))
    shape = [1, 4, 5, 6]
    shape[axis] = len(channels)
    picked = graph.add_tensor(shape, "FLOAT32", "picked")
    indices = graph.add_constant(np.array(channels, np.int32), "indices")
    gather = options("Gather", axis=axis, batchDims=0)
    graph.operators = [graph.make("RELU", [image], [given]), graph.make("GATHER", [given, indices], [picked], gather)]
    graph.inputs, graph.outputs = [image], [picked]
    return graph


@pytest.mark.parametrize("pick", PICKS)
def test_a_pick_of_channels(pick: str, tmp_path: Path) -> None:
    channels, expected = PICKS[pick]
    graph, path = gathering(channels), tmp_path / "picked.tflite"
    before, before_two = run(graph), run(graph, batch=2)
    assert gather_as_copies(graph) == 1
    assert kinds(graph) == ["RELU", *expected]
    np.testing.assert_array_equal(run(graph), before)
    np.testing.assert_array_equal(run(graph, batch=2), before_two)
    path.write_bytes(pack(graph))
    assert coverage(path).whole


def test_rows_stay() -> None:
    graph = gathering([0, 2, 1], axis=1)
    assert gather_as_copies(graph) == 0
    assert kinds(graph) == ["RELU", "GATHER"]
