"""Make a graph of ONNX operators smaller: fold constants, merge layouts, fold scales and shifts, fuse bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["fold_affine", "fold_constants", "fuse_bounds", "merge_layout", "simplify", "slice_array"]

Array = NDArray[Any]
Vector = NDArray[np.float64]


def simplify(graph: Graph) -> Graph:
    """Every rewrite below, in the order in which each helps the next; the graph computes the same as before."""
    graph = graph.without_dead_code()  # so that a value whose other readers are gone counts as read once
    graph = merge_layout(fold_constants(graph)).without_dead_code()
    return fuse_bounds(fold_affine(graph)).without_dead_code()


def _add_constant(values: dict[str, Value], node: Node, role: str, data: Array) -> str:
    name = f"%{role} of {node.outputs[0]}"
    values[name] = Value.constant(name, data)
    return name


# -- constants ---------------------------------------------------------------------------------------------------------

#: Constants larger than this are left to the runtime: folding an Expand must not blow the file up.
_MAX_ELEMENTS = 1 << 24


def slice_array(x: Array, starts: Array, ends: Array, axes: Array, steps: Array) -> Array:
    """What ONNX's Slice takes out of an array."""
    slices = [slice(None)] * x.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        slices[axis] = slice(int(start), None if step < 0 and end < -x.shape[axis] else int(end), int(step))
    return x[tuple(slices)]


#: ONNX operator -> its value over numpy arrays, given the node for the attributes.
_EVALUATE: dict[str, Callable[..., Array]] = {
    "Add": lambda node, x, y: x + y,
    "Cast": lambda node, x: x.astype(node.attributes["to"]),
    "Concat": lambda node, *xs: np.concatenate(xs, node.attributes["axis"]),
    "Div": lambda node, x, y: x / y if np.issubdtype(x.dtype, np.floating) else np.trunc(x / y).astype(x.dtype),
    "Exp": lambda node, x: np.exp(x),
    "Expand": lambda node, x, shape: np.broadcast_to(x, np.broadcast_shapes(x.shape, tuple(shape))),
    "Gather": lambda node, x, indices: np.take(x, indices, node.attributes["axis"]),
    "Mul": lambda node, x, y: x * y,
    "Neg": lambda node, x: -x,
    "Pow": lambda node, x, y: np.power(x, y),
    "Reciprocal": lambda node, x: (1 / x).astype(x.dtype),
    "ReduceMean": lambda node, x: x.mean(tuple(node.attributes["axes"]), keepdims=bool(node.attributes["keepdims"])),
    "ReduceSum": lambda node, x, axes: x.sum(tuple(axes), keepdims=bool(node.attributes["keepdims"])),
    "Reshape": lambda node, x, shape: x.reshape(tuple(shape)),
    "Slice": lambda node, *inputs: slice_array(*inputs),
    "Sqrt": lambda node, x: np.sqrt(x),
    "Squeeze": lambda node, x, axes: np.squeeze(x, tuple(axes)),
    "Sub": lambda node, x, y: x - y,
    "Tile": lambda node, x, repeats: np.tile(x, repeats),
    "Transpose": lambda node, x: x.transpose(node.attributes["perm"]),
    "Unsqueeze": lambda node, x, axes: np.expand_dims(x, tuple(axes)),
}


def fold_constants(graph: Graph) -> Graph:
    """Requires ONNX operators. Ensures that no operator of the table above has constants alone for inputs.

    Two exceptions stay: results of more than 16 million elements, and what an output of the network is.
    """
    values: dict[str, Value] = dict(graph.values)
    nodes: list[Node] = []
    for node in graph.nodes:
        evaluate = _EVALUATE.get(node.op)
        arrays = [values[name].data for name in node.reads()]
        folded = len(node.outputs) == 1 and node.outputs[0] not in graph.outputs
        if not evaluate or not folded or not arrays or any(array is None for array in arrays):
            nodes.append(node)
            continue
        value = values[node.outputs[0]]
        if np.prod(value.shape, dtype=np.int64) > _MAX_ELEMENTS:
            nodes.append(node)
            continue
        array = np.ascontiguousarray(evaluate(node, *arrays), value.dtype).reshape(value.shape)
        values[value.name] = replace(value, data=array)
    return replace(graph, nodes=tuple(nodes), values=values)


# -- layouts -----------------------------------------------------------------------------------------------------------

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
                shape = _add_constant(values, node, "shape", np.array(after, np.int64))
                node = replace(node, op="Reshape", inputs=(start, shape), attributes={})
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


# -- scales and shifts -------------------------------------------------------------------------------------------------


def fold_affine(graph: Graph) -> Graph:
    """Requires ONNX operators, constants folded. Ensures that none of the cases below is left.

    After a Conv, ConvTranspose or Gemm with constant weights, whose output has no other reader:

    1. BatchNormalization with constant statistics.
    2. Mul by, or Div by, a constant number or a constant a channel.
    3. Add of, or Sub of, the same.

    What must stay: a constant of another shape (one a pixel), and a constant that is divided by or subtracted from.
    Weights that two nodes share become two constants when one of the nodes is scaled.

    The arithmetic is in float64 and rounds to the weights' dtype once.
    """
    values = dict(graph.values)
    uses = graph.uses()
    renamed: dict[str, str] = {}
    nodes: list[Node] = []
    position: dict[str, int] = {}  # the output of a Conv, ConvTranspose or Gemm -> where that node is in `nodes`
    for node in graph.nodes:
        node = replace(node, inputs=tuple(renamed.get(str(name), name) for name in node.inputs))
        target = next((str(name) for name in node.inputs if name in position), None)
        affine = _affine(node, target, values) if target and uses[target] == 1 else None
        if target is None or affine is None:
            if node.op in _CHANNELS and _constant_parameters(node, values):
                position[node.outputs[0]] = len(nodes)
            nodes.append(node)
            continue
        at = position[target]
        nodes[at] = _scaled(nodes[at], *affine, values)
        # The merged node makes the value under its old name; whoever read the folded node's output reads that.
        renamed[node.outputs[0]] = target
        uses[target] = uses[node.outputs[0]]
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs, values=values)


#: Operator -> the axis of its weights that the output's channels lie on. Gemm's depends on transB.
_CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}


def _constant_parameters(node: Node, values: dict[str, Value]) -> bool:
    return all(values[str(name)].data is not None for name in node.inputs[1:] if name)


def _affine(node: Node, target: str, values: dict[str, Value]) -> tuple[Vector, Vector] | None:
    """`node` as ``scale * x + shift`` of `target`, scale and shift numbers or one a channel; None if it is not that."""
    value = values[target]
    channels, rank = value.shape[1], len(value.shape)
    if node.op == "BatchNormalization":
        if node.inputs[0] != target or not _constant_parameters(node, values):
            return None
        gamma, beta, mean, variance = (_float64(values[str(name)]) for name in node.inputs[1:])
        scale = gamma / np.sqrt(variance + node.attributes["epsilon"])
        return scale, beta - mean * scale
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(set(node.inputs)) != 2:
        return None
    first = node.inputs[0] == target
    other = values[str(node.inputs[1 if first else 0])]
    if other.data is None or values[node.outputs[0]].shape != value.shape:
        return None
    aligned = (1,) * (rank - len(other.shape)) + other.shape
    if any(size != 1 for axis, size in enumerate(aligned) if axis != 1) or aligned[1] not in (1, channels):
        return None
    constant = np.broadcast_to(_float64(other).reshape(-1), (channels,))
    one, zero = np.ones(channels), np.zeros(channels)
    match node.op:
        case "Add":
            return one, constant
        case "Sub" if first:
            return one, -constant
        case "Mul":
            return constant, zero
        case "Div" if first:
            return 1 / constant, zero
    return None


def _float64(value: Value) -> Vector:
    assert value.data is not None
    return value.data.astype(np.float64)


def _scaled(node: Node, scale: Vector, shift: Vector, values: dict[str, Value]) -> Node:
    """`node` with its weights times `scale` and its bias times `scale` plus `shift`, as new constants."""
    weight = values[str(node.inputs[1])]
    bias = values[str(node.inputs[2])] if len(node.inputs) > 2 and node.inputs[2] else None
    group = int(node.attributes.get("group", 1))
    new_bias = shift if bias is None else _float64(bias).reshape(-1) * scale + shift
    inputs: list[Any] = list(node.inputs[:2])
    if not np.all(scale == 1):
        inputs[1] = _add_constant(
            values, node, "weight", _scale_weights(node, weight, scale, group).astype(weight.dtype)
        )
    inputs.append(_add_constant(values, node, "bias", new_bias.astype(weight.dtype)))
    return replace(node, inputs=tuple(inputs))


def _scale_weights(node: Node, weight: Value, scale: Vector, group: int) -> Vector:
    data = _float64(weight)
    if node.op == "Gemm":
        return data * (scale[:, None] if node.attributes.get("transB") else scale[None, :])
    if node.op == "Conv":  # (out, in / group, ...)
        return data * scale.reshape(-1, *(1,) * (data.ndim - 1))
    # ConvTranspose, (in, out / group, ...): the inputs of group i make the outputs of group i
    parts = np.split(data, group)
    scales = np.split(scale, group)
    return np.concatenate([p * s.reshape(1, -1, *(1,) * (data.ndim - 2)) for p, s in zip(parts, scales, strict=True)])


# -- bounds ------------------------------------------------------------------------------------------------------------


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
        inputs.append("" if np.isinf(limit) else _add_constant(values, outer, role, np.array(limit, dtype)))
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
