"""Let a .tflite model take raw pixels: normalisation moves into the model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.model import InputSpec
from ghostedge.tflite.graph import VALID, Graph, Operator, options, schema
from ghostedge.tflite.rewrites.for_xnnpack import depthwise, reached

__all__ = ["fold_normalisation", "take_raw", "take_uint8"]


def _normalisation(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(factor, shift) with ``normalised = raw * factor + shift``, float32 (3,), in the tensor's channel order."""
    order = slice(None) if spec.colour_order == "RGB" else slice(None, None, -1)
    mean, std = (np.array(values, np.float64)[order] for values in (spec.mean, spec.std))
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def take_raw(graph: Graph, spec: InputSpec, *, float16: bool) -> int:
    """Make a float model take uint8 pixels: `take_uint8`, and a 1 x 1 depthwise convolution that normalises.

    The network behind them is untouched; it still pads with zeros in normalised space.
    """
    (image,), (factor, shift) = graph.inputs, _normalisation(spec)
    real = graph.add_tensor(graph.shape(image), "FLOAT32", "pixels/float32")
    normalise = depthwise(graph, real, image, factor.reshape(1, 1, 1, 3), shift, "normalise")
    graph.operators = (normalise, *graph.operators)
    graph.tensors[image].name = b"normalised"
    graph.inputs = [real]
    return take_uint8(graph, float16=float16)


def take_uint8(graph: Graph, *, float16: bool) -> int:
    """Make a model whose input is float32, 0..255, take uint8.

    By a DEQUANTIZE, which XNNPACK has; a QUANTIZE from uint8 to int8 it leaves to LiteRT (2.1.0). With `float16`, for
    models that may be computed in it, by LiteRT's own CAST: on a DEQUANTIZE of uint8 beside operators that quantise
    their inputs as they run, XNNPACK crashes on CPUs that do so (2.1.0 and 2.1.6; 2.3.0 computes it).
    """
    (image,) = graph.inputs
    pixels = graph.add_tensor(graph.shape(image), "UINT8", "pixels", None if float16 else (1.0, 0))
    graph.tensors[image].name = b"pixels/real"
    types = schema().TensorType
    cast = options("Cast", inDataType=types.UINT8, outDataType=types.FLOAT32) if float16 else None
    convert = graph.make("CAST" if float16 else "DEQUANTIZE", [pixels], [image], cast)
    graph.operators = (convert, *graph.operators)
    graph.inputs = [pixels]
    return 1


def fold_normalisation(graph: Graph, spec: InputSpec) -> int:
    """Make a float model take float pixels 0..255: normalisation goes into the first convolution's weights and bias.

    Where the network pads the image with zeros, that is with the mean colour, rows and columns of that colour are
    concatenated instead: TFLite pads with one number for all channels. What no window reaches is not added.

    Raises:
        ConvertError: the network does not begin with a convolution, padded or not, with constant float32 weights.
    """
    (image,) = graph.inputs
    pad, pads, stem = _beginning(graph, image)
    weights, bias = (graph.constant(tensor) for tensor in stem.inputs[1:3])
    if weights is None or bias is None or weights.dtype != np.float32:
        raise ConvertError("raw input needs constant float32 weights in the first convolution")
    factor, shift = _normalisation(spec)
    graph.set_constant(stem.inputs[1], (weights * factor).astype(np.float32))
    graph.set_constant(stem.inputs[2], (bias + (weights * shift).sum(axis=(1, 2, 3))).astype(np.float32))
    if pad is None or not any(map(any, pads)):
        return 1
    (top, _), (left, _) = pads
    frame = _frame(graph, image, reached(graph, stem, graph.shape(image), (top, left)), -shift / factor)
    graph.operators = (*frame, *(operator for operator in graph.operators if operator is not pad))
    stem.inputs = [frame[-1].output, *stem.inputs[1:]]
    return 1


def _beginning(graph: Graph, image: int) -> tuple[Operator | None, list[tuple[int, int]], Operator]:
    """The PAD that reads the image, if there is one; (before, after) of rows, of columns; the convolution behind it."""
    first, pads, pad = graph.readers(image), [(0, 0), (0, 0)], None
    if len(first) == 1 and first[0].kind == "PAD":
        pad = first[0]
        widths = graph.constant(pad.inputs[1])
        if widths is not None and not widths[[0, 3]].any():
            pads = [(int(before), int(after)) for before, after in widths[1:3]]
            first = graph.readers(pad.output)
    if len(first) != 1 or first[0].kind != "CONV_2D" or first[0].options.padding != VALID:
        raise ConvertError(
            "raw input needs a network that begins with one convolution, its padding written as an operator of its own"
        )
    return pad, pads, first[0]


def _frame(graph: Graph, image: int, pads: Sequence[tuple[int, int]], colour: NDArray[np.float32]) -> list[Operator]:
    """The operators that put a frame of one colour around an image; `pads`: (before, after) of rows, of columns."""
    made = []
    for axis, (before, after) in enumerate(pads, start=1):
        parts = [image]
        for width, place in ((before, 0), (after, len(parts) + bool(before))):
            if width:
                shape = [*graph.shape(image)]
                shape[axis] = width
                value = np.broadcast_to(colour, shape).astype(np.float32)
                parts.insert(place, graph.add_constant(value, f"frame/{axis}/{place}"))
        shape = [*graph.shape(image)]
        shape[axis] += before + after
        if len(parts) > 1:
            image = graph.add_tensor(shape, "FLOAT32", f"framed/{axis}")
            made.append(graph.make("CONCATENATION", parts, [image], options("Concatenation", axis=axis)))
    return made
