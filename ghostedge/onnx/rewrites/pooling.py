"""Write pools as operators that XNNPACK has, or executes faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.onnx.graph import OnnxGraph, attributes, make_node, name_of

__all__ = ["mean_as_pool", "pad_before_max_pool", "pool_as_depthwise", "pool_as_resize"]


def mean_as_pool(graph: OnnxGraph) -> None:
    """ReduceMean over rows and columns, which drops both -> GlobalAveragePool, Flatten.

    onnx2tf transposes a feature map to NCHW before some means that drop these axes.

    What stays: means over other axes, and those that keep them.
    """
    for node in graph.nodes("ReduceMean"):
        fields = attributes(node)
        if sorted(fields.get("axes", [])) != [2, 3] or fields.get("keepdims", 1):
            continue
        name = name_of(node)
        graph.replace(
            node,
            make_node("GlobalAveragePool", [node.input[0]], f"{name}/pooled", f"{name}/pool"),
            make_node("Flatten", [f"{name}/pooled"], node.output[0], f"{name}/flatten"),
        )


def pad_before_max_pool(graph: OnnxGraph) -> None:
    """MaxPool with pads -> Pad with zeros, MaxPool: around what is never negative, zeros win no window.

    onnx2tf pads with the lowest float, which becomes PADV2; XNNPACK does not have that (LiteRT 2.1.0).

    What stays: a pool that no Relu or Sigmoid feeds; ``ceil_mode``.
    """
    for node in graph.nodes("MaxPool"):
        fields, producer = attributes(node), graph.producer(node.input[0])
        pads = fields.get("pads", [])
        never_negative = producer is not None and producer.op_type in ("Relu", "Sigmoid")
        if not any(pads) or not never_negative or fields.get("ceil_mode"):
            continue
        name, half = name_of(node), len(pads) // 2
        widths = np.array([0, 0, *pads[:half], 0, 0, *pads[half:]], np.int64)
        inputs = [node.input[0], graph.add_constant(f"{name}/pads", widths)]
        graph.replace(
            node,
            make_node("Pad", inputs, f"{name}/padded", f"{name}/pad"),
            make_node("MaxPool", [f"{name}/padded"], node.output[0], name, fields | {"pads": [0] * len(pads)}),
        )


def pool_as_resize(graph: OnnxGraph) -> None:
    """AveragePool 2 x 2 of stride 2 -> Resize to half the size, linear, half_pixel.

    Each output lies in the middle of four inputs, and each of them weighs a quarter. XNNPACK's bilinear resize executes
    two thirds of the ARM64 instructions of a depthwise convolution of 2 x 2, and half of them in int8, which computes
    that convolution with nine taps (56 x 56 x 24: 0.061 M and 0.085 M, int8 0.086 M and 0.181 M; LiteRT 2.1.0,
    Cortex-A72 and A76). In a quantised network input and output share their scale.

    What stays: an odd height or width, whose last row or column the pool leaves out; pads, ``ceil_mode``, dilations.
    """
    for node in graph.nodes("AveragePool"):
        fields, shape = attributes(node), graph.shape(node.input[0])
        halves = list(fields["kernel_shape"]) == list(fields.get("strides", [1, 1])) == [2, 2]
        halves &= len(shape) == 4 and all(size > 0 and size % 2 == 0 for size in shape[2:])
        if not halves or not _is_plain(fields):
            continue
        name = name_of(node)
        scales = graph.add_constant(f"{name}/scales", np.array([1, 1, 0.5, 0.5], np.float32))
        resize = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        graph.replace(node, make_node("Resize", [node.input[0], "", scales], node.output[0], name, resize))


def pool_as_depthwise(graph: OnnxGraph) -> None:
    """AveragePool -> Conv, one group a channel, every weight 1 / (height * width of the window).

    XNNPACK's depthwise convolution of 2 x 2 executes half the ARM64 instructions of its average pool, and LiteRT's
    delegate takes an int8 AVERAGE_POOL_2D to no XNNPACK operator at all (LiteRT 2.1.0): each one splits a quantised
    network in two partitions. A constant weight quantises without error.

    What stays: pads (the pool divides by what lies inside, or not), ``ceil_mode``, dilations, windows of more than
    nine pixels, for which the pool is the faster.
    """
    for node in graph.nodes("AveragePool"):
        fields, channels = attributes(node), graph.shape(node.input[0])[1:2]
        window = fields["kernel_shape"]
        if not _is_plain(fields) or len(window) != 2 or not 1 < np.prod(window) <= 9 or not any(channels):
            continue
        name = name_of(node)
        weight = np.full((channels[0], 1, *window), 1 / np.prod(window), np.float32)
        conv = {"group": channels[0], "kernel_shape": window, "strides": fields.get("strides", [1, 1])}
        inputs = [node.input[0], graph.add_constant(f"{name}/weight", weight)]
        graph.replace(node, make_node("Conv", inputs, node.output[0], name, conv))


def _is_plain(fields: dict[str, Any]) -> bool:
    """Whether a pool has neither pads nor ``ceil_mode`` nor dilations."""
    return (
        not any(fields.get("pads", []))
        and not fields.get("ceil_mode", 0)
        and fields.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        and all(step == 1 for step in fields.get("dilations", []))
    )
