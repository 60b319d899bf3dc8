"""State the version of operators that older runtimes would compute wrongly, so that they refuse them."""

from __future__ import annotations

from typing import Any

from ghostedge.tflite.model import operator_name, tensor_type

__all__ = ["state_versions"]

#: TensorFlow's version of a FULLY_CONNECTED of float activations whose int8 weights have one scale an output channel
#: (lite/core/kernels/register.cc has it since 2.16).
_PER_CHANNEL_HYBRID_DENSE = 12


def state_versions(model: Any) -> int:
    """Give FULLY_CONNECTED operators of float activations and weights of one scale a channel their version.

    AI Edge Quantizer 0.4 leaves version 1. tflite-runtime 2.14 takes that and ignores such weights: its answer is the
    bias (0 dB), without an error. Of version 12 it refuses the model.

    Returns:
        How many operators there are of this kind.
    """
    found = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator_name(model, operator) != "FULLY_CONNECTED":
                continue
            activation, weights = (graph.tensors[int(index)] for index in operator.inputs[:2])
            stated = weights.quantization.scale if weights.quantization is not None else None
            scales = () if stated is None else stated
            if tensor_type(activation) == "FLOAT32" and tensor_type(weights) == "INT8" and len(scales) > 1:
                code = model.operatorCodes[operator.opcodeIndex]
                code.version = max(code.version, _PER_CHANNEL_HYBRID_DENSE)
                found += 1
    return found
