"""Pools become what XNNPACK has or executes faster, where that gives the same values."""

from __future__ import annotations

from typing import Any

import pytest


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
