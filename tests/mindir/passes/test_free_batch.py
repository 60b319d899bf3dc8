"""Freeing the batch: what it follows through the network, and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ConvertError
from ghostedge.mindir.passes.free_batch import free_batch

F32: Any = np.float32
I64: Any = np.int64
RNG = np.random.default_rng(0)
CONSTANTS = {
    "w": RNG.standard_normal((5, 4, 3, 3)).astype(np.float32),
    "m": RNG.standard_normal((6, 7)).astype(np.float32),
    "row": RNG.standard_normal((1, 4, 1, 6)).astype(np.float32),
    "one": np.float32(1),
    "axis0": I64([0]),
    "axis1": I64([1]),
    "axis3": I64([3]),
    "start": I64([1]),
    "end": I64([3]),
    "flat": I64([1, 120]),
    "groups": I64([1, 2, 2, 5, 6]),
    "rows": I64([20, 6]),
    "back": I64([1, 4, 5, 6]),
    "middle": I64([4, 1, 30]),
    "merged": I64([2, 60]),
    "wide": I64([1, 4, 5, 6]),
    "many": I64([3, 4, 5, 6]),
    "twice": I64([1, 2, 1, 1]),
    "pads": I64([0, 0, 1, 1, 0, 0, 1, 1]),
    "batch_pads": I64([1, 0, 0, 0, 0, 0, 0, 0]),
    "indices": I64([0, 2]),
}

FREE: dict[str, list[tuple[Any, ...]]] = {
    "elementwise": [("y", "Add", "x", "row")],
    "convolution": [("y", "Conv", "x", "w")],
    "reduction": [("y", "ReduceMean", "x", {"axes": [2, 3], "keepdims": 0})],
    "flatten": [("y", "Flatten", "x", {"axis": 1})],
    "reshape": [("y", "Reshape", "x", "flat")],
    "reshape into groups": [("y", "Reshape", "x", "groups")],
    "rows of all images": [("a", "Reshape", "x", "rows"), ("b", "Gemm", "a", "m"), ("y", "Relu", "b")],
    "rows and back": [("a", "Reshape", "x", "rows"), ("b", "Relu", "a"), ("y", "Reshape", "b", "back")],
    "batch in the middle": [
        ("a", "Transpose", "x", {"perm": [1, 0, 2, 3]}),
        ("b", "Reshape", "a", "middle"),
        ("y", "Transpose", "b", {"perm": [1, 0, 2]}),
    ],
    "matrix product": [("y", "MatMul", "x", "m")],
    "product of two": [("t", "Transpose", "x", {"perm": [0, 1, 3, 2]}), ("y", "MatMul", "x", "t")],
    "softmax": [("y", "Softmax", "x", {"axis": 1})],
    "concat": [("y", "Concat", "x", "x", {"axis": 1})],
    "slice": [("y", "Slice", "x", "start", "end", "axis1")],
    "gather": [("y", "Gather", "x", "indices", {"axis": 1})],
    "squeeze": [("a", "ReduceMean", "x", {"axes": [1], "keepdims": 1}), ("y", "Squeeze", "a", "axis1")],
    "unsqueeze": [("a", "Unsqueeze", "x", "axis0"), ("y", "Transpose", "a", {"perm": [1, 2, 0, 3, 4]})],
    "expand": [("a", "ReduceMean", "x", {"axes": [2, 3], "keepdims": 1}), ("y", "Expand", "a", "wide")],
    "tile": [("y", "Tile", "x", "twice")],
    "pad": [("y", "Pad", "x", "pads")],
    "choice": [("a", "Greater", "x", "one"), ("y", "Where", "a", "x", "row")],
}

MIXED: dict[str, list[list[tuple[Any, ...]]]] = {
    "works along axis 0, which carries the batch": [
        [("y", "ReduceMean", "x", {"axes": [0], "keepdims": 0})],
        [("y", "Softmax", "x", {"axis": 0})],
        [("y", "Concat", "x", "x", {"axis": 0})],
        [("y", "Squeeze", "x", "axis0")],
        [("y", "Gather", "x", "axis0", {"axis": 0})],
        [("y", "Pad", "x", "batch_pads")],
    ],
    "merges the batch": [[("a", "Transpose", "x", {"perm": [1, 0, 2, 3]}), ("y", "Reshape", "a", "merged")]],
    "joins the batch with a constant": [[("y", "Concat", "x", "wide_constant", {"axis": 1})]],
    "fixed number of images": [[("a", "Reshape", "x", "rows"), ("y", "Add", "a", "per_row")]],
    "on different axes": [[("a", "Transpose", "x", {"perm": [1, 0, 2, 3]}), ("y", "Add", "a", "x")]],
    "sums over the batch": [[("a", "Reshape", "x", "flat"), ("y", "Gemm", "a", "column", {"transA": 1})]],
    "repeats images": [[("y", "Expand", "x", "many")]],
    "images of a batch with each other": [
        [("a", "Reshape", "x", "flat"), ("t", "Transpose", "a", {"perm": [1, 0]}), ("y", "MatMul", "a", "t")]
    ],
    "has no rule for the batch": [[("y", "Hardmax", "x")]],
}


@pytest.mark.parametrize("name", FREE)
def test_three_images_give_what_three_runs_give(graph_of: Any, run: Any, name: str) -> None:
    graph = graph_of((1, 4, 5, 6), CONSTANTS, *FREE[name])
    freed, axes = free_batch(graph)
    images = RNG.standard_normal((3, 4, 5, 6)).astype(np.float32)
    axis = axes["y"]
    apart = np.concatenate([run(graph, images[i : i + 1])[0] for i in range(3)], axis)
    # float32 sums may be taken in another order.
    np.testing.assert_allclose(run(freed, images, axes)[0], apart, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("reason", "lines"), [(reason, lines) for reason, all in MIXED.items() for lines in all])
def test_what_would_mix_images_is_refused(graph_of: Any, reason: str, lines: list[Any]) -> None:
    constants = {
        **CONSTANTS,
        "wide_constant": np.zeros((1, 2, 5, 6), np.float32),
        "per_row": np.zeros((20, 1), np.float32),
        "column": np.zeros((1, 2), np.float32),
    }
    graph = graph_of((1, 4, 5, 6), constants, *lines)
    with pytest.raises(ConvertError, match=rf"at node 'Default/net-Net/.*' .*{reason}.*dynamic_batch=False"):
        free_batch(graph)


def test_a_graph_that_was_exported_for_four_images(graph_of: Any, run: Any) -> None:
    graph = graph_of(
        (4, 4, 5, 6),
        {"rows": I64([80, 6]), "back": I64([4, 4, 30]), "wide": I64([4, 4, 30])},
        ("a", "Reshape", "x", "rows"),
        ("b", "Reshape", "a", "back"),
        ("c", "ReduceMean", "b", {"axes": [2], "keepdims": 1}),
        ("y", "Expand", "c", "wide"),
    )
    freed, axes = free_batch(graph)
    images = RNG.standard_normal((4, 4, 5, 6)).astype(np.float32)
    for count in (1, 3, 4):
        got = run(freed, images[:count], axes)[0]
        np.testing.assert_allclose(got, run(graph, images)[0][:count], rtol=1e-6)


def test_what_does_not_depend_on_the_input_is_left_alone(graph_of: Any) -> None:
    graph = graph_of((1, 4), {"c": F32([[1, 2, 3, 4]]), "s": I64([4])}, ("y", "Reshape", "c", "s"))
    freed, axes = free_batch(graph)
    assert axes == {"x": 0}
    assert freed.nodes[0].inputs == ("c", "s")
