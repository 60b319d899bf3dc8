"""Rescale the channels of a float32 ONNX model for quantisation."""

from __future__ import annotations

from typing import Any

from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError, first_line
from ghostedge.files import atomic_write
from ghostedge.lazy import choose, require
from ghostedge.model import KEY, Format, Model, Stage, StageOutput
from ghostedge.onnx.equalise import channel_ranges, equalise

__all__ = ["EqualiseStage"]


class EqualiseStage(Stage):
    """Float32 ONNX to the same network with its channels rescaled (`ghostedge.onnx.equalise`).

    What int8 artifacts are made from. Needs: an ONNX model with one input; calibration images.

    Promises: the logits of the source, but for the rounding of float32; its graph, names and dynamic batch; equal
    inputs give equal bytes.

    The recipe's ``[options]``: ``strength`` (0..1) and ``limit`` (at least 1), see `ghostedge.onnx.equalise`.
    """

    source: Format = "onnx"
    target: Format = "onnx"
    precisions: tuple[str, ...] = ("equalised",)
    calibrated: tuple[str, ...] = ("equalised",)
    packages: tuple[str, ...] = ("onnx", "onnxruntime", "numpy")

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        _options(output)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        return tuple(self._equalise(source, output) for output in outputs)

    def _equalise(self, source: Model, output: StageOutput) -> Model:
        self.check(output)
        if output.calibration is None:
            raise UsageError(f"{output.path.name} needs images to calibrate on")
        if output.input != source.input:
            raise ConvertError(f"cannot make {output.path.name}: its input must be that of {source.path.name}")
        model = _load(source)
        try:
            ranges = channel_ranges(model, calibration_batch(output.calibration, source.input))
        except ConvertError as exc:
            raise ConvertError(f"cannot equalise {source.path}: {exc}") from exc
        equalise(model, ranges, **_options(output))
        for entry in [entry for entry in model.metadata_props if entry.key == KEY]:
            model.metadata_props.remove(entry)
        model.metadata_props.add(key=KEY, value=output.model.to_json())
        atomic_write(output.path, model.SerializeToString(deterministic=True))
        return output.model


def _options(output: StageOutput) -> dict[str, float]:
    options: dict[str, float] = {}
    for name, value in output.options.items():
        choose("option of equalised onnx", name, ("limit", "strength"))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{output.path.name}: {name} is {value!r}; it must be a number")
        options[name] = float(value)
    if not 0 <= options.get("strength", 0.0) <= 1 or options.get("limit", 1.0) < 1:
        raise UsageError(f"{output.path.name}: strength must lie within 0 and 1, limit be at least 1")
    return options


def _load(source: Model) -> Any:
    onnx = require("onnx", "export")
    try:
        return onnx.load(source.path)
    except OSError as exc:
        raise ArtifactError(f"cannot read {source.path}: {exc.strerror or exc}") from exc
    except Exception as exc:  # protobuf's DecodeError, of whichever implementation is loaded
        raise ArtifactError(f"{source.path} is not an ONNX model: {first_line(exc)}") from exc
