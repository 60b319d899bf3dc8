"""Operators that older runtimes would compute wrongly say the version that these refuse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.edit import constant
from ghostedge.tflite.model import operator_name, unpack
from ghostedge.tflite.versions import state_versions

pytest.importorskip("ai_edge_litert")

LINEAR = Path(__file__).parents[1] / "data" / "linear" / "fp32.tflite"


def dense_code(model: Any) -> Any:
    (operator,) = (op for op in model.subgraphs[0].operators if operator_name(model, op) == "FULLY_CONNECTED")
    return operator, model.operatorCodes[operator.opcodeIndex]


def with_int8_weights(scales: int) -> Any:
    """The linear model, the weights of its dense layer in int8 with so many scales."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = unpack(LINEAR.read_bytes(), LINEAR.name)
    graph = model.subgraphs[0]
    operator, _ = dense_code(model)
    weights = constant(model, graph, int(operator.inputs[1]))
    assert weights is not None
    tensor = graph.tensors[int(operator.inputs[1])]
    tensor.type = schema.TensorType.INT8
    model.buffers[tensor.buffer].data = np.zeros(weights.size, np.uint8)
    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.scale = np.full(scales, 0.1, np.float32)
    tensor.quantization.zeroPoint = np.zeros(scales, np.int64)
    return model


@pytest.mark.parametrize(("scales", "version"), [(10, 12), (1, 1)])
def test_one_scale_a_channel_beside_float_activations(scales: int, version: int) -> None:
    model = with_int8_weights(scales)
    assert dense_code(model)[1].version == 1
    assert state_versions(model) == (version == 12)
    assert dense_code(model)[1].version == version


def test_float_stays_as_it_is_and_a_later_version_too() -> None:
    model = unpack(LINEAR.read_bytes(), LINEAR.name)
    assert state_versions(model) == 0
    assert dense_code(model)[1].version == 1
    model = with_int8_weights(10)
    dense_code(model)[1].version = 13
    state_versions(model)
    assert dense_code(model)[1].version == 13
