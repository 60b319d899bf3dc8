"""Name nodes and values after the place in the network that they come from, each output as a value of its own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import takewhile

from ghostedge.mindir.graph import Graph, Node

__all__ = ["assign_names", "own_outputs"]

#: What the constant inputs of an operator are called, from its second input on.
_ROLES = {
    "BatchNormalization": ("scale", "bias", "mean", "variance"),
    "Clip": ("min", "max"),
    "Conv": ("weight", "bias"),
    "ConvTranspose": ("weight", "bias"),
    "Expand": ("shape",),
    "Gather": ("indices",),
    "Gemm": ("weight", "bias"),
    "LayerNormalization": ("weight", "bias"),
    "Pad": ("pads", "value"),
    "PRelu": ("slope",),
    "Reshape": ("shape",),
    "Resize": ("roi", "scales"),
    "Slice": ("starts", "ends", "axes", "steps"),
    "Split": ("sizes",),
    "Tile": ("repeats",),
}

Scope = tuple[str, ...]


def own_outputs(graph: Graph) -> Graph:
    """Requires ONNX operators. Ensures that no output is an input or a constant, and that no two are the same value.

    Where one is, an Identity makes the output; ONNX could not give it a name of its own otherwise.
    """
    made = {output for node in graph.nodes for output in node.outputs}
    values, nodes, outputs = dict(graph.values), list(graph.nodes), []
    for index, name in enumerate(graph.outputs):
        if name not in made or name in outputs:
            copy = f"%output {index}"
            values[copy] = replace(values[name], name=copy, data=None)
            nodes.append(Node("Identity", "Default/Identity-op0", (name,), (copy,)))
            name = copy
        outputs.append(name)
    return replace(graph, nodes=tuple(nodes), values=values, outputs=tuple(outputs))


def assign_names(graph: Graph, parameters: Iterable[str]) -> tuple[Graph, Mapping[str, str]]:
    """Requires ONNX operators and outputs with values of their own. Ensures unique names, equal ones for equal graphs.

    MindSpore calls a node ``Default/blocks-SequentialCell/2-Bottleneck/act-ReLU/ReLU-op0``: cell by cell the attribute
    and the class, and last the primitive with a counter. Here:

    1. The only node of a cell is called after the cell: ``blocks.2.act``.
    2. Several nodes of one cell get their operator too, and a number from the second of a kind on: ``blocks.2.Add``,
       ``blocks.2.Add_1``.
    3. What a node makes is called like the node; several outputs are numbered: ``blocks.2.Split:0``.
    4. An input of the network is ``input``, an output ``logits``; where there are several, ``input_0``, ``logits_0``.
    5. A parameter keeps its MindSpore name. Any other constant is called after the first node that reads it and its
       role there: ``blocks.2.conv.bias``.

    Args:
        graph: to name.
        parameters: names of the network's parameters.

    Returns:
        The graph, and the old name of each value -> its new one.
    """
    scopes = _scopes(graph)
    crowd = Counter(scopes)
    unique = _unique_names()
    renamed: dict[str, str] = {}
    for names, stem in ((graph.inputs, "input"), (graph.outputs, "logits")):
        for index, name in enumerate(names):
            renamed[name] = unique(stem if len(names) == 1 else f"{stem}_{index}")
    kept = set(parameters)
    renamed |= {name: unique(name) for node in graph.nodes for name in node.reads() if name in kept}
    nodes = []
    for node, scope in zip(graph.nodes, scopes, strict=True):
        path = ".".join(segment.rpartition("-")[0] or segment for segment in scope)
        name = unique(path if path and crowd[scope] == 1 else f"{path}.{node.op}".lstrip("."))
        for index, output in enumerate(node.outputs):
            if output not in renamed:
                renamed[output] = name if len(node.outputs) == 1 else unique(f"{name}:{index}")
        for index, constant in enumerate(node.inputs):
            if isinstance(constant, str) and constant and constant not in renamed:
                roles = _ROLES.get(node.op, ())
                renamed[constant] = unique(f"{name}.{roles[index - 1] if 0 < index <= len(roles) else 'constant'}")
        inputs = tuple(renamed.get(str(operand), operand) for operand in node.inputs)
        nodes.append(replace(node, name=name, inputs=inputs, outputs=tuple(renamed[o] for o in node.outputs)))
    named = Graph(
        inputs=tuple(renamed[name] for name in graph.inputs),
        outputs=tuple(renamed[name] for name in graph.outputs),
        nodes=tuple(nodes),
        values={
            renamed[name]: replace(value, name=renamed[name]) for name, value in graph.values.items() if name in renamed
        },
    )
    return named, renamed


def _unique_names() -> Callable[[str], str]:
    """A function that gives the name it is asked for, numbered from the second time on."""
    taken: set[str] = set()

    def unique(name: str) -> str:
        candidate, count = name, 0
        while candidate in taken:
            count += 1
            candidate = f"{name}_{count}"
        taken.add(candidate)
        return candidate

    return unique


def _scopes(graph: Graph) -> list[Scope]:
    """The cells that each node lies in, outermost first.

    MindSpore shares the code of a cell class between its instances, and an operator written as ``x * 2`` gets the scope
    of the first of them. Where the nodes around such an operator, two at least, lie in another instance, that one is
    taken.
    """
    own = {id(node): tuple(node.name.split("/")[1:-1]) for node in graph.nodes}
    producers = graph.producers()
    around: dict[int, list[Scope]] = {id(node): [] for node in graph.nodes}
    for node in graph.nodes:
        for name in node.reads():
            if maker := producers.get(name):
                around[id(node)].append(own[id(maker)])
                around[id(maker)].append(own[id(node)])
    return [_instance(own[id(node)], around[id(node)]) for node in graph.nodes]


def _instance(scope: Scope, around: list[Scope]) -> Scope:
    if len(around) < 2 or not scope:
        return scope
    shared = takewhile(lambda segments: len(set(segments)) == 1, zip(*around, strict=False))
    same_depth = tuple(segments[0] for segments in shared)[: len(scope)]
    return same_depth if _classes(same_depth) == _classes(scope) else scope


def _classes(scope: Scope) -> tuple[str, ...]:
    return tuple(segment.rpartition("-")[2] for segment in scope)
