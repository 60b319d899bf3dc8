"""A strided depthwise convolution of a concatenation is done on its parts."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "depthwise_before_concat"


def network(model: Any, weights: Any, channels: int = 4, **fields: Any) -> Any:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y", fields)]
    constants = {"w": weights(2 * channels, 2 * channels // fields["group"], 3, 3), "b": weights(2 * channels)}
    return model(nodes, constants, (1, channels, 6, 6))


def test_the_parts_are_convolved_and_then_put_together(model: Any, rewritten: Any, weights: Any) -> None:
    strided = network(model, weights, group=8, strides=[2, 2], pads=[1, 1, 1, 1])
    operators, difference = rewritten(strided, NAME)
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
def test_what_gains_nothing_stays(model: Any, rewritten: Any, weights: Any, channels: int, fields: Any) -> None:
    operators, difference = rewritten(network(model, weights, channels, **fields), NAME)
    assert operators == ["Relu", "Concat", "Conv"]
    assert difference == 0
