"""Shape a .tflite model that may be computed in float16 so that LiteRT 2.3 computes it as fast as LiteRT 2.1.

Up to LiteRT 2.1.6, XNNPACK made float16 of a finished float32 graph, in which it had joined each PAD of zeros with the
convolution behind it. In LiteRT 2.3.0 its delegate builds the graph of float16 tensors from the start. Then:

- a PAD is not joined (XNNPACK's `xnn_subgraph_fusion` knows zeros of float32 and of 8 bit integers only). It copies
  pixel by pixel, about 100 ARM64 instructions each, where it adds rows and columns. `pad_rows` prevents that.
- a dynamically quantised dense layer has no float16 kernels (XNNPACK asks for those of SME), so that it and all that
  follows is computed in float32. XNNPACK takes a 1 x 1 convolution of stride 1 for one. `group_pixels` prevents that.
"""

from __future__ import annotations

import copy

import numpy as np

from ghostedge.tflite.graph import VALID, Graph, Operator, options
from ghostedge.tflite.rewrites.for_xnnpack import reached

__all__ = ["drop_spare_channels", "group_pixels", "pad_rows"]

#: Rows of a tile of XNNPACK's kernels, the more important number first: 4 on ARM64 and with AVX2, 8 with AVX-512.
_TILES = (4, 8)

#: How many pixels may share a scale: fewer leave tiles empty, more lose accuracy (28 lose 1 dB).
_FEWEST, _MOST = 4, 14


def pad_rows(graph: Graph) -> int:
    """PAD -> RESHAPE to rows of width * channels numbers, PAD, RESHAPE.

    Padded as rows, whole rows are copied at once (GhostNetV2-1x, float16 on a Cortex-A76, ten PADs: 9.7 M instructions,
    as rows 1.3 M on any LiteRT; joined with their convolutions, as 2.1.0 did, none). On x86 the copies cost
    a twentieth of the time. What no window reaches is not added.

    What stays: pads of batch or channels, other values than zero, quantised tensors, other readers than one
    convolution that does not pad by itself.
    """
    changed = 0
    for pad in graph.operators:
        widths = _spatial_widths(graph, pad) if pad.kind == "PAD" else None
        if widths is None:
            continue
        (image, _), output, name = pad.inputs, pad.output, pad.name
        (batch, height, width, channels), ((top, bottom), (left, right)) = graph.shape(image), widths
        padded = (batch, height + top + bottom, width + left + right, channels)
        rows = graph.add_tensor((batch, height, width * channels), "FLOAT32", f"{name}/rows")
        longer = graph.add_tensor((batch, padded[1], padded[2] * channels), "FLOAT32", f"{name}/rows/padded")
        numbers = np.array([[0, 0], [top, bottom], [left * channels, right * channels]], np.int32)
        added = graph.add_constant(numbers, f"{name}/rows/widths")
        graph.set_shape(output, padded)
        to_rows = _reshape(graph, image, rows)
        longer_rows = graph.make("PAD", [rows, added], [longer], options("Pad"))
        graph.replace(pad, [to_rows, longer_rows, _reshape(graph, longer, output)])
        changed += 1
    return changed


def _spatial_widths(graph: Graph, pad: Operator) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """((top, bottom), (left, right)) that the convolution behind a PAD reaches; None where `pad_rows` leaves it."""
    image, output = pad.reads[0], pad.output
    widths, readers = graph.constant(pad.reads[1]), graph.readers(output)
    if len(graph.shape(output)) != 4 or graph.dtype(image) != "FLOAT32" or widths is None or widths[[0, 3]].any():
        return None
    if len(readers) != 1 or output in graph.outputs or readers[0].kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return None
    (conv,) = readers
    if conv.options.padding != VALID:
        return None
    top, left = (int(before) for before in widths[1:3, 0])
    return reached(graph, conv, graph.shape(image), (top, left))


def group_pixels(graph: Graph) -> int:
    """Dynamically quantised CONV_2D 1 x 1 -> RESHAPE to groups of pixels, CONV_2D 1 x 1 of stride (1, 2), RESHAPE.

    The groups are images of one column, so the stride changes nothing but that XNNPACK does not take the convolution
    for a dense layer. The pixels of a group are quantised with one scale; before, each had its own (demo, SNR on 60
    photos: 47.7 dB; groups of 4 to 8: 47.6, up to 14: 47.1, up to 28: 46.6, whole images: 43.5).

    What stays: other windows and strides; the last layer's FULLY_CONNECTED, behind which nothing is left to compute.
    """
    found = [operator for operator in graph.operators if _is_dynamic_pointwise(graph, operator)]
    for conv in found:
        (image, *constants), output, name = conv.inputs, conv.output, conv.name
        shape, made = graph.shape(image), graph.shape(output)
        conv.raw.builtinOptions = copy.copy(conv.options)
        conv.options.strideW = 2
        if shape[2] == 1:
            continue
        pixels = shape[1] * shape[2]
        size = _group_size(pixels)
        groups = shape[0] * pixels // size
        grouped = graph.add_tensor((groups, size, 1, shape[3]), "FLOAT32", f"{name}/pixels")
        # The convolution's own output keeps its name, by which `inspect --against` finds it.
        result = graph.add_tensor(made, "FLOAT32", f"{name}/image")
        graph.set_shape(output, (groups, size, 1, made[3]))
        for reader in graph.readers(output):
            reader.inputs = [result if tensor == output else tensor for tensor in reader.inputs]
        conv.inputs = [grouped, *constants]
        graph.replace(conv, [_reshape(graph, image, grouped), conv, _reshape(graph, output, result)])
    return len(found)


def drop_spare_channels(graph: Graph) -> int:
    """CONV_2D, STRIDED_SLICE of the first channels -> CONV_2D of these channels.

    It takes back `ghostedge.onnx.rewrites.round_up_channels`, which is in the float32 model that dynamic is made of:
    float16's and int8's tiles are of 16 channels, which 4 more do not fill, and the slice is a copy.

    What stays: slices of other axes or from a later channel, other readers of the convolution, weights that are neither
    stored float32 nor int8 with one scale a channel.
    """
    dropped = 0
    for sliced in graph.operators:
        conv = graph.producer(sliced.reads[0]) if sliced.kind == "STRIDED_SLICE" else None
        if conv is None or conv.kind != "CONV_2D":
            continue
        image, output = sliced.reads[0], sliced.output
        if graph.readers(image) != (sliced,) or graph.shape(image)[:3] != graph.shape(output)[:3]:
            continue
        begin, _, steps = (graph.constant(tensor) for tensor in sliced.reads[1:])
        if begin is None or steps is None or begin.any() or (steps != 1).any():
            continue
        channels, (activation, *constants) = graph.shape(output)[3], conv.inputs
        if len(constants) != 2 or any(graph.constant(tensor) is None for tensor in constants):
            continue
        conv.inputs = [activation, *(_first(graph, tensor, channels) for tensor in constants)]
        conv.outputs = [output]
        graph.replace(sliced, [])
        dropped += 1
    return dropped


def _first(graph: Graph, tensor: int, count: int) -> int:
    """A constant of the first `count` filters or biases, and of their scales. Returns: its index."""
    data, old = graph.constant(tensor), graph.tensors[tensor].quantization
    assert data is not None
    made = graph.add_constant(np.ascontiguousarray(data[:count]), f"{graph.name(tensor)}/first")
    if old is not None and old.scale is not None:
        quantisation = graph.tensors[made].quantization = copy.copy(old)
        if len(old.scale) == len(data):
            quantisation.scale, quantisation.zeroPoint = old.scale[:count], old.zeroPoint[:count]
    return made


def _is_dynamic_pointwise(graph: Graph, operator: Operator) -> bool:
    if operator.kind != "CONV_2D":
        return False
    (image, weights), windows = operator.reads[:2], operator.options
    fits = graph.dtype(image) == "FLOAT32" and graph.dtype(weights) == "INT8"
    fits &= graph.shape(weights)[1:3] == (1, 1) and (windows.strideH, windows.strideW) == (1, 1)
    return fits and operator.output not in graph.outputs


def _group_size(pixels: int) -> int:
    """How many pixels share a scale: the largest of the divisors of `pixels` that leave least of the tiles empty."""

    def filled(size: int) -> tuple[float, ...]:
        return tuple(size / (-(-size // tile) * tile) for tile in _TILES)

    sizes = [size for size in range(_FEWEST, _MOST + 1) if pixels % size == 0]
    return max(sizes or [pixels], key=lambda size: (filled(size), size))


def _reshape(graph: Graph, source: int, target: int) -> Operator:
    """A RESHAPE to `target`'s shape; the first axis follows the batch, should LiteRT be told to resize the input."""
    size = np.array([-1, *graph.shape(target)[1:]], np.int32)
    shape = graph.add_constant(size, f"{graph.name(target)}/shape")
    return graph.make("RESHAPE", [source, shape], [target], options("Reshape", newShape=size))
