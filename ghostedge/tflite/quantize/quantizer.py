"""Quantise a float .tflite model on calibration images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from ghostedge.quantize.moments import InputMoments
from ghostedge.quantize.ranges import Observation, Range
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.quantize.observe import observe
from ghostedge.tflite.quantize.ranges import choose_ranges
from ghostedge.tflite.quantize.weights import round_model, weighted_operators
from ghostedge.tflite.quantize.write import state_versions, write
from ghostedge.tflite.rewrites.for_xnnpack import pool_as_depthwise

__all__ = ["Prepared", "Settings", "prepare", "quantise"]


@dataclass(frozen=True)
class Settings:
    """How a model is quantised.

    Attributes:
        estimator: of activation ranges, a key of `ghostedge.quantize.ranges.ESTIMATORS`.
        rounding: of weights, one of `ghostedge.quantize.rounding.ROUNDINGS`.
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
    data: bytes, name: str, batch: Iterable[NDArray[Any]], change: Callable[[Graph], Any] | None = None
) -> Prepared:
    """Rewrite what has no fast int8 form, and observe the activations.

    Args:
        data: a float model.
        name: the file's name, for messages.
        batch: calibration images as the (changed) model takes them; none for dynamic quantisation.
        change: a change to the graph before it is observed.

    Raises:
        ArtifactError: `data` is no model.
        ConvertError: an activation is not finite.
    """
    graph = unpack(data, name)
    graph.model.metadata = None  # it is embedded anew
    if change is not None:
        change(graph)
    pool_as_depthwise(graph)
    data = pack(graph)
    images = list(batch)
    return Prepared(data, *(observe(data, graph, images) if images else ({}, {})))


def quantise(
    prepared: Prepared,
    precision: str,
    settings: Settings,
    fixed: Mapping[str, Range] = MappingProxyType({}),
) -> Graph:
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
    graph, keep_float = unpack(prepared.data, "the float model"), settings.keep_float
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


def _logits(graph: Graph, settings: Settings) -> tuple[str, ...]:
    """The dense layer that gives the logits, by its output; nothing where another operator does or a setting names it.

    Int8 logits have 256 values over the range of all classes and images: on one image in fifty the two best classes of
    200 get the same one, and the order of the classes decides. This layer, 0.2 to 0.8% of the multiply-accumulates,
    therefore quantises its input as it runs and gives float32.
    """
    output = graph.outputs[0]
    name, last = graph.name(output), graph.producer(output)
    dense = last is not None and last.kind == "FULLY_CONNECTED" and graph.constant(last.inputs[1]) is not None
    return (name,) if dense and name not in (*settings.keep_float, *settings.int16) else ()
