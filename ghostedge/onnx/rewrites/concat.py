"""Convolve the parts of a concatenation one by one, where that copies or computes less than the whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ghostedge.onnx.graph import OnnxGraph, attributes, is_depthwise, is_pointwise, make_node, name_of

__all__ = ["depthwise_before_concat", "split_concat_conv"]

#: Above this many channels copying them is cheap beside a second pass over the outputs.
_MAX_SPLIT_CHANNELS = 32


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
        constants = [np.split(_data(graph, value), ends) for value in conv.input[1:] if value]
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
        weight = _data(graph, conv.input[1])
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


def _data(graph: OnnxGraph, name: str) -> Any:
    """The data of what is known to be a constant."""
    data = graph.constant(name)
    assert data is not None
    return data
