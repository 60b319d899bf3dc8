"""Operators become ones that XNNPACK has or computes faster: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import SAME, VALID, Graph, options
from ghostedge.tflite.rewrites.for_xnnpack import (
    add_n_as_add,
    columns_as_channels,
    pool_as_depthwise,
    resize_as_copies,
)
from tests.tflite.graphs import empty, kinds, linear, run

pytest.importorskip("ai_edge_litert")

_RELU = 1  # schema.fbs

RULES = [(False, False), (True, False), (False, True)]
CHANNELS = 4


def with_a_sum(parts: int) -> Graph:
    """The linear model, its logits summed `parts` times."""
    graph = linear()
    (logits,) = graph.outputs
    total = graph.add_tensor(graph.shape(logits), "FLOAT32", "total")
    graph.operators = (*graph.operators, graph.make("ADD_N", [logits] * parts, [total]))
    graph.outputs, graph.model.signatureDefs = [total], None
    return graph


def test_a_sum_of_two_becomes_an_addition(tmp_path: Path) -> None:
    graph, path = with_a_sum(2), tmp_path / "added.tflite"
    before = run(graph)
    assert add_n_as_add(graph) == 1
    path.write_bytes(pack(graph))
    np.testing.assert_array_equal(run(graph), before)
    assert coverage(path).whole


def test_a_sum_of_three_stays() -> None:
    graph = with_a_sum(3)
    assert add_n_as_add(graph) == 0
    assert kinds(graph)[-1] == "ADD_N"


def pooling(padding: int, window: int = 2) -> Graph:
    graph = empty()
    image = graph.add_tensor((1, 6, 8, 5), "FLOAT32", "image")
    pooled = graph.add_tensor((1, 3, 4, 5), "FLOAT32", "pooled")
    pool = options("Pool2D", padding=padding, strideH=2, strideW=2, filterHeight=window, filterWidth=window)
    graph.operators = [graph.make("AVERAGE_POOL_2D", [image], [pooled], pool)]
    graph.inputs, graph.outputs = [image], [pooled]
    return graph


def test_a_pool_becomes_a_depthwise_convolution() -> None:
    graph = pooling(VALID)
    before = run(graph)
    assert pool_as_depthwise(graph) == 1
    assert kinds(graph) == ["DEPTHWISE_CONV_2D"]
    np.testing.assert_allclose(run(graph), before, atol=1e-6)


def test_a_pool_that_pads_divides_by_what_lies_inside() -> None:
    graph = pooling(SAME, window=3)
    before = run(graph)
    assert pool_as_depthwise(graph) == 1
    assert kinds(graph) == ["DEPTHWISE_CONV_2D", "MUL"]
    np.testing.assert_allclose(run(graph), before, atol=1e-6)


def test_a_pool_whose_padding_is_none_needs_no_product() -> None:
    graph = pooling(SAME)
    before = run(graph)
    assert pool_as_depthwise(graph) == 1
    assert kinds(graph) == ["DEPTHWISE_CONV_2D"]
    np.testing.assert_allclose(run(graph), before, atol=1e-6)


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
def test_pairs_of_columns_compute_the_same(size: tuple[int, int], tmp_path: Path) -> None:
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
def test_columns_that_do_not_pair_stay(what: dict[str, Any]) -> None:
    graph = network(**what)
    before = pack(graph)
    assert not columns_as_channels(graph)
    assert pack(graph) == before


def test_columns_of_a_network_that_begins_otherwise_stay() -> None:
    assert not columns_as_channels(linear())


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
def test_copies_are_what_litert_resizes(
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
