"""A view of an ONNX graph that rewrites look through: who makes a value, who reads it, its shape, its constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require

__all__ = ["View"]


class View:
    """An ``onnx.GraphProto`` of known shapes; changes are made through it, so that what it says stays true.

    Attributes:
        graph: the graph that is looked at.
    """

    def __init__(self, graph: Any) -> None:
        self.graph = graph
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._shapes: dict[str, tuple[int, ...]] = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*graph.input, *graph.value_info, *graph.output)
        }

    def nodes(self, op_type: str) -> tuple[Any, ...]:
        """The nodes of one operator, in execution order."""
        return tuple(node for node in self.graph.node if node.op_type == op_type)

    def shape(self, name: str) -> tuple[int, ...]:
        """A value's shape; empty where it is not known."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        return self._shapes.get(name, ())

    def producer(self, name: str) -> Any | None:
        """The node that makes a value; None of an input or a constant."""
        return next((node for node in self.graph.node if name in node.output), None)

    def readers(self, name: str) -> tuple[Any, ...]:
        """The nodes that read a value, one of them once for each of its inputs that is the value."""
        return tuple(node for node in self.graph.node for read in node.input if read == name)

    def is_output(self, name: str) -> bool:
        """Whether a value is what the graph gives."""
        return any(output.name == name for output in self.graph.output)

    def only_reader(self, name: str) -> Any | None:
        """The node that alone reads a value, once; None where there are others or the graph gives it."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and not self.is_output(name) else None

    def constant(self, name: str) -> NDArray[Any] | None:
        """A constant's data; None of a value that is computed."""
        tensor = self._constants.get(name)
        if tensor is None:
            return None
        data: NDArray[Any] = require("onnx.numpy_helper", "export").to_array(tensor)
        return data

    def add_constant(self, name: str, data: NDArray[Any]) -> str:
        """A new constant. Returns: its name."""
        tensor = require("onnx.numpy_helper", "export").from_array(np.ascontiguousarray(data), name)
        self.graph.initializer.append(tensor)
        self._constants[name] = tensor
        return name

    def replace(self, node: Any, *new: Any) -> None:
        """Put `new` where `node` is; the values that `node` made are made by one of them."""
        nodes = list(self.graph.node)
        at = next(index for index, other in enumerate(nodes) if other is node or other == node)
        nodes[at : at + 1] = new
        del self.graph.node[:]
        self.graph.node.extend(nodes)

    def remove_unread(self, node: Any) -> None:
        """Take `node` out if nothing reads what it makes."""
        if not any(self.readers(name) or self.is_output(name) for name in node.output):
            self.replace(node)

    def set_shape(self, name: str, shape: Sequence[int]) -> None:
        """Note the shape of a new value."""
        self._shapes[name] = tuple(shape)


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes, by name."""
    value = require("onnx.helper", "export").get_attribute_value
    return {attribute.name: value(attribute) for attribute in node.attribute}


def make_node(op: str, inputs: Sequence[str], output: str, name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """A node of one output."""
    return require("onnx.helper", "export").make_node(op, list(inputs), [output], name, **dict(fields or {}))


def is_pointwise(view: View, conv: Any) -> bool:
    """Whether a node is a 1 x 1 convolution of all channels at once, stride 1, no pads, constant weights."""
    weight = view.constant(conv.input[1]) if conv.op_type == "Conv" else None
    fields = attributes(conv)
    return (
        weight is not None
        and weight.shape[2:] == (1, 1)
        and fields.get("group", 1) == 1
        and not any(fields.get("pads", []))
        and all(stride == 1 for stride in fields.get("strides", []))
        and all(view.constant(name) is not None for name in conv.input[2:] if name)
    )


def is_depthwise(view: View, conv: Any) -> bool:
    """Whether a node is a convolution of each channel by itself, constant weights."""
    weight = view.constant(conv.input[1]) if conv.op_type == "Conv" else None
    group = attributes(conv).get("group", 1)
    return (
        weight is not None
        and weight.ndim == 4
        and weight.shape[:2] == (group, 1)
        and view.shape(conv.input[0])[1:2] == (group,)
        and all(view.constant(name) is not None for name in conv.input[2:] if name)
    )
