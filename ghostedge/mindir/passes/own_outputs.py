"""Give each output of the network a value of its own, which a node makes."""

from __future__ import annotations

from dataclasses import replace

from ghostedge.mindir.graph import Graph, Node

__all__ = ["own_outputs"]


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
