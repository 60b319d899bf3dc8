"""Write small operators that XNNPACK does not have as ones that it has."""

from __future__ import annotations

import numpy as np

from ghostedge.tflite.graph import VALID, Graph, options

__all__ = ["add_n_as_add", "pool_as_depthwise"]


def add_n_as_add(graph: Graph) -> int:
    """Replace each ADD_N of two tensors of one shape by an ADD; more than two stay.

    onnx2tf makes an ADD_N of an ONNX Sum. XNNPACK does not have it (LiteRT 2.1.0).
    """
    found = [operator for operator in graph.operators if operator.kind == "ADD_N" and len(operator.inputs) == 2]
    for operator in found:
        graph.replace(operator, [graph.make("ADD", operator.inputs, operator.outputs, options("Add"))])
    return len(found)


def pool_as_depthwise(graph: Graph) -> int:
    """Replace each AVERAGE_POOL_2D without padding by a DEPTHWISE_CONV_2D with weights 1 / (rows * columns).

    LiteRT 2.1.0 gives no int8 AVERAGE_POOL_2D to XNNPACK: each of GhostNetV2's 14 gates would leave the delegate and
    come back, 15 partitions for one. Most pools are convolutions already when they come here, by the rewrite of this
    name in `ghostedge.onnx.rewrites`; what is left are larger windows, and models of other origin. A pool with SAME
    padding divides by fewer elements at the border, so it stays.
    """
    found = [op for op in graph.operators if op.kind == "AVERAGE_POOL_2D" and op.options.padding == VALID]
    for operator in found:
        pool, (image,) = operator.options, operator.inputs
        rows, columns, channels = pool.filterHeight, pool.filterWidth, graph.shape(image)[3]
        weights = np.full((1, rows, columns, channels), 1 / (rows * columns), np.float32)
        inputs = [
            image,
            graph.add_constant(weights, f"{operator.name}/weights"),
            graph.add_constant(np.zeros(channels, np.float32), f"{operator.name}/bias"),
        ]
        windows = options(
            "DepthwiseConv2D",
            padding=VALID,
            strideH=pool.strideH,
            strideW=pool.strideW,
            depthMultiplier=1,
            dilationHFactor=1,
            dilationWFactor=1,
            fusedActivationFunction=pool.fusedActivationFunction,
        )
        graph.replace(operator, [graph.make("DEPTHWISE_CONV_2D", inputs, operator.outputs, windows)])
    return len(found)
