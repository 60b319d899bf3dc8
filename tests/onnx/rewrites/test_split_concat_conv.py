"""A 1 x 1 convolution of a small concatenation becomes a sum of convolutions."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "split_concat_conv"


def test_the_parts_are_convolved_apart(model: Any, rewritten: Any, weights: Any) -> None:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y")]
    network = model(nodes, {"w": weights(8, 16, 1, 1), "b": weights(8)}, (1, 8, 4, 4))
    operators, difference = rewritten(network, NAME)
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
def test_what_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, channels: int, outputs: int, kept: bool
) -> None:
    nodes: list[Any] = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w", "c" if kept else "y")]
    if kept:
        nodes += [("Relu", "k", "s"), ("Concat", "c s", "y", {"axis": 1})]
    constants = {"w": weights(outputs, 2 * channels, 1, 1)}
    operators, difference = rewritten(model(nodes, constants, (1, channels, 4, 4)), NAME)
    assert operators == [node[0] for node in nodes]
    assert difference == 0
