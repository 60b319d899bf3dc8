"""Round the weights of a .tflite model, and let its biases take the mean error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.quantize.moments import MomentSums
from ghostedge.quantize.rounding import ROUNDINGS, InputMoments, round_to_nearest, round_weights
from ghostedge.tflite.edit import constant, replace_constant, tensor_name
from ghostedge.tflite.model import ints, operator_name

__all__ = ["ROUNDINGS", "MomentsObserver", "round_model", "weighted_operators"]

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_SAME = 0  # schema.fbs, enum Padding


def weighted_operators(model: Any) -> Iterator[tuple[Any, str, NDArray[np.float32]]]:
    """(operator, its kind, its weights) of every operator with constant float32 weights."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        kind = operator_name(model, operator)
        if kind in _WEIGHTED:
            weights = constant(model, graph, int(operator.inputs[1]))
            if weights is not None and weights.dtype == np.float32:
                yield operator, kind, weights


def to_rows(weights: NDArray[np.float32], kind: str, channels: int) -> NDArray[np.float32]:
    """Weights as (groups, outputs of a group, inputs of an output).

    Args:
        weights: CONV_2D (out, rows, columns, in / groups), DEPTHWISE_CONV_2D (1, rows, columns, out), FULLY_CONNECTED
            (out, in).
        kind: of the operator.
        channels: of its input.
    """
    if kind == "DEPTHWISE_CONV_2D":
        return np.ascontiguousarray(weights[0].transpose(2, 0, 1)).reshape(channels, -1, weights[0, :, :, 0].size)
    groups = channels // weights.shape[-1]
    return weights.reshape(groups, len(weights) // groups, -1)


def from_rows(rows: NDArray[np.float32], kind: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """What `to_rows` took, of that shape."""
    if kind == "DEPTHWISE_CONV_2D":
        _, height, width, outputs = shape
        return np.ascontiguousarray(rows.reshape(outputs, height, width).transpose(1, 2, 0))[None]
    return rows.reshape(shape)


class MomentsObserver:
    """Takes the inputs of the weighted operators image by image.

    Args:
        model: a float model, unpacked.
    """

    def __init__(self, model: Any) -> None:
        graph = model.subgraphs[0]
        self._operators = [
            (tensor_name(graph, int(operator.outputs[0])), operator, kind, weights.shape)
            for operator, kind, weights in weighted_operators(model)
        ]
        self._sums = MomentSums()

    def add(self, interpreter: Any) -> None:
        """Observe the image that `interpreter`, which keeps all tensors, has just run."""
        for name, operator, kind, shape in self._operators:
            value = interpreter.get_tensor(int(operator.inputs[0]))
            if kind == "FULLY_CONNECTED":
                self._sums.add(name, value.reshape(1, -1, shape[1]))
            else:
                self._add_convolution(name, value, operator, kind, shape)

    def _add_convolution(
        self, name: str, value: NDArray[np.float32], operator: Any, kind: str, shape: tuple[int, ...]
    ) -> None:
        options = operator.builtinOptions
        taps, strides = (shape[1], shape[2]), (options.strideH, options.strideW)
        dilations = (options.dilationHFactor, options.dilationWFactor)
        if options.padding == _SAME:
            (top, bottom), (left, right) = map(_same, value.shape[1:3], taps, strides, dilations)
            _, height, width, channels = value.shape
            inner = value
            value = np.zeros((1, top + height + bottom, left + width + right, channels), np.float32)
            value[:, top : top + height, left : left + width] = inner
        groups = value.shape[-1] if kind == "DEPTHWISE_CONV_2D" else value.shape[-1] // shape[3]
        self._sums.add_convolution(name, value[0], taps, strides, dilations, groups)

    def moments(self) -> dict[str, InputMoments]:
        """The name of an operator's output -> what it reads; called once, after the last image."""
        return self._sums.moments()


def _same(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """Zeros before and after, as TFLite's padding SAME puts them."""
    zeros = max(0, (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size)
    return zeros // 2, zeros - zeros // 2


def round_model(
    model: Any,
    moments: Mapping[str, InputMoments],
    rounding: str = "compensated",
    bias_correction: bool = True,
    keep: Collection[str] = (),
) -> int:
    """Round the weights in the float model: writing it as int8 then finds these numbers.

    Each bias loses the expected shift of its output, ``E[(Q(W) - W) x]`` (Nagel et al., Data-Free Quantization through
    Weight Equalization and Bias Correction, 2019, section 4.2), with E[x] measured on calibration images.

    Args:
        model: a float model, unpacked; changed in place.
        moments: the name of an operator's output -> what it reads; what is not in it is left alone.
        rounding: one of `ROUNDINGS`.
        bias_correction: whether biases are changed.
        keep: names of the outputs of operators that are left alone.

    Returns:
        How many operators were rounded.
    """
    graph, rounded = model.subgraphs[0], 0
    for operator, kind, weights in weighted_operators(model):
        inputs, name = ints(operator.inputs), tensor_name(graph, int(operator.outputs[0]))
        if name not in moments or name in keep:
            continue
        rows = to_rows(weights, kind, ints(graph.tensors[inputs[0]].shape)[-1])
        read = moments[name]
        new = round_weights(rows, read.covariance) if rounding == "compensated" else round_to_nearest(rows)
        replace_constant(model, graph, inputs[1], from_rows(new, kind, weights.shape))
        rounded += 1
        bias = constant(model, graph, inputs[2]) if len(inputs) > 2 and inputs[2] != -1 else None
        if bias_correction and bias is not None:
            shift = ((new.astype(np.float64) - rows) @ read.mean[:, :, None]).reshape(-1)
            replace_constant(model, graph, inputs[2], (bias - shift).astype(np.float32))
    return rounded
