"""Write what picks and orders the channels of a feature map as Gather and Split, whatever reshapes said so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.mindir.graph import Graph, Node, Value
from ghostedge.mindir.passes.simplify import slice_array

__all__ = ["gather_channels"]

Indices = NDArray[np.int64]

#: Operator that moves elements without changing them -> where its elements come from, given where those of its input
#: do, the shapes of its outputs and its constant inputs.
_MOVES: dict[str, Callable[[Indices, Node, Sequence[tuple[int, ...]], Sequence[Any]], list[Indices]]] = {
    **dict.fromkeys(
        ("Flatten", "Reshape", "Squeeze", "Unsqueeze"), lambda x, node, shapes, constants: [x.reshape(shapes[0])]
    ),
    "Gather": lambda x, node, shapes, constants: [np.take(x, constants[0], node.attributes["axis"])],
    "Slice": lambda x, node, shapes, constants: [slice_array(x, *constants)],
    "Split": lambda x, node, shapes, constants: np.split(x, np.cumsum(constants[0])[:-1], node.attributes["axis"]),
    "Transpose": lambda x, node, shapes, constants: [x.transpose(node.attributes["perm"])],
}

#: Those of them that leave the layout (n, c, h, w), and so cost a copy of the map where a runtime has another one.
_ROUNDABOUT = ("Flatten", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


@dataclass(frozen=True)
class _Moved:
    """A value that only moves a feature map's elements.

    Attributes:
        source: the feature map.
        indices: of each element, where it is in the map.
        roundabout: whether the layout was left on the way.
    """

    source: str
    indices: Indices
    roundabout: bool


def gather_channels(graph: Graph) -> Graph:
    """Requires ONNX operators with fixed shapes. Ensures that none of the cases below is left.

    A feature map (n, c, h, w) that reshapes, transposes, slices and splits make of another one, and that holds whole
    channels of it, is made

    1. by nothing, where these are all channels in their order;
    2. by Gather on axis 1: a shuffle of channels;
    3. several of one size, which together hold each channel once: by one Gather, unless they are in order, and Split:
       a shuffle whose halves go different ways.

    Other readers keep what they read; `Graph.without_dead_code` removes what nobody reads any more.
    """
    moved = _follow(graph)
    read = {name for node in graph.nodes if node.op not in _MOVES for name in node.reads()} | set(graph.outputs)
    picks: dict[str, dict[str, Indices]] = {}
    for name, value in moved.items():
        channels = _channels(value, graph.values[value.source].shape, graph.values[name].shape)
        if value.roundabout and name in read and channels is not None:
            picks.setdefault(value.source, {})[name] = channels
    if not picks:
        return graph
    values, renamed, before = dict(graph.values), dict[str, str](), dict[str, list[Node]]()
    producers = graph.producers()
    for source, parts in picks.items():
        first = next(iter(parts))  # values are in the order of their nodes
        made = _written(source, parts, producers[first].name, values, renamed)
        before[first] = made
    nodes = []
    for node in graph.nodes:
        for output in node.outputs:
            nodes += before.get(output, [])
        nodes.append(replace(node, inputs=tuple(renamed.get(str(name), name) for name in node.inputs)))
    outputs = tuple(renamed.get(name, name) for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs, values=values)


def _follow(graph: Graph) -> dict[str, _Moved]:
    """Every value that only moves the elements of a feature map, in the order of the nodes."""
    moved: dict[str, _Moved] = {}
    for node in graph.nodes:
        if node.op not in _MOVES:
            continue
        name, constants = str(node.inputs[0]), [graph.data(str(other)) for other in node.inputs[1:]]
        shape = graph.values[name].shape
        if any(constant is None for constant in constants) or graph.data(name) is not None:
            continue
        if name not in moved and len(shape) != 4:
            continue
        start = moved.get(name) or _Moved(name, np.arange(np.prod(shape, dtype=np.int64)).reshape(shape), False)
        found = _MOVES[node.op](start.indices, node, [graph.values[o].shape for o in node.outputs], constants)
        roundabout = start.roundabout or node.op in _ROUNDABOUT
        for output, indices in zip(node.outputs, found, strict=True):
            moved[output] = _Moved(start.source, indices, roundabout)
    return moved


def _channels(moved: _Moved, source: tuple[int, ...], shape: tuple[int, ...]) -> Indices | None:
    """The channels of a map of shape `source` that a value of `shape` holds, in its order; None where it is no map."""
    if len(shape) != 4 or (shape[0], *shape[2:]) != (source[0], *source[2:]) or 0 in shape:
        return None
    pixels = source[2] * source[3]
    channels: Indices = moved.indices[0, :, 0, 0] // pixels
    whole = np.arange(np.prod(source, dtype=np.int64)).reshape(source)
    return channels if np.array_equal(whole[:, channels], moved.indices) else None


def _written(
    source: str, parts: dict[str, Indices], where: str, values: dict[str, Value], renamed: dict[str, str]
) -> list[Node]:
    """The nodes that make `parts` of `source`; which value takes each one's place goes into `renamed`."""
    count = values[source].shape[1]
    together = np.concatenate(list(parts.values()))
    sizes = {len(part) for part in parts.values()}
    if len(parts) == 1 or len(sizes) > 1 or not np.array_equal(np.sort(together), np.arange(count)):
        nodes = []
        for name, part in parts.items():
            renamed[name], made = _gather(source, part, name, where, values)
            nodes += made
        return nodes
    shuffled, nodes = _gather(source, together, f"{source} shuffled", where, values)
    split = tuple(f"%part {name}" for name in parts)
    values |= {new: replace(values[name], name=new) for new, name in zip(split, parts, strict=True)}
    renamed |= dict(zip(parts, split, strict=True))
    lengths = _constant(f"%sizes {source}", [len(part) for part in parts.values()], values)
    return [*nodes, Node("Split", where, (shuffled, lengths), split, {"axis": 1})]


def _gather(source: str, channels: Indices, name: str, where: str, values: dict[str, Value]) -> tuple[str, list[Node]]:
    """What holds `channels` of `source`, and the node that makes it, if one is needed."""
    given = values[source]
    if np.array_equal(channels, np.arange(given.shape[1])):
        return source, []
    made = f"%channels {name}"
    values[made] = Value(made, given.dtype, (given.shape[0], len(channels), *given.shape[2:]))
    indices = _constant(f"%indices {name}", channels, values)
    return made, [Node("Gather", where, (source, indices), (made,), {"axis": 1})]


def _constant(name: str, numbers: Any, values: dict[str, Value]) -> str:
    values[name] = Value.constant(name, np.array(numbers, np.int64))
    return name
