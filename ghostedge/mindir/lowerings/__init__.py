"""Lower a graph of MindSpore primitives to one of ONNX operators, by one pure function a primitive.

A lowering takes the arguments of its primitive by the names of MindSpore's documentation (see
`ghostedge.mindir.emitter.Lowering`); its docstring says what the primitive computes where that is not plain, and where
the two specifications differ. Tensors are laid out (n, c, h, w). The operators are those of ONNX opset 17
(https://onnx.ai/onnx/operators/). A new file has to be imported here.
"""

from __future__ import annotations

from ghostedge.errors import UnsupportedPrimitiveError
from ghostedge.mindir.emitter import LOWERINGS, Emitter
from ghostedge.mindir.graph import Graph
from ghostedge.mindir.lowerings import (  # noqa: F401 - each fills LOWERINGS
    elementwise,
    layout,
    linear,
    pooling,
    resize,
)

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
