"""Write pools and sigmoids as operators that XNNPACK has, or executes faster."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.onnx.graph import OnnxGraph, attributes, make_node, name_of

__all__ = [
    "add_as_sum",
    "batch_norm_as_depthwise",
    "gather_as_convolution",
    "hard_sigmoid_as_clip",
    "mean_as_pool",
    "pad_before_max_pool",
    "pool_as_depthwise",
    "pool_as_resize",
    "sigmoid_as_tanh",
]

#: Operators behind an Add that onnx2tf 1.29.24 computes in NCHW, with a transpose before and one after.
_TURNED = ("Concat", "HardSwish", "Mul", "Sigmoid")

#: Operators that commute with a factor: f(c x) = c f(x).
_LINEAR = ("AveragePool", "GlobalAveragePool", "Pad", "Slice")


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


def add_as_sum(graph: OnnxGraph) -> None:
    """Add of two feature maps of one size -> Sum, which onnx2tf leaves as it lies; in TFLite it is an ADD again.

    What stays: an Add that none of `_TURNED` reads, and those of constants or of other ranks than four.
    """
    for node in graph.nodes("Add"):
        shapes = [graph.shape(name) for name in node.input if not graph.is_constant(name)]
        readers = {reader.op_type for reader in graph.readers(node.output[0])}
        if len(shapes) == 2 and shapes[0] == shapes[1] and len(shapes[0]) == 4 and not readers.isdisjoint(_TURNED):
            graph.replace(node, make_node("Sum", node.input, node.output[0], name_of(node)))


def batch_norm_as_depthwise(graph: OnnxGraph) -> None:
    """BatchNormalization of a feature map -> Conv 1 x 1, one group a channel, with a bias.

    One that follows no convolution (DenseNet's come before theirs) becomes MUL and ADD in TFLite, whose constants have
    one scale for all channels when they are quantised; a convolution's weights have one each.

    What stays: statistics that are not constant, other ranks than four.
    """
    for node in graph.nodes("BatchNormalization"):
        shape = graph.shape(node.input[0])
        if len(shape) != 4 or not graph.has_constants(node):
            continue
        gamma, beta, mean, variance = (graph.constant(name).astype(np.float64) for name in node.input[1:])
        scale, name = gamma / np.sqrt(variance + attributes(node).get("epsilon", 1e-5)), name_of(node)
        constants = {"weight": scale.reshape(-1, 1, 1, 1), "bias": beta - mean * scale}
        inputs = [graph.add_constant(f"{name}/{role}", value.astype(np.float32)) for role, value in constants.items()]
        fields = {"group": shape[1], "kernel_shape": [1, 1]}
        graph.replace(node, make_node("Conv", [node.input[0], *inputs], node.output[0], name, fields))


def gather_as_convolution(graph: OnnxGraph) -> None:
    """Gather of a feature map's channels -> Conv 1 x 1 whose weights are zeros and ones.

    onnx2tf 1.29.24 turns the map to NCHW and back around a Gather, and XNNPACK has none (LiteRT 2.1.0).
    `ghostedge.tflite.rewrites.channels` makes copies of the convolution, where they are cheaper.

    What stays: another axis than 1, indices that are not constant, other ranks than four.
    """
    for node in graph.nodes("Gather"):
        shape = graph.shape(node.input[0])
        if attributes(node).get("axis", 0) != 1 or len(shape) != 4 or not graph.has_constants(node):
            continue
        channels, name = graph.constant(node.input[1]), name_of(node)
        if channels.ndim != 1:
            continue
        weight = np.zeros((len(channels), shape[1], 1, 1), np.float32)
        weight[np.arange(len(channels)), channels] = 1
        inputs = [node.input[0], graph.add_constant(f"{name}/ones", weight)]
        graph.replace(node, make_node("Conv", inputs, node.output[0], name, {"kernel_shape": [1, 1]}))


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


def hard_sigmoid_as_clip(graph: OnnxGraph) -> None:
    """HardSigmoid, max(0, min(1, a x + b)) -> a * clip(x + b/a, 0, 1/a): with a = 1/6 a ReLU6.

    TensorFlow makes RELU_0_TO_1 of the former, which XNNPACK does not have (LiteRT 2.1.0).

    What stays: a slope that is not above zero.
    """
    for node in graph.nodes("HardSigmoid"):
        fields, name = attributes(node), name_of(node)
        alpha, beta = np.float32(fields.get("alpha", 0.2)), np.float32(fields.get("beta", 0.5))
        if alpha <= 0:
            continue
        shift, low, high, scale = (
            graph.add_constant(f"{name}/{role}", np.array(value, np.float32))
            for role, value in {"shift": beta / alpha, "low": 0, "high": 1 / alpha, "scale": alpha}.items()
        )
        graph.replace(
            node,
            make_node("Add", [node.input[0], shift], f"{name}/shifted", f"{name}/add"),
            make_node("Clip", [f"{name}/shifted", low, high], f"{name}/clipped", f"{name}/clip"),
            make_node("Mul", [f"{name}/clipped", scale], node.output[0], f"{name}/mul"),
        )


def sigmoid_as_tanh(graph: OnnxGraph) -> None:
    """Conv, Sigmoid, [Resize], Mul, ..., Conv -> Conv / 2, Tanh, + 1, [Resize], Mul, ..., Conv / 2.

    sigmoid(x) = (tanh(x / 2) + 1) / 2. Both halvings go into constant weights, which lose nothing by it: powers of two.
    XNNPACK's tanh with the addition executes three quarters of the ARM64 instructions of its sigmoid (LiteRT 2.1.0, 28
    x 28 x 72: 0.39 M, 0.53 M). A gate within 1e-7 of zero comes out with that error and not with a relative one.

    What stays: a sigmoid that something else reads too, or whose product does not reach constant convolutions on every
    way through `_LINEAR` operators and products.

    Not for a quantised network: there both are a table, and the addition costs a requantisation.
    """
    for sigmoid in graph.nodes("Sigmoid"):
        before = graph.producer(sigmoid.input[0])
        if before is None or graph.only_reader(sigmoid.input[0]) is None or not _is_constant_conv(graph, before):
            continue
        gate, reader = sigmoid.output[0], graph.only_reader(sigmoid.output[0])
        if reader is not None and reader.op_type == "Resize" and reader.input[0] == gate and _interpolates(reader):
            gate, reader = reader.output[0], graph.only_reader(reader.output[0])
        if reader is None or reader.op_type != "Mul":
            continue
        after = _absorbers(graph, reader.output[0])
        if after is None:
            continue
        name = name_of(sigmoid)
        for conv in after:
            _halve(graph, conv, {1: "weight"})
        _halve(graph, before, {1: "weight", 2: "bias"})
        one = graph.add_constant(f"{name}/one", np.array([1], np.float32))
        graph.replace(
            sigmoid,
            make_node("Tanh", [sigmoid.input[0]], f"{name}/tanh", f"{name}/tanh"),
            make_node("Add", [f"{name}/tanh", one], sigmoid.output[0], f"{name}/add"),
        )


def _interpolates(resize: Any) -> bool:
    """Whether each output is a mean of inputs whose weights sum to one, also at the borders."""
    fields = attributes(resize)
    modes = (b"align_corners", b"half_pixel", b"asymmetric", b"pytorch_half_pixel")
    return fields.get("mode", b"nearest") in (b"nearest", b"linear") and (
        fields.get("coordinate_transformation_mode", b"half_pixel") in modes
    )


def _is_constant_conv(graph: OnnxGraph, node: Any) -> bool:
    return node.op_type == "Conv" and graph.has_constants(node)


def _absorbers(graph: OnnxGraph, name: str) -> list[Any] | None:
    """The convolutions whose weights take up a factor of the value `name`; None where a way does not end in one."""
    found: list[Any] = []
    readers = graph.readers(name)
    if graph.is_output(name) or not readers:
        return None
    for reader in readers:
        if _is_constant_conv(graph, reader) and reader.input[0] == name:
            found.append(reader)
        elif (reader.op_type in _LINEAR and reader.input[0] == name) or (
            reader.op_type == "Mul" and readers.count(reader) == 1
        ):
            further = _absorbers(graph, reader.output[0])
            if further is None:
                return None
            found += further
        else:
            return None
    # A convolution that two ways reach, or one by a product of both, would be halved twice.
    names = [conv.output[0] for conv in found]
    return found if len(set(names)) == len(names) else None


def _halve(graph: OnnxGraph, conv: Any, inputs: dict[int, str]) -> None:
    for index, role in inputs.items():
        if len(conv.input) > index and conv.input[index]:
            half = graph.constant(conv.input[index]) / np.float32(2)
            graph.set_input(conv, index, graph.add_constant(f"{name_of(conv)}/half_{role}", half))
