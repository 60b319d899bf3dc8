"""Choose the range of every activation of a .tflite model: some share theirs, and LiteRT has fixed that of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ghostedge.quantize.ranges import Observation, Range, connected, int8_range, whole_range
from ghostedge.tflite.graph import Graph

__all__ = ["choose_ranges"]

#: Operators that copy or mix values without arithmetic on the scale. XNNPACK runs them on int8 only where input and
#: output have one scale and zero point; another would cost a QUANTIZE before each.
_SAME_SCALE = {
    "CONCATENATION",
    "MAX_POOL_2D",
    "PAD",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "STRIDED_SLICE",
    "TRANSPOSE",
}

#: Precision -> the range in which LiteRT's kernels write numbers between 0 and 1: steps of 1/256, or of 1/32768
#: (tensorflow/lite/kernels/activations.cc). AI Edge Quantizer forgets it where a concatenation reads them.
_UNIT_RANGES = {"int8": Range(0.0, 255 / 256), "int16x8": Range(0.0, 32767 / 32768)}

#: An int16 range is so many times as wide as what was seen: 65,536 levels leave room. Not 2: where summands and sum
#: all have a power of two as scale, LiteRT's ADD shifts instead of multiplying, and refuses some.
_HEADROOM_INT16 = 1.9


def choose_ranges(
    graph: Graph,
    seen: Mapping[str, Observation],
    precision: str,
    estimator: str,
    keep_float: Collection[str],
    fixed: Mapping[str, Range],
) -> dict[str, Range]:
    """Activation -> its range, one for all that share a scale.

    Args:
        graph: of a float model.
        seen: activation -> what it was on the calibration images; one that is not in it gets no range.
        precision: ``"int8"`` or ``"int16x8"``.
        estimator: a key of `ghostedge.quantize.ranges.ESTIMATORS`, for int8.
        keep_float: names of the outputs of operators that stay in float, and so tie no activations together.
        fixed: activation -> its range, where that is known.

    Raises:
        UsageError: no such estimator.
    """
    ranges: dict[str, Range] = {}
    fixed = _fixed_ranges(graph, precision) | dict(fixed)
    for names in _groups(graph, keep_float):
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
            chosen = int8_range(observed, estimator)
        ranges |= dict.fromkeys(names, chosen)
    return ranges


def _fixed_ranges(graph: Graph, precision: str) -> dict[str, Range]:
    """Activation -> its range, for what LOGISTIC and SOFTMAX make: LiteRT takes no other there."""
    made = [operator.name for operator in graph.operators if operator.kind in ("LOGISTIC", "SOFTMAX")]
    return dict.fromkeys(made, _UNIT_RANGES[precision])


def _groups(graph: Graph, keep_float: Collection[str]) -> list[list[str]]:
    """Names of activations that share one scale and zero point; each activation is in exactly one group.

    A constant is in no group: writing the model gives it the parameters of the others.
    """
    activations = {*graph.inputs, *(tensor for operator in graph.operators for tensor in operator.outputs)}
    tied = [
        [tensor for tensor in (*operator.outputs, *operator.inputs) if tensor in activations]
        for operator in graph.operators
        if operator.kind in _SAME_SCALE and operator.name not in keep_float
    ]
    return [[graph.name(tensor) for tensor in group] for group in connected(sorted(activations), tied)]
