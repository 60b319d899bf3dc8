"""Outputs that are inputs, constants or the same value twice."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.mindir.passes.own_outputs import own_outputs

F32: Any = np.float32


def test_each_becomes_a_value_of_its_own(graph_of: Any, run: Any) -> None:
    graph = graph_of((3,), {"c": F32([1, 2, 3])}, ("y", "Relu", "x"), outputs=("y", "x", "c", "y"))
    owned = own_outputs(graph)
    x = F32([-1, 0, 1])
    expected = [np.maximum(x, 0), x, [1, 2, 3], np.maximum(x, 0)]
    for got, want in zip(run(owned, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_outputs_that_are_fine_stay(graph_of: Any) -> None:
    graph = graph_of((3,), {}, ("y", "Relu", "x"))
    assert own_outputs(graph).nodes == graph.nodes
