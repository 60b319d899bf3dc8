"""Operators that older runtimes would compute wrongly say the version that these refuse."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.tflite.graph import Graph, schema
from ghostedge.tflite.quantize.write import state_versions
from tests.tflite.graphs import linear

pytest.importorskip("ai_edge_litert")


def dense_code(graph: Graph) -> Any:
    """The entry of its dense layer among the model's operator codes."""
    (operator,) = (operator for operator in graph.operators if operator.kind == "FULLY_CONNECTED")
    return graph.model.operatorCodes[operator.raw.opcodeIndex]


def with_int8_weights(scales: int) -> Graph:
    """The linear model, the weights of its dense layer in int8 with so many scales."""
    graph = linear()
    (operator,) = (operator for operator in graph.operators if operator.kind == "FULLY_CONNECTED")
    weights = graph.constant(operator.inputs[1])
    assert weights is not None
    graph.set_constant(operator.inputs[1], np.zeros(weights.size, np.uint8))
    tensor = graph.tensors[operator.inputs[1]]
    tensor.type, tensor.quantization = schema().TensorType.INT8, schema().QuantizationParametersT()
    tensor.quantization.scale = np.full(scales, 0.1, np.float32)
    tensor.quantization.zeroPoint = np.zeros(scales, np.int64)
    return graph


@pytest.mark.parametrize(("scales", "version"), [(10, 12), (1, 1)])
def test_one_scale_a_channel_beside_float_activations(scales: int, version: int) -> None:
    graph = with_int8_weights(scales)
    assert dense_code(graph).version == 1
    assert state_versions(graph) == (version == 12)
    assert dense_code(graph).version == version


def test_float_stays_as_it_is_and_a_later_version_too() -> None:
    graph = linear()
    assert state_versions(graph) == 0
    assert dense_code(graph).version == 1
    graph = with_int8_weights(10)
    dense_code(graph).version = 13
    state_versions(graph)
    assert dense_code(graph).version == 13
