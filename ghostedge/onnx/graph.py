"""One ONNX graph to ask and to change: who makes a value, who reads it, its shape, its constant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from ghostedge.lazy import require

__all__ = ["OnnxGraph", "attributes", "is_depthwise", "is_pointwise", "make_node", "name_of"]


class OnnxGraph:
    """An ``onnx.GraphProto``; change it through this class alone, so that what it says stays true.

    Attributes:
        proto: the graph itself.
    """

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self._constants = {tensor.name: tensor for tensor in proto.initializer}
        self._shapes: dict[str, tuple[int, ...]] = {
            value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
            for value in (*proto.input, *proto.value_info, *proto.output)
        }
        self._outputs = {output.name for output in proto.output}
        self._index()

    def _index(self) -> None:
        self._nodes = tuple(self.proto.node)
        self._producers = {name: node for node in self._nodes for name in node.output}
        self._readers: dict[str, list[Any]] = {}
        for node in self._nodes:
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def nodes(self, *op_types: str) -> tuple[Any, ...]:
        """The nodes of some operators, or all of them, in execution order."""
        return tuple(node for node in self._nodes if not op_types or node.op_type in op_types)

    def shape(self, name: str) -> tuple[int, ...]:
        """A value's shape, 0 for a size that is not fixed; empty where it is not known."""
        if name in self._constants:
            return tuple(self._constants[name].dims)
        return self._shapes.get(name, ())

    def producer(self, name: str) -> Any | None:
        """The node that makes a value; None for an input or a constant."""
        return self._producers.get(name)

    def readers(self, name: str) -> tuple[Any, ...]:
        """The nodes that read a value; a node stands here once for each of its inputs that is the value."""
        return tuple(self._readers.get(name, ()))

    def is_output(self, name: str) -> bool:
        """Whether a value is what the graph gives."""
        return name in self._outputs

    def only_reader(self, name: str) -> Any | None:
        """The node that alone reads a value, once; None where there are others or the graph gives it."""
        readers = self.readers(name)
        return readers[0] if len(readers) == 1 and not self.is_output(name) else None

    def is_constant(self, name: str) -> bool:
        """Whether a value is a constant."""
        return name in self._constants

    def constant(self, name: str) -> NDArray[Any]:
        """A constant's data."""
        data: NDArray[Any] = require("onnx.numpy_helper", "export").to_array(self._constants[name])
        return data

    def add_constant(self, name: str, data: NDArray[Any]) -> str:
        """Add a new constant. Returns: its name, which is `name` with underscores where that is taken."""
        while name in self._constants:
            name += "_"
        self._constants[name] = self.proto.initializer.add()
        self.set_constant(name, data)
        return name

    def set_constant(self, name: str, data: NDArray[Any]) -> None:
        """Give a constant other data."""
        self._constants[name].CopyFrom(require("onnx.numpy_helper", "export").from_array(data, name))

    def set_input(self, node: Any, index: int, name: str) -> None:
        """Let a node read another value."""
        node.input[index] = name
        self._index()

    def replace(self, node: Any, *new: Any) -> None:
        """Put `new` where `node` is; one of them makes what `node` made."""
        nodes = list(self.proto.node)
        at = next(index for index, other in enumerate(nodes) if other is node or other == node)
        nodes[at : at + 1] = new
        del self.proto.node[:]
        self.proto.node.extend(nodes)
        self._index()

    def remove_unread(self, node: Any) -> None:
        """Take `node` out if nothing reads what it makes."""
        if not any(self.readers(name) or self.is_output(name) for name in node.output):
            self.replace(node)

    def remove_unread_constants(self) -> None:
        """Take out the constants that no node reads."""
        kept = [tensor for tensor in self.proto.initializer if tensor.name in self._readers]
        del self.proto.initializer[:]
        self.proto.initializer.extend(kept)
        self._constants = {tensor.name: tensor for tensor in self.proto.initializer}

    def has_constants(self, node: Any) -> bool:
        """Whether all inputs of a node but its first are constants."""
        return all(name in self._constants for name in node.input[1:] if name)


def attributes(node: Any) -> dict[str, Any]:
    """A node's attributes, by name."""
    value = require("onnx.helper", "export").get_attribute_value
    return {attribute.name: value(attribute) for attribute in node.attribute}


def name_of(node: Any) -> str:
    """What to call a node: its name, or the value that it makes."""
    return str(node.name or node.output[0])


def make_node(op: str, inputs: Sequence[str], output: str, name: str, fields: Mapping[str, Any] | None = None) -> Any:
    """A node of one output."""
    return require("onnx.helper", "export").make_node(op, list(inputs), [output], name, **dict(fields or {}))


def is_pointwise(graph: OnnxGraph, conv: Any) -> bool:
    """Whether a node is a 1 x 1 convolution of all channels at once, stride 1, no pads, constant weights."""
    if conv.op_type != "Conv" or not graph.has_constants(conv):
        return False
    fields = attributes(conv)
    return (
        graph.shape(conv.input[1])[2:] == (1, 1)
        and fields.get("group", 1) == 1
        and not any(fields.get("pads", []))
        and all(stride == 1 for stride in fields.get("strides", []))
    )


def is_depthwise(graph: OnnxGraph, conv: Any) -> bool:
    """Whether a node is a convolution of each channel by itself, constant weights."""
    if conv.op_type != "Conv" or not graph.has_constants(conv):
        return False
    group, shape = attributes(conv).get("group", 1), graph.shape(conv.input[1])
    return len(shape) == 4 and shape[:2] == (group, 1) and graph.shape(conv.input[0])[1:2] == (group,)
