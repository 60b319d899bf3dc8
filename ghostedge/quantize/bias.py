"""Correct biases for the mean error that rounding the weights makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.quantize.observation import Observation
from ghostedge.tflite.edit import constant, replace_constant, tensor_name
from ghostedge.tflite.model import ints, operator_name

__all__ = ["correct_biases", "rounded_weights", "weighted_operators"]

#: Operator -> the axis of its weights that counts output channels.
_OUTPUT_AXIS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 0}


def weighted_operators(model: Any) -> Iterator[tuple[Any, str, NDArray[np.float32]]]:
    """(operator, its kind, its weights) of every operator with constant float32 weights."""
    graph = model.subgraphs[0]
    for operator in graph.operators:
        kind = operator_name(model, operator)
        if kind in _OUTPUT_AXIS:
            weights = constant(model, graph, int(operator.inputs[1]))
            if weights is not None and weights.dtype == np.float32:
                yield operator, kind, weights


def rounded_weights(weights: NDArray[np.float32], kind: str) -> NDArray[np.float32]:
    """The real numbers that int8 weights stand for: symmetric, one scale an output channel, 127 the largest."""
    axes = tuple(axis for axis in range(weights.ndim) if axis != _OUTPUT_AXIS[kind])
    scale = np.abs(weights).max(axis=axes, keepdims=True) / np.float32(127)
    scale[scale == 0] = 1
    return np.asarray(np.clip(np.rint(weights / scale), -127, 127) * scale, np.float32)


def correct_biases(model: Any, seen: Mapping[str, Observation]) -> int:
    """Subtract from each bias the output's expected shift, ``E[(Q(W) - W) x]``, in the float model.

    Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, 2019, section 4.2, with E[x]
    measured on calibration images instead of derived from BatchNorm. E[x] is taken to be the same at all taps; at the
    border, where padding makes it smaller, the correction is a little too large.

    Returns:
        How many biases were corrected.
    """
    graph = model.subgraphs[0]
    corrected = 0
    for operator, kind, weights in weighted_operators(model):
        inputs = ints(operator.inputs)
        bias = constant(model, graph, inputs[2]) if len(inputs) > 2 and inputs[2] != -1 else None
        observation = seen.get(tensor_name(graph, inputs[0]))
        if bias is None or observation is None:
            continue
        shift = expected_shift(weights, kind, observation.channel_mean)
        replace_constant(model, graph, inputs[2], (bias - shift).astype(np.float32))
        corrected += 1
    return corrected


def expected_shift(weights: NDArray[np.float32], kind: str, mean: NDArray[np.float64]) -> NDArray[np.float64]:
    """``E[(Q(W) - W) x]`` an output channel: float64 (channels,).

    Args:
        weights: CONV_2D (out, rows, columns, in / groups), DEPTHWISE_CONV_2D (1, rows, columns, out), FULLY_CONNECTED
            (out, in).
        mean: the mean of each input channel, (in,).
    """
    error = (rounded_weights(weights, kind) - weights).astype(np.float64)
    if kind == "DEPTHWISE_CONV_2D":
        taps = error.sum(axis=(0, 1, 2))
        return np.asarray(taps * np.repeat(mean, len(taps) // len(mean)))
    per_input = error.sum(axis=(1, 2)) if kind == "CONV_2D" else error  # (out, in / groups)
    outputs, inputs = per_input.shape
    grouped = mean.reshape(-1, inputs)  # (groups, in / groups)
    return np.asarray((per_input * np.repeat(grouped, outputs // len(grouped), axis=0)).sum(axis=1))
