"""Quantise a float32 TFLite model: dynamic, int8, int16x8 and mixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.lazy import choose
from ghostedge.model import Format, InputSpec, Model, Stage, StageOutput
from ghostedge.quantize.ranges import ESTIMATORS, Observation, Range
from ghostedge.quantize.rounding import ROUNDINGS, InputMoments
from ghostedge.stored import as_type
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.from_onnx import check_input, check_precision, finish, wants_float16
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.quantize.activations import choose_ranges, observe
from ghostedge.tflite.quantize.weights import round_model, weighted_operators
from ghostedge.tflite.quantize.write import state_versions, write
from ghostedge.tflite.rewrites.for_int8 import fuse_activations, hard_swish_as_products
from ghostedge.tflite.rewrites.for_xnnpack import columns_as_channels, pool_as_depthwise
from ghostedge.tflite.rewrites.raw_input import fold_normalisation, take_raw, take_uint8

__all__ = ["QuantizeTFLiteStage", "Settings"]

#: The options that `ghostedge.tflite.from_onnx.finish` reads.
_FINISH = ("inference_precision", "xnnpack")


@dataclass(frozen=True)
class Settings:
    """How a model is quantised.

    Attributes:
        estimator: what chooses activation ranges, a key of `ghostedge.quantize.ranges.ESTIMATORS`.
        rounding: how weights are rounded, one of `ghostedge.quantize.rounding.ROUNDINGS`.
        bias_correction: whether biases make up for the mean error of rounded weights.
        min_weight_elements: for dynamic: operators with fewer weights stay in float, unless all have fewer.
        keep_float: names of the outputs of operators that stay in float.
        int16: names of the outputs of operators with int16 activations.
        float_pixels: for mixed: operators that read or make a feature map of at least this part of the image's pixels
            stay in float.
    """

    estimator: str = "mse"
    rounding: str = "compensated"
    bias_correction: bool = True
    min_weight_elements: int = 4096
    keep_float: Collection[str] = ()
    int16: Collection[str] = ()
    float_pixels: float = 0.25


_OPTIONS = (*(field.name for field in dataclasses.fields(Settings)), *_FINISH)


@dataclass(frozen=True)
class _Prepared:
    """A float model ready to be quantised, and what its activations were on the calibration images.

    Attributes:
        data: the model's file.
        seen: activation -> observation; empty where nothing was observed.
        moments: a weighted operator, by the name of its output -> what it reads; likewise.
    """

    data: bytes
    seen: Mapping[str, Observation]
    moments: Mapping[str, InputMoments]


class QuantizeTFLiteStage(Stage):
    """Float32 TFLite to quantised TFLite; see export/README.md for what the precisions mean.

    Needs: a float32 model with one image in and one row of logits out; calibration images for all but dynamic.

    Promises, and checks on each file before it takes its place:

    - weights are int8, symmetric, one scale an output channel (dynamic: but for depthwise convolutions and operators
      with few weights, which stay in float); nothing is clipped off the input's range.
    - normalised input is float32, raw input uint8; logits are float32. Between the QUANTIZE at one end and the
      DEQUANTIZE before the last dense layer an int8 model holds neither, and no float operator unless ``keep_float``
      names it; that layer has int8 weights and quantises its input as it runs.
    - mixed is int8 but for the operators on the largest feature maps, which are float32 from the image on.
    - XNNPACK runs all of it in one partition, as in `ghostedge.tflite.from_onnx` (int16x8: LiteRT has no fast kernels
      for it, so ``xnnpack = "report"``).
    - equal inputs give equal bytes.

    The recipe's ``[options]``: ``estimator`` (of activation ranges: ``"mse"``, ``"lp"``, ``"percentile"``,
    ``"minmax"``), ``rounding`` (of weights: ``"compensated"``, ``"nearest"``), ``bias_correction`` (true or false),
    ``keep_float`` and ``int16`` (lists of operators, by the names of their outputs), ``min_weight_elements`` (dynamic:
    operators with fewer weights stay in float), ``float_pixels`` (mixed: operators on feature maps of at least this
    part of the image's pixels stay in float), ``inference_precision`` (dynamic alone) and ``xnnpack`` as in
    `ghostedge.tflite.from_onnx`.
    """

    source: Format = "tflite"
    target: Format = "tflite"
    precisions: tuple[str, ...] = ("dynamic", "int8", "int16x8", "mixed")
    calibrated: tuple[str, ...] = ("int8", "int16x8", "mixed")
    packages: tuple[str, ...] = ("ai-edge-quantizer", "ai-edge-litert", "flatbuffers", "numpy")

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        for option in output.options:
            choose(f"option of {output.precision} tflite", option, _OPTIONS)
        check_precision(output)
        choose("range estimator", str(output.options.get("estimator", Settings.estimator)), ESTIMATORS)
        choose("rounding", str(output.options.get("rounding", Settings.rounding)), ROUNDINGS)
        choose("value of option xnnpack", str(output.options.get("xnnpack", "require")), ("report", "require"))
        settings = _settings(output)
        least, share = settings.min_weight_elements, settings.float_pixels
        if least < 0:
            raise UsageError(f"{output.path.name}: min_weight_elements is {least!r}; it must be a number of weights")
        if not 0 < share <= 1:
            raise UsageError(f"{output.path.name}: float_pixels is {share:g}; it must lie above 0 and be at most 1")
        if output.precision in self.calibrated and output.calibration is None:
            raise UsageError(f"{output.path.name} needs images to calibrate on")

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        for output in outputs:
            self.check(output)
            check_input(output, source)
        try:
            data = source.path.read_bytes()
        except OSError as exc:
            raise ArtifactError(f"cannot read {source.path}: {exc.strerror}") from exc
        graph = unpack(data, source.path.name)
        stored = {graph.dtype(tensor) for tensor in range(len(graph.tensors))}
        if stored & {"INT8", "INT16", "UINT8", "FLOAT16"}:
            raise ConvertError(f"{source.path} is quantised already, or stores float16; give the float32 model")
        names = (graph.name(graph.inputs[0]), graph.name(graph.outputs[0]))
        prepared: dict[tuple[InputSpec, bool], _Prepared] = {}
        made = []
        for output in outputs:
            key = (output.input, output.calibration is not None)
            if key not in prepared:  # observing takes longest; precisions of one input share it
                prepared[key] = _prepare(data, source.path, output)
            made.append(_make(prepared[key], output, source.path, names))
        return tuple(made)


def _prepare(data: bytes, path: Path, output: StageOutput) -> _Prepared:
    """Rewrite what has no fast int8 form, and observe the activations on the calibration images, if there are any."""
    graph = unpack(data, path.name)
    graph.model.metadata = None  # it is embedded anew
    if output.calibration is not None:
        if output.input.range == "raw":
            fold_normalisation(graph, output.input)
        else:
            columns_as_channels(graph)
        hard_swish_as_products(graph)
        fuse_activations(graph)
    pool_as_depthwise(graph)
    data = pack(graph)
    if output.calibration is None:
        return _Prepared(data, {}, {})
    spec = dataclasses.replace(output.input, dtype="float32")
    return _Prepared(data, *observe(data, graph, calibration_batch(output.calibration, spec)))


def _settings(output: StageOutput) -> Settings:
    """What the recipe's options say. Raises: UsageError for one of another type."""
    own = {name: value for name, value in output.options.items() if name not in _FINISH}
    return as_type(own, Settings, f"{output.path.name}: [options]", UsageError)


def _make(prepared: _Prepared, output: StageOutput, source: Path, names: tuple[str, str]) -> Model:
    settings = _settings(output)
    graph = _quantise(prepared, output.precision, settings, {names[0]: Range.of(*output.input.span())})
    if output.input.range == "raw":
        if output.calibration is not None:  # the normalisation is in the weights
            take_uint8(graph, float16=False)
        else:
            take_raw(graph, output.input, float16=wants_float16(output))
    return finish(graph, output, source, names)


def _quantise(prepared: _Prepared, precision: str, settings: Settings, fixed: Mapping[str, Range]) -> Graph:
    """The quantised model; its input and output stay float32. `fixed`: activation -> its range, where that is known."""
    graph, keep_float = unpack(prepared.data, "the float model"), settings.keep_float
    if precision == "mixed":
        precision, keep_float = "int8", {*keep_float, *_on_large_maps(graph, settings.float_pixels)}
    round_model(graph, prepared.moments, settings.rounding, settings.bias_correction, keep_float)
    ranges: dict[str, Range] = {}
    if precision != "dynamic":
        ranges = choose_ranges(graph, prepared.seen, precision, settings.estimator, keep_float, fixed)
    dynamic = () if precision != "int8" else _logits(graph, settings)
    least = settings.min_weight_elements
    if all(weights.size < least or op.kind == "DEPTHWISE_CONV_2D" for op, weights in weighted_operators(graph)):
        least = 0  # a small network: not one of its operators would be quantised
    written = write(pack(graph), precision, ranges, keep_float, settings.int16, dynamic, least)
    made = unpack(written, f"the {precision} model")
    state_versions(made)
    return made


def _on_large_maps(graph: Graph, share: float) -> set[str]:
    """The names of the outputs of operators that read or make a feature map of `share` of the image's pixels or more.

    XNNPACK's int8 convolutions pay for each output, which they scale back to int8, what they save on its products, and
    these are few where maps are large and have 8 to 24 channels. Float is the faster there on a Cortex-A72 and on x86
    CPUs without VNNI (docs/notes/quantisation.md).
    """

    def pixels(tensor: int) -> int:
        shape = graph.shape(tensor)
        return shape[1] * shape[2] if len(shape) == 4 else 0

    least = share * pixels(graph.inputs[0])
    return {
        operator.name
        for operator in graph.operators
        if max(map(pixels, (*operator.activations, operator.output))) >= least
    }


def _logits(graph: Graph, settings: Settings) -> tuple[str, ...]:
    """The name of the output of the dense layer that gives the logits; nothing where a setting names that operator.

    Int8 logits have 256 values over the range of all classes and images: on one image in fifty the two best classes of
    200 get the same one, and the order of the classes decides. This layer, 0.2 to 0.8% of the multiply-accumulates,
    therefore quantises its input as it runs and gives float32.
    """
    output = graph.outputs[0]
    name, last = graph.name(output), graph.producer(output)
    dense = last is not None and last.kind == "FULLY_CONNECTED" and graph.constant(last.inputs[1]) is not None
    return (name,) if dense and name not in (*settings.keep_float, *settings.int16) else ()
