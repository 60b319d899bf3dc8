"""The graph holds itself to its promises."""

from __future__ import annotations

import numpy as np
import pytest

from ghostedge.errors import ConvertError
from ghostedge.mindir.graph import Graph, Node, Value

FLOAT = np.dtype(np.float32)
VALUES = {name: Value(name, FLOAT, (1,)) for name in "xyz"} | {"c": Value("c", FLOAT, (1,), np.ones(1, np.float32))}


def relu(source: str, output: str) -> Node:
    return Node("Relu", f"Default/{source}{output}", (source,), (output,))


def test_a_good_graph_passes() -> None:
    Graph(("x",), ("z", "c"), (relu("x", "y"), relu("y", "z")), VALUES).check()


@pytest.mark.parametrize(
    ("graph", "reason"),
    [
        (Graph(("x",), ("z",), (relu("y", "z"), relu("x", "y")), VALUES), "'Default/yz' .* reads 'y', which nothing"),
        (Graph(("x",), ("y",), (relu("x", "y"), relu("x", "y")), VALUES), "makes 'y', which exists already"),
        (Graph(("x",), ("y",), (relu("y", "x"),), VALUES), "reads 'y'"),
        (Graph(("x",), ("z",), (relu("x", "y"),), VALUES), "the caller reads 'z'"),
        (Graph(("x",), ("w",), (relu("x", "w"),), VALUES), "'w', which is not a tensor"),
    ],
)
def test_a_bad_graph_is_named(graph: Graph, reason: str) -> None:
    with pytest.raises(ConvertError, match=reason):
        graph.check()


def test_tuples_count_as_reads() -> None:
    node = Node("Concat", "Default/Concat-op0", (("x", "y"), "c", ""), ("z",))
    assert list(node.reads()) == ["x", "y", "c"]
    assert Graph(("x", "y"), ("z",), (node,), VALUES).uses() == {"x": 1, "y": 1, "c": 1, "z": 1}
