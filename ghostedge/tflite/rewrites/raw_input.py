"""Let a .tflite model take raw pixels: normalisation moves into the model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.model import InputSpec
from ghostedge.tflite.edit import (
    add_constant,
    add_tensor,
    constant,
    make_operator,
    replace_constant,
)
from ghostedge.tflite.model import ints, operator_name
from ghostedge.tflite.wiring import Wiring

__all__ = ["fold_normalisation", "take_raw", "take_uint8"]

_VALID = 1  # schema.fbs, enum Padding


def _normalisation(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(factor, shift) with ``normalised = raw * factor + shift``, float32 (3,), in the tensor's channel order."""
    order = slice(None) if spec.colour_order == "RGB" else slice(None, None, -1)
    mean, std = (np.array(values, np.float64)[order] for values in (spec.mean, spec.std))
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def take_raw(model: Any, spec: InputSpec, *, float16: bool) -> None:
    """Make a float model take uint8 pixels: `take_uint8`, and a 1 x 1 depthwise convolution that normalises.

    The network behind them is untouched; it still pads with zeros in normalised space.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph = model.subgraphs[0]
    (index,) = ints(graph.inputs)
    factor, shift = _normalisation(spec)
    real = add_tensor(graph, ints(graph.tensors[index].shape), "FLOAT32", "pixels/float32")
    options = schema.DepthwiseConv2DOptionsT()
    options.padding = _VALID
    options.strideH = options.strideW = options.depthMultiplier = options.dilationHFactor = options.dilationWFactor = 1
    weights = add_constant(model, graph, factor.reshape(1, 1, 1, 3), "normalise/weights")
    bias = add_constant(model, graph, shift, "normalise/bias")
    graph.operators.insert(0, make_operator(model, "DEPTHWISE_CONV_2D", [real, weights, bias], [index], options))
    graph.tensors[index].name = b"normalised"
    graph.inputs = np.array([real], np.int32)
    take_uint8(model, float16=float16)


def take_uint8(model: Any, *, float16: bool) -> None:
    """Make a model whose input is float32, 0..255, take uint8.

    By a DEQUANTIZE, which XNNPACK has; a QUANTIZE from uint8 to int8 it leaves to LiteRT (2.1.0). With `float16`, for
    models that may be computed in it, by LiteRT's own CAST: on a DEQUANTIZE of uint8 beside operators that quantise
    their inputs as they run, XNNPACK crashes on CPUs that do so (2.1.0 and 2.1.6; 2.3.0 computes it).
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph = model.subgraphs[0]
    (index,) = ints(graph.inputs)
    pixels = add_tensor(graph, ints(graph.tensors[index].shape), "UINT8", "pixels", None if float16 else (1.0, 0))
    graph.tensors[index].name = b"pixels/real"
    kind, options = "DEQUANTIZE", None
    if float16:
        kind, options = "CAST", schema.CastOptionsT()
        options.inDataType, options.outDataType = schema.TensorType.UINT8, schema.TensorType.FLOAT32
    graph.operators.insert(0, make_operator(model, kind, [pixels], [index], options))
    graph.inputs = np.array([pixels], np.int32)


def fold_normalisation(model: Any, spec: InputSpec) -> None:
    """Make a float model take float pixels 0..255: normalisation goes into the first convolution's weights and bias.

    Where the network pads the image with zeros, that is with the mean colour, rows and columns of that colour are
    concatenated instead: TFLite pads with one number for all channels. What no window reaches is not added.

    Raises:
        ConvertError: the network does not begin with a convolution, padded or not, with constant float32 weights.
    """
    graph = model.subgraphs[0]
    (index,) = ints(graph.inputs)
    wiring = Wiring(model)
    first, pads = wiring.readers[index], [(0, 0), (0, 0)]
    pad = None
    if len(first) == 1 and wiring.kind(first[0]) == "PAD":
        pad = graph.operators[first[0]]
        widths = constant(model, graph, int(pad.inputs[1]))
        if widths is not None and not widths[[0, 3]].any():
            pads = [(int(a), int(b)) for a, b in widths[1:3]]
            first = wiring.readers[int(pad.outputs[0])]
    stem = graph.operators[first[0]] if len(first) == 1 else None
    if stem is None or operator_name(model, stem) != "CONV_2D" or stem.builtinOptions.padding != _VALID:
        raise ConvertError(
            "raw input needs a network that begins with one convolution, its padding written as an operator of its own"
        )
    weights, bias = (constant(model, graph, int(i)) for i in stem.inputs[1:3])
    if weights is None or bias is None or weights.dtype != np.float32:
        raise ConvertError("raw input needs constant float32 weights in the first convolution")
    factor, shift = _normalisation(spec)
    replace_constant(model, graph, int(stem.inputs[1]), (weights * factor).astype(np.float32))
    replace_constant(
        model, graph, int(stem.inputs[2]), (bias + (weights * shift).sum(axis=(1, 2, 3))).astype(np.float32)
    )
    if not any(map(any, pads)):
        return
    image, made = ints(graph.tensors[index].shape), ints(graph.tensors[int(stem.outputs[0])].shape)
    strides = (0, stem.builtinOptions.strideH, stem.builtinOptions.strideW)
    for axis in (1, 2):
        reached = (made[axis] - 1) * strides[axis] + weights.shape[axis]  # rows or columns that windows look at
        before = pads[axis - 1][0]
        pads[axis - 1] = (before, max(0, reached - image[axis] - before))
    graph.operators.remove(pad)
    frame = _frame(model, index, pads, -shift / factor)
    graph.operators[:0] = frame
    stem.inputs = np.array([frame[-1].outputs[0], *stem.inputs[1:]], np.int32)


def _frame(model: Any, image: int, pads: list[tuple[int, int]], colour: NDArray[np.float32]) -> list[Any]:
    """The operators that put a frame of one colour around an image; `pads`: (before, after) of rows, of columns."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    graph = model.subgraphs[0]
    made = []
    for axis, (before, after) in enumerate(pads, start=1):
        parts = [image]
        for width, place in ((before, 0), (after, len(parts) + bool(before))):
            if width:
                shape = list(ints(graph.tensors[image].shape))
                shape[axis] = width
                value = np.broadcast_to(colour, shape).astype(np.float32)
                parts.insert(place, add_constant(model, graph, value, f"frame/{axis}/{place}"))
        shape = list(ints(graph.tensors[image].shape))
        shape[axis] += before + after
        if len(parts) > 1:
            image = add_tensor(graph, tuple(shape), "FLOAT32", f"framed/{axis}")
            options = schema.ConcatenationOptionsT()
            options.axis = axis
            made.append(make_operator(model, "CONCATENATION", parts, [image], options))
    return made
