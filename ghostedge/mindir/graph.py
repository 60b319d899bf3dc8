"""The graph that every step of the conversion takes and returns: frozen plain data over numpy, no protobuf."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError

__all__ = ["MONAD", "Graph", "Literal", "Monad", "Node", "Operand", "Value"]


class Monad:
    """The type of `MONAD`."""

    def __repr__(self) -> str:
        return "MONAD"


#: What MindSpore passes from node to node to keep side effects in order; it carries no data.
MONAD = Monad()

#: What a primitive takes besides tensors: numbers, flags, strings, None, and tuples of them.
Literal: TypeAlias = "bool | int | float | str | Monad | tuple[Literal, ...] | None"

#: One input of a node: the name of a value or literal, or the names of a tuple's elements; ``""`` for an absent input.
Operand: TypeAlias = "str | tuple[str, ...]"


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor: the edge between the node that makes it and the nodes that read it.

    Attributes:
        name: unique in its graph.
        dtype: of its elements.
        shape: fixed; of the batch size that the MindIR was exported at.
        data: its elements where they are known without running the network (parameters, constants).
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    data: NDArray[Any] | None = None

    @classmethod
    def constant(cls, name: str, data: NDArray[Any]) -> Value:
        """A value whose elements are known."""
        return cls(name, data.dtype, data.shape, data)


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        op: the primitive of MindSpore or the operator of ONNX.
        name: where it is in the network, for error messages: MindSpore's scope, ``"Default/head-Dense/MatMul-op0"``.
        inputs: what it reads, in the order of its specification.
        outputs: the values that it makes.
        attributes: its other arguments, by name.
    """

    op: str
    name: str
    inputs: tuple[Operand, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    def reads(self) -> Iterator[str]:
        """The names that it reads, tuples taken apart, absent inputs left out."""
        for operand in self.inputs:
            yield from filter(None, (operand,) if isinstance(operand, str) else operand)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in an order in which each reads only what earlier ones made.

    Attributes:
        inputs: the values that the caller gives.
        outputs: the values that the caller gets, in order.
        nodes: the operations.
        values: every tensor by name: inputs, what nodes make, parameters and constants (these two with `Value.data`).
        literals: what primitives take besides tensors, by name. Empty once the graph is made of ONNX operators.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    literals: Mapping[str, Literal] = field(default_factory=dict)

    def uses(self) -> Counter[str]:
        """How often each value is read by nodes or handed out as an output."""
        return Counter([*self.outputs, *(name for node in self.nodes for name in node.reads())])

    def producers(self) -> dict[str, Node]:
        """Value name -> the node that makes it."""
        return {output: node for node in self.nodes for output in node.outputs}

    def data(self, name: str) -> NDArray[Any] | None:
        """The elements of a value where they are known; None for ``""`` and for what only running the network tells."""
        return self.values[name].data if name else None

    def without_dead_code(self) -> Graph:
        """The graph without nodes that make nothing that is read, and without names that nothing uses.

        A node's other outputs stay, and so do the network's inputs.
        """
        needed = {*self.inputs, *self.outputs}
        nodes = []
        for node in reversed(self.nodes):
            if not needed.isdisjoint(node.outputs):
                nodes.append(node)
                needed.update(node.reads())
        needed.update(output for node in nodes for output in node.outputs)
        return replace(
            self,
            nodes=tuple(reversed(nodes)),
            values={name: value for name, value in self.values.items() if name in needed},
            literals={name: literal for name, literal in self.literals.items() if name in needed},
        )

    def check(self) -> None:
        """Hold the graph to what the attributes above promise.

        Raises:
            ConvertError: a value is read before it is made, made twice, or has no entry in `values`.
        """
        known = {name for name, value in self.values.items() if value.data is not None}
        known |= set(self.literals) | set(self.inputs)
        typed = set(self.values) | set(self.literals)
        readers = [(f"node '{node.name}' ({node.op})", node.reads(), node.outputs) for node in self.nodes]
        for reader, names, outputs in [*readers, ("the caller", self.outputs, ())]:
            for name in names:
                if name not in known:
                    raise ConvertError(f"{reader} reads '{name}', which nothing has made before it")
                if name not in typed:
                    raise ConvertError(f"{reader} reads '{name}', which is not a tensor")
            for name in outputs:
                if name in known:
                    raise ConvertError(f"{reader} makes '{name}', which exists already")
                known.add(name)
