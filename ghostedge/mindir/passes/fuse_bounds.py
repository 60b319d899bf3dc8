"""Write bounds and leaky slopes as the single operators that runtimes fuse into the one before."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["fuse_bounds"]


def fuse_bounds(graph: Graph) -> Graph:
    """Requires ONNX operators, constants folded. Ensures that none of the cases below is left. All of them are exact.

    1. Clip or Relu, that nobody else reads, and a Clip after it whose limits do not cross its own: one Clip.
    2. Clip from 0 up without an upper limit: Relu.
    3. ``Max(x, alpha * x)`` with a number 0 <= alpha <= 1: LeakyRelu, MindSpore's own way to write one.
    """
    values = dict(graph.values)
    makers: dict[str, Node] = {}
    uses = graph.uses()
    nodes = []
    for node in graph.nodes:
        if node.op == "Clip":
            inner = makers.get(str(node.inputs[0]))
            if inner is not None and inner.op in ("Clip", "Relu") and uses[inner.outputs[0]] == 1:
                node = _merged(inner, node, values)
            if _limits(node, values) == (0, np.inf):
                node = replace(node, op="Relu", inputs=node.inputs[:1])
        elif node.op == "Max" and len(node.inputs) == 2:
            node = _leaky(node, makers, values) or node
        makers[node.outputs[0]] = node
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes), values=values)


def _limits(node: Node, values: dict[str, Value]) -> tuple[float, float]:
    if node.op == "Relu":
        return (0, np.inf)
    limits = []
    for name, otherwise in zip((*node.inputs[1:], "", "")[:2], (-np.inf, np.inf), strict=True):
        data = values[str(name)].data if name else None
        limits.append(otherwise if data is None else float(data))
    return (limits[0], limits[1])


def _merged(inner: Node, outer: Node, values: dict[str, Value]) -> Node:
    (low1, high1), (low2, high2) = _limits(inner, values), _limits(outer, values)
    if low2 > high1 or low1 > high2:
        return outer
    dtype = values[outer.outputs[0]].dtype
    inputs = [inner.inputs[0]]
    for role, limit in (("min", max(low1, low2)), ("max", min(high1, high2))):
        name = "" if np.isinf(limit) else f"%{role} of {outer.outputs[0]}"
        if name:
            values[name] = Value.constant(name, np.array(limit, dtype))
        inputs.append(name)
    while not inputs[-1]:
        inputs.pop()
    return replace(outer, inputs=tuple(inputs))


def _leaky(node: Node, makers: dict[str, Node], values: dict[str, Value]) -> Node | None:
    for x, scaled in (node.inputs, node.inputs[::-1]):
        product = makers.get(str(scaled))
        if product is None or product.op != "Mul" or x not in product.inputs:
            continue
        alpha = values[str(product.inputs[1 if product.inputs[0] == x else 0])].data
        same_shape = values[str(x)].shape == values[node.outputs[0]].shape
        if same_shape and alpha is not None and alpha.size == 1 and 0 <= alpha.item() <= 1:
            return replace(node, op="LeakyRelu", inputs=(x,), attributes={"alpha": float(alpha.item())})
    return None
