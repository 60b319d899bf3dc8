"""Quantise a float32 TFLite model: dynamic, int8 and int16x8."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.lazy import choose
from ghostedge.model import Format, InputSpec, Model, Stage, StageOutput
from ghostedge.quantize.ranges import ESTIMATORS, Range
from ghostedge.quantize.rounding import ROUNDINGS
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.from_onnx import check_input, check_precision, finish, wants_float16
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.quantize.quantizer import Prepared, Settings, prepare, quantise
from ghostedge.tflite.rewrites.columns_as_channels import columns_as_channels
from ghostedge.tflite.rewrites.raw_input import fold_normalisation, take_raw, take_uint8

__all__ = ["QuantizeTFLiteStage"]

_OPTIONS = (
    *("bias_correction", "estimator", "inference_precision", "int16", "keep_float"),
    *("min_weight_elements", "rounding", "xnnpack"),
)
#: Those that `ghostedge.tflite.from_onnx.finish` takes.
_FINISH = ("inference_precision", "xnnpack")


class QuantizeTFLiteStage(Stage):
    """Float32 TFLite to quantised TFLite; see export/README.md for what the precisions mean.

    Needs: a float32 model with one image in and one row of logits out; calibration images for int8 and int16x8.

    Promises, and checks on each file before it takes its place:

    - weights are int8, symmetric, one scale an output channel (dynamic: but for depthwise convolutions and operators
      with few weights, which stay in float); nothing is clipped off the input's range.
    - normalised input is float32, raw input uint8; logits are float32. Between the QUANTIZE at one end and the
      DEQUANTIZE before the last dense layer an int8 model holds neither, and no float operator unless ``keep_float``
      names it; that layer has int8 weights and quantises its input as it runs.
    - XNNPACK runs all of it in one partition, as in `ghostedge.tflite.from_onnx` (int16x8: LiteRT has no fast kernels
      for it, so ``xnnpack = "report"``).
    - equal inputs give equal bytes.

    The recipe's ``[options]``: ``estimator`` (of activation ranges: ``"mse"``, ``"lp"``, ``"percentile"``,
    ``"minmax"``), ``rounding`` (of weights: ``"compensated"``, ``"nearest"``), ``bias_correction`` (true or false),
    ``keep_float`` and ``int16`` (lists of operators, by the names of their outputs), ``min_weight_elements`` (dynamic:
    operators with fewer weights stay in float), ``inference_precision`` (dynamic alone) and ``xnnpack`` as in
    `ghostedge.tflite.from_onnx`.
    """

    source: Format = "tflite"
    target: Format = "tflite"
    precisions: tuple[str, ...] = ("dynamic", "int8", "int16x8")
    calibrated: tuple[str, ...] = ("int8", "int16x8")
    packages: tuple[str, ...] = ("ai-edge-quantizer", "ai-edge-litert", "flatbuffers", "numpy")

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        for output in outputs:
            _check(self, source, output)
        try:
            data = source.path.read_bytes()
        except OSError as exc:
            raise ArtifactError(f"cannot read {source.path}: {exc.strerror}") from exc
        graph = unpack(data, source.path.name)
        stored = {graph.dtype(tensor) for tensor in range(len(graph.tensors))}
        if stored & {"INT8", "INT16", "UINT8", "FLOAT16"}:
            raise ConvertError(f"{source.path} is quantised already, or stores float16; give the float32 model")
        names = (graph.name(graph.inputs[0]), graph.name(graph.outputs[0]))
        prepared: dict[tuple[InputSpec, bool], Prepared] = {}
        made = []
        for output in outputs:
            key = (output.input, output.calibration is not None)
            if key not in prepared:  # observing takes longest; precisions of one input share it
                prepared[key] = _prepare(data, source.path, output)
            made.append(_quantise(prepared[key], output, source.path, names))
        return tuple(made)


def _check(stage: Stage, source: Model, output: StageOutput) -> None:
    """Raise ConvertError or UsageError for an output that this stage cannot make."""
    choose("precision", output.precision, stage.precisions)
    check_input(output, source)
    for option in output.options:
        choose(f"option of {output.precision} tflite", option, _OPTIONS)
    check_precision(output)
    choose("range estimator", str(output.options.get("estimator", Settings.estimator)), ESTIMATORS)
    choose("rounding", str(output.options.get("rounding", Settings.rounding)), ROUNDINGS)
    least = output.options.get("min_weight_elements", 0)
    if not isinstance(least, int) or isinstance(least, bool) or least < 0:
        raise UsageError(f"{output.path.name}: min_weight_elements is {least!r}; it must be a number of weights")
    if output.precision in stage.calibrated and output.calibration is None:
        raise UsageError(f"{output.path.name} needs images to calibrate on")


def _prepare(data: bytes, path: Path, output: StageOutput) -> Prepared:
    if output.calibration is None:
        return prepare(data, path.name, ())

    def change(graph: Graph) -> int:
        return fold_normalisation(graph, output.input) if output.input.range == "raw" else columns_as_channels(graph)

    spec = dataclasses.replace(output.input, dtype="float32")
    return prepare(data, path.name, calibration_batch(output.calibration, spec), change)


def _quantise(prepared: Prepared, output: StageOutput, source: Path, names: tuple[str, str]) -> Model:
    settings = Settings(**{name: value for name, value in output.options.items() if name not in _FINISH})
    graph = quantise(prepared, output.precision, settings, {names[0]: Range.of(*output.input.span())})
    if output.input.range == "raw":
        if output.calibration is not None:  # the normalisation is in the weights
            take_uint8(graph, float16=False)
        else:
            take_raw(graph, output.input, float16=wants_float16(output))
    return finish(graph, output, source, names)
