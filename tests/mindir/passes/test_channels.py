"""Shuffles and splits of channels: one Gather, one Split, whatever reshapes said so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.passes.channels import gather_channels

I64: Any = np.int64
X = np.arange(2 * 6 * 3 * 5, dtype=np.float32).reshape(2, 6, 3, 5)
CONSTANTS = {
    "groups": I64([2, 2, 3, 3, 5]),
    "rows": I64([2, 3, 2, 3, 5]),
    "whole": I64([2, 6, 3, 5]),
    "pairs": I64([6, 2, 15]),
    "halves": I64([2, 2, 3, 3, 5]),
    "zero": I64([0]),
    "one": I64([1]),
    "two": I64([2]),
    "end": I64([5]),
    "axis": I64([0]),
    "mixed": I64([2, 2, 9, 5]),
    "sizes": I64([2, 4]),
}

SHUFFLE = [
    ("a", "Reshape", "x", "groups"),
    ("b", "Transpose", "a", {"perm": [0, 2, 1, 3, 4]}),
    ("c", "Reshape", "b", "whole"),
]

#: ShuffleNetV2's: the even channels go one way and the odd ones another.
HALVES = [
    ("a", "Reshape", "x", "pairs"),
    ("b", "Transpose", "a", {"perm": [1, 0, 2]}),
    ("c", "Reshape", "b", "halves"),
    ("d", "Slice", "c", "zero", "one", "axis", "one"),
    ("e", "Squeeze", "d", "axis"),
    ("f", "Slice", "c", "one", "two", "axis", "one"),
    ("g", "Squeeze", "f", "axis"),
    ("h", "Relu", "e"),
    ("i", "Neg", "g"),
    ("y", "Add", "h", "i"),
]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([*SHUFFLE, ("y", "Relu", "c")], ["Gather", "Relu"]),
        (HALVES, ["Gather", "Split", "Relu", "Neg", "Add"]),
        # The rows of the table themselves, in order: no channel moves.
        (
            [
                ("a", "Reshape", "x", "rows"),
                ("b", "Transpose", "a", {"perm": [0, 2, 1, 3, 4]}),
                ("c", "Transpose", "b", {"perm": [0, 2, 1, 3, 4]}),
                ("d", "Reshape", "c", "whole"),
                ("y", "Relu", "d"),
            ],
            ["Relu"],
        ),
        # Some of the shuffled channels.
        (
            [*SHUFFLE, ("d", "Slice", "c", "one", "end", "one", "two"), ("y", "Relu", "d")],
            ["Gather", "Relu"],
        ),
        # What lies between stays for others that read it.
        ([*SHUFFLE, ("d", "Relu", "c"), ("e", "Neg", "b"), ("f", "Reshape", "e", "whole"), ("y", "Add", "d", "f")],
         ["Reshape", "Transpose", "Gather", "Relu", "Neg", "Reshape", "Add"]),
        # What must stay: rows or columns move, or the layout was never left.
        ([("a", "Transpose", "x", {"perm": [0, 1, 3, 2]}), ("y", "Relu", "a")], ["Transpose", "Relu"]),
        ([("a", "Reshape", "x", "mixed"), ("y", "Relu", "a")], ["Reshape", "Relu"]),
        ([("a", "Slice", "x", "one", "end", "one", "one"), ("y", "Relu", "a")], ["Slice", "Relu"]),
    ],
)  # fmt: skip
def test_case(graph_of: Any, run: Any, lines: list[tuple[Any, ...]], expected: list[str]) -> None:
    graph = graph_of(X.shape, CONSTANTS, *lines)
    gathered = gather_channels(graph).without_dead_code()
    gathered.check()
    assert [node.op for node in gathered.nodes] == expected
    np.testing.assert_array_equal(run(gathered, X)[0], run(graph, X)[0])


def test_an_output_is_a_reader(graph_of: Any, run: Any) -> None:
    graph = graph_of(X.shape, CONSTANTS, *SHUFFLE)
    gathered = gather_channels(graph).without_dead_code()
    assert [node.op for node in gathered.nodes] == ["Gather"]
    np.testing.assert_array_equal(run(gathered, X)[0], run(graph, X)[0])
