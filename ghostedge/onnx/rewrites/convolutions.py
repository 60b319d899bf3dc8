"""Write convolutions for XNNPACK in other pieces: the parts of a concatenation, whole tiles of channels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ghostedge.onnx.graph import OnnxGraph, attributes, is_depthwise, is_pointwise, make_node, name_of

__all__ = ["depthwise_before_concat", "round_up_channels", "split_concat_conv"]

#: Above this many channels copying them is cheap beside a second pass over the outputs.
_MAX_SPLIT_CHANNELS = 32

#: Output channels of a tile of XNNPACK's float32 kernels.
_TILE = 8

#: Below this many input channels the slice costs what the faster kernel saves.
_MIN_INPUT_CHANNELS = 16


def depthwise_before_concat(graph: OnnxGraph) -> None:
    """Concat(a, b, ...), depthwise Conv of stride 2 -> Concat(Conv(a), Conv(b), ...).

    The values are the same to the last bit, and a quarter of the pixels is copied.

    What stays: other readers of the concatenation, stride 1 (nothing becomes smaller, and more small convolutions cost
    more than one large one), parts that are no multiple of four channels.
    """
    for conv, concat, channels in _convolved_concats(graph):
        fields = attributes(conv)
        if not is_depthwise(graph, conv) or np.prod(fields.get("strides", [1, 1])) < 4:
            continue
        name, ends = name_of(conv), np.cumsum(channels)[:-1]
        constants = [np.split(graph.constant(value), ends) for value in conv.input[1:] if value]
        new, outputs = [], []
        for index, value in enumerate(concat.input):
            inputs = [value]
            for role, parts in zip(("weight", "bias"), constants, strict=False):
                inputs.append(graph.add_constant(f"{name}/{role}{index}", parts[index]))
            outputs.append(f"{conv.output[0]}/part{index}")
            group = {"group": channels[index]}
            new.append(make_node("Conv", inputs, outputs[-1], f"{name}/part{index}", fields | group))
        new.append(make_node("Concat", outputs, conv.output[0], f"{name}/concat", {"axis": 1}))
        graph.replace(conv, *new)
        graph.remove_unread(concat)


def split_concat_conv(graph: OnnxGraph) -> None:
    """Concat(a, b), Conv 1 x 1 -> Conv(a) + Conv(b), the bias in the first.

    XNNPACK copies a concatenation's rows one pixel at a time, which for few channels costs more than convolving them
    (8 and 8 channels to 8 at 112 x 112: 1.56 M ARM64 instructions, apart 1.11 M; LiteRT 2.1.0).

    What stays: other readers of the concatenation, more than two parts, more than 32 channels, more output channels
    than half the input channels (the sum is then as large as what is copied), parts that are no multiple of four.

    The addition is a Sum: behind an Add that a concatenation reads, onnx2tf 1.29.24 turns both to NCHW and back.
    In a quantised network it makes one requantisation more.
    """
    for conv, concat, channels in _convolved_concats(graph):
        if not is_pointwise(graph, conv) or len(channels) != 2 or sum(channels) > _MAX_SPLIT_CHANNELS:
            continue
        weight = graph.constant(conv.input[1])
        if 2 * weight.shape[0] > sum(channels):
            continue
        name = name_of(conv)
        new, sums = [], []
        for index, (value, part) in enumerate(zip(concat.input, np.split(weight, [channels[0]], axis=1), strict=True)):
            inputs = [value, graph.add_constant(f"{name}/weight{index}", part), *(conv.input[2:] if index == 0 else [])]
            sums.append(f"{conv.output[0]}/part{index}")
            new.append(make_node("Conv", inputs, sums[-1], f"{name}/part{index}", attributes(conv)))
        new.append(make_node("Sum", sums, conv.output[0], f"{name}/sum"))
        graph.replace(conv, *new)
        graph.remove_unread(concat)


def _convolved_concats(graph: OnnxGraph) -> Iterator[tuple[Any, Any, list[int]]]:
    """Each Conv that alone reads a Concat of channels, that Concat, and how many channels its parts have: 4 n each."""
    for conv in graph.nodes("Conv"):
        concat = graph.producer(conv.input[0])
        if concat is None or concat.op_type != "Concat" or graph.only_reader(concat.output[0]) is None:
            continue
        parts = [graph.shape(name)[1:2] for name in concat.input]
        if attributes(concat)["axis"] in (1, -3) and () not in parts and not any(count % 4 for (count,) in parts):
            yield conv, concat, [count for (count,) in parts]


def round_up_channels(graph: OnnxGraph) -> None:
    """Conv 1 x 1 to 8 n + 4 channels, [Relu] -> Conv to 8 n + 8 channels, [Relu], Slice.

    XNNPACK's float32 kernels for ARM64 make tiles of 8 output channels. For 8 n + 4 it takes, for all channels, kernels
    of 2 that execute 1.7 times the instructions of the tiles for 8 n + 8 (LiteRT 2.1.0, Cortex-A72 and A76; 24 -> 36
    channels at 56 x 56: 1.88 M, 24 -> 40: 1.12 M, the slice: 0.14 M). The additional filters are copies of the first
    ones, so that no filter is all zero and no range of values grows.

    What stays: one pixel (there the tile is not full in any case), fewer than 12 output or 16 input channels.
    """
    for conv in graph.nodes("Conv"):
        if not is_pointwise(graph, conv):
            continue
        channels, input_channels = graph.shape(conv.input[1])[:2]
        if channels % _TILE != _TILE // 2 or channels < _TILE or input_channels < _MIN_INPUT_CHANNELS:
            continue
        shape = graph.shape(conv.output[0])
        if len(shape) != 4 or np.prod(shape[2:]) <= 1:
            continue
        name = name_of(conv)
        reader = graph.only_reader(conv.output[0])
        activation = reader if reader is not None and reader.op_type == "Relu" else None
        inputs = [conv.input[0]]
        for role, value in zip(("weight", "bias"), filter(None, conv.input[1:]), strict=False):
            data = graph.constant(value)
            wider = np.concatenate([data, data[: _TILE // 2]])
            inputs.append(graph.add_constant(f"{name}/wide_{role}", wider))
        wide = f"{conv.output[0]}/wide"
        new = [make_node("Conv", inputs, wide, f"{name}/wide", attributes(conv))]
        if activation is not None:
            new.append(make_node("Relu", [wide], f"{wide}/relu", f"{name}/wide_relu"))
        ends = {"starts": [0], "ends": [channels], "axes": [1]}
        bounds = [graph.add_constant(f"{name}/{key}", np.array(value, np.int64)) for key, value in ends.items()]
        output = conv.output[0] if activation is None else activation.output[0]
        new.append(make_node("Slice", [new[-1].output[0], *bounds], output, f"{name}/slice"))
        graph.replace(conv, *new)
        if activation is not None:
            graph.replace(activation)
