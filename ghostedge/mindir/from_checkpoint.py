"""Export a checkpoint to MindIR."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np

from ghostedge.errors import ConvertError, RecipeError, first_line
from ghostedge.files import atomic_path, scratch_folder
from ghostedge.ghostnet.cell import LOCK, mindspore_on
from ghostedge.ghostnet.variants import check_input_size
from ghostedge.model import KEY, Format, Model, Stage, StageOutput
from ghostedge.networks import Network, load_network

__all__ = ["MindIRStage"]

_GRAPH_NAME = "GhostNetV2"
_REFERENCE = "REF::"  # in `op_type`: what follows names an entry of `primitives`


class MindIRStage(Stage):
    """MindSpore's own export, for a batch of one image of a fixed size.

    The same checkpoint and output make the same bytes in every process: MindSpore's counters, hash order and time
    stamps are replaced by names of our own. (In a process that compiled other networks before, MindSpore reuses their
    cells, and the scopes of some nodes are shorter.) The description is embedded as `user_info`, which MindSpore
    passes over.
    """

    source: Format = "checkpoint"
    target: Format = "mindir"
    precisions: tuple[str, ...] = ("fp32",)
    packages: tuple[str, ...] = ("mindspore",)

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        if output.precision not in self.precisions:
            raise ConvertError(f"MindIR has no precision '{output.precision}'; available: {', '.join(self.precisions)}")
        if output.options:
            raise RecipeError(f"the MindIR stage has no option '{next(iter(output.options))}'; it knows none")
        if output.input.layout != "NCHW" or output.input.dtype != "float32":
            raise ConvertError(f"MindIR takes NCHW float32, not {output.input.layout} {output.input.dtype}")
        if not output.model.network:
            check_input_size(output.input.height, output.input.width)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """Export `source` once an output, load each file back and run it.

        Raises:
            CheckpointError: the checkpoint is damaged or of another network.
            ConvertError: MindSpore cannot export the network, or load what it exported; or an output asks for a
                precision, layout or labels that MindIR cannot have.
            OutputError: a file cannot be written.
            RecipeError: an output has options; this stage knows none.
            UsageError: the network cannot take an input of that size.
            MissingExtraError: MindSpore is not installed.
        """
        network = load_network(source.path, source.network)
        for output in outputs:
            self.check(output)
            if output.labels and len(output.labels) != network.num_classes:
                raise ConvertError(
                    f"{network.path} has {network.num_classes} classes, but there are {len(output.labels)} labels"
                )
        ms = mindspore_on("CPU")
        with LOCK:
            cell = network.cell()
            return tuple(_export(ms, cell, network, output) for output in outputs)


def _export(ms: Any, cell: Any, network: Network, output: StageOutput) -> Model:
    image = ms.Tensor(np.random.default_rng(0).standard_normal(output.input.shape(1)).astype(np.float32))
    description = output.model.to_json()

    def finish(model: Any) -> None:
        _rename(model, output.model.network.rpartition(":")[2] or _GRAPH_NAME)
        # A map by MindSpore's documentation, and since 2.10; the generated code of 2.9 has a list of entries.
        if hasattr(model.user_info, "add"):
            model.user_info.add(key=KEY, value=description)
        else:
            model.user_info[KEY] = description

    with atomic_path(output.path) as partial:
        # MindSpore makes its file read-only, and refuses paths with spaces or letters beyond ASCII: not ours, then.
        with scratch_folder() as scratch:
            exported = scratch / "model.mindir"
            try:
                ms.export(cell, image, file_name=str(exported), file_format="MINDIR", custom_func=finish)
            except OSError:
                raise
            except Exception as exc:
                raise ConvertError(f"MindSpore cannot export {network.path} to MindIR: {first_line(exc)}") from exc
            shutil.copyfile(exported, partial)
        try:
            logits = ms.nn.GraphCell(ms.load(str(partial)))(image).asnumpy()
        except Exception as exc:
            raise ConvertError(
                f"MindSpore cannot run the MindIR that it made of {network.path}: {first_line(exc)}"
            ) from exc
        if logits.shape != (1, network.num_classes) or not np.isfinite(logits).all():
            raise ConvertError(f"the MindIR of {network.path} gives {logits.shape} logits that are not all finite")
    return output.model


def _rename(model: Any, graph_name: str) -> None:
    """Replace what differs from export to export: the names of graph, nodes and primitives, and the compilation's.

    MindSpore counts nodes and graphs through the life of the process, puts local variables' names together in hash
    order, and stamps the time. Parameters and the input keep their own names, nodes their place in the network
    (`domain`), which is what readers and the converter name things by.

    Args:
        model: a `ModelProto` of one flat graph; parameters are ``<graph>:<name>``, nodes have one output of their name.
        graph_name: without a colon.
    """
    graph = model.graph
    names = {value.name: f"{graph_name}:{value.name.partition(':')[2]}" for value in (*graph.parameter, *graph.input)}
    names |= {node.name: f"{graph_name}:{index}" for index, node in enumerate(graph.node)}
    primitives: dict[str, str] = {}
    for node in graph.node:
        node.name = names[node.name]
        node.output[:] = [names[name] for name in node.output]
        node.input[:] = [names[name] for name in node.input]
        if node.op_type.startswith(_REFERENCE):
            old = node.op_type.removeprefix(_REFERENCE)
            primitives.setdefault(old, f"{old.rpartition(':')[0]}:{len(primitives)}")
            node.op_type = _REFERENCE + primitives[old]
    for value in (*graph.parameter, *graph.input, *graph.output):
        value.name = names[value.name]
    graph.name = graph_name
    by_name = {primitive.name: primitive for primitive in model.primitives}
    ordered = [by_name[old] for old in primitives]
    for primitive in ordered:
        primitive.name = primitives[primitive.name]
    del model.primitives[:]
    model.primitives.extend(ordered)
    for attribute in graph.attribute:
        if attribute.name == "compile_phase":
            attribute.s = b"export.mindir"
