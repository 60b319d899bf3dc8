"""An average pool becomes a depthwise convolution, where it divides by the whole window."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "pool_as_depthwise"


@pytest.mark.parametrize(
    ("window", "strides", "size"), [((2, 2), (2, 2), (6, 6)), ((2, 2), (2, 2), (7, 7)), ((3, 2), (1, 2), (5, 6))]
)
def test_it_gives_the_means(model: Any, rewritten: Any, window: Any, strides: Any, size: Any) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": window, "strides": strides})], {}, (1, 5, *size))
    operators, difference = rewritten(pool, NAME)
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
def test_pads_and_large_windows_stay(model: Any, rewritten: Any, fields: Any) -> None:
    operators, difference = rewritten(model([("AveragePool", "x", "y", fields)], {}, (1, 3, 7, 7)), NAME)
    assert operators == ["AveragePool"]
    assert difference == 0
