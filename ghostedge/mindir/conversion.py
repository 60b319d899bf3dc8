"""From a MindIR file to ONNX: read the graph, rewrite it, lower it primitive by primitive."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ghostedge.errors import ConvertError, GhostedgeError
from ghostedge.mindir.graph import Graph
from ghostedge.mindir.lowerings import lower, supported_primitives
from ghostedge.mindir.passes.assign_names import assign_names, own_outputs
from ghostedge.mindir.passes.channels import gather_channels
from ghostedge.mindir.passes.free_batch import free_batch
from ghostedge.mindir.passes.references import resolve_references
from ghostedge.mindir.passes.simplify import simplify
from ghostedge.mindir.read import read_mindir
from ghostedge.mindir.to_onnx import to_onnx

__all__ = ["convert", "supported_primitives"]


def convert(
    source: Path | str | bytes, *, dynamic_batch: bool = True, metadata: Mapping[str, str] | None = None
) -> Any:
    """The ONNX model that computes what a MindIR computes.

    Opset 17, IR version 8. The first axis of the input is called ``batch`` and may have any length. BatchNorm is folded
    into the convolutions. Nodes are named after the cells of the MindSpore network, parameters keep their names, the
    input is ``input`` and the output ``logits``. Equal MindIR files give equal bytes.

    Args:
        source: the path of a ``.mindir`` file that was exported in inference mode at a fixed shape, or its bytes.
        dynamic_batch: False keeps the batch size that the MindIR was exported at.
        metadata: goes into ``metadata_props``.

    Returns:
        A checked ``onnx.ModelProto``.

    Raises:
        ArtifactError: the file cannot be opened.
        ConvertError: not a MindIR file, or one that cannot be converted; the message names the node.
        UnsupportedPrimitiveError: primitives without a lowering, all of them.
        MissingExtraError: onnx is not installed.
    """
    graph = read_mindir(source)
    what = "the MindIR" if isinstance(source, bytes) else source
    try:
        return _convert(graph, dynamic_batch, metadata or {})
    except GhostedgeError as exc:
        exc.args = (f"{what}: {exc}",)
        raise
    except Exception as exc:  # parts of the file contradict each other, or a bug here: either way no way to go on
        raise ConvertError(
            f"{what}: cannot be converted ({exc!r}); if MindSpore runs the file, please report it"
        ) from exc


def _convert(graph: Graph, dynamic_batch: bool, metadata: Mapping[str, str]) -> Any:
    graph = resolve_references(graph).without_dead_code()
    graph.check()
    parameters = [name for name, value in graph.values.items() if value.data is not None]
    graph = own_outputs(gather_channels(simplify(lower(graph))).without_dead_code())
    axes: Mapping[str, int] = {}
    if dynamic_batch:
        graph, axes = free_batch(graph)
    graph, names = assign_names(graph.without_dead_code(), parameters)
    graph.check()
    batch_axes = {names[name]: axis for name, axis in axes.items() if name in names} if dynamic_batch else None
    return to_onnx(graph, batch_axes, metadata)
