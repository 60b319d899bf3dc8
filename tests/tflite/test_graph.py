"""A graph knows what makes and reads each tensor, also after it was changed."""

from __future__ import annotations

import numpy as np
import pytest

from ghostedge.model import Model
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.graph import Graph, ints, options
from tests.tflite.graphs import empty, kinds, linear, run

pytest.importorskip("ai_edge_litert")


def test_operators_are_named(tiny_tflite: dict[str, Model]) -> None:
    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "FULLY_CONNECTED"} <= set(kinds(graph))
    graph.model.operatorCodes[0].customCode = b"TFLite_Own"
    assert "TFLite_Own" in kinds(Graph(graph.model))


def test_absent_vectors_are_empty() -> None:
    assert ints(None) == ()
    assert ints(np.array([1, -1], np.int32)) == (1, -1)


def test_what_makes_and_reads_a_tensor_follows_every_change() -> None:
    graph = linear()
    mean, dense = graph.operators
    (image,) = graph.inputs
    assert graph.producer(mean.output) is mean
    assert graph.readers(mean.output) == (dense,)
    assert dense.activations == (mean.output,)
    assert graph.computed == {image, mean.output, dense.output}
    absolute = graph.add_tensor(graph.shape(mean.output), "FLOAT32", "absolute")
    between = graph.make("ABS", [mean.output], [absolute], options("Abs"))
    dense.inputs = [absolute, *dense.inputs[1:]]
    graph.replace(dense, [between, dense])
    assert graph.readers(mean.output) == (between,)
    assert graph.producer(absolute) is between
    assert graph.back(absolute, {"ABS"}) == mean.output
    assert kinds(graph) == ["MEAN", "ABS", "FULLY_CONNECTED"]
    graph.replace(between, [])
    assert graph.producer(absolute) is None
    assert graph.readers(mean.output) == ()


def test_a_constant_that_is_changed_is_changed_for_its_tensor_alone() -> None:
    graph = empty()
    image, sums = (graph.add_tensor((1, 3), "FLOAT32", name) for name in ("image", "sums"))
    one = graph.add_constant(np.ones(3, np.float32), "one")
    two = graph.add_tensor((3,), "FLOAT32", "two")
    graph.tensors[two].buffer = graph.tensors[one].buffer
    graph.set_constant(two, np.full(3, 2, np.float32))
    graph.operators = [graph.make("ADD", [image, two], [sums], options("Add"))]
    graph.inputs, graph.outputs = [image], [sums]
    assert [ints(graph.constant(tensor)) for tensor in (one, two)] == [(1, 1, 1), (2, 2, 2)]
    assert graph.constant(sums) is None
    np.testing.assert_allclose(run(graph), np.random.default_rng(0).standard_normal((1, 3), np.float32) + 2)


def test_options_have_only_the_fields_of_the_schema() -> None:
    assert options("Conv2D", strideH=2).strideH == 2
    with pytest.raises(AttributeError):
        options("Conv2D", stride_h=2)
