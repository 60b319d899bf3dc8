"""Activations that XNNPACK does not have on integers become parts of operators that it has: the same values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from ghostedge.tflite.graph import VALID, Graph, options
from ghostedge.tflite.rewrites.for_int8 import fuse_activations, hard_swish_as_products
from tests.tflite.graphs import empty, kinds, run

pytest.importorskip("ai_edge_litert")

_RELU = 1  # schema.fbs
SHAPE = (1, 4, 5, 6)


class Maker:
    """Writes a graph on an image of 4 x 5 pixels and 6 channels."""

    def __init__(self) -> None:
        self.graph, self.rng = empty(), np.random.default_rng(0)
        self.image = self.add()
        self.operators: list[Any] = []

    def add(self, channels: int = 6) -> int:
        return self.graph.add_tensor((*SHAPE[:3], channels), "FLOAT32", f"t{len(self.graph.tensors)}")

    def node(self, kind: str, inputs: Sequence[int], fields: Any = None, channels: int = 6) -> int:
        made = self.add(channels)
        self.operators.append(self.graph.make(kind, inputs, [made], fields))
        return made

    def conv(self, x: int, activation: int = 0) -> int:
        shape = (6, 1, 1, self.graph.shape(x)[3])
        weights, bias = (self.rng.standard_normal(s).astype(np.float32) for s in (shape, 6))
        windows = options("Conv2D", padding=VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
        windows.fusedActivationFunction = activation
        inputs = [x, self.graph.add_constant(weights, "w"), self.graph.add_constant(bias, "b")]
        return self.node("CONV_2D", inputs, windows)

    def concat(self, *parts: int) -> int:
        return self.node("CONCATENATION", parts, options("Concatenation", axis=3), 6 * len(parts))

    def finish(self, *outputs: int) -> Graph:
        self.graph.operators, self.graph.inputs, self.graph.outputs = self.operators, [self.image], outputs
        return self.graph


def behind_a_convolution(make: Maker) -> int:
    return make.node("RELU6", [make.conv(make.image)])


def behind_a_concatenation(make: Maker) -> int:
    slices = make.node("NEG", [make.image], options("Neg"))
    return make.node("RELU", [make.concat(make.conv(make.image), make.conv(make.image, _RELU), slices)], channels=18)


def behind_a_value_with_other_readers(make: Maker) -> int:
    shared = make.conv(make.image)
    return make.node("ADD", [make.node("RELU", [shared]), shared], options("Add"))


def behind_another_activation(make: Maker) -> int:
    return make.node("RELU6", [make.conv(make.image, _RELU)])


CASES = {
    behind_a_convolution: ["CONV_2D"],
    behind_a_concatenation: ["NEG", "CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "CONCATENATION"],
    behind_a_value_with_other_readers: ["CONV_2D", "DEPTHWISE_CONV_2D", "ADD"],
    behind_another_activation: ["CONV_2D", "DEPTHWISE_CONV_2D"],
}


@pytest.mark.parametrize("case", CASES)
def test_an_activation_becomes_part_of_what_it_follows(case: Any) -> None:
    make = Maker()
    graph = make.finish(case(make))
    before = run(graph)
    assert fuse_activations(graph) == 1
    assert kinds(graph) == CASES[case]
    np.testing.assert_allclose(run(graph), before, rtol=1e-6, atol=1e-6)
    assert before.min() < 0 or (before == 0).any()


def test_hard_swish_before_convolutions() -> None:
    make = Maker()
    swish = make.node("HARD_SWISH", [make.conv(make.image)], options("HardSwish"))
    graph = make.finish(make.node("ADD", [make.conv(swish), make.conv(swish)], options("Add")))
    before = run(graph)
    assert hard_swish_as_products(graph) == 1
    assert kinds(graph) == ["CONV_2D", "ADD", "MUL", "CONV_2D", "CONV_2D", "ADD"]
    np.testing.assert_allclose(run(graph), before, rtol=1e-5, atol=1e-5)


def test_hard_swish_before_others() -> None:
    make = Maker()
    swish = make.node("HARD_SWISH", [make.conv(make.image)], options("HardSwish"))
    graph = make.finish(make.node("ADD", [make.conv(swish), swish], options("Add")))
    before = run(graph)
    assert hard_swish_as_products(graph) == 1
    assert kinds(graph) == ["CONV_2D", "ADD", "MUL", "MUL", "CONV_2D", "ADD"]
    np.testing.assert_allclose(run(graph), before, rtol=1e-5, atol=1e-5)
