"""Fold what scales and shifts channel by channel (BatchNorm above all) into the convolution or product before it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["fold_affine"]

Vector = NDArray[np.float64]


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


def _add_constant(values: dict[str, Value], node: Node, role: str, data: NDArray[Any]) -> str:
    name = f"%{role} of {node.outputs[0]}"
    values[name] = Value.constant(name, data)
    return name
