"""Inspect MindIR."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from ghostedge.errors import ArtifactError, ConvertError
from ghostedge.inspection import ModelSummary, Port, Weights, macs, total
from ghostedge.mindir.graph import Graph, Node, Value
from ghostedge.mindir.read import read_mindir

#: Primitives that pass tensors on without computing.
_BOOKKEEPING = frozenset({"Depend", "Load", "MakeTuple", "TupleGetItem", "UpdateState"})


def inspect_mindir(path: Path) -> ModelSummary:
    """See `ghostedge.inspection.inspect`. Only primitives that compute count."""
    try:
        graph = read_mindir(path)
    except ConvertError as exc:
        raise ArtifactError(str(exc)) from exc
    return ModelSummary(
        path=path,
        format="mindir",
        files={path.name: path.stat().st_size},
        producer="MindSpore",
        inputs=tuple(_port(graph.values[name]) for name in graph.inputs),
        outputs=tuple(_port(graph.values[name]) for name in graph.outputs),
        operators=dict(Counter(node.op for node in graph.nodes if node.op not in _BOOKKEEPING).most_common()),
        weights=Weights.of(
            (value.dtype.name, value.data.size, value.data.nbytes)
            for value in graph.values.values()
            if value.data is not None and value.dtype.kind == "f"
        ),
        macs=total(_macs(graph, node) for node in graph.nodes),
    )


def _port(value: Value) -> Port:
    """MindSpore puts the graph's number and full name before the tensor's own, with a colon between."""
    return Port(value.name.partition(":")[2] or value.name, value.dtype.name, value.shape)


def _macs(graph: Graph, node: Node) -> int | None:
    """For one image: a MindIR has the fixed batch that it was exported at."""
    if node.op not in ("BatchMatMul", "Conv2D", "Conv2DTranspose", "Dense", "MatMul", "MatMulExt"):
        return 0
    values = [graph.values.get(name) for name in (*list(node.reads())[:2], node.outputs[0])]
    if any(value is None or not value.shape for value in values):
        return None
    first, second, result = (value.shape for value in values if value is not None)
    if node.op == "Conv2D":
        return macs(result[2:], second)
    if node.op == "Conv2DTranspose":
        return macs(first[2:], second)
    inner = first[-2] if node.attributes.get("transpose_a") else first[-1]
    return macs(result[1:], [inner])
