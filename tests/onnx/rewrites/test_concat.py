"""A convolution of a concatenation is done on its parts, where that saves copies."""

from __future__ import annotations

from typing import Any

import pytest


def network(model: Any, weights: Any, channels: int = 4, **fields: Any) -> Any:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y", fields)]
    constants = {"w": weights(2 * channels, 2 * channels // fields["group"], 3, 3), "b": weights(2 * channels)}
    return model(nodes, constants, (1, channels, 6, 6))


def test_the_parts_are_convolved_depthwise_and_then_put_together(model: Any, rewritten: Any, weights: Any) -> None:
    strided = network(model, weights, group=8, strides=[2, 2], pads=[1, 1, 1, 1])
    operators, difference = rewritten(strided, "depthwise_before_concat")
    assert operators == ["Relu", "Conv", "Conv", "Concat"]
    assert difference == 0


@pytest.mark.parametrize(
    ("channels", "fields"),
    [
        (4, {"group": 8, "strides": [1, 1]}),
        (4, {"group": 4, "strides": [2, 2]}),  # not depthwise
        (6, {"group": 12, "strides": [2, 2]}),  # no multiple of four
    ],
)
def test_a_depthwise_convolution_that_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, channels: int, fields: Any
) -> None:
    operators, difference = rewritten(network(model, weights, channels, **fields), "depthwise_before_concat")
    assert operators == ["Relu", "Concat", "Conv"]
    assert difference == 0


def test_the_parts_are_convolved_apart_and_added(model: Any, rewritten: Any, weights: Any) -> None:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y")]
    network = model(nodes, {"w": weights(8, 16, 1, 1), "b": weights(8)}, (1, 8, 4, 4))
    operators, difference = rewritten(network, "split_concat_conv")
    assert operators == ["Relu", "Conv", "Conv", "Sum"]
    assert difference < 2e-6  # 16 products are summed in two halves


@pytest.mark.parametrize(
    ("channels", "outputs", "kept"),
    [
        (8, 12, False),  # too many outputs
        (24, 8, False),  # too many inputs
        (6, 4, False),  # no multiple of four
        (8, 8, True),  # the concatenation is needed anyway
    ],
)
def test_a_pointwise_convolution_that_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, channels: int, outputs: int, kept: bool
) -> None:
    nodes: list[Any] = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w", "c" if kept else "y")]
    if kept:
        nodes += [("Relu", "k", "s"), ("Concat", "c s", "y", {"axis": 1})]
    constants = {"w": weights(outputs, 2 * channels, 1, 1)}
    operators, difference = rewritten(model(nodes, constants, (1, channels, 4, 4)), "split_concat_conv")
    assert operators == [node[0] for node in nodes]
    assert difference == 0
