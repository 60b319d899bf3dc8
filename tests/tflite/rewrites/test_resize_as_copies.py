"""Nearest upsampling becomes copies: equal to the bit, all of it on XNNPACK, in float and in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph, options
from ghostedge.tflite.rewrites.resize_as_copies import resize_as_copies
from tests.tflite.graphs import empty, kinds, run

pytest.importorskip("ai_edge_litert")

RULES = [(False, False), (True, False), (False, True)]
CHANNELS = 4


def resizing(before: tuple[int, int], after: tuple[int, int], aligned: bool = False, centred: bool = False) -> Graph:
    """A model of one resize: (1, *before, 4) -> (1, *after, 4)."""
    graph = empty()
    image = graph.add_tensor((1, *before, CHANNELS), "FLOAT32", "image")
    large = graph.add_tensor((1, *after, CHANNELS), "FLOAT32", "large")
    size = graph.add_constant(np.array(after, np.int32), "size")
    rule = options("ResizeNearestNeighbor", alignCorners=aligned, halfPixelCenters=centred)
    graph.operators = [graph.make("RESIZE_NEAREST_NEIGHBOR", [image, size], [large], rule)]
    graph.inputs, graph.outputs = [image], [large]
    return graph


@pytest.mark.parametrize(("aligned", "centred"), RULES)
@pytest.mark.parametrize(
    ("before", "after"),
    [((3, 3), (7, 7)), ((7, 7), (14, 14)), ((2, 5), (6, 5)), ((5, 4), (7, 11)), ((9, 8), (19, 23)), ((1, 1), (3, 2))],
)
def test_it_is_what_litert_resizes(
    before: tuple[int, int], after: tuple[int, int], aligned: bool, centred: bool, tmp_path: Path
) -> None:
    graph = resizing(before, after, aligned, centred)
    expected = [run(graph, images) for images in (1, 3)]
    assert resize_as_copies(graph) == 1
    path = tmp_path / "copies.tflite"
    path.write_bytes(pack(graph))
    assert "large" in {operator.name for operator in unpack(path.read_bytes(), "copies").operators}
    for images, batch in zip((1, 3), expected, strict=True):
        np.testing.assert_array_equal(run(path.read_bytes(), images), batch)
    assert coverage(path).whole


def test_a_gate_of_ghostnetv2_takes_six_operators() -> None:
    """The first of 3 x 3 is cut out of the doubled ones, once for the rows and once for the columns."""
    graph = resizing((3, 3), (7, 7))
    resize_as_copies(graph)
    assert kinds(graph) == [
        *["CONCATENATION", "RESHAPE"] * 2,
        *["STRIDED_SLICE", "CONCATENATION"] * 2,
    ]
    used = {index for operator in graph.operators for index in (*operator.inputs, *operator.outputs)}
    assert len(used) == len(graph.tensors) - 1  # the size of the resize is left


@pytest.mark.parametrize(("before", "after"), [((4, 4), (2, 8)), ((4, 4), (3, 3)), ((4, 4), (4, 4))])
def test_what_does_not_enlarge_stays(before: tuple[int, int], after: tuple[int, int]) -> None:
    graph = resizing(before, after)
    assert resize_as_copies(graph) == 0
    assert kinds(graph) == ["RESIZE_NEAREST_NEIGHBOR"]
