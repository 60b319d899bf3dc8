"""Convolve an image of three channels as one of six, half as wide."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require
from ghostedge.tflite.edit import add_constant, add_tensor, constant, make_operator, tensor_name
from ghostedge.tflite.model import ints
from ghostedge.tflite.wiring import Wiring

__all__ = ["columns_as_channels"]

_VALID = 1  # schema.fbs, enum Padding


def columns_as_channels(model: Any) -> bool:
    """PAD, CONV_2D 3 x 3 of stride 2 on 3 channels -> RESHAPE, PAD, CONV_2D 3 x 2 of stride (2, 1) on 6.

    Two neighbouring columns lie one after the other in memory: as six channels they are the same bytes. Without dot
    product instructions XNNPACK's int8 kernels for ARM64 multiply groups of 8 channels, padded, at each tap: 9 taps of
    3 channels cost 72 products, 6 taps of 6 cost 48 (224 x 224 x 3 -> 112 x 112 x 16 on a Cortex-A72: 6.7 M and 4.8 M
    instructions; LiteRT 2.1.0). With dot products (Cortex-A76) nothing changes, float32 loses 0.2 M: it is for
    models that will be int8.

    The sums have the same terms and some zeros more.

    What stays: another window, stride, pad or number of channels, an odd height or width, weights that are not constant
    float32, other readers of the image or of the padded one.

    Args:
        model: what `ghostedge.tflite.model.unpack` gave, of a float32 model; changed in place.

    Returns:
        Whether it was changed.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph, wiring = model.subgraphs[0], Wiring(model)
    (image,) = ints(graph.inputs)
    place = _stem(wiring, image)
    if place is None:
        return False
    pad, conv = graph.operators[place], graph.operators[wiring.readers[wiring.output(place)][0]]
    weights = constant(model, graph, int(conv.inputs[1]))
    assert weights is not None
    _, height, width, channels = wiring.shape(image)
    name, half = tensor_name(graph, int(conv.outputs[0])), (1, height, width // 2, 2 * channels)
    pairs = add_tensor(graph, half, "FLOAT32", f"{name}/pairs")
    padded = add_tensor(graph, (1, height + 1, width // 2 + 1, 2 * channels), "FLOAT32", f"{name}/padded")
    # The last row and column that were padded no window of stride 2 reaches.
    widths = np.array([[0, 0], [1, 0], [1, 0], [0, 0]], np.int32)
    reshape = schema.ReshapeOptionsT()
    reshape.newShape = np.array(half, np.int32)
    size = add_constant(model, graph, reshape.newShape, f"{name}/pairs/shape")
    pad.inputs = np.array([pairs, add_constant(model, graph, widths, f"{name}/padded/widths")], np.int32)
    pad.outputs = np.array([padded], np.int32)
    wide = add_constant(model, graph, _of_pairs(weights), f"{name}/pairs/weights")
    conv.inputs = np.array([padded, wide, *conv.inputs[2:]], np.int32)
    conv.builtinOptions.strideW = 1
    graph.operators.insert(place, make_operator(model, "RESHAPE", [image, size], [pairs], reshape))
    return True


def _stem(wiring: Wiring, image: int) -> int | None:
    """The PAD that the image goes to, if it and the convolution behind it are what is looked for."""
    model, graph, shape = wiring.model, wiring.graph, wiring.shape(image)
    (place, *others) = wiring.readers.get(image, [-1])
    if others or place < 0 or wiring.kind(place) != "PAD" or wiring.dtype(image) != "FLOAT32":
        return None
    widths = constant(model, graph, wiring.reads(place)[1])
    (after, *others) = wiring.readers.get(wiring.output(place), [-1])
    if others or after < 0 or wiring.kind(after) != "CONV_2D" or widths is None:
        return None
    weights, options = constant(model, graph, wiring.reads(after)[1]), graph.operators[after].builtinOptions
    fits = len(shape) == 4 and shape[3] == 3 and shape[1] % 2 == 0 and shape[2] % 2 == 0
    fits &= widths.tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    fits &= weights is not None and weights.dtype == np.float32 and weights.shape[1:] == (3, 3, 3)
    fits &= options.padding == _VALID and (options.strideH, options.strideW) == (2, 2)
    return place if fits and options.dilationHFactor == options.dilationWFactor == 1 else None


def _of_pairs(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (n, 3, 3, 3) of the columns 2 i - 1 to 2 i + 1 as (n, 3, 2, 6) of the columns 2 i - 2 to 2 i + 1."""
    outputs, rows, taps, channels = weights.shape
    wide = np.zeros((outputs, rows, taps + 1, channels), np.float32)
    wide[:, :, 1:] = weights
    return wide.reshape(outputs, rows, 2, 2 * channels)
