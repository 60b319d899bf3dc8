"""Names after the place in the network, and outputs with values of their own."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.mindir.graph import Graph, Node, Value
from ghostedge.mindir.passes.assign_names import assign_names, own_outputs

F32: Any = np.float32


def chain(*nodes: tuple[str, str]) -> Graph:
    """A graph in which each (operator, MindSpore name) reads the one before and a constant."""
    values = {"%in": Value("%in", np.dtype(np.float32), (1,))}
    made = []
    for index, (op, name) in enumerate(nodes):
        for key, data in ((f"%{index}", None), (f"%c{index}", np.ones(1, np.float32))):
            values[key] = Value(key, np.dtype(np.float32), (1,), data)
        source = f"%{index - 1}" if index else "%in"
        made.append(Node(op, name, (source, f"%c{index}"), (f"%{index}",)))
    return Graph(("%in",), (f"%{len(nodes) - 1}",), tuple(made), values)


def names(*nodes: tuple[str, str], parameters: tuple[str, ...] = ()) -> list[str]:
    graph, _ = assign_names(chain(*nodes), parameters)
    graph.check()
    return [node.name for node in graph.nodes]


BLOCK = "Default/blocks-SequentialCell/2-Bottleneck"


def test_the_only_node_of_a_cell_has_the_cells_name() -> None:
    assert names(("Conv", f"{BLOCK}/conv-Conv2d/Conv2D-op0")) == ["blocks.2.conv"]


def test_several_nodes_of_a_cell_get_their_operator_and_a_number() -> None:
    nodes = [("Mul", f"{BLOCK}/Muls-op0"), ("Mul", f"{BLOCK}/Mul-op3"), ("Add", f"{BLOCK}/Add-op0")]
    assert names(*nodes) == ["blocks.2.Mul", "blocks.2.Mul_1", "blocks.2.Add"]


def test_a_node_of_no_cell_is_called_after_its_operator() -> None:
    assert names(("Conv", "Default/Conv2D-op0"), ("Relu", "Default/ReLU-op0")) == ["Conv", "Relu"]


def test_an_operator_that_mindspore_ascribes_to_the_first_instance_of_its_cell() -> None:
    """``x * 2`` in the third of several SE blocks carries the first one's scope; the nodes around it know better."""
    se = "Default/blocks-SequentialCell/{}-Bottleneck/se-SqueezeExcite"
    nodes = [
        ("Clip", se.format(15) + "/relu6-ReLU6/ReLU6-op0"),
        ("Mul", se.format(3) + "/Muls-op6"),
        ("Mul", se.format(15) + "/Mul-op0"),
        ("Conv", "Default/blocks-SequentialCell/15-Bottleneck/ghost2-Ghost/conv-Conv2d/Conv2D-op0"),
    ]
    assert names(*nodes) == ["blocks.15.se.relu6", "blocks.15.se.Mul", "blocks.15.se.Mul_1", "blocks.15.ghost2.conv"]


def test_inputs_outputs_and_constants() -> None:
    graph, renamed = assign_names(chain(("Conv", f"{BLOCK}/conv-Conv2d/Conv2D-op0")), ())
    assert (graph.inputs, graph.outputs) == (("input",), ("logits",))
    assert graph.nodes[0].inputs == ("input", "blocks.2.conv.weight")
    assert renamed == {"%in": "input", "%0": "logits", "%c0": "blocks.2.conv.weight"}


def test_a_parameter_keeps_its_name_even_if_a_node_would_like_it() -> None:
    graph, _ = assign_names(chain(("Conv", "Default/%c0-Conv2d/Conv2D-op0")), ("%c0",))
    assert graph.nodes[0].inputs[1] == "%c0"
    assert graph.nodes[0].name == "%c0_1"


def test_two_inputs_and_outputs_are_numbered(golden: Any, images: Any) -> None:
    network = golden("x + y, x - y", images(4), images(4, seed=1)).graph
    assert [value.name for value in network.input] == ["input_0", "input_1"]
    assert [value.name for value in network.output] == ["logits_0", "logits_1"]


def test_an_output_that_is_an_input_a_constant_or_another_one_becomes_its_own_value(graph_of: Any, run: Any) -> None:
    graph = graph_of((3,), {"c": F32([1, 2, 3])}, ("y", "Relu", "x"), outputs=("y", "x", "c", "y"))
    owned = own_outputs(graph)
    x = F32([-1, 0, 1])
    expected = [np.maximum(x, 0), x, [1, 2, 3], np.maximum(x, 0)]
    for got, want in zip(run(owned, x), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_outputs_that_are_values_of_their_own_stay(graph_of: Any) -> None:
    graph = graph_of((3,), {}, ("y", "Relu", "x"))
    assert own_outputs(graph).nodes == graph.nodes
