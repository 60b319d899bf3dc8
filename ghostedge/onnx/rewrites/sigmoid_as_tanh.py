"""Write the sigmoid of a gate as a tanh whose scales lie in the convolutions around it."""

from __future__ import annotations

from typing import Any

import numpy as np

from ghostedge.onnx.graph import View, attributes, make_node

__all__ = ["sigmoid_as_tanh"]

#: Operators that commute with a factor: f(c x) = c f(x).
_LINEAR = ("AveragePool", "GlobalAveragePool", "Pad", "Slice")


def sigmoid_as_tanh(view: View) -> None:
    """Conv, Sigmoid, [Resize], Mul, ..., Conv -> Conv / 2, Tanh, + 1, [Resize], Mul, ..., Conv / 2.

    sigmoid(x) = (tanh(x / 2) + 1) / 2. Both halvings go into constant weights, which lose nothing by it: powers of two.
    XNNPACK's tanh with the addition executes three quarters of the ARM64 instructions of its sigmoid (LiteRT 2.1.0, 28
    x 28 x 72: 0.39 M, 0.53 M). A gate within 1e-7 of zero comes out with that error and not with a relative one.

    What stays: a sigmoid that is read otherwise, or whose product does not reach constant convolutions on every way
    through `_LINEAR` operators and products.

    Not for a quantised network: there both are a table, and the addition costs a requantisation.
    """
    for sigmoid in view.nodes("Sigmoid"):
        before = view.producer(sigmoid.input[0])
        if before is None or view.only_reader(sigmoid.input[0]) is None or not _constant_conv(view, before):
            continue
        gate, reader = sigmoid.output[0], view.only_reader(sigmoid.output[0])
        if reader is not None and reader.op_type == "Resize" and reader.input[0] == gate and _interpolates(reader):
            gate, reader = reader.output[0], view.only_reader(reader.output[0])
        if reader is None or reader.op_type != "Mul":
            continue
        after = _absorbers(view, reader.output[0])
        if after is None:
            continue
        name = sigmoid.name or sigmoid.output[0]
        for conv in after:
            _halve(view, conv, [1])
        _halve(view, before, [1, 2])
        one = view.add_constant(f"{name}/one", np.array(1, np.float32))
        view.replace(
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


def _constant_conv(view: View, node: Any) -> bool:
    return node.op_type == "Conv" and all(view.constant(name) is not None for name in node.input[1:] if name)


def _absorbers(view: View, name: str) -> list[Any] | None:
    """The convolutions whose weights take up a factor of the value `name`; None where a way does not end in one."""
    found: list[Any] = []
    readers = view.readers(name)
    if view.is_output(name) or not readers:
        return None
    for reader in readers:
        if _constant_conv(view, reader) and reader.input[0] == name:
            found.append(reader)
        elif (reader.op_type in _LINEAR and reader.input[0] == name) or (
            reader.op_type == "Mul" and readers.count(reader) == 1
        ):
            further = _absorbers(view, reader.output[0])
            if further is None:
                return None
            found += further
        else:
            return None
    # A convolution that two ways reach, or one by a product of both, would be halved twice.
    names = [conv.output[0] for conv in found]
    return found if len(set(names)) == len(names) else None


def _halve(view: View, conv: Any, inputs: list[int]) -> None:
    name = conv.name or conv.output[0]
    for index in inputs:
        data = view.constant(conv.input[index]) if len(conv.input) > index else None
        if data is not None:
            role = "weight" if index == 1 else "bias"
            fresh = f"{name}/half_{role}"
            while view.constant(fresh) is not None:
                fresh += "_"
            conv.input[index] = view.add_constant(fresh, data / np.float32(2))
