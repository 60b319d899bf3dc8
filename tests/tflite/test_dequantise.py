"""Weights of a quantised model, as real numbers in the float one."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.dequantise import dequantised, replace_weights
from ghostedge.tflite.interpreter import inspecting_interpreter
from ghostedge.tflite.model import pack, unpack
from ghostedge.tflite.wiring import Wiring

pytest.importorskip("ai_edge_litert")

LINEAR = Path(__file__).parents[1] / "data" / "linear"
WEIGHTS = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)  # make_tflite.py there
BIAS = np.array([0.1, -0.2, 0.3, 0.0], np.float32)


def constant(kind: str, data: bytes, shape: tuple[int, ...], scale: list[float], zero: list[int], axis: int) -> Wiring:
    """A graph of one quantised constant, tensor 1."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = unpack((LINEAR / "fp32.tflite").read_bytes(), "linear")
    model.buffers[model.subgraphs[0].tensors[1].buffer].data = np.frombuffer(data, np.uint8)
    model.subgraphs[0].tensors[1] = SimpleNamespace(
        type=getattr(schema.TensorType, kind),
        buffer=model.subgraphs[0].tensors[1].buffer,
        shape=shape,
        name=b"weights",
        quantization=SimpleNamespace(scale=scale, zeroPoint=zero, quantizedDimension=axis),
    )
    return Wiring(model)


def test_each_channel_has_its_scale() -> None:
    wiring = constant("INT8", np.array([1, 2, -3, 127], np.int8).tobytes(), (2, 2), [0.5, 0.1], [0, 0], 1)
    np.testing.assert_allclose(dequantised(wiring, 1), [[0.5, 0.2], [-1.5, 12.7]], rtol=1e-6)


def test_a_zero_point_is_taken_off() -> None:
    wiring = constant("UINT8", bytes([0, 128, 255]), (3,), [0.5], [128], 0)
    np.testing.assert_array_equal(dequantised(wiring, 1), [-64, 0, 63.5])


def test_four_bits_are_two_in_a_byte_the_earlier_one_below() -> None:
    wiring = constant("INT4", bytes([0x7F, 0x08]), (3,), [1.0], [0], 0)
    np.testing.assert_array_equal(dequantised(wiring, 1), [-1, 7, -8])


def test_what_is_no_quantised_constant_has_none() -> None:
    wiring = Wiring(unpack((LINEAR / "fp32.tflite").read_bytes(), "linear"))
    assert [dequantised(wiring, index) for index in range(len(wiring.graph.tensors))] == [None] * 6


def test_the_float_model_computes_with_the_quantised_weights_and_its_own_bias() -> None:
    model, quantised = (unpack((LINEAR / f"{name}.tflite").read_bytes(), name) for name in ("fp32", "int8"))
    replaced = replace_weights(model, quantised)
    assert list(replaced) == ["PartitionedCall:0"]
    assert 35 < replaced["PartitionedCall:0"] < 60  # eight bits
    interpreter = inspecting_interpreter(pack(model))
    image = np.random.default_rng(0).uniform(-1, 3, (1, 8, 8, 3)).astype(np.float32)
    interpreter.set_tensor(0, image)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    source = Wiring(quantised)
    (weights,) = [
        value
        for index in range(len(source.graph.tensors))
        if source.shape(index) == (4, 3) and (value := dequantised(source, index)) is not None
    ]
    assert 0 < np.abs(weights.T - WEIGHTS).max() < 1 / 127
    np.testing.assert_allclose(logits, image.mean((1, 2)) @ weights.T + BIAS, rtol=1e-5, atol=1e-6)


def test_a_weight_of_another_shape_is_left_as_it_is() -> None:
    model, quantised = (unpack((LINEAR / f"{name}.tflite").read_bytes(), name) for name in ("fp32", "int8"))
    for tensor in quantised.subgraphs[0].tensors:
        if tuple(tensor.shape) == (4, 3):
            tensor.shape = np.array([3, 4], np.int32)
    assert replace_weights(model, quantised) == {}
