"""Round the weights of a .tflite model, and let its biases take the mean error."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from ghostedge.quantize.rounding import InputMoments, round_weights
from ghostedge.tflite.graph import Graph, Operator

__all__ = ["round_model", "weighted_operators"]

_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def weighted_operators(graph: Graph) -> Iterator[tuple[Operator, NDArray[np.float32]]]:
    """Every operator with constant float32 weights, and these."""
    for operator in graph.operators:
        if operator.kind in _WEIGHTED:
            weights = graph.constant(operator.inputs[1])
            if weights is not None and weights.dtype == np.float32:
                yield operator, weights


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
    """Undo `to_rows`; `shape` is that of the weights."""
    if kind == "DEPTHWISE_CONV_2D":
        _, height, width, outputs = shape
        return np.ascontiguousarray(rows.reshape(outputs, height, width).transpose(1, 2, 0))[None]
    return rows.reshape(shape)


def round_model(
    graph: Graph,
    moments: Mapping[str, InputMoments],
    rounding: str = "compensated",
    bias_correction: bool = True,
    keep: Collection[str] = (),
) -> int:
    """Round the weights of a float model to numbers that int8 has, so that writing it as int8 changes them no more.

    Each bias loses the expected shift of its output, ``E[(Q(W) - W) x]`` (Nagel et al., Data-Free Quantization through
    Weight Equalization and Bias Correction, 2019, section 4.2), with E[x] measured on calibration images.

    Args:
        graph: of a float model; changed in place.
        moments: the name of an operator's output -> what it reads; other operators are left alone.
        rounding: one of `ghostedge.quantize.rounding.ROUNDINGS`.
        bias_correction: whether biases are changed.
        keep: operators that are left alone as well, likewise.

    Returns:
        How many operators were rounded.
    """
    rounded = 0
    for operator, weights in weighted_operators(graph):
        if operator.name not in moments or operator.name in keep:
            continue
        inputs, read = operator.inputs, moments[operator.name]
        rows = to_rows(weights, operator.kind, graph.shape(inputs[0])[-1])
        new = round_weights(rows, read.covariance if rounding == "compensated" else None)
        graph.set_constant(inputs[1], from_rows(new, operator.kind, weights.shape))
        rounded += 1
        bias = graph.constant(inputs[2]) if len(inputs) > 2 and inputs[2] != -1 else None
        if bias_correction and bias is not None:
            shift = ((new.astype(np.float64) - rows) @ read.mean[:, :, None]).reshape(-1)
            graph.set_constant(inputs[2], (bias - shift).astype(np.float32))
    return rounded
