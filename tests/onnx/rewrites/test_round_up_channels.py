"""A 1 x 1 convolution of 8 n + 4 channels computes four more, which a slice drops."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "round_up_channels"


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_four_more_are_computed_and_dropped(model: Any, rewritten: Any, weights: Any, bias: bool, relu: bool) -> None:
    constants = {"w": weights(20, 16, 1, 1)} | ({"b": weights(20)} if bias else {})
    nodes: list[Any] = [("Conv", " ".join(["x", *constants]), "c" if relu else "y")]
    if relu:
        nodes.append(("Relu", "c", "y"))
    network = model(nodes, constants, (1, 16, 3, 3))
    operators, difference = rewritten(network, NAME)
    assert operators == (["Conv", "Relu", "Slice"] if relu else ["Conv", "Slice"])
    assert difference < 1e-6  # ONNX Runtime may sum more channels in another order
    widths = {tensor.dims[0] for tensor in network.graph.initializer if "wide" in tensor.name}
    assert widths == {24}


def test_a_relu_that_is_not_the_only_reader_reads_the_slice(model: Any, rewritten: Any, weights: Any) -> None:
    nodes = [("Conv", "x w", "c"), ("Relu", "c", "r"), ("Add", "c r", "y")]
    operators, difference = rewritten(model(nodes, {"w": weights(12, 16, 1, 1)}, (1, 16, 3, 3)), NAME)
    assert operators == ["Conv", "Slice", "Relu", "Add"]
    assert difference < 1e-6


@pytest.mark.parametrize(
    ("shape", "weight", "fields"),
    [
        ((1, 16, 3, 3), (24, 16, 1, 1), {}),  # whole tiles
        ((1, 16, 3, 3), (4, 16, 1, 1), {}),
        ((1, 8, 3, 3), (20, 8, 1, 1), {}),
        ((1, 16, 1, 1), (20, 16, 1, 1), {}),
        ((1, 16, 5, 5), (20, 16, 3, 3), {}),
        ((1, 32, 3, 3), (20, 16, 1, 1), {"group": 2}),
        ((1, 16, 4, 4), (20, 16, 1, 1), {"strides": [2, 2]}),
    ],
)
def test_what_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, shape: Any, weight: Any, fields: Any
) -> None:
    operators, _ = rewritten(model([("Conv", "x w", "y", fields)], {"w": weights(*weight)}, shape), NAME)
    assert operators == ["Conv"]
