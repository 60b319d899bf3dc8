"""Find the activations whose quantisation is not free: they share it with others, or LiteRT has fixed it."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ghostedge.quantize.ranges import Range
from ghostedge.quantize.union_find import connected
from ghostedge.tflite.edit import tensor_name
from ghostedge.tflite.model import ints, operator_name

__all__ = ["fixed_ranges", "groups"]

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

#: Precision -> what LiteRT's own kernels of operators between 0 and 1 give out: steps of 1/256, or of 1/32768
#: (tensorflow/lite/kernels/activations.cc). AI Edge Quantizer knows, but where a concatenation reads them it forgets.
_UNIT_RANGES = {"int8": Range(0.0, 255 / 256), "int16x8": Range(0.0, 32767 / 32768)}


def fixed_ranges(model: Any, precision: str) -> dict[str, Range]:
    """Activation -> its range, of those for which LiteRT takes no other: what LOGISTIC and SOFTMAX make."""
    graph = model.subgraphs[0]
    return {
        tensor_name(graph, int(operator.outputs[0])): _UNIT_RANGES[precision]
        for operator in graph.operators
        if operator_name(model, operator) in ("LOGISTIC", "SOFTMAX")
    }


def groups(model: Any, keep_float: Collection[str] = ()) -> list[list[str]]:
    """Names of activations that share one scale and zero point; each activation is in exactly one group.

    An operator that stays in float (`keep_float`, by the name of its output) ties nothing together. A constant is in no
    group: writing the model gives it the parameters of the others.
    """
    graph = model.subgraphs[0]
    computed = {int(i) for i in graph.inputs} | {int(o) for operator in graph.operators for o in operator.outputs}
    tied = [
        [i for i in (*ints(operator.outputs), *ints(operator.inputs)) if i in computed]
        for operator in graph.operators
        if operator_name(model, operator) in _SAME_SCALE
        and tensor_name(graph, int(operator.outputs[0])) not in keep_float
    ]
    return [[tensor_name(graph, index) for index in group] for group in connected(sorted(computed), tied)]
