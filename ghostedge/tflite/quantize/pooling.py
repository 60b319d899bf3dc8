"""Write average pooling as depthwise convolution, which XNNPACK also has for int8."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.lazy import require
from ghostedge.tflite.edit import add_constant, make_operator, tensor_name
from ghostedge.tflite.model import ints, operator_name

__all__ = ["pools_to_convolutions"]

_VALID = 1  # schema.fbs, enum Padding


def pools_to_convolutions(model: Any) -> int:
    """Replace each AVERAGE_POOL_2D without padding by a DEPTHWISE_CONV_2D with weights 1 / (rows * columns).

    LiteRT 2.1.0 gives no int8 AVERAGE_POOL_2D to XNNPACK: each of GhostNetV2's 14 gates would leave the delegate and
    come back, 15 partitions for one. A pool with SAME padding divides by fewer elements at the border, so it stays.

    Returns:
        How many were replaced.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph = model.subgraphs[0]
    replaced = 0
    for position, operator in enumerate(graph.operators):
        pool = operator.builtinOptions
        if operator_name(model, operator) != "AVERAGE_POOL_2D" or pool.padding != _VALID:
            continue
        (image,), (output,) = ints(operator.inputs), ints(operator.outputs)
        rows, columns, channels = pool.filterHeight, pool.filterWidth, ints(graph.tensors[image].shape)[3]
        name = tensor_name(graph, output)
        weights = np.full((1, rows, columns, channels), 1 / (rows * columns), np.float32)
        options = schema.DepthwiseConv2DOptionsT()
        options.padding, options.strideH, options.strideW = pool.padding, pool.strideH, pool.strideW
        options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
        options.fusedActivationFunction = pool.fusedActivationFunction
        inputs = [
            image,
            add_constant(model, graph, weights, f"{name}/weights"),
            add_constant(model, graph, np.zeros(channels, np.float32), f"{name}/bias"),
        ]
        graph.operators[position] = make_operator(model, "DEPTHWISE_CONV_2D", inputs, [output], options)
        replaced += 1
    return replaced
