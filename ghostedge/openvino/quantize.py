"""Quantise a float32 OpenVINO IR to int8."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ConvertError, UsageError, last_line
from ghostedge.lazy import choose, require
from ghostedge.model import CalibrationSet, Format, InputSpec, Model, Stage, StageOutput
from ghostedge.openvino.fake_quantize import choose_ranges, drop_needless, set_range
from ghostedge.openvino.from_onnx import check_input, finish
from ghostedge.openvino.weights import Limit, exact_network, observe_inputs, round_ir, saturating, weighted
from ghostedge.quantize.ranges import ESTIMATORS, Range
from ghostedge.quantize.rounding import ROUNDINGS
from ghostedge.runtimes.openvino import OpenVinoRuntime
from ghostedge.stored import as_type

__all__ = ["QuantizeOpenVINOStage"]

#: Option -> its values.
_CHOICES: Mapping[str, Iterable[str]] = {
    "bias_correction": ("fast", "full", "none"),
    "estimator": ESTIMATORS,
    "rounding": ROUNDINGS,
    "saturation_fix": ("pairs", "all", "first", "none"),
}


class QuantizeOpenVINOStage(Stage):
    """Float32 OpenVINO IR to int8: NNCF's graph, ranges and weights as for TFLite; see export/README.md.

    Needs: a float32 IR with one input and one output; calibration images.

    Promises, and checks before the file takes its place:

    - weights of convolutions and dense layers are int8, symmetric, one scale an output channel, but for those that
      ``keep_float`` names; the activations that these operators read have 256 levels, one range for all channels and
      for all inputs of a concatenation; the range of the input reaches from black to white.
    - with ``saturation_fix`` ``"pairs"`` or ``"all"`` no sum of two products exceeds 16 bits, whatever the image: CPUs
      without VNNI, which add in 16 bits, give the same logits as CPUs with it.
    - input, names, dynamic batch and description as `ghostedge.openvino.from_onnx` promises them.
    - equal inputs give equal bytes.

    The recipe's ``[options]``: ``estimator`` (of activation ranges: ``"mse"``, ``"lp"``, ``"percentile"``,
    ``"minmax"``), ``rounding`` (of weights: ``"compensated"``: together, as TFLite's, ``"nearest"``),
    ``bias_correction`` (``"full"``: against what the layers before did, ``"fast"``: each layer alone, ``"none"``),
    ``saturation_fix`` (``"pairs"``: weights whose products would overflow together give up as much range as costs
    least, or half the range for the weights of ``"all"`` layers, the ``"first"`` one or ``"none"``), ``subset_size``
    (calibrate on the first so many images; all when left out), ``keep_float`` (list of operators, by the names in the
    float32 IR).
    """

    source: Format = "openvino"
    target: Format = "openvino"
    precisions: tuple[str, ...] = ("int8",)
    calibrated: tuple[str, ...] = ("int8",)
    packages: tuple[str, ...] = ("nncf", "openvino", "numpy")

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        _Settings.of(output)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        for output in outputs:
            self.check(output)
            check_input(output, source)
        ov = require("openvino", "export")
        nncf = require("nncf", "export")
        model = _read(ov, source.path)
        batches: dict[str, NDArray[Any]] = {}
        quantised: dict[tuple[_Settings, str], Any] = {}
        made = []
        for output in outputs:
            assert output.calibration is not None  # _Settings.of refuses it
            settings, images = _Settings.of(output), json.dumps(output.calibration.to_dict())
            if images not in batches:
                batches[images] = calibration_batch(output.calibration, source.input)
                _check_finite(ov, model, source, batches[images], output.calibration)
            if (settings, images) not in quantised:  # raw and normalised input share it
                quantised[settings, images] = _quantise(nncf, model, source, batches[images], settings)
            made.append(finish(ov, quantised[settings, images], output, source.input))
        return tuple(made)


@dataclass(frozen=True)
class _Settings:
    """The options of a recipe, checked; the class above explains them."""

    estimator: str = "mse"
    rounding: str = "compensated"
    bias_correction: str = "fast"
    saturation_fix: str = "pairs"
    subset_size: int = 0
    keep_float: tuple[str, ...] = ()

    @classmethod
    def of(cls, output: StageOutput) -> _Settings:
        """Raises: UsageError for an unknown option or value, or where there is no image to calibrate on."""
        options = dict(output.options)
        for option in options:
            choose("option of int8 openvino", option, cls.__dataclass_fields__)
        if output.calibration is None:
            raise UsageError(f"{output.path.name} needs images to calibrate on")
        for option, choices in _CHOICES.items():
            if option in options:
                choose(option.replace("_", " "), str(options[option]), choices)
        settings = as_type(options, cls, f"{output.path.name}: [options]", UsageError)
        if settings.subset_size < 0:
            raise UsageError(f"{output.path.name}: subset_size is {settings.subset_size}; it is a number of images")
        return settings


def _read(ov: Any, path: Path) -> Any:
    try:
        model = ov.Core().read_model(path)
    except RuntimeError as exc:
        raise ConvertError(f"OpenVINO cannot read {path}: {last_line(exc)}") from exc
    for operator in model.get_ops():
        if operator.get_type_name() == "FakeQuantize" or (
            operator.get_type_name() == "Constant"
            and operator.get_element_type() in (ov.Type.i8, ov.Type.u8, ov.Type.f16)
        ):
            raise ConvertError(f"{path} is quantised already, or stores float16; give the float32 model")
    return model


# -- before quantising ---------------------------------------------------------------------------


def _check_finite(ov: Any, model: Any, source: Model, batch: NDArray[Any], calibration: CalibrationSet) -> None:
    """Raise ConvertError, naming the first operator and the image, when the float model's logits are not finite."""
    with OpenVinoRuntime(source, threads=os.cpu_count() or 1) as runtime:
        finite = np.isfinite(runtime.run(batch)).all(axis=1)
    if finite.all():
        return
    index = int(finite.argmin())
    probe = model.clone()
    probe.reshape([1, *batch.shape[1:]])
    inner = [
        operator
        for operator in probe.get_ordered_ops()
        if operator.get_type_name() not in ("Constant", "Parameter", "Result")
        and operator.get_output_size() == 1
        and operator.get_output_element_type(0) == ov.Type.f32
    ]
    values = exact_network(probe, [operator.output(0) for operator in inner])(batch[index : index + 1])
    names = [
        operator.get_friendly_name()
        for operator, value in zip(inner, values.values(), strict=True)
        if not np.isfinite(value).all()
    ]
    raise ConvertError(
        f"cannot quantise {source.path}: '{names[0] if names else 'the output'}' is NaN or infinite on the calibration "
        f"image {calibration.images[index].image_id}; check the weights that feed it"
    )


# -- quantising ----------------------------------------------------------------------------------------


def _quantise(nncf: Any, model: Any, source: Model, batch: NDArray[Any], settings: _Settings) -> Any:
    """The int8 model: NNCF's graph and biases, then weights and ranges of our own choice."""
    operators = [operator.get_friendly_name() for operator in model.get_ops() if operator.get_type_name() != "Constant"]
    for name in settings.keep_float:
        choose(f"operator of {source.path.name}", name, operators)
    if settings.subset_size:
        batch = batch[: settings.subset_size]
    quantised = _by_nncf(nncf, model, source.path, batch, settings)
    _check(quantised, source.path, settings)
    drop_needless(quantised)
    round_ir(
        quantised,
        model,
        observe_inputs(model, batch),
        _limits(quantised, settings.saturation_fix),
        compensated=settings.rounding == "compensated",
        bias_correction=settings.bias_correction != "none",
    )
    if settings.saturation_fix in ("pairs", "all") and (found := saturating(quantised)):
        name, count = next(iter(found.items()))
        raise ConvertError(
            f"cannot quantise {source.path}: {count} pairs of the weights of '{name}' overflow 16 bits on CPUs without "
            "VNNI; this is a fault of ghostedge, please report it"
        )
    choose_ranges(quantised, batch, settings.estimator)
    _widen_input(quantised, source.input)
    return quantised


def _by_nncf(nncf: Any, model: Any, path: Path, batch: NDArray[Any], settings: _Settings) -> Any:
    ranges = require("nncf.quantization.range_estimator", "export").RangeEstimatorParametersSet
    parameters = require("nncf.quantization.advanced_parameters", "export").QuantizationParameters
    advanced = nncf.AdvancedQuantizationParameters(
        overflow_fix=nncf.OverflowFix.DISABLE,  # `round_ir` rounds the weights anew
        disable_bias_correction=settings.bias_correction == "none",
        activations_quantization_params=parameters(per_channel=False),
        activations_range_estimator_params=ranges.MINMAX,  # for the bias correction; `choose_ranges` replaces them
    )
    try:
        with _quiet(nncf):
            return nncf.quantize(
                model,
                nncf.Dataset([batch[i : i + 1] for i in range(len(batch))]),
                preset=nncf.QuantizationPreset.MIXED,  # activations asymmetric, weights symmetric
                subset_size=len(batch),
                fast_bias_correction=settings.bias_correction == "fast",
                ignored_scope=nncf.IgnoredScope(names=list(settings.keep_float)),
                advanced_parameters=advanced,
            )
    except Exception as exc:  # NNCF raises its own kinds, RuntimeError and whatever OpenVINO raises
        raise ConvertError(f"NNCF cannot quantise {path}: {last_line(exc)}") from exc


def _limits(model: Any, saturation_fix: str) -> Mapping[str, Limit]:
    """Operator with weights -> how large its integers may be."""
    names = [name for name, _, _ in weighted(model)]
    kinds: Mapping[str, Limit] = {"pairs": "pairs", "all": "half", "first": "whole", "none": "whole"}
    limits = dict.fromkeys(names, kinds[saturation_fix])
    return limits | dict.fromkeys(names[:1], "half") if saturation_fix == "first" else limits


@contextmanager
def _quiet(nncf: Any) -> Iterator[None]:
    """Keep NNCF's log and its progress bars off the terminal; what goes wrong comes as an exception."""
    console = require("rich", "export").get_console()
    quiet, console.quiet = console.quiet, True
    nncf.set_log_level(logging.ERROR)
    try:
        yield
    finally:
        console.quiet = quiet


def _widen_input(model: Any, spec: InputSpec) -> None:
    """Let the quantiser of the input reach from black to white, so that no image's pixels are clipped."""
    for port in model.inputs[0].get_target_inputs():
        if port.get_node().get_type_name() == "FakeQuantize":
            set_range(port.get_node(), Range.of(*spec.span()))


# -- after quantising ----------------------------------------------------------------------------


def _check(model: Any, path: Path, settings: _Settings) -> None:
    """Raise ConvertError for a range that is not finite, or float weights that ``keep_float`` does not name."""
    for operator in model.get_ordered_ops():
        if operator.get_type_name() == "FakeQuantize":
            ends = [operator.input_value(index).get_node().get_data() for index in range(1, 5)]
            if not all(np.isfinite(end).all() for end in ends):
                name = operator.get_friendly_name()
                raise ConvertError(f"cannot quantise {path}: the range of '{name}' is NaN or infinite")
    for name, _, operator in weighted(model):
        if name not in settings.keep_float and operator.input_value(1).get_node().get_type_name() == "Constant":
            raise ConvertError(f"NNCF left the weights of '{name}' of {path} in float; name it in keep_float")
