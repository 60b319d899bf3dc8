"""A cut model runs each operator on what it is given; quantised weights are real numbers in the float model."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import Graph, schema
from ghostedge.tflite.quantize.activations import inspecting_interpreter
from ghostedge.tflite.rewrites.to_explain import dequantised, replace_weights, split_at_activations
from tests.tflite.graphs import linear

pytest.importorskip("ai_edge_litert")

WEIGHTS = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)  # make_tflite.py there
BIAS = np.array([0.1, -0.2, 0.3, 0.0], np.float32)


# -- splitting --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("Mean", "Cumsum", "PartitionedCall:0"), ("Mean", "PartitionedCall:0")])
def test_operators_between_two_cuts_stay_together(names: tuple[str, ...]) -> None:
    graph = linear("split")  # MEAN, CUMSUM, FULLY_CONNECTED
    index = {graph.name(tensor): tensor for tensor in range(len(graph.tensors))}
    fed = split_at_activations(graph, [index[name] for name in names])
    assert index["PartitionedCall:0"] not in fed  # nothing reads it
    interpreter = inspecting_interpreter(pack(graph), keep=False)
    rng = np.random.default_rng(0)
    image = rng.random((1, 8, 8, 3), np.float32)
    given = {name: rng.random((1, 3), np.float32) for name in names[:-1]}
    interpreter.set_tensor(0, image)
    for name, value in given.items():
        interpreter.set_tensor(fed[index[name]], value)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(index["Mean"]), image.mean((1, 2)), rtol=1e-5)
    if "Cumsum" in names:
        np.testing.assert_allclose(interpreter.get_tensor(index["Cumsum"]), given["Mean"].cumsum(1), rtol=1e-6)
    last = given.get("Cumsum", given["Mean"].cumsum(1))
    wanted = last @ WEIGHTS + BIAS
    np.testing.assert_allclose(interpreter.get_tensor(index["PartitionedCall:0"]), wanted, rtol=1e-5, atol=1e-6)


# -- dequantised weights ----------------------------------------------------------------------------------------------


def constant(kind: str, data: bytes, shape: tuple[int, ...], scale: list[float], zero: list[int], axis: int) -> Graph:
    """A graph of one quantised constant, tensor 1."""
    graph = linear()
    buffer = graph.tensors[1].buffer
    graph.model.buffers[buffer].data = np.frombuffer(data, np.uint8)
    graph.tensors[1] = SimpleNamespace(
        type=getattr(schema().TensorType, kind),
        buffer=buffer,
        shape=shape,
        name=b"weights",
        quantization=SimpleNamespace(scale=scale, zeroPoint=zero, quantizedDimension=axis),
    )
    return graph


def real_numbers(graph: Graph) -> NDArray[np.float32]:
    """What the constant of `constant` stands for."""
    found = dequantised(graph, 1)
    assert found is not None
    return found


def test_each_channel_has_its_scale() -> None:
    graph = constant("INT8", np.array([1, 2, -3, 127], np.int8).tobytes(), (2, 2), [0.5, 0.1], [0, 0], 1)
    np.testing.assert_allclose(real_numbers(graph), [[0.5, 0.2], [-1.5, 12.7]], rtol=1e-6)


def test_a_zero_point_is_taken_off() -> None:
    graph = constant("UINT8", bytes([0, 128, 255]), (3,), [0.5], [128], 0)
    np.testing.assert_array_equal(real_numbers(graph), [-64, 0, 63.5])


def test_four_bits_are_two_in_a_byte_the_earlier_one_below() -> None:
    graph = constant("INT4", bytes([0x7F, 0x08]), (3,), [1.0], [0], 0)
    np.testing.assert_array_equal(real_numbers(graph), [-1, 7, -8])


def test_what_is_no_quantised_constant_has_none() -> None:
    graph = linear()
    assert [dequantised(graph, index) for index in range(len(graph.tensors))] == [None] * 6


def test_the_float_model_computes_with_the_quantised_weights_and_its_own_bias() -> None:
    graph, quantised = linear(), linear("int8")
    replaced = replace_weights(graph, quantised)
    assert list(replaced) == ["PartitionedCall:0"]
    assert 35 < replaced["PartitionedCall:0"] < 60  # eight bits
    interpreter = inspecting_interpreter(pack(graph))
    image = np.random.default_rng(0).uniform(-1, 3, (1, 8, 8, 3)).astype(np.float32)
    interpreter.set_tensor(0, image)
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    (weights,) = [
        value
        for index in range(len(quantised.tensors))
        if quantised.shape(index) == (4, 3) and (value := dequantised(quantised, index)) is not None
    ]
    assert 0 < np.abs(weights.T - WEIGHTS).max() < 1 / 127
    np.testing.assert_allclose(logits, image.mean((1, 2)) @ weights.T + BIAS, rtol=1e-5, atol=1e-6)


def test_a_weight_of_another_shape_is_left_as_it_is() -> None:
    graph, quantised = linear(), linear("int8")
    for tensor in quantised.tensors:
        if tuple(tensor.shape) == (4, 3):
            tensor.shape = np.array([3, 4], np.int32)
    assert replace_weights(graph, quantised) == {}
