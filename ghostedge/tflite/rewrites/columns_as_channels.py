"""Convolve an image of three channels as one of six, half as wide."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.graph import VALID, Graph, Operator, options

__all__ = ["columns_as_channels"]


def columns_as_channels(graph: Graph) -> int:
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
        graph: of a float32 model.
    """
    (image,) = graph.inputs
    found = _stem(graph, image)
    if found is None:
        return 0
    pad, conv = found
    weights = graph.constant(conv.inputs[1])
    assert weights is not None
    _, height, width, channels = graph.shape(image)
    name, half = conv.name, (1, height, width // 2, 2 * channels)
    pairs = graph.add_tensor(half, "FLOAT32", f"{name}/pairs")
    padded = graph.add_tensor((1, height + 1, width // 2 + 1, 2 * channels), "FLOAT32", f"{name}/padded")
    # The last row and column that were padded no window of stride 2 reaches.
    widths = np.array([[0, 0], [1, 0], [1, 0], [0, 0]], np.int32)
    shape = np.array(half, np.int32)
    size = graph.add_constant(shape, f"{name}/pairs/shape")
    pad.inputs = [pairs, graph.add_constant(widths, f"{name}/padded/widths")]
    pad.outputs = [padded]
    conv.inputs = [padded, graph.add_constant(_of_pairs(weights), f"{name}/pairs/weights"), *conv.inputs[2:]]
    conv.options.strideW = 1
    graph.replace(pad, [graph.make("RESHAPE", [image, size], [pairs], options("Reshape", newShape=shape)), pad])
    return 1


def _stem(graph: Graph, image: int) -> tuple[Operator, Operator] | None:
    """The PAD that alone reads the image and the CONV_2D that alone reads the PAD, if they are what is looked for."""
    pads = graph.readers(image)
    if len(pads) != 1 or pads[0].kind != "PAD" or graph.dtype(image) != "FLOAT32":
        return None
    widths, convs = graph.constant(pads[0].reads[1]), graph.readers(pads[0].output)
    if len(convs) != 1 or convs[0].kind != "CONV_2D" or widths is None:
        return None
    shape, weights, windows = graph.shape(image), graph.constant(convs[0].reads[1]), convs[0].options
    fits = len(shape) == 4 and shape[3] == 3 and shape[1] % 2 == 0 and shape[2] % 2 == 0
    fits &= widths.tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    fits &= weights is not None and weights.dtype == np.float32 and weights.shape[1:] == (3, 3, 3)
    fits &= windows.padding == VALID and (windows.strideH, windows.strideW) == (2, 2)
    return (pads[0], convs[0]) if fits and windows.dilationHFactor == windows.dilationWFactor == 1 else None


def _of_pairs(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (n, 3, 3, 3) of the columns 2 i - 1 to 2 i + 1 as (n, 3, 2, 6) of the columns 2 i - 2 to 2 i + 1."""
    outputs, rows, taps, channels = weights.shape
    wide = np.zeros((outputs, rows, taps + 1, channels), np.float32)
    wide[:, :, 1:] = weights
    return wide.reshape(outputs, rows, 2, 2 * channels)
