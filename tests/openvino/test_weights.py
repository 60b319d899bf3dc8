"""Weights of an IR: what their inputs are, which of them saturate together, and that none does after rounding."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.model import InputSpec, Model
from ghostedge.openvino.weights import Limit, from_rows, observe_inputs, pairs, round_ir, saturating, to_rows
from ghostedge.quantize.rounding import PAIR_LIMIT
from ghostedge.runtimes.openvino import SATURATING, VNNI, OpenVinoRuntime, int8_arithmetic, run_on_other_cpu

ov = pytest.importorskip("openvino")
ops = ov.opset13

SPEC = InputSpec(range="raw", height=8, width=8, resize=8)
SHAPES = {"Convolution": (6, 4, 3, 2), "GroupConvolution": (4, 3, 2, 3, 2), "MatMul": (5, 8)}
#: Channels of what is convolved below: odd, so that one has no partner.
CHANNELS = 9


def constant(value: Any) -> Any:
    return ops.constant(np.asarray(value, np.float32))


@pytest.mark.parametrize("kind", SHAPES)
def test_rows_go_there_and_back(kind: str) -> None:
    weights = np.random.default_rng(0).integers(-127, 128, SHAPES[kind], dtype=np.int8)
    rows = to_rows(weights, kind)
    assert rows.shape == {"Convolution": (1, 6, 24), "GroupConvolution": (4, 3, 12), "MatMul": (1, 5, 8)}[kind]
    np.testing.assert_array_equal(from_rows(rows, kind, SHAPES[kind]), weights)
    if kind == "Convolution":  # the channels of a tap stand beside each other
        np.testing.assert_array_equal(rows[0, 0, :4], weights[0, :, 0, 0])


def widened(integers: NDArray[np.int8], steps: Any) -> Any:
    return ops.multiply(ops.convert(ops.constant(integers), np.float32), constant(steps))


def quantised_ir(path: Path, kind: str, integers: NDArray[np.int8]) -> Model:
    """(1, 3, 8, 8), 0..255 -> `CHANNELS` equal channels -> `integers` of an operator -> means of positions."""
    image = ops.parameter([1, 3, 8, 8], np.float32, "image")
    ends = [constant(value) for value in (0, 255, 0, 255)]
    levels = ops.fake_quantize(ops.concat([image] * (CHANNELS // 3), 1), *ends, 256)
    steps = np.ones((*integers.shape[:1], *[1] * (integers.ndim - 1)))
    if kind == "MatMul":
        colours = ops.fake_quantize(
            ops.reduce_mean(levels, ops.constant(np.array([2, 3])), keep_dims=False), *ends, 256
        )
        logits = ops.matmul(colours, widened(integers, steps), False, True)
    else:
        make = ops.group_convolution if kind == "GroupConvolution" else ops.convolution
        made = make(levels, widened(integers, steps), [1, 1], [0, 0], [0, 0], [1, 1])
        logits = ops.reduce_mean(made, ops.constant(np.array([2, 3])), keep_dims=False)
    ov.save_model(ov.Model([logits], [image], kind), path, compress_to_fp16=False)
    return Model(path, "openvino", SPEC, precision="int8")


def without_vnni(artifact: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of a CPU without VNNI: this one, or this one when told to be."""
    if int8_arithmetic() == SATURATING:
        with OpenVinoRuntime(artifact) as runtime:
            return runtime.run(batch)
    found = run_on_other_cpu(artifact, batch)
    assert found is not None
    assert found.other == SATURATING
    return found.logits


@pytest.mark.skipif(int8_arithmetic() not in (VNNI, SATURATING), reason="left out: this is no x86 CPU")
@pytest.mark.parametrize("kind", ["1x1", "3x3", "MatMul", "GroupConvolution"])
def test_the_pairs_are_those_that_saturate(kind: str, tmp_path: Path) -> None:
    """One output for every two inputs, its weights 126 there and 0 elsewhere, on white: which outputs are too small?"""
    if kind == "GroupConvolution":
        inputs, operator = 9, kind
    else:
        operator, taps = ("MatMul", 1) if kind == "MatMul" else ("Convolution", 9 if kind == "3x3" else 1)
        inputs = CHANNELS * taps
    shape = {
        "1x1": (1, CHANNELS, 1, 1),
        "3x3": (1, CHANNELS, 3, 3),
        "MatMul": (1, CHANNELS),
        "GroupConvolution": (CHANNELS, 1, 1, 3, 3),
    }[kind]
    two = list(itertools.combinations(range(inputs), 2))
    rows = np.zeros((1, len(two), inputs), np.int8)
    for row, places in enumerate(two):
        rows[0, row, list(places)] = 126
    if kind == "GroupConvolution":  # nine channels of one output each: all nine taps at once
        integers = np.full(shape, 126, np.int8)
    else:
        integers = from_rows(rows, operator, (len(two), *shape[1:]))
    found = without_vnni(quantised_ir(tmp_path / "m.xml", operator, integers), np.full((1, 3, 8, 8), 255, np.float32))
    partners = pairs(operator, integers.shape)
    if kind == "GroupConvolution":
        assert partners is None
        np.testing.assert_allclose(found, 9 * 126 * 255, rtol=1e-3)
        return
    assert partners is not None
    saturated = {places for places, value in zip(two, found[0], strict=True) if value < 0.9 * 2 * 126 * 255}
    assert saturated == {(i, int(j)) for i, j in enumerate(partners) if i < j}
    assert len(saturated) == inputs // CHANNELS * (CHANNELS // 2)


@pytest.mark.skipif(int8_arithmetic() not in (VNNI, SATURATING), reason="left out: this is no x86 CPU")
def test_the_limit_is_the_last_that_does_not_saturate(tmp_path: Path) -> None:
    within, beyond = PAIR_LIMIT // 2, PAIR_LIMIT // 2 + 1
    pairs_of = [(within, within), (-within, -within), (127, 1), (127, -127), (beyond, within), (-beyond, -within)]
    integers = np.zeros((len(pairs_of), CHANNELS, 1, 1), np.int8)
    integers[:, :2, 0, 0] = pairs_of
    white = np.full((1, 3, 8, 8), 255, np.float32)
    artifact = quantised_ir(tmp_path / "m.xml", "Convolution", integers)
    found = without_vnni(artifact, white)[0] - 255.0 * np.sum(pairs_of, axis=1)
    np.testing.assert_allclose(found[:4], 0, atol=0.1)
    assert np.abs(found[4:]).min() > 100
    assert saturating(openvino_model(artifact)) == {operator_name(artifact): 2}


def openvino_model(artifact: Model) -> Any:
    return ov.Core().read_model(artifact.path)


def operator_name(artifact: Model) -> str:
    (found,) = (o for o in openvino_model(artifact).get_ops() if o.get_type_name() == "Convolution")
    return str(found.get_friendly_name())


def network(seed: int = 1) -> Any:
    """(1, 6, 9, 11) -> convolution -> two outputs a channel -> mean of positions -> dense layer, all with biases."""
    rng = np.random.default_rng(seed)

    def weights(*shape: int) -> Any:
        return constant(rng.standard_normal(shape))

    image = ops.parameter([1, 6, 9, 11], np.float32, "image")
    plain = ops.convolution(image, weights(8, 6, 3, 2), [2, 1], [1, 0], [0, 1], [1, 2])
    plain.set_friendly_name("plain")
    x = ops.add(plain, weights(1, 8, 1, 1))
    deep = ops.group_convolution(x, weights(8, 2, 1, 2, 3), [1, 2], [1, 1], [1, 1], [1, 1])
    deep.set_friendly_name("deep")
    x = ops.add(deep, weights(1, 16, 1, 1))
    dense = ops.matmul(ops.reduce_mean(x, ops.constant(np.array([2, 3])), keep_dims=False), weights(5, 16), False, True)
    dense.set_friendly_name("dense")
    return ov.Model([ops.add(dense, weights(1, 5))], [image], "network")


def images(count: int = 11) -> NDArray[np.float32]:
    return np.random.default_rng(2).gamma(2, 1, (count, 6, 9, 11)).astype(np.float32)


def outputs(model: Any, batch: NDArray[np.float32], *, plus_bias: bool = False) -> dict[str, NDArray[np.float64]]:
    """Operator -> what it gives, (all positions, channels), or what the sum with its bias does."""
    model = model.clone()
    named = {
        o.get_friendly_name(): o for o in model.get_ordered_ops() if o.get_friendly_name() in ("plain", "deep", "dense")
    }
    ports = [
        next(iter(o.output(0).get_target_inputs())).get_node().output(0) if plus_bias else o.output(0)
        for o in named.values()
    ]
    network = ov.compile_model(ov.Model(ports, model.get_parameters()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    values = [[np.moveaxis(v, 1, -1).reshape(-1, v.shape[1]) for v in network(x[None]).values()] for x in batch]
    return {
        name: np.concatenate(v).astype(np.float64) for name, v in zip(named, zip(*values, strict=True), strict=True)
    }


def quantise_weights(model: Any) -> Any:
    """A clone with int8 weights, each to the nearest, one step an output: what NNCF puts in their place."""
    model = model.clone()
    for operator in model.get_ordered_ops():
        if operator.get_friendly_name() in ("plain", "deep", "dense"):
            exact = operator.input_value(1).get_node().get_data()
            lead = 2 if operator.get_type_name() == "GroupConvolution" else 1
            steps = np.abs(exact).max(axis=tuple(range(lead, exact.ndim)), keepdims=True) / 127
            made = widened(np.rint(exact / steps).astype(np.int8), steps)
            operator.input(1).replace_source_output(made.output(0))
    return model


def test_moments_of_inputs_explain_the_outputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostedge.quantize.rounding._POSITIONS", 1000)
    model, batch = network(), images()
    moments = observe_inputs(model, batch)
    by_name = {o.get_friendly_name(): o for o in model.get_ops()}
    for name, found in outputs(model, batch).items():
        operator = by_name[name]
        rows = to_rows(operator.input_value(1).get_node().get_data(), operator.get_type_name()).astype(np.float64)
        mean = (rows @ moments[name].mean[:, :, None]).reshape(-1)
        variance = np.einsum("goi,gij,goj->go", rows, moments[name].covariance, rows).reshape(-1)
        np.testing.assert_allclose(mean, found.mean(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(variance, found.var(axis=0), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("compensated", [True, False])
def test_biases_keep_the_mean_output_where_it_was(compensated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ghostedge.quantize.rounding._POSITIONS", 1000)
    model, batch = network(), images()
    moments, before = observe_inputs(model, batch), outputs(model, batch, plus_bias=True)
    shifts = {}
    nearest = quantise_weights(model)
    for bias_correction in (True, False):
        quantised = nearest.clone()
        assert round_ir(quantised, model, moments, {}, compensated=compensated, bias_correction=bias_correction) == 3
        after = outputs(quantised, batch, plus_bias=True)
        shifts[bias_correction] = np.abs(after["plain"].mean(axis=0) - before["plain"].mean(axis=0)).max()
    # The biases follow from the weights that they were made for: those of `nearest`, whose mean is not the float one's.
    was = np.abs(outputs(nearest, batch, plus_bias=True)["plain"].mean(axis=0) - before["plain"].mean(axis=0)).max()
    assert shifts[True] == pytest.approx(was, abs=1e-4)
    if compensated:
        assert abs(shifts[False] - was) > 5e-3


def test_no_pair_is_left_that_saturates() -> None:
    model, batch = network(), images()
    # A layer whose weights must saturate: the largest stand side by side, so that no step but twice as wide holds them.
    weights = model.get_ordered_ops()
    (plain,) = (o for o in weights if o.get_friendly_name() == "plain")
    worst = np.random.default_rng(3).uniform(0.9, 1, (8, 6, 3, 2)).astype(np.float32)
    plain.input(1).replace_source_output(ov.op.Constant(worst).output(0))
    moments, quantised = observe_inputs(model, batch), quantise_weights(model)
    assert saturating(quantised)["plain"] == 8 * 3 * 6  # outputs, pairs of channels, taps
    cases: tuple[tuple[dict[str, Limit], set[str]], ...] = (
        ({}, set()),
        (dict.fromkeys(moments, "half"), set()),
        (dict.fromkeys(moments, "whole"), {"plain"}),
    )
    for limits, left in cases:
        rounded = quantised.clone()
        round_ir(rounded, model, moments, limits)
        assert set(saturating(rounded)) & {"plain"} == left
        if not left:
            assert saturating(rounded) == {}
