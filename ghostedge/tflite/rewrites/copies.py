"""Shape a .tflite model that may be computed in float16 so that LiteRT 2.3 computes it as fast as LiteRT 2.1.

Up to LiteRT 2.1.6, XNNPACK made float16 of a finished float32 graph, in which it had joined each PAD of zeros with the
convolution behind it. In LiteRT 2.3.0 its delegate builds the graph of float16 tensors from the start. Then:

- a PAD is not joined (XNNPACK's `xnn_subgraph_fusion` knows zeros of float32 and of 8 bit integers only), and one of
  rows and columns is copied pixel by pixel, about 100 ARM64 instructions each: `pad_rows`.
- a dynamically quantised dense layer, and what XNNPACK makes one of, a 1 x 1 convolution of stride 1, counts as one
  without float16 kernels (it asks for those of SME); it and all that follows is computed in float32: `group_pixels`.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ghostedge.lazy import require
from ghostedge.tflite.edit import add_constant, add_tensor, constant, make_operator, tensor_name
from ghostedge.tflite.model import ints
from ghostedge.tflite.wiring import Wiring

__all__ = ["drop_spare_channels", "group_pixels", "pad_rows"]

_VALID = 1  # schema.fbs, enum Padding

#: Rows of the tiles of XNNPACK's kernels for them, the more important first: 4 on ARM64 and with AVX2, 8 with AVX-512.
_TILES = (4, 8)

#: How many pixels may share a scale: fewer leave tiles empty, more lose accuracy (28 of them 1 dB).
_FEWEST, _MOST = 4, 14


def pad_rows(model: Any) -> int:
    """PAD -> RESHAPE to rows of width * channels numbers, PAD, RESHAPE.

    Padded as rows, whole rows are copied at once (GhostNetV2-1x, float16 on a Cortex-A76, ten PADs: 9.7 M instructions,
    as rows 1.3 M on any LiteRT; joined with their convolutions, as 2.1.0 did, none). On x86 the copies cost
    a twentieth of the time. What no window reaches is not added.

    What stays: pads of batch or channels, other values than zero, quantised tensors, other readers than one
    convolution that does not pad by itself.

    Returns:
        How many were changed.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph, wiring = model.subgraphs[0], Wiring(model)
    operators, changed = [], 0
    for place, pad in enumerate(graph.operators):
        widths = _spatial_widths(wiring, place)
        if widths is None:
            operators.append(pad)
            continue
        (image, _), output = ints(pad.inputs), wiring.output(place)
        (batch, height, width, channels), name = wiring.shape(image), wiring.name(output)
        (top, bottom), (left, right) = widths
        padded = (batch, height + top + bottom, width + left + right, channels)
        rows = add_tensor(graph, (batch, height, width * channels), "FLOAT32", f"{name}/rows")
        longer = add_tensor(graph, (batch, padded[1], padded[2] * channels), "FLOAT32", f"{name}/rows/padded")
        numbers = np.array([[0, 0], [top, bottom], [left * channels, right * channels]], np.int32)
        numbers_index = add_constant(model, graph, numbers, f"{name}/rows/widths")
        graph.tensors[output].shape = np.array(padded, np.int32)
        graph.tensors[output].shapeSignature = None
        operators += [
            _reshape(model, image, rows),
            make_operator(model, "PAD", [rows, numbers_index], [longer], schema.PadOptionsT()),
            _reshape(model, longer, output),
        ]
        changed += 1
    graph.operators = operators
    return changed


def _spatial_widths(wiring: Wiring, place: int) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((top, bottom), (left, right)) that the convolution behind a PAD reaches; None where `pad_rows` leaves it."""
    model, graph = wiring.model, wiring.graph
    if wiring.kind(place) != "PAD" or len(wiring.shape(wiring.output(place))) != 4:
        return None
    image, output = wiring.reads(place)[0], wiring.output(place)
    widths, readers = constant(model, graph, wiring.reads(place)[1]), wiring.readers.get(output, [])
    if wiring.dtype(image) != "FLOAT32" or widths is None or widths[[0, 3]].any() or len(readers) != 1:
        return None
    conv = graph.operators[readers[0]]
    if wiring.kind(readers[0]) not in ("CONV_2D", "DEPTHWISE_CONV_2D") or output in ints(graph.outputs):
        return None
    options, window = conv.builtinOptions, wiring.shape(wiring.reads(readers[0])[1])[1:3]
    if options.padding != _VALID:
        return None
    reached = []
    for axis, stride, dilation in (
        (1, options.strideH, options.dilationHFactor),
        (2, options.strideW, options.dilationWFactor),
    ):
        before = int(widths[axis][0])
        last = (wiring.shape(wiring.output(readers[0]))[axis] - 1) * stride + (window[axis - 1] - 1) * dilation + 1
        reached.append((before, max(0, last - before - wiring.shape(image)[axis])))
    return reached[0], reached[1]


def group_pixels(model: Any) -> int:
    """Dynamically quantised CONV_2D 1 x 1 -> RESHAPE to groups of pixels, CONV_2D 1 x 1 of stride (1, 2), RESHAPE.

    The groups are images of one column, so the stride changes nothing but that XNNPACK does not take the convolution
    for a dense layer. The pixels of a group are quantised with one scale; before, each had its own (demo, SNR on 60
    photos: 47.7 dB; groups of 4 to 8: 47.6, up to 14: 47.1, up to 28: 46.6, whole images: 43.5).

    What stays: other windows and strides; the last layer's FULLY_CONNECTED, behind which nothing is left to compute.

    Returns:
        How many were changed.
    """
    graph, wiring = model.subgraphs[0], Wiring(model)
    operators, changed = [], 0
    for place, conv in enumerate(graph.operators):
        if not _is_dynamic_pointwise(wiring, place):
            operators.append(conv)
            continue
        (image, *constants), output = ints(conv.inputs), wiring.output(place)
        shape, made = wiring.shape(image), wiring.shape(output)
        conv.builtinOptions = copy.copy(conv.builtinOptions)
        conv.builtinOptions.strideW = 2
        changed += 1
        pixels = shape[1] * shape[2]
        if shape[2] == 1:
            operators.append(conv)
            continue
        size = _group_size(pixels)
        groups, name = shape[0] * pixels // size, wiring.name(output)
        grouped = add_tensor(graph, (groups, size, 1, shape[3]), "FLOAT32", f"{name}/pixels")
        # The convolution's own output keeps its name, by which `inspect --against` finds it.
        result = add_tensor(graph, made, "FLOAT32", f"{name}/image")
        graph.tensors[output].shape = np.array((groups, size, 1, made[3]), np.int32)
        graph.tensors[output].shapeSignature = None
        _rename(graph, wiring.readers.get(output, []), output, result)
        conv.inputs = np.array([grouped, *constants], np.int32)
        operators += [_reshape(model, image, grouped), conv, _reshape(model, output, result)]
    graph.operators = operators
    return changed


def drop_spare_channels(model: Any) -> int:
    """CONV_2D, STRIDED_SLICE of the first channels -> CONV_2D of these channels.

    It takes back `ghostedge.onnx.rewrites.round_up_channels`, which is in the float32 model that dynamic is made of:
    float16's and int8's tiles are of 16 channels, which 4 more do not fill, and the slice is a copy.

    What stays: slices of other axes or from a later channel, other readers of the convolution, weights that are neither
    stored float32 nor int8 with one scale a channel.

    Returns:
        How many were changed.
    """
    graph, wiring = model.subgraphs[0], Wiring(model)
    dropped = []
    for place, sliced in enumerate(graph.operators):
        image, conv = wiring.reads(place)[0], wiring.producer.get(wiring.reads(place)[0])
        if wiring.kind(place) != "STRIDED_SLICE" or conv is None or wiring.kind(conv) != "CONV_2D":
            continue
        output, operator = wiring.output(place), graph.operators[conv]
        if wiring.readers[image] != [place] or wiring.shape(image)[:3] != wiring.shape(output)[:3]:
            continue
        begin, _, steps = (constant(model, graph, index) for index in wiring.reads(place)[1:])
        if begin is None or steps is None or begin.any() or (steps != 1).any():
            continue
        channels, stored = (
            wiring.shape(output)[3],
            [constant(model, graph, index) for index in ints(operator.inputs)[1:]],
        )
        if len(stored) != 2 or any(data is None for data in stored):
            continue
        operator.inputs = np.array(
            [operator.inputs[0], *(_first(model, graph, int(index), channels) for index in operator.inputs[1:])],
            np.int32,
        )
        operator.outputs = np.array([output], np.int32)
        dropped.append(sliced)
    graph.operators = [operator for operator in graph.operators if not any(operator is other for other in dropped)]
    return len(dropped)


def _first(model: Any, graph: Any, index: int, count: int) -> int:
    """A constant of the first `count` filters or biases, and of their scales. Returns: its index."""
    data, old = constant(model, graph, index), graph.tensors[index]
    assert data is not None
    made = add_constant(model, graph, np.ascontiguousarray(data[:count]), f"{tensor_name(graph, index)}/first")
    if old.quantization is not None and old.quantization.scale is not None:
        quantisation = copy.copy(old.quantization)
        if len(quantisation.scale) == len(data):
            quantisation.scale = quantisation.scale[:count]
            quantisation.zeroPoint = quantisation.zeroPoint[:count]
        graph.tensors[made].quantization = quantisation
    return made


def _is_dynamic_pointwise(wiring: Wiring, place: int) -> bool:
    if wiring.kind(place) != "CONV_2D":
        return False
    image, weights = wiring.reads(place)[:2]
    options = wiring.graph.operators[place].builtinOptions
    fits = wiring.dtype(image) == "FLOAT32" and wiring.dtype(weights) == "INT8"
    fits &= wiring.shape(weights)[1:3] == (1, 1) and (options.strideH, options.strideW) == (1, 1)
    return fits and wiring.output(place) not in ints(wiring.graph.outputs)


def _group_size(pixels: int) -> int:
    """How many of `pixels` share a scale: the divisor that leaves least of the kernels' tiles empty, the largest."""

    def filled(size: int) -> tuple[float, ...]:
        return tuple(size / (-(-size // tile) * tile) for tile in _TILES)

    sizes = [size for size in range(_FEWEST, _MOST + 1) if pixels % size == 0]
    return max(sizes or [pixels], key=lambda size: (filled(size), size))


def _reshape(model: Any, source: int, target: int) -> Any:
    """A RESHAPE to `target`'s shape; the first axis follows the batch, should LiteRT be told to resize the input."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph, options = model.subgraphs[0], schema.ReshapeOptionsT()
    options.newShape = np.array([-1, *ints(graph.tensors[target].shape)[1:]], np.int32)
    name = f"{tensor_name(graph, target)}/shape"
    return make_operator(
        model, "RESHAPE", [source, add_constant(model, graph, options.newShape, name)], [target], options
    )


def _rename(graph: Any, readers: list[int], old: int, new: int) -> None:
    """Let operators read `new` where they read `old`."""
    for place in readers:
        operator = graph.operators[place]
        operator.inputs = np.array([new if index == old else index for index in operator.inputs], np.int32)
