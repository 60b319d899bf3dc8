"""Quantise a float .tflite model on calibration images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from ghostedge.quantize.observation import Observation, int8_range, whole_range
from ghostedge.quantize.ranges import Range
from ghostedge.quantize.rounding import InputMoments
from ghostedge.tflite.edit import constant, drop_metadata, tensor_name
from ghostedge.tflite.model import ints, operator_name, pack, unpack
from ghostedge.tflite.quantize.observe import observe
from ghostedge.tflite.quantize.pooling import pools_to_convolutions
from ghostedge.tflite.quantize.shared_ranges import fixed_ranges, groups
from ghostedge.tflite.quantize.weights import round_model, weighted_operators
from ghostedge.tflite.quantize.write import write

__all__ = ["Prepared", "Settings", "prepare", "quantise"]

#: 65,536 levels leave room for more than any image brings, in all activations. Not 2: where what is added and the sum
#: all have a power of two as scale, LiteRT's ADD shifts instead of multiplying, and refuses some of them.
_HEADROOM_INT16 = 1.9


@dataclass(frozen=True)
class Settings:
    """How a model is quantised.

    Attributes:
        estimator: of activation ranges, a key of `ghostedge.quantize.ranges.ESTIMATORS`.
        rounding: of weights, one of `ghostedge.tflite.quantize.weights.ROUNDINGS`.
        bias_correction: whether biases make up for the mean error of rounded weights.
        min_weight_elements: dynamic: operators with fewer weights stay in float, unless all have fewer.
        keep_float: names of the outputs of operators that stay in float.
        int16: names of the outputs of operators with int16 activations.
    """

    estimator: str = "mse"
    rounding: str = "compensated"
    bias_correction: bool = True
    min_weight_elements: int = 4096
    keep_float: Collection[str] = ()
    int16: Collection[str] = ()


@dataclass(frozen=True)
class Prepared:
    """A float model ready to be quantised, and what its activations were on the calibration images.

    Attributes:
        data: the model's file.
        seen: activation -> observation; empty where nothing was observed.
        moments: a weighted operator, by the name of its output -> what it reads; likewise.
    """

    data: bytes
    seen: Mapping[str, Observation]
    moments: Mapping[str, InputMoments]


def prepare(
    data: bytes, name: str, batch: Iterable[NDArray[Any]], change: Callable[[Any], None] | None = None
) -> Prepared:
    """Rewrite what has no fast int8 form, and observe the activations.

    Args:
        data: a float model.
        name: the file's name, for messages.
        batch: calibration images as the (changed) model takes them; none for dynamic quantisation.
        change: a change to the unpacked model before it is observed.

    Raises:
        ArtifactError: `data` is no model.
        ConvertError: an activation is not finite.
    """
    model = unpack(data, name)
    drop_metadata(model)
    if change is not None:
        change(model)
    pools_to_convolutions(model)
    data = pack(model)
    images = list(batch)
    return Prepared(data, *(observe(data, model, images) if images else ({}, {})))


def quantise(
    prepared: Prepared,
    precision: str,
    settings: Settings,
    fixed: Mapping[str, Range] = MappingProxyType({}),
) -> bytes:
    """The quantised model; its input and output stay float32.

    Args:
        prepared: what `prepare` made.
        precision: ``"dynamic"``, ``"int8"`` or ``"int16x8"``.
        settings: how.
        fixed: activation -> its range, where that is known and need not be estimated.

    Raises:
        ConvertError: the model cannot be quantised.
        UsageError: no such estimator.
    """
    model = unpack(prepared.data, "the float model")
    round_model(model, prepared.moments, settings.rounding, settings.bias_correction, settings.keep_float)
    ranges = choose_ranges(model, prepared.seen, precision, settings, fixed)
    dynamic = () if precision != "int8" else _logits(model, settings)
    least = settings.min_weight_elements
    if not any(weights.size >= least for _, kind, weights in weighted_operators(model) if kind != "DEPTHWISE_CONV_2D"):
        least = 0  # a small network: not one of its operators would be quantised
    return write(pack(model), precision, ranges, settings.keep_float, settings.int16, dynamic, least)


def _logits(model: Any, settings: Settings) -> tuple[str, ...]:
    """The dense layer that gives the logits, by its output; nothing where another operator does or a setting names it.

    Int8 logits have 256 values over the range of all classes and images: on one image in fifty the two best classes of
    200 get the same one, and the order of the classes decides. This layer, 0.2 to 0.8% of the multiply-accumulates,
    therefore quantises its input as it runs and gives float32.
    """
    graph = model.subgraphs[0]
    output = int(graph.outputs[0])
    name = tensor_name(graph, output)
    (last,) = (operator for operator in graph.operators if output in ints(operator.outputs))
    dense = operator_name(model, last) == "FULLY_CONNECTED" and constant(model, graph, int(last.inputs[1])) is not None
    return (name,) if dense and name not in (*settings.keep_float, *settings.int16) else ()


def choose_ranges(
    model: Any, seen: Mapping[str, Observation], precision: str, settings: Settings, fixed: Mapping[str, Range]
) -> dict[str, Range]:
    """The range of every activation, one for all of a group (`ghostedge.tflite.quantize.shared_ranges.groups`)."""
    if precision == "dynamic":
        return {}
    ranges: dict[str, Range] = {}
    fixed = fixed_ranges(model, precision) | dict(fixed)
    for names in groups(model, settings.keep_float):
        known = [fixed[name] for name in names if name in fixed]
        observed = [seen[name] for name in names if name in seen]
        if not observed:
            continue
        if known:
            chosen = known[0]
        elif precision == "int16x8":
            whole = whole_range(observed)
            chosen = Range(whole.low * _HEADROOM_INT16, whole.high * _HEADROOM_INT16)
        else:
            chosen = int8_range(observed, settings.estimator)
        ranges |= dict.fromkeys(names, chosen)
    return ranges
