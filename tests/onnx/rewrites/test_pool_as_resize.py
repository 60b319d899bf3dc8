"""An average pool that halves an image becomes a bilinear resize."""

from __future__ import annotations

from typing import Any

import pytest

NAME = "pool_as_resize"


@pytest.mark.parametrize("size", [(6, 6), (2, 8), (56, 56)])
def test_it_gives_the_means(model: Any, rewritten: Any, size: Any) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": [2, 2], "strides": [2, 2]})], {}, (1, 5, *size))
    operators, difference = rewritten(pool, NAME)
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
def test_others_stay(model: Any, rewritten: Any, fields: Any, size: Any) -> None:
    operators, difference = rewritten(model([("AveragePool", "x", "y", fields)], {}, (1, 3, *size)), NAME)
    assert operators == ["AveragePool"]
    assert difference == 0
