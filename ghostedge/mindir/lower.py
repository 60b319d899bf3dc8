"""Turn a graph of MindSpore primitives into one of ONNX operators."""

from __future__ import annotations

import ghostedge.mindir.lowerings  # noqa: F401 - fills LOWERINGS
from ghostedge.errors import UnsupportedPrimitiveError
from ghostedge.mindir.emitter import LOWERINGS, Emitter
from ghostedge.mindir.graph import Graph

__all__ = ["lower", "supported_primitives"]


def supported_primitives() -> tuple[str, ...]:
    """The MindSpore primitives that have a lowering, sorted."""
    return tuple(sorted(LOWERINGS))


def lower(graph: Graph) -> Graph:
    """Requires a graph without references and dead code. Ensures that every node is an ONNX operator of opset 17.

    Raises:
        UnsupportedPrimitiveError: primitives without a lowering, all of them with their nodes, before any is lowered.
        ConvertError: an argument of a primitive has a value that cannot be lowered.
    """
    unknown: dict[str, tuple[str, ...]] = {}
    for node in graph.nodes:
        if node.op not in LOWERINGS:
            unknown[node.op] = (*unknown.get(node.op, ()), node.name)
    if unknown:
        raise UnsupportedPrimitiveError(unknown, supported_primitives())
    emitter = Emitter(graph)
    for node in graph.nodes:
        emitter.lower(node)
    return emitter.graph()
