"""What an ONNX graph answers stays true while it is changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.onnx.graph import OnnxGraph, attributes, is_depthwise, is_pointwise, make_node

onnx = pytest.importorskip("onnx")


@pytest.fixture
def graph() -> OnnxGraph:
    """Image -> Conv 1 x 1 -> Relu -> Add to the convolution's own output."""
    nodes = [
        make_node("Conv", ["x", "w"], "c", "conv", {"strides": [1, 1]}),
        make_node("Relu", ["c"], "r", "relu"),
        make_node("Add", ["r", "c"], "y", ""),
    ]
    info, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    weight = onnx.numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    ends = [info("x", kind, ["n", 3, 4, 4])], [info("y", kind, ["n", 3, 4, 4])]
    return OnnxGraph(onnx.helper.make_graph(nodes, "net", *ends, [weight]))


def kinds(nodes: tuple[Any, ...]) -> list[str]:
    return [node.op_type for node in nodes]


def there(found: Any) -> Any:
    assert found is not None
    return found


def test_who_makes_and_who_reads(graph: OnnxGraph) -> None:
    assert kinds(graph.nodes()) == ["Conv", "Relu", "Add"]
    assert kinds(graph.nodes("Add", "Conv")) == ["Conv", "Add"]
    assert kinds(graph.readers("c")) == ["Relu", "Add"]
    assert graph.only_reader("c") is None
    assert graph.only_reader("y") is None
    assert there(graph.only_reader("r")).name == ""
    assert there(graph.producer("r")).name == "relu"
    assert graph.producer("x") is None
    assert (graph.shape("x"), graph.shape("w"), graph.shape("r")) == ((0, 3, 4, 4), (3, 3, 1, 1), ())
    assert attributes(graph.producer("c")) == {"strides": [1, 1]}


def test_a_replaced_node_is_seen_at_once(graph: OnnxGraph) -> None:
    graph.replace(graph.producer("r"), make_node("Neg", ["c"], "n", "neg"), make_node("Abs", ["n"], "r", "abs"))
    assert kinds(graph.nodes()) == ["Conv", "Neg", "Abs", "Add"]
    assert there(graph.only_reader("n")).op_type == "Abs"
    graph.set_input(graph.producer("y"), 0, "c")
    assert kinds(graph.readers("c")) == ["Neg", "Add", "Add"]
    graph.remove_unread(graph.producer("r"))
    graph.remove_unread(graph.producer("c"))
    assert kinds(graph.nodes()) == ["Conv", "Neg", "Add"]


def test_constants_are_added_under_free_names_changed_and_removed(graph: OnnxGraph) -> None:
    assert graph.add_constant("w", np.array(2, np.int64)) == "w_"
    assert graph.constant("w_").shape == ()
    graph.set_constant("w", np.full((3, 3, 1, 1), 2, np.float32))
    assert graph.constant("w").max() == 2
    assert not graph.is_constant("c")
    graph.remove_unread_constants()
    assert (graph.is_constant("w"), graph.is_constant("w_")) == (True, False)


def test_kinds_of_convolutions(graph: OnnxGraph) -> None:
    (conv,) = graph.nodes("Conv")
    assert is_pointwise(graph, conv)
    assert not is_depthwise(graph, conv)
    depthwise = make_node("Conv", ["x", graph.add_constant("d", np.ones((3, 1, 3, 3)))], "z", "dw", {"group": 3})
    assert is_depthwise(graph, depthwise)
    assert not is_pointwise(graph, depthwise)
    assert not is_pointwise(graph, make_node("Conv", ["x", "c"], "z", "computed weights"))
