"""Compute what depends on nothing but constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["fold_constants"]

Array = NDArray[Any]

#: Constants larger than this are left to the runtime: folding an Expand must not blow the file up.
_MAX_ELEMENTS = 1 << 24


def _slice(x: Array, starts: Array, ends: Array, axes: Array, steps: Array) -> Array:
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
    "Slice": lambda node, *inputs: _slice(*inputs),
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
