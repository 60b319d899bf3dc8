"""Computing what depends on constants alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.passes.simplify import fold_constants

W = np.random.default_rng(0).uniform(0.5, 2, (2, 3, 4)).astype(np.float32)
F32: Any = np.float32
I64: Any = np.int64

LINES: list[tuple[Any, ...]] = [
    ("Add", "w", "w"),
    ("Sub", "w", "row"),
    ("Mul", "w", "row"),
    ("Div", "row", "w"),
    ("Pow", "w", "row"),
    ("Sqrt", "w"),
    ("Exp", "w"),
    ("Neg", "w"),
    ("Reciprocal", "w"),
    ("ReduceMean", "w", {"axes": [0, 2], "keepdims": 1}),
    ("ReduceSum", "w", "axis1", {"keepdims": 0}),
    ("Reshape", "w", "shape"),
    ("Transpose", "w", {"perm": [2, 0, 1]}),
    ("Unsqueeze", "w", "axis1"),
    ("Concat", "w", "w", {"axis": 1}),
    ("Gather", "w", "indices", {"axis": 2}),
    ("Slice", "w", "starts", "ends", "axes", "steps"),
    ("Tile", "w", "repeats"),
    ("Expand", "row", "full"),
]
CONSTANTS = {
    "w": W,
    "row": F32([1, 2, 3, 4]),
    "axis1": I64([1]),
    "shape": I64([6, 4]),
    "indices": I64([0, 2]),
    "starts": I64([2, 1]),
    "ends": I64([-100, 3]),
    "axes": I64([1, 2]),
    "steps": I64([-1, 1]),
    "repeats": I64([1, 2, 3]),
    "full": I64([3, 1]),
}


@pytest.mark.parametrize("line", LINES, ids=[line[0] for line in LINES])
def test_the_constant_is_what_the_runtime_computes(graph_of: Any, run: Any, line: tuple[Any, ...]) -> None:
    # The input is only there because a graph has one; the sum of its elements times zero keeps it alive.
    graph = graph_of(
        (1,), {**CONSTANTS, "zero": np.float32(0)}, ("c", *line), ("z", "Mul", "x", "zero"), ("y", "Add", "c", "z")
    )
    folded = fold_constants(graph).without_dead_code()
    assert [node.op for node in folded.nodes] == ["Mul", "Add"]
    x = np.ones(1, np.float32)
    # exp and pow of two libraries differ in the last bit.
    np.testing.assert_allclose(run(folded, x)[0], run(graph, x)[0], rtol=3e-7)


def test_parameters_that_the_network_computes_with(golden: Any, images: Any) -> None:
    """The weight of a convolution, made from two parameters: nothing but the convolution is left."""
    model = golden("ops.conv2d(x, ops.exp(Tensor(np.ones((2, 4, 1, 1)), ms.float32)) * 0.5)", images(4, 5, 6))
    assert [node.op_type for node in model.graph.node] == ["Conv"]


def test_what_depends_on_the_input_stays(graph_of: Any) -> None:
    graph = graph_of((2,), {"c": F32([1, 2])}, ("y", "Add", "x", "c"))
    assert [node.op for node in fold_constants(graph).nodes] == ["Add"]


def test_a_constant_does_not_blow_the_file_up(graph_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostedge.mindir.passes.simplify._MAX_ELEMENTS", 100)
    for size, left in ((100, ["Add"]), (101, ["Expand", "Add"])):
        graph = graph_of(
            (1,), {"c": F32([1]), "size": I64([size])}, ("e", "Expand", "c", "size"), ("y", "Add", "x", "e")
        )
        assert [node.op for node in fold_constants(graph).without_dead_code().nodes] == left
