"""Convolve the parts of a concatenation apart, and add."""

from __future__ import annotations

import numpy as np

from ghostedge.onnx.graph import View, attributes, is_pointwise, make_node

__all__ = ["split_concat_conv"]

#: Above this many channels copying them is cheap beside a second pass over the outputs.
_MAX_CHANNELS = 32


def split_concat_conv(view: View) -> None:
    """Concat(a, b), Conv 1 x 1 -> Conv(a) + Conv(b), the bias in the first.

    XNNPACK copies a concatenation's rows one pixel at a time, which for few channels costs more than convolving them
    (8 and 8 channels to 8 at 112 x 112: 1.56 M ARM64 instructions, apart 1.11 M; LiteRT 2.1.0).

    What stays: other readers of the concatenation, more than two parts, more than 32 channels, more output channels
    than half the input channels (the sum is then as large as what is copied), parts that are no multiple of four.

    The addition is a Sum: behind an Add that a concatenation reads, onnx2tf 1.29.24 turns both to NCHW and back.
    Of a quantised network it makes one requantisation more.
    """
    for conv in view.nodes("Conv"):
        concat = view.producer(conv.input[0])
        if concat is None or concat.op_type != "Concat" or not is_pointwise(view, conv):
            continue
        weight = view.constant(conv.input[1])
        assert weight is not None
        parts = [view.shape(name)[1:2] for name in concat.input]
        alone = view.only_reader(concat.output[0]) is not None
        if not alone or len(parts) != 2 or attributes(concat)["axis"] not in (1, -3) or () in parts:
            continue
        channels = [part[0] for part in parts]
        if sum(channels) > _MAX_CHANNELS or 2 * weight.shape[0] > sum(channels) or any(c % 4 for c in channels):
            continue
        name = conv.name or conv.output[0]
        new, sums = [], []
        for index, (value, part) in enumerate(zip(concat.input, np.split(weight, [channels[0]], axis=1), strict=True)):
            inputs = [value, view.add_constant(f"{name}/weight{index}", part), *(conv.input[2:] if index == 0 else [])]
            sums.append(f"{conv.output[0]}/part{index}")
            new.append(make_node("Conv", inputs, sums[-1], f"{name}/part{index}", attributes(conv)))
        new.append(make_node("Sum", sums, conv.output[0], f"{name}/sum"))
        view.replace(conv, *new)
        view.remove_unread(concat)
