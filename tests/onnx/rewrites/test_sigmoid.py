"""A gate's sigmoid becomes a tanh, its factors of a half in the convolutions before and behind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

NAME = "sigmoid_as_tanh"
GATE: list[Any] = [
    ("Conv", "x w1 b1", "c"),
    ("Sigmoid", "c", "s"),
    ("Resize", "s roi scales", "g", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Resize", "x roi scales", "up", {"mode": "nearest"}),
    ("Mul", "up g", "m"),
]


def constants(weights: Any) -> dict[str, Any]:
    scales = {"roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    return scales | {"w1": 3 * weights(4, 4, 1, 1), "b1": weights(4), "w2": weights(5, 4, 1, 1), "b2": weights(5)}


def test_the_halves_go_into_the_convolutions(model: Any, rewritten: Any, weights: Any) -> None:
    network = model([*GATE, ("Conv", "m w2 b2", "y")], constants(weights), (1, 4, 3, 3))
    operators, difference = rewritten(network, NAME)
    assert operators == ["Conv", "Tanh", "Add", "Resize", "Resize", "Mul", "Conv"]
    assert difference < 3e-6  # a last place of gates up to 2, in sums of four products


def test_every_way_of_a_squeeze_and_excitation_takes_up_the_half(model: Any, rewritten: Any, weights: Any) -> None:
    excite: list[Any] = [
        ("GlobalAveragePool", "m", "p"),
        ("Conv", "p w3", "e"),
        ("Relu", "e", "f"),
        ("Mul", "m f", "n"),
        ("Conv", "n w2 b2", "y"),
    ]
    values = constants(weights) | {"w3": weights(4, 4, 1, 1)}
    operators, difference = rewritten(model([*GATE, *excite], values, (1, 4, 3, 3)), NAME)
    assert "Tanh" in operators
    assert difference < 5e-6


@pytest.mark.parametrize(
    "after",
    [
        [("Relu", "m", "r"), ("Conv", "r w2", "y")],  # a nonlinear way
        [("Conv", "m w2", "z"), ("GlobalAveragePool", "m", "q"), ("Sub", "m q", "y")],
        [("Mul", "m m", "n"), ("Conv", "n w2", "y")],  # a square takes a quarter
        [("GlobalAveragePool", "m", "q"), ("Mul", "m q", "n"), ("Conv", "n w2", "y")],  # so does a product of both
        [("Conv", "m w2", "z"), ("GlobalAveragePool", "s", "q"), ("Concat", "q q", "y", {"axis": 1})],  # s is read
    ],
)
def test_a_factor_that_no_convolution_takes_up_stays(
    model: Any, rewritten: Any, weights: Any, after: list[Any]
) -> None:
    operators, difference = rewritten(model([*GATE, *after], constants(weights), (1, 4, 3, 3)), NAME)
    assert "Sigmoid" in operators
    assert difference == 0
