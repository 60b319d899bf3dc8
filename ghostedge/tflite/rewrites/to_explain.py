"""Change a float .tflite model so that it shows, beside the quantised one made from it, where an error arises."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import snr_db
from ghostedge.tflite.graph import Graph

__all__ = ["dequantised", "replace_weights", "split_at_activations"]

#: Types of quantised weights -> numpy; biases are int32 or int64.
_DTYPES: dict[str, type[Any]] = {"INT8": np.int8, "UINT8": np.uint8, "INT16": np.int16, "INT4": np.int8}


def split_at_activations(graph: Graph, tensors: Iterable[int]) -> dict[int, int]:
    """Let the readers of each of `tensors` read a new input of the graph instead, so that any value can be given there.

    After it, `tensors` are the outputs of the graph, and each is computed from the new inputs that lie just before it
    and from nothing earlier.

    Args:
        graph: changed in place; its indices of tensors stay.
        tensors: inputs of the graph or outputs of operators; operators between two of them stay together.

    Returns:
        Tensor -> the input that takes its place for its readers; one that nothing reads has none.
    """
    read_by, fed = {tensor: graph.readers(tensor) for tensor in tensors}, {}
    for tensor, readers in read_by.items():
        if not readers:
            continue
        stand_in = copy.copy(graph.tensors[tensor])
        stand_in.name = f"{graph.name(tensor)}/fed".encode()
        fed[tensor] = len(graph.tensors)
        graph.tensors.append(stand_in)
        for reader in readers:
            reader.inputs = [fed[tensor] if read == tensor else read for read in reader.inputs]
    graph.inputs = [*(tensor for tensor in graph.inputs if tensor not in fed), *fed.values()]
    graph.outputs = [tensor for tensor in read_by if graph.producer(tensor) is not None]
    graph.model.signatureDefs = None  # it names inputs and outputs that are no longer those
    graph.model.metadata = None
    return fed


def replace_weights(graph: Graph, quantised: Graph) -> dict[str, float]:
    """Give each operator of a float model the dequantised weights of the quantised model's operator of its name.

    Operators are paired by the name of their output, and then constants by their place among the inputs; one is taken
    over where kind and shape agree. Biases stay as they are. An operator without a partner keeps its float weights.

    Args:
        graph: of a float model, changed in place; its weights may be float32, or float16 behind a DEQUANTIZE.
        quantised: of the model made from it, not changed.

    Returns:
        Name of the operator's output -> the weights' own SQNR, dB, of each operator that was given weights.
    """
    named = {quantised.name(tensor): tensor for operator in quantised.operators for tensor in operator.outputs}
    computed, replaced = graph.computed, dict[str, float]()
    for operator in graph.operators:
        name = operator.name
        if operator.output not in computed or name not in named:
            continue
        partner = quantised.producer(quantised.back(named[name]))
        if partner is None or partner.kind != operator.kind:
            continue
        for slot, (tensor, theirs) in enumerate(zip(operator.inputs, partner.inputs, strict=False)):
            if -1 in (tensor, theirs) or tensor in computed or graph.dtype(tensor) != "FLOAT32":
                continue
            value, exact = dequantised(quantised, quantised.back(theirs)), graph.constant(graph.back(tensor))
            if value is None or value.shape != graph.shape(tensor):
                continue
            if exact is None or exact.dtype not in (np.float32, np.float16):
                continue
            # A constant of its own: other operators may read the old one.
            own = graph.add_constant(value, graph.name(tensor))
            operator.inputs = [own if i == slot else read for i, read in enumerate(operator.inputs)]
            replaced[name] = min(replaced.get(name, np.inf), _sqnr(exact.astype(np.float32), value))
    return replaced


def dequantised(graph: Graph, tensor: int) -> NDArray[np.float32] | None:
    """The real numbers a quantised constant stands for, float32 in its shape; None where it is not one.

    ``scale * (integer - zero_point)``, with one scale, or one for each index of the axis ``quantized_dimension``.
    """
    dtype, scales = _DTYPES.get(graph.dtype(tensor)), graph.scales(tensor)
    data, shape = graph.stored(tensor), graph.shape(tensor)
    if dtype is None or data is None or not scales:
        return None
    integers = np.frombuffer(data, dtype)
    if graph.dtype(tensor) == "INT4":  # two in a byte, the earlier one in the lower half
        integers = np.stack([np.left_shift(integers, 4) >> 4, integers >> 4], axis=-1).reshape(-1)
    along = [1] * len(shape)
    if len(scales) > 1:
        axis = graph.tensors[tensor].quantization.quantizedDimension
        if axis >= len(shape) or shape[axis] != len(scales):
            return None  # LiteRT refuses such a model with a better message
        along[axis] = len(scales)
    scale = np.array(scales, np.float32).reshape(along)
    zero = np.array(graph.zero_points(tensor) or 0, np.float32)
    real = integers[: int(np.prod(shape))].reshape(shape).astype(np.float32)
    return np.asarray((real - (zero.reshape(along) if zero.size == scale.size else zero)) * scale, np.float32)


def _sqnr(exact: NDArray[np.float32], value: NDArray[np.float32]) -> float:
    signal = float(np.square(exact, dtype=np.float64).sum())
    return snr_db(signal, float(np.square(value - exact, dtype=np.float64).sum()))
