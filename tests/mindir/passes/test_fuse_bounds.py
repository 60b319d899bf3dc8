"""Bounds and leaky slopes as single operators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.passes.simplify import fuse_bounds

X = np.linspace(-9, 9, 37, dtype=np.float32)
NUMBERS = {
    name: np.float32(value) for name, value in {"zero": 0, "two": 2, "six": 6, "tenth": 0.1, "minus": -0.5}.items()
}


def clip(output: str, x: str, low: str = "", high: str = "") -> tuple[str, ...]:
    return (output, "Clip", x, low, high)


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([clip("a", "x", "zero"), clip("y", "a", "", "six")], ["Clip"]),  # case 1
        ([("a", "Relu", "x"), clip("y", "a", "", "six")], ["Clip"]),
        ([clip("a", "x", "zero", "six"), clip("y", "a", "minus", "two")], ["Clip"]),
        ([clip("y", "x", "zero")], ["Relu"]),  # case 2
        ([("a", "Relu", "x"), clip("y", "a", "minus")], ["Relu"]),
        ([clip("y", "x", "zero", "six")], ["Clip"]),
        ([("a", "Mul", "x", "tenth"), ("y", "Max", "x", "a")], ["LeakyRelu"]),  # case 3
        ([("a", "Mul", "tenth", "x"), ("y", "Max", "a", "x")], ["LeakyRelu"]),
        # What must stay: limits that cross, a value that others read, a slope beyond 1, a negative slope.
        ([clip("a", "x", "two", "six"), clip("y", "a", "", "zero")], ["Clip", "Clip"]),
        ([clip("a", "x", "zero"), clip("b", "a", "", "six"), ("y", "Add", "a", "b")], ["Relu", "Clip", "Add"]),
        ([("a", "Mul", "x", "two"), ("y", "Max", "x", "a")], ["Mul", "Max"]),
        ([("a", "Mul", "x", "minus"), ("y", "Max", "x", "a")], ["Mul", "Max"]),
    ],
)
def test_case(graph_of: Any, run: Any, lines: list[tuple[Any, ...]], expected: list[str]) -> None:
    graph = graph_of(X.shape, NUMBERS, *lines)
    fused = fuse_bounds(graph).without_dead_code()
    assert [node.op for node in fused.nodes] == expected
    np.testing.assert_array_equal(run(fused, X)[0], run(graph, X)[0])
