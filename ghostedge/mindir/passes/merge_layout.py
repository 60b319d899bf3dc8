"""Merge chains of operators that move data without changing it, and drop those that move nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["merge_layout"]

_RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")


def merge_layout(graph: Graph) -> Graph:
    """Requires ONNX operators with fixed shapes. Ensures that none of the cases below is left.

    1. Reshape, Squeeze and Unsqueeze in a row, whoever else reads what lies between them: one Reshape from the start,
       or nothing where the shape at the end is the one at the start.
    2. Transpose of a Transpose: one Transpose, or nothing where they cancel out.
    3. A Reshape that keeps the first axis and merges all others: Flatten.

    What lies in between stays if somebody else reads it; `Graph.without_dead_code` removes it otherwise.
    """
    values = dict(graph.values)
    makers: dict[str, Node] = {}
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(str(name), name) for name in node.inputs))
        source = makers.get(str(node.inputs[0])) if node.inputs else None
        if node.op in _RESHAPES:
            start = source.inputs[0] if source is not None and source.op in _RESHAPES else node.inputs[0]
            before, after = values[str(start)].shape, values[node.outputs[0]].shape
            if before == after:
                renamed[node.outputs[0]] = str(start)
                continue
            if start != node.inputs[0]:
                node = _reshape(node, str(start), values)
            if node.op == "Reshape" and len(after) == 2 and before[:1] == after[:1]:
                node = replace(node, op="Flatten", inputs=(start,), attributes={"axis": 1})
        elif node.op == "Transpose" and source is not None and source.op == "Transpose":
            first, second = source.attributes["perm"], node.attributes["perm"]
            perm = [first[axis] for axis in second]
            if perm == sorted(perm):
                renamed[node.outputs[0]] = str(source.inputs[0])
                continue
            node = replace(node, inputs=source.inputs, attributes={"perm": perm})
        for output in node.outputs:
            makers[output] = node
        nodes.append(node)
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs, values=values)


def _reshape(node: Node, start: str, values: dict[str, Value]) -> Node:
    shape = np.array(values[node.outputs[0]].shape, np.int64)
    name = f"%shape of {node.outputs[0]}"
    values[name] = Value.constant(name, shape)
    return replace(node, op="Reshape", inputs=(start, name), attributes={})
