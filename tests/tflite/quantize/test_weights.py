"""Weights and biases of a .tflite model: what their inputs are, and that rounding leaves the mean output alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.quantize.rounding import MomentSums, round_weights
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import options, schema
from ghostedge.tflite.quantize.activations import add_inputs, inspecting_interpreter
from ghostedge.tflite.quantize.weights import from_rows, round_model, to_rows, weighted_operators
from tests.tflite.graphs import empty

pytest.importorskip("flatbuffers")
pytest.importorskip("ai_edge_litert")

SHAPES = {
    "CONV_2D": ((6, 3, 3, 4), 8),  # two groups of four inputs
    "DEPTHWISE_CONV_2D": ((1, 3, 5, 16), 8),  # two outputs a channel
    "FULLY_CONNECTED": ((5, 8), 8),
}


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_go_there_and_back(kind: str) -> None:
    shape, channels = SHAPES[kind]
    weights = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    rows = to_rows(weights, kind, channels)
    assert rows.shape[0] == {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 8, "FULLY_CONNECTED": 1}[kind]
    np.testing.assert_array_equal(from_rows(rows, kind, shape), weights)


def network(padding: str, stride: int, dilation: int) -> bytes:
    """(1, 9, 11, 8) -> grouped convolution -> depthwise convolution -> mean of positions -> dense layer."""
    rng, graph = np.random.default_rng(1), empty()

    def weights(*shape: int) -> int:
        return graph.add_constant(rng.standard_normal(shape).astype(np.float32), f"w{len(graph.tensors)}")

    windows = {
        "padding": getattr(schema().Padding, padding),
        **dict.fromkeys(("strideH", "strideW"), stride),
        **dict.fromkeys(("dilationHFactor", "dilationWFactor"), dilation),
    }
    x = graph.add_tensor((1, 9, 11, 8), "FLOAT32", "x")
    graph.inputs, sizes = [x], [9, 11]
    for kind, shape, outputs in (("CONV_2D", (6, 3, 2, 4), 6), ("DEPTHWISE_CONV_2D", (1, 2, 3, 12), 12)):
        reach = [(size - 1) * dilation + 1 for size in shape[1:3]]
        if padding == "VALID":
            sizes = [(size - r) // stride + 1 for size, r in zip(sizes, reach, strict=True)]
        else:
            sizes = [-(-size // stride) for size in sizes]
        y = graph.add_tensor((1, *sizes, outputs), "FLOAT32", f"{kind} out")
        made = options("Conv2D", **windows)
        if kind == "DEPTHWISE_CONV_2D":
            made = options("DepthwiseConv2D", depthMultiplier=2, **windows)
        inputs = [x, weights(*shape), weights(outputs)]
        graph.operators = (*graph.operators, graph.make(kind, inputs, [y], made))
        x = y
    mean = graph.add_tensor((1, 12), "FLOAT32", "mean")
    axes = graph.add_constant(np.array([1, 2], np.int32), "axes")
    out = graph.add_tensor((1, 5), "FLOAT32", "out")
    dense = [mean, weights(5, 12), weights(5)]
    graph.operators = (
        *graph.operators,
        graph.make("MEAN", [x, axes], [mean], options("Reducer")),
        graph.make("FULLY_CONNECTED", dense, [out], options("FullyConnected")),
    )
    graph.outputs = [out]
    return pack(graph)


def run(data: bytes, images: NDArray[np.float32], each: Callable[[Any], None] = lambda interpreter: None) -> Any:
    """What each weighted operator gives, by its name: (images x positions, channels)."""
    graph, interpreter = unpack(data, "m"), inspecting_interpreter(data)
    made: dict[str, list[NDArray[np.float32]]] = {}
    for image in images:
        interpreter.set_tensor(graph.inputs[0], image[None])
        interpreter.invoke()
        each(interpreter)
        for operator, _ in weighted_operators(graph):
            value = interpreter.get_tensor(operator.output)
            made.setdefault(operator.name, []).append(value.reshape(-1, value.shape[-1]))
    return {name: np.concatenate(values).astype(np.float64) for name, values in made.items()}


WINDOWS = [("SAME", 1, 1), ("SAME", 2, 1), ("VALID", 2, 1), ("SAME", 1, 2), ("VALID", 1, 2)]


def predicted(data: bytes, moments: dict[str, Any]) -> dict[str, tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Mean and variance of what each weighted operator gives, by channel, as the moments of its inputs have it."""
    graph, found = unpack(data, "m"), {}
    for operator, weights in weighted_operators(graph):
        read, bias = moments[operator.name], graph.constant(operator.inputs[2])
        rows = to_rows(weights, operator.kind, graph.shape(operator.inputs[0])[-1]).astype(np.float64)
        variance = np.einsum("goi,gij,goj->go", rows, read.covariance, rows).reshape(-1)
        found[operator.name] = ((rows @ read.mean[:, :, None]).reshape(-1) + bias, variance)
    return found


def observed(data: bytes) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    return observed_on(data, np.random.default_rng(2).gamma(2, 1, (11, 9, 11, 8)).astype(np.float32))


def observed_on(data: bytes, images: NDArray[np.float32]) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    weighted = [(operator, weights.shape) for operator, weights in weighted_operators(unpack(data, "m"))]
    sums = MomentSums()
    outputs = run(data, images, lambda interpreter: add_inputs(sums, weighted, interpreter))
    return sums.moments(), outputs


@pytest.mark.parametrize(("padding", "stride", "dilation"), WINDOWS)
def test_moments_of_inputs_explain_the_outputs(
    padding: str, stride: int, dilation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What LiteRT gives has the mean and the variance that the weights make of the observed inputs."""
    monkeypatch.setattr("ghostedge.quantize.rounding._POSITIONS", 1000)
    data = network(padding, stride, dilation)
    moments, outputs = observed(data)
    assert set(moments) == set(outputs) == {"CONV_2D out", "DEPTHWISE_CONV_2D out", "out"}
    for name, (mean, variance) in predicted(data, moments).items():
        np.testing.assert_allclose(mean, outputs[name].mean(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(variance, outputs[name].var(axis=0), rtol=1e-3, atol=1e-5)


def test_a_sample_of_positions_is_near_all_of_them() -> None:
    data = network("SAME", 1, 1)
    moments, outputs = observed(data)
    name = "CONV_2D out"
    mean, variance = predicted(data, moments)[name]
    assert not np.allclose(mean, outputs[name].mean(axis=0), rtol=1e-4)
    spread = outputs[name].std(axis=0)
    np.testing.assert_array_less(np.abs(mean - outputs[name].mean(axis=0)), 0.3 * spread)
    np.testing.assert_allclose(np.sqrt(variance), spread, rtol=0.3)


@pytest.mark.parametrize("rounding", ["compensated", "nearest"])
def test_rounding_leaves_the_mean_output_where_it_was(rounding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostedge.quantize.rounding._POSITIONS", 1000)
    data = network("SAME", 1, 1)
    moments, outputs = observed(data)
    images = np.random.default_rng(2).gamma(2, 1, (11, 9, 11, 8)).astype(np.float32)
    shifts = {}
    for bias_correction in (True, False):
        graph = unpack(data, "m")
        assert round_model(graph, moments, rounding, bias_correction) == 3
        rounded = run(pack(graph), images)
        shifts[bias_correction] = np.abs(rounded["CONV_2D out"].mean(axis=0) - outputs["CONV_2D out"].mean(axis=0))
        for operator, weights in weighted_operators(graph):  # int8 numbers, all of them
            rows = to_rows(weights, operator.kind, graph.shape(operator.inputs[0])[-1])
            np.testing.assert_allclose(round_weights(rows), rows, rtol=1e-6)
    assert shifts[True].max() < 1e-4
    assert shifts[False].max() > 1e-3


def test_compensated_weights_make_less_of_an_error_and_what_is_kept_none() -> None:
    data = network("VALID", 1, 1)
    drawn = np.random.default_rng(2).gamma(2, 1, (40, 3, 4, 8)).repeat(3, axis=1).repeat(3, axis=2)[:, :, :11]
    images = drawn.astype(np.float32)  # neighbours are alike, as in pictures
    (moments, outputs), errors = observed_on(data, images), {}
    for rounding in ("compensated", "nearest"):
        graph = unpack(data, "m")
        assert round_model(graph, moments, rounding, keep=["out"]) == 2
        errors[rounding] = run(pack(graph), images)["CONV_2D out"] - outputs["CONV_2D out"]
        kept, before = list(weighted_operators(graph))[-1], list(weighted_operators(unpack(data, "m")))[-1]
        np.testing.assert_array_equal(kept[1], before[1])
    assert errors["compensated"].std() < 0.8 * errors["nearest"].std()
