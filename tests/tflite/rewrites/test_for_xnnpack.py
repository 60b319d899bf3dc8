"""Operators that XNNPACK does not have become ones that it has: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import SAME, VALID, Graph, options
from ghostedge.tflite.rewrites.for_xnnpack import add_n_as_add, pool_as_depthwise
from tests.tflite.graphs import empty, kinds, linear, run

pytest.importorskip("ai_edge_litert")


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


def pooling(padding: int) -> Graph:
    graph = empty()
    image = graph.add_tensor((1, 6, 8, 5), "FLOAT32", "image")
    pooled = graph.add_tensor((1, 3, 4, 5), "FLOAT32", "pooled")
    pool = options("Pool2D", padding=padding, strideH=2, strideW=2, filterHeight=2, filterWidth=2)
    graph.operators = [graph.make("AVERAGE_POOL_2D", [image], [pooled], pool)]
    graph.inputs, graph.outputs = [image], [pooled]
    return graph


def test_a_pool_becomes_a_depthwise_convolution() -> None:
    graph = pooling(VALID)
    before = run(graph)
    assert pool_as_depthwise(graph) == 1
    assert kinds(graph) == ["DEPTHWISE_CONV_2D"]
    np.testing.assert_allclose(run(graph), before, atol=1e-6)


def test_a_pool_that_pads_stays() -> None:
    graph = pooling(SAME)
    assert pool_as_depthwise(graph) == 0
    assert kinds(graph) == ["AVERAGE_POOL_2D"]
