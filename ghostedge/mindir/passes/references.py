"""Resolve MindSpore's references, tuples and in-place changes, so that every name stands for one value for ever."""

from __future__ import annotations

from dataclasses import replace

from ghostedge.errors import ConvertError
from ghostedge.mindir.graph import MONAD, Graph, Node

__all__ = ["resolve_references"]


def resolve_references(graph: Graph) -> Graph:
    """Requires a graph as read. Ensures single assignment, and that no tuple but those of real inputs is left.

    The cases:

    1. ``Load``, ``Depend``: another name for their first input.
    2. ``MakeTuple``, ``TupleGetItem``: names for what goes in and out of the tuple.
    3. ``UpdateState`` and the chains that it makes: dropped; the order of the nodes says the same.
    4. ``TensorMove``: the value that its input has at this point.
    5. ``Inplace...``: a new value, and from here on every name of the changed tensor stands for it. A second change
       under a name from before the first one is refused: MindSpore's CPU backend would lose the first change.
    6. ``...View``: shares memory with its input. Once one of the two was changed in place, reading the other is
       refused: the change would have to be carried over.
    7. Anything else: kept, its inputs replaced by the values that they stand for.

    Raises:
        ConvertError: case 5 or 6; a parameter is changed in place; a tuple's index is not a constant.
    """
    walk = _Walk(graph)
    nodes = tuple(kept for node in graph.nodes if (kept := walk.visit(node)))
    outputs = tuple(walk.value(name, "the network's output") for name in graph.outputs)
    return replace(graph, nodes=nodes, outputs=outputs)


class _Walk:
    """What the names stand for after the nodes visited so far."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._tensor: dict[str, str] = {}  # a name -> the tensor it is a name of
        self._value: dict[str, str] = {}  # a tensor -> its value now, where that is not the tensor's own name
        self._changes: dict[str, int] = {}  # a name -> how often its tensor had been changed when it got the name
        self._changed: dict[str, int] = {}  # a tensor -> how often it has been changed
        self._memory: dict[str, str] = {}  # a view -> the tensor whose memory it shares
        self._stale: dict[str, str] = {}  # a tensor -> the node that changed the memory under it
        self._chains: set[str] = {name for name, literal in graph.literals.items() if literal is MONAD}

    def value(self, name: str, reader: str) -> str:
        tensor = self._tensor.get(name, name)
        if tensor in self._stale:
            raise ConvertError(
                f"{reader} reads a view of a tensor that '{self._stale[tensor]}' changed in place (or the other way "
                "round), which is not supported; write it without the in-place operation"
            )
        return self._value.get(tensor, tensor)

    def visit(self, node: Node) -> Node | None:
        match node.op:
            case "UpdateState":  # case 3
                self._chains.update(node.outputs)
                return None
            case "Load" | "Depend":  # case 1
                source = node.inputs[0]
                self._rename(node.outputs, (source,) if isinstance(source, str) else source)
                return None
            case "MakeTuple":  # case 2
                for output, operand in zip(node.outputs, node.inputs, strict=True):
                    if isinstance(operand, str):  # a tuple in a tuple is only ever read by UpdateState
                        self._rename((output,), (operand,))
                return None
            case "TupleGetItem":  # case 2
                elements, index = node.inputs[0], self._graph.literals.get(str(node.inputs[1]))
                if isinstance(elements, str) or not isinstance(index, int) or not 0 <= index < len(elements):
                    raise ConvertError(f"node '{node.name}' takes no constant element of a known tuple")
                self._rename(node.outputs, (elements[index],))
                return None
            case "TensorMove":  # case 4
                self._value[node.outputs[0]] = self.value(str(node.inputs[0]), f"node '{node.name}'")
                return None
        return self._keep(node)  # cases 5 to 7

    def _rename(self, outputs: tuple[str, ...], names: tuple[str, ...]) -> None:
        for output, name in zip(outputs, names, strict=True):
            self._tensor[output] = self._tensor.get(name, name)
            self._changes[output] = self._changes.get(name, 0)

    def _keep(self, node: Node) -> Node:
        where = f"node '{node.name}'"
        inputs = tuple(
            self.value(operand, where)
            if isinstance(operand, str)
            else tuple(self.value(name, where) for name in operand if name not in self._chains)
            for operand in node.inputs
            if operand not in self._chains
        )
        if node.op.startswith("Inplace"):  # case 5
            self._change(node)
        elif node.op.endswith("View") and isinstance(node.inputs[0], str):  # case 6
            source = self._tensor.get(node.inputs[0], node.inputs[0])
            self._memory.update(dict.fromkeys(node.outputs, self._memory.get(source, source)))
        return replace(node, inputs=inputs)

    def _change(self, node: Node) -> None:
        name, (output,) = str(node.inputs[0]), node.outputs
        tensor = self._tensor.get(name, name)
        if self._graph.data(self._value.get(tensor, tensor)) is not None:
            raise ConvertError(f"node '{node.name}' ({node.op}) changes a parameter or constant while the network runs")
        changes = self._changed.get(tensor, 0)
        if self._changes.get(name, 0) != changes:
            raise ConvertError(
                f"node '{node.name}' ({node.op}) changes a tensor in place, under a name from before another change, "
                "which is not supported; assign the result of the in-place operation"
            )
        self._changed[tensor] = self._changes[output] = changes + 1
        memory = self._memory.get(tensor, tensor)
        for other in {memory, *(view for view, base in self._memory.items() if base == memory)} - {tensor}:
            self._stale[other] = node.name
        self._tensor[output] = tensor
        self._value[tensor] = output
