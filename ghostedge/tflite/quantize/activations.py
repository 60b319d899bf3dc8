"""Run a float .tflite model on the calibration images, observe its activations, and choose the range of each.

Some activations share their range, and LiteRT has fixed that of others.
"""

from __future__ import annotations

import warnings
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.quantize.ranges import Observation, Observer, Range, connected, int8_range, whole_range
from ghostedge.quantize.rounding import InputMoments, MomentSums
from ghostedge.tflite.graph import SAME, Graph, Operator
from ghostedge.tflite.quantize.weights import weighted_operators

__all__ = ["add_inputs", "choose_ranges", "inspecting_interpreter", "observe"]

#: Operators that copy or mix values without arithmetic on the scale. XNNPACK runs them on int8 only where input and
#: output have one scale and zero point; another would cost a QUANTIZE before each.
_SAME_SCALE = {
    "CONCATENATION",
    "MAX_POOL_2D",
    "PAD",
    "RESHAPE",
    "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR",
    "SPLIT",
    "STRIDED_SLICE",
    "TRANSPOSE",
}

#: Precision -> the range in which LiteRT's kernels write numbers between 0 and 1: steps of 1/256, or of 1/32768
#: (tensorflow/lite/kernels/activations.cc). AI Edge Quantizer forgets it where a concatenation reads them.
_UNIT_RANGES = {"int8": Range(0.0, 255 / 256), "int16x8": Range(0.0, 32767 / 32768)}

#: An int16 range is so many times as wide as what was seen: 65,536 levels leave room. Not 2: where summands and sum
#: all have a power of two as scale, LiteRT's ADD shifts instead of multiplying, and refuses some.
_HEADROOM_INT16 = 1.9


def inspecting_interpreter(data: bytes, *, keep: bool = True) -> Any:
    """A LiteRT ``Interpreter`` on one thread whose indices of tensors are those of the file.

    Without a delegate, because a delegate's intermediate tensors cannot be read. XNNPACK's int8 kernels round
    differently from LiteRT's own by at most one step.

    Args:
        data: the model's bytes, of a file that `ghostedge.tflite.flatbuffer.check_tflite` has passed.
        keep: keep every tensor; without it only outputs may be read.

    Raises:
        ValueError, RuntimeError: LiteRT does not take the model.
    """
    litert = require("ai_edge_litert.interpreter", "tflite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = litert.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_preserve_all_tensors=keep,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    return interpreter


def observe(
    data: bytes, graph: Graph, batch: Iterable[NDArray[Any]]
) -> tuple[dict[str, Observation], dict[str, InputMoments]]:
    """Observe the input and all float activations of a model, and what meets its weights.

    Args:
        data: the model's file, as LiteRT loads it.
        graph: the same, unpacked.
        batch: images, each of the shape and type of the model's input without its first axis.

    Returns:
        Tensor name -> observation; the name of a weighted operator's output -> what the operator reads.

    Raises:
        ConvertError: an activation is not finite; the message names the first one and the image.
    """
    image_input = graph.inputs[0]
    made = (image_input, *(tensor for operator in graph.operators for tensor in operator.outputs))
    watched = {tensor: graph.name(tensor) for tensor in made if graph.dtype(tensor) == "FLOAT32"}
    interpreter = inspecting_interpreter(data)
    weighted = [(operator, weights.shape) for operator, weights in weighted_operators(graph)]
    observer, sums = Observer(), MomentSums()
    count = 0
    for image in batch:
        interpreter.set_tensor(image_input, image[None])
        interpreter.invoke()
        count += 1
        for tensor, name in watched.items():
            if not observer.add(name, interpreter.get_tensor(tensor)):
                raise ConvertError(
                    f"activation '{name}' is not finite on calibration image {count}; "
                    "the weights or the input are damaged"
                )
        add_inputs(sums, weighted, interpreter)
    if not count:
        raise ConvertError("there is no calibration image")
    return observer.observations(), sums.moments()


def add_inputs(sums: MomentSums, weighted: Iterable[tuple[Operator, tuple[int, ...]]], interpreter: Any) -> None:
    """Add to `sums` what operators, given with the shapes of their weights, read of the image that was just run."""
    for operator, shape in weighted:
        value = interpreter.get_tensor(operator.inputs[0])
        if operator.kind == "FULLY_CONNECTED":
            sums.add(operator.name, value.reshape(1, -1, shape[1]))
            continue
        windows, taps = operator.options, (shape[1], shape[2])
        strides, dilations = (windows.strideH, windows.strideW), (windows.dilationHFactor, windows.dilationWFactor)
        rows = columns = (0, 0)
        if windows.padding == SAME:
            rows, columns = map(_same, value.shape[1:3], taps, strides, dilations)
        channels = value.shape[-1]
        groups = channels if operator.kind == "DEPTHWISE_CONV_2D" else channels // shape[3]
        sums.add_convolution(operator.name, value[0], taps, strides, dilations, (rows, columns), groups)


def _same(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after, as TFLite's padding SAME puts them."""
    zeros = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
    return zeros // 2, zeros - zeros // 2


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
    # LiteRT takes no other range of what LOGISTIC and SOFTMAX make.
    made = [operator.name for operator in graph.operators if operator.kind in ("LOGISTIC", "SOFTMAX")]
    fixed = dict.fromkeys(made, _UNIT_RANGES[precision]) | dict(fixed)
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
