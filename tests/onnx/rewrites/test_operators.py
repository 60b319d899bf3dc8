"""Pools and sigmoids become what XNNPACK has or executes faster, where that gives the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

GATE: list[Any] = [
    ("Conv", "x w1 b1", "c"),
    ("Sigmoid", "c", "s"),
    ("Resize", "s roi scales", "g", {"mode": "linear", "coordinate_transformation_mode": "align_corners"}),
    ("Resize", "x roi scales", "up", {"mode": "nearest"}),
    ("Mul", "up g", "m"),
]


@pytest.mark.parametrize(
    ("window", "strides", "size"), [((2, 2), (2, 2), (6, 6)), ((2, 2), (2, 2), (7, 7)), ((3, 2), (1, 2), (5, 6))]
)
def test_depthwise_convolution_gives_the_means(
    model: Any, rewritten: Any, window: Any, strides: Any, size: Any
) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": window, "strides": strides})], {}, (1, 5, *size))
    operators, difference = rewritten(pool, "pool_as_depthwise")
    assert operators == ["Conv"]
    assert difference < 2e-7  # up to nine additions in another order


@pytest.mark.parametrize(
    "fields",
    [
        {"kernel_shape": [2, 2], "pads": [1, 1, 0, 0]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [4, 4]},
    ],
)
def test_no_depthwise_convolution_of_pads_and_large_windows(model: Any, rewritten: Any, fields: Any) -> None:
    operators, difference = rewritten(model([("AveragePool", "x", "y", fields)], {}, (1, 3, 7, 7)), "pool_as_depthwise")
    assert operators == ["AveragePool"]
    assert difference == 0


@pytest.mark.parametrize("size", [(6, 6), (2, 8), (56, 56)])
def test_a_resize_gives_the_means(model: Any, rewritten: Any, size: Any) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": [2, 2], "strides": [2, 2]})], {}, (1, 5, *size))
    operators, difference = rewritten(pool, "pool_as_resize")
    assert operators == ["Resize"]
    assert difference < 5e-7  # four additions in another order


@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (7, 7)),
        ({"kernel_shape": [2, 2], "strides": [2, 2]}, (6, 7)),
        ({"kernel_shape": [2, 2]}, (6, 6)),
        ({"kernel_shape": [3, 3], "strides": [2, 2]}, (6, 6)),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "pads": [1, 1, 1, 1]}, (6, 6)),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"}, (6, 6)),
        ({"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, (6, 6)),
    ],
)
def test_no_resize_of_pools_that_do_not_halve_the_image(model: Any, rewritten: Any, fields: Any, size: Any) -> None:
    operators, difference = rewritten(model([("AveragePool", "x", "y", fields)], {}, (1, 3, *size)), "pool_as_resize")
    assert operators == ["AveragePool"]
    assert difference == 0


def constants(weights: Any) -> dict[str, Any]:
    scales = {"roi": np.zeros(0, np.float32), "scales": np.array([1, 1, 2, 2], np.float32)}
    return scales | {"w1": 3 * weights(4, 4, 1, 1), "b1": weights(4), "w2": weights(5, 4, 1, 1), "b2": weights(5)}


def test_the_halves_go_into_the_convolutions(model: Any, rewritten: Any, weights: Any) -> None:
    network = model([*GATE, ("Conv", "m w2 b2", "y")], constants(weights), (1, 4, 3, 3))
    operators, difference = rewritten(network, "sigmoid_as_tanh")
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
    operators, difference = rewritten(model([*GATE, *excite], values, (1, 4, 3, 3)), "sigmoid_as_tanh")
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
    operators, difference = rewritten(model([*GATE, *after], constants(weights), (1, 4, 3, 3)), "sigmoid_as_tanh")
    assert "Sigmoid" in operators
    assert difference == 0
