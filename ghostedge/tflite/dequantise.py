"""Put the weights of a quantised .tflite model, dequantised, into its float model, to see what they alone cost."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.edit import add_constant
from ghostedge.tflite.wiring import Wiring

__all__ = ["dequantised", "replace_weights"]

#: Types of quantised weights; int32 and int64 are those of biases.
_DTYPES: dict[str, type[Any]] = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT4": np.int8}


def replace_weights(model: Any, quantised: Any) -> dict[str, float]:
    """Give each operator of a float model the dequantised weights of the quantised model's operator of its name.

    Operators are paired by the name of their output, and then constants by their place among the inputs; one is taken
    over where kind and shape agree. Biases stay as they are. What has no partner keeps its float weights.

    Args:
        model: a float model, changed in place; its weights may be float32, or float16 behind a DEQUANTIZE.
        quantised: the model made from it, not changed.

    Returns:
        Name of the operator's output -> the weights' own SQNR, dB, of each operator that was given weights.
    """
    target, source = Wiring(model), Wiring(quantised)
    named = {source.name(tensor): tensor for tensor in source.producer}
    replaced: dict[str, float] = {}
    for place, operator in enumerate(target.graph.operators):
        name = target.name(target.output(place))
        if target.output(place) not in target.computed or name not in named:
            continue
        partner = source.producer.get(source.back(named[name]))
        if partner is None or source.kind(partner) != target.kind(place):
            continue
        theirs = source.graph.operators[partner].inputs
        for slot, tensor in enumerate(operator.inputs):
            if slot >= len(theirs) or -1 in (tensor, theirs[slot]) or tensor in target.computed:
                continue
            value = dequantised(source, source.back(int(theirs[slot])))
            if value is None or target.dtype(tensor) != "FLOAT32" or value.shape != target.shape(tensor):
                continue
            exact = _floats(target, target.back(int(tensor)))
            if exact is None:
                continue
            inputs = np.array(operator.inputs)  # as it was read, it lies in the file's bytes
            # A constant of its own: other operators may read the old one.
            inputs[slot] = add_constant(model, target.graph, np.asarray(value, np.float32), target.name(int(tensor)))
            operator.inputs = inputs
            replaced[name] = min(replaced.get(name, np.inf), _sqnr(exact, value))
    return replaced


def dequantised(wiring: Wiring, tensor: int) -> NDArray[np.float32] | None:
    """The real numbers a quantised constant stands for, float32 in its shape; None where it is not one.

    ``scale * (integer - zero_point)``, with one scale, or one for each index of the axis ``quantized_dimension``.
    """
    dtype, scales = _DTYPES.get(wiring.dtype(tensor)), wiring.scales(tensor)
    data, shape = _stored(wiring, tensor), wiring.shape(tensor)
    if dtype is None or data is None or not scales:
        return None
    integers = np.frombuffer(data, dtype)
    if wiring.dtype(tensor) == "INT4":  # two in a byte, the earlier one in the lower half
        integers = np.stack([np.left_shift(integers, 4) >> 4, integers >> 4], axis=-1).reshape(-1)
    quantisation = wiring.graph.tensors[tensor].quantization
    along = [1] * len(shape)
    if len(scales) > 1:
        axis = quantisation.quantizedDimension
        if axis >= len(shape) or shape[axis] != len(scales):
            return None  # LiteRT refuses such a model with a better message
        along[axis] = len(scales)
    scale = np.array(scales, np.float32).reshape(along)
    zero = np.array(0 if quantisation.zeroPoint is None else quantisation.zeroPoint, np.float32)
    real = integers[: int(np.prod(shape))].reshape(shape).astype(np.float32)
    return np.asarray((real - (zero.reshape(along) if zero.size == scale.size else zero)) * scale, np.float32)


def _floats(wiring: Wiring, tensor: int) -> NDArray[np.float32] | None:
    dtype = {"FLOAT32": np.float32, "FLOAT16": np.float16}.get(wiring.dtype(tensor))
    data = _stored(wiring, tensor)
    if dtype is None or data is None:
        return None
    return np.frombuffer(data, dtype).reshape(wiring.shape(tensor)).astype(np.float32)


def _stored(wiring: Wiring, tensor: int) -> bytes | None:
    data = wiring.model.buffers[wiring.graph.tensors[tensor].buffer].data
    return None if data is None or len(data) == 0 else bytes(data)


def _sqnr(exact: NDArray[np.float32], value: NDArray[np.float32]) -> float:
    signal = float(np.square(exact, dtype=np.float64).sum())
    noise = float(np.square(value - exact, dtype=np.float64).sum())
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
