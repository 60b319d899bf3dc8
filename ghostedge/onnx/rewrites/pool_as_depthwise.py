"""Write an average pool as a depthwise convolution."""

from __future__ import annotations

import numpy as np

from ghostedge.onnx.graph import View, attributes, make_node

__all__ = ["pool_as_depthwise"]


def pool_as_depthwise(view: View) -> None:
    """AveragePool -> Conv, one group a channel, every weight 1 / (height * width of the window).

    XNNPACK's depthwise convolution of 2 x 2 executes half the ARM64 instructions of its average pool, and LiteRT's
    delegate takes an int8 AVERAGE_POOL_2D to no XNNPACK operator at all (LiteRT 2.1.0): each one splits a quantised
    network in two partitions. A constant weight quantises without error.

    What stays: pads (the pool divides by what lies inside, or not), ``ceil_mode``, dilations, windows of more than
    nine pixels, for which the pool is the faster.
    """
    for node in view.nodes("AveragePool"):
        fields = attributes(node)
        window = fields["kernel_shape"]
        channels = view.shape(node.input[0])[1:2]
        plain = not any(fields.get("pads", [])) and not fields.get("ceil_mode", 0)
        plain &= fields.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        plain &= all(step == 1 for step in fields.get("dilations", []))
        if not plain or len(window) != 2 or not 1 < np.prod(window) <= 9 or not channels or not channels[0]:
            continue
        name = node.name or node.output[0]
        weight = np.full((channels[0], 1, *window), 1 / np.prod(window), np.float32)
        conv = {"group": channels[0], "kernel_shape": window, "strides": fields.get("strides", [1, 1])}
        inputs = [node.input[0], view.add_constant(f"{name}/weight", weight)]
        view.replace(node, make_node("Conv", inputs, node.output[0], name, conv))
