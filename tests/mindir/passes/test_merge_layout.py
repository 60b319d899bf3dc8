"""Merging reshapes and transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.passes.simplify import merge_layout

I64: Any = np.int64
X = np.arange(48, dtype=np.float32).reshape(2, 4, 1, 6)
SHAPES = {"axis2": I64([2]), "three": I64([2, 4, 6]), "two": I64([2, 24]), "odd": I64([8, 6])}


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            [("a", "Squeeze", "x", "axis2"), ("b", "Relu", "a"), ("y", "Unsqueeze", "b", "axis2")],
            ["Squeeze", "Relu", "Unsqueeze"],
        ),
        ([("a", "Squeeze", "x", "axis2"), ("b", "Unsqueeze", "a", "axis2"), ("y", "Relu", "b")], ["Relu"]),
        ([("a", "Reshape", "x", "odd"), ("b", "Reshape", "a", "three"), ("y", "Relu", "b")], ["Reshape", "Relu"]),
        ([("y", "Reshape", "x", "two")], ["Flatten"]),
        ([("a", "Reshape", "x", "three"), ("y", "Reshape", "a", "two")], ["Flatten"]),
        ([("y", "Reshape", "x", "odd")], ["Reshape"]),
        (
            [("a", "Transpose", "x", {"perm": [0, 2, 3, 1]}), ("y", "Transpose", "a", {"perm": [0, 2, 1, 3]})],
            ["Transpose"],
        ),
        (
            [
                ("a", "Transpose", "x", {"perm": [0, 2, 3, 1]}),
                ("b", "Transpose", "a", {"perm": [0, 3, 1, 2]}),
                ("y", "Relu", "b"),
            ],
            ["Relu"],
        ),
        # Others read what lies between: it stays for them.
        (
            [
                ("a", "Reshape", "x", "odd"),
                ("b", "Reshape", "a", "three"),
                ("c", "Reshape", "b", "odd"),
                ("y", "Add", "a", "c"),
            ],
            ["Reshape", "Reshape", "Add"],
        ),
    ],
)
def test_case(graph_of: Any, run: Any, lines: list[tuple[Any, ...]], expected: list[str]) -> None:
    graph = graph_of(X.shape, SHAPES, *lines)
    merged = merge_layout(graph).without_dead_code()
    merged.check()
    assert [node.op for node in merged.nodes] == expected
    np.testing.assert_array_equal(run(merged, X)[0], run(graph, X)[0])
