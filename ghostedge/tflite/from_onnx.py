"""Make TFLite models from ONNX with onnx2tf: float32 NHWC input, every operator on XNNPACK."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.files import atomic_path
from ghostedge.lazy import choose
from ghostedge.model import Format, Model, StageOutput
from ghostedge.onnx.rewrites import FLOAT16_REWRITES, INT8_REWRITES, REWRITES
from ghostedge.tflite.coverage import Coverage, coverage
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.float16 import allow_float16
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.metadata import embed
from ghostedge.tflite.onnx2tf import Reply, Worker
from ghostedge.tflite.rewrites.channels import pick_by_copies
from ghostedge.tflite.rewrites.for_float16 import drop_spare_channels, group_pixels, pad_rows
from ghostedge.tflite.rewrites.for_xnnpack import add_n_as_add, resize_as_copies
from ghostedge.tflite.rewrites.raw_input import take_raw

__all__ = ["TFLiteStage", "check_input", "check_precision", "finish", "wants_float16"]

_OPTIONS = ("inference_precision", "xnnpack", "rewrites")
_XNNPACK = ("report", "require")
_INFERENCE_PRECISIONS = ("f16", "f32")

#: Precisions that may be computed in float16: who makes float32 wants float32, and int8 has no float but its logits.
_FLOAT16 = ("dynamic", "fp16")


class TFLiteStage:
    """ONNX to TFLite, float32 or with weights stored as float16; equalised is float32 made of an equalised ONNX.

    Needs: one image in, float32 (batch, channels, height, width); one row of logits out.

    Promises, and checks on each file before it takes its place:

    - the input is float32 (1, height, width, channels), named as in the ONNX; so is the output, (1, classes).
      The batch is 1 because phones' delegates want static shapes; LiteRT's ``resize_tensor_input`` still works.
    - LiteRT loads it and runs it, all of it on XNNPACK in one partition (but for the CAST of raw pixels, where it may
      be computed in float16).
    - no TRANSPOSE moves a feature map, unless the ONNX itself depends on the order of one (a Flatten of 7 x 7 pixels).
    - it carries the standard metadata (`ghostedge.tflite.metadata`), and the same ONNX gives the same bytes.

    The recipe's ``[options]``:

    - ``xnnpack = "require"`` (GhostNetV2's default) or ``"report"`` (other networks'), which accepts a model that is
      not wholly on XNNPACK or that holds layout transposes, and says so; ``ghostedge inspect`` shows both.
    - ``inference_precision = "f16"`` (fp16 alone): CPUs with float16 arithmetic may compute in it, see
      `ghostedge.tflite.float16`; ``"f32"`` (the default): all compute in float32.
    - ``rewrites = ["...", ...]``: which rewrites of `ghostedge.onnx.rewrites` are made; by default all, but of an
      equalised model those that int8 gains from, and of one that may be computed in float16 those that float16 does.
    """

    source: Format = "onnx"
    target: Format = "tflite"
    precisions: tuple[str, ...] = ("fp32", "fp16", "equalised")
    calibrated: tuple[str, ...] = ()
    packages: tuple[str, ...] = (
        "onnx2tf",
        "tensorflow",
        "tf-keras",
        "onnx",
        "onnxruntime",
        "ai-edge-litert",
        "flatbuffers",
    )

    def __init__(self) -> None:
        self._worker: Worker | None = None

    def prepare(self) -> None:
        """Start to import TensorFlow in the process that `build` will use; calling it is optional.

        The import takes seconds of one core, which can pass while the ONNX is still being made.

        Raises:
            MissingExtraError: onnx2tf or TensorFlow is not installed.
            OutputError: there is no room for temporary files.
        """
        if self._worker is None:
            self._worker = Worker()

    def close(self) -> None:
        """Stop what `prepare` started, or a `build` that is running in another thread. Harmless at any time."""
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.stop()

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        for option in output.options:
            choose("option of target tflite", option, _OPTIONS)
        choose("value of option xnnpack", str(output.options.get("xnnpack", "require")), _XNNPACK)
        check_precision(output)
        _rewrites(output)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        for output in outputs:
            self.check(output)
            check_input(output, source)
        try:
            worker = self._worker = self._worker or Worker()
            raw = {output.precision: worker.directory / f"{output.precision}.tflite" for output in outputs}
            reply = worker.convert(
                source.path, {output.precision: (raw[output.precision], _rewrites(output)) for output in outputs}
            )
            return tuple(_finish(source, output, raw[output.precision], reply) for output in outputs)
        finally:
            self.close()


def _rewrites(output: StageOutput) -> tuple[str, ...]:
    """The rewrites that a recipe asks for. Raises: UsageError for what is not a list of their names."""
    default = FLOAT16_REWRITES if wants_float16(output) else tuple(REWRITES)
    names = output.options.get("rewrites", INT8_REWRITES if output.precision == "equalised" else default)
    if not isinstance(names, list | tuple):
        raise UsageError(f"option rewrites must be a list of names, not {names!r}; available: {', '.join(REWRITES)}")
    return tuple(choose("rewrite", str(name), REWRITES) for name in names)


def wants_float16(output: StageOutput) -> bool:
    """Whether an output's recipe lets CPUs with float16 arithmetic compute in it."""
    return output.options.get("inference_precision") == "f16"


def check_precision(output: StageOutput) -> None:
    """Raise UsageError for an ``inference_precision`` that is unknown, or not for this output's precision."""
    wanted = choose("inference_precision", str(output.options.get("inference_precision", "f32")), _INFERENCE_PRECISIONS)
    if wanted == "f16" and output.precision not in _FLOAT16:
        raise UsageError(
            f'{output.path.name}: inference_precision = "f16" is for {" and ".join(_FLOAT16)}, not {output.precision}'
        )


def check_input(output: StageOutput, source: Model) -> None:
    """Raise ConvertError unless the output's input is the source's, in NHWC layout, normalised or raw."""
    wanted = dataclasses.replace(source.input, layout="NHWC")
    if output.input not in (wanted, dataclasses.replace(wanted, range="raw", dtype="uint8")):
        raise ConvertError(
            f"cannot make {output.path.name}: its input must be that of {source.path.name} in NHWC layout, "
            f"normalised float32 or raw uint8 ({source.input}), not {output.input}"
        )


def _finish(source: Model, output: StageOutput, raw: Path, reply: Reply) -> Model:
    model = unpack(raw.read_bytes(), output.path.name)
    add_n_as_add(model)
    resize_as_copies(model)
    pick_by_copies(model)
    if output.input.range == "raw":
        take_raw(model, output.input, float16=wants_float16(output))
    return finish(model, output, source.path, (reply.input, reply.output), bool(reply.order_dependent))


def finish(
    model: Graph, output: StageOutput, source: Path, names: tuple[str, str], order_dependent: bool = False
) -> Model:
    """Embed the metadata, check that a model is as fast as its recipe wants it, and put the file in its place.

    Args:
        model: unpacked, changed in place.
        output: where it shall be and what it is.
        source: what it was made from, for messages.
        names: of the input and of the output tensor.
        order_dependent: the source itself needs a feature map in another order, so that a transpose is no fault.

    Raises:
        ConvertError: LiteRT cannot run it, or it is not wholly on XNNPACK.
        OutputError: the file cannot be written.
    """
    transposes = model.spatial_transposes()
    if wants_float16(output):
        allow_float16(model)
        drop_spare_channels(model)
        pad_rows(model)
        group_pixels(model)
    data = embed(model, output.model, output.path.stem, *names)
    with atomic_path(output.path) as partial:
        partial.write_bytes(data)
        try:
            covered = coverage(partial)
        except ArtifactError as exc:
            raise ConvertError(f"LiteRT cannot run what was made of {source}: {exc}") from exc
        if problems := "; ".join(_problems(output, covered, [] if order_dependent else transposes)):
            if output.options.get("xnnpack", "require") == "require":
                raise ConvertError(
                    f"{output.path.name} would be slow: {problems}; "
                    'set xnnpack = "report" in the [options] of its recipe to accept it'
                )
            output.notes.append(f"{output.path.name} is slower than it could be: {problems}")
    return output.model


def _problems(output: StageOutput, covered: Coverage, transposes: Sequence[str]) -> list[str]:
    """What makes a model slow, one line each."""
    problems = []
    cast = wants_float16(output) and output.input.range == "raw"
    if not covered.whole and not (cast and (covered.partitions, covered.outside) == (1, ("CAST",))):
        outside = ", ".join(sorted(set(covered.outside))) or "none"
        problems.append(f"XNNPACK runs it in {covered.partitions} partitions, operators left out: {outside}")
    if transposes:
        problems.append(f"{len(transposes)} layout transpose(s) of feature maps, the first makes {transposes[0]}")
    return problems
