"""Write ADD_N of two tensors as ADD, which XNNPACK has."""

from __future__ import annotations

from typing import Any

from ghostedge.lazy import require
from ghostedge.tflite.edit import make_operator
from ghostedge.tflite.model import ints, operator_name

__all__ = ["sums_to_additions"]


def sums_to_additions(model: Any) -> int:
    """Replace each ADD_N of two tensors of one shape by an ADD; more than two stay.

    onnx2tf makes an ADD_N of an ONNX Sum. XNNPACK does not have it (LiteRT 2.1.0).

    Returns:
        How many were replaced.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    replaced = 0
    for graph in model.subgraphs:
        for position, operator in enumerate(graph.operators):
            inputs, outputs = list(ints(operator.inputs)), list(ints(operator.outputs))
            if operator_name(model, operator) != "ADD_N" or len(inputs) != 2:
                continue
            graph.operators[position] = make_operator(model, "ADD", inputs, outputs, schema.AddOptionsT())
            replaced += 1
    return replaced
