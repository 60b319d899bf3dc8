"""Tell the operators of a .tflite model that a delegate runs from the others, by LiteRT's list of nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

Node = Mapping[str, Any]


def delegated(nodes: Iterable[Node]) -> tuple[list[Node], set[int], int]:
    """Sort the nodes of an interpreter with delegates applied.

    A delegate's node stands for all operators between its inputs and its outputs; LiteRT keeps those operators in the
    list, so that they are found by walking back from the delegate's outputs.

    Args:
        nodes: ``op_name``, ``inputs`` and ``outputs`` (tensor indices) of each, in execution order.

    Returns:
        The model's operators in that order, the places among them that a delegate runs, and the number of delegates.
    """
    every = list(nodes)
    operators = [node for node in every if node["op_name"] != "DELEGATE"]
    delegates = [node for node in every if node["op_name"] == "DELEGATE"]
    producer = {int(tensor): index for index, node in enumerate(operators) for tensor in node["outputs"]}
    inside: set[int] = set()
    for delegate in delegates:
        given = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            index = producer.get(tensor)
            if tensor in given or index is None or index in inside:
                continue
            inside.add(index)
            pending += [int(each) for each in operators[index]["inputs"]]
    return operators, inside, len(delegates)
