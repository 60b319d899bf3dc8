"""Cut a .tflite model at its activations, so that every operator can be run on inputs of one's choice."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import numpy as np

from ghostedge.tflite.wiring import Wiring

__all__ = ["cut"]


def cut(model: Any, tensors: Iterable[int]) -> dict[int, int]:
    """Let what reads each of `tensors` read a new input of the graph instead.

    After it, `tensors` are the outputs of the graph, and each is computed from the new inputs that lie just before it
    and from nothing earlier.

    Args:
        model: what `ghostedge.tflite.model.unpack` gave, changed in place. Its indices of tensors stay.
        tensors: inputs of the graph or outputs of operators; operators between two of them stay together.

    Returns:
        Tensor -> the input that takes its place for its readers; one that nothing reads has none.
    """
    wiring = Wiring(model)
    graph, chosen = wiring.graph, list(dict.fromkeys(tensors))
    fed = {}
    for tensor in chosen:
        if tensor not in wiring.readers:
            continue
        stand_in = copy.copy(graph.tensors[tensor])
        stand_in.name = f"{wiring.name(tensor)}/fed".encode()
        fed[tensor] = len(graph.tensors)
        graph.tensors.append(stand_in)
        for place in wiring.readers[tensor]:
            operator = graph.operators[place]
            operator.inputs = np.array([fed[tensor] if i == tensor else i for i in operator.inputs], np.int32)
    kept = [int(index) for index in graph.inputs if index not in fed]
    graph.inputs = np.array([*kept, *fed.values()], np.int32)
    graph.outputs = np.array([tensor for tensor in chosen if tensor in wiring.producer], np.int32)
    model.signatureDefs = None  # it names inputs and outputs that are no longer those
    model.metadata = None
    return fed
