"""Drop what the network's outputs do not need."""

from __future__ import annotations

from dataclasses import replace

from ghostedge.mindir.graph import Graph

__all__ = ["drop_dead_code"]


def drop_dead_code(graph: Graph) -> Graph:
    """Requires nothing. Ensures that each node makes something that is read, and that no name is left that none uses.

    A node's other outputs stay, and so do the network's inputs.
    """
    needed = {*graph.inputs, *graph.outputs}
    nodes = []
    for node in reversed(graph.nodes):
        if not needed.isdisjoint(node.outputs):
            nodes.append(node)
            needed.update(node.reads())
    needed.update(output for node in nodes for output in node.outputs)
    return replace(
        graph,
        nodes=tuple(reversed(nodes)),
        values={name: value for name, value in graph.values.items() if name in needed},
        literals={name: literal for name, literal in graph.literals.items() if name in needed},
    )
