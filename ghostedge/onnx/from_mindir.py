"""Make ONNX from MindIR with our own converter."""

from __future__ import annotations

from typing import Any

from ghostedge.errors import ConvertError, RecipeError
from ghostedge.files import atomic_write
from ghostedge.lazy import choose
from ghostedge.mindir.conversion import convert
from ghostedge.model import KEY, Format, Model, Stage, StageOutput

__all__ = ["OnnxStage"]


class OnnxStage(Stage):
    """MindIR to ONNX: opset 17, dynamic batch, BatchNorm folded.

    Needs: a MindIR of one image input, float32 (n, channels, height, width), and one output of logits.

    Promises: input ``input`` and output ``logits`` of any number of images; `Model.to_json` as metadata entry
    ``ghostedge``; the same MindIR gives the same bytes.

    The recipe's ``[options]``: ``dynamic_batch = false`` keeps the batch size of the MindIR.
    """

    source: Format = "mindir"
    target: Format = "onnx"
    precisions: tuple[str, ...] = ("fp32",)
    packages: tuple[str, ...] = ("onnx", "protobuf")

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        _dynamic_batch(output)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """Convert `source` once an output.

        Raises:
            ConvertError: the MindIR cannot be converted (`ghostedge.mindir.conversion` says why), or takes other input
                or has another number of classes than the output asks for.
            RecipeError: an option that this stage does not know.
            UsageError: a precision that it does not know.
            OutputError: a file cannot be written.
            MissingExtraError: onnx is not installed.
        """
        return tuple(self._convert(source, output) for output in outputs)

    def _convert(self, source: Model, output: StageOutput) -> Model:
        self.check(output)
        dynamic_batch = _dynamic_batch(output)
        model = convert(source.path, dynamic_batch=dynamic_batch, metadata={KEY: output.model.to_json()})
        _check(model, source, output)
        atomic_write(output.path, model.SerializeToString(deterministic=True))
        return output.model


def _dynamic_batch(output: StageOutput) -> bool:
    value = output.options.get("dynamic_batch", True)
    if set(output.options) - {"dynamic_batch"} or not isinstance(value, bool):
        raise RecipeError(
            f"cannot make {output.path.name}: the options of target onnx are dynamic_batch = true or false, not "
            f"{dict(output.options)}"
        )
    return value


def _check(model: Any, source: Model, output: StageOutput) -> None:
    """Raise ConvertError unless `model` takes and gives what `output` says."""
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise ConvertError(
            f"{source.path} has {len(model.graph.input)} inputs and {len(model.graph.output)} outputs; a classifier "
            "has one of each (ghostedge.mindir.conversion.convert takes any)"
        )
    takes, gives = (
        [dim.dim_value for dim in info.type.tensor_type.shape.dim]
        for info in (model.graph.input[0], model.graph.output[0])
    )
    wanted = output.input
    if wanted.layout != "NCHW" or wanted.dtype != "float32" or tuple(takes[1:]) != wanted.shape()[1:]:
        raise ConvertError(
            f"{source.path} takes images of shape {tuple(takes[1:])} in layout NCHW, float32; cannot make "
            f"{output.path.name} for {wanted.layout} {wanted.dtype} {wanted.shape()[1:]}"
        )
    if output.labels and gives[1:] != [len(output.labels)]:
        raise ConvertError(f"{source.path} has {gives[-1]} classes, but there are {len(output.labels)} labels")
