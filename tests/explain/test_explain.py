"""A quantised model is explained layer by layer: faults planted in one layer are named at that layer."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.explain import Explanation, explain
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph

pytest.importorskip("ai_edge_litert")

DATA = Path(__file__).parents[1] / "data"
FLOAT, INT8 = DATA / "tiny" / "tiny_fp32.tflite", DATA / "tiny" / "tiny_int8.tflite"
LINEAR = DATA / "linear"


@pytest.fixture(scope="module")
def batch() -> NDArray[np.float32]:
    """The first inputs that tests/data/tiny/make.py calibrates on."""
    return np.random.default_rng(1).uniform(-2, 2, (3, 32, 32, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def sound(batch: NDArray[np.float32]) -> Explanation:
    return explain(INT8, FLOAT, batch)


def edited(path: Path, tmp_path: Path, edit: Callable[[Graph], None]) -> Path:
    """A copy of a model after `edit(graph)`."""
    graph = unpack(path.read_bytes(), "tiny")
    edit(graph)
    target = tmp_path / f"edited_{path.name}"
    target.write_bytes(pack(graph))
    return target


def tensor(graph: Graph, name: str) -> Any:
    return next(each for index, each in enumerate(graph.tensors) if graph.name(index) == name)


def weights_of(graph: Graph, kind: str) -> int:
    return next(operator.inputs[1] for operator in graph.operators if operator.kind == kind)


def test_a_sound_model_loses_to_rounding_alone(sound: Explanation) -> None:
    assert {layer.name for layer in sound.layers} == {"image", "Relu;Conv2D", "Mean", "Identity"}
    assert sound.unmatched == ()
    assert sound.weight_operators == 2
    for layer in sound.layers:
        assert layer.dtype == "int8"
        assert layer.own_sqnr_db is not None
        assert layer.own_sqnr_db > 30
        assert layer.saturated < 0.01
        assert layer.step_excess is not None
        # Even rounding makes scale^2 / 12; a mean of few values in coarse steps, and integer kernels, some more.
        assert 0.3 < layer.step_excess < 4
    by_name = {layer.name: layer for layer in sound.layers}
    assert by_name["image"].kind == "input"
    assert by_name["Relu;Conv2D"].kind == "conv"
    # A ReLU gives many zeros, which lie at the end of the range and are not cut off by it.
    assert by_name["Relu;Conv2D"].ends > 0.3
    assert by_name["Relu;Conv2D"].saturated < 0.01


def test_the_numbers_are_those_of_their_definitions(batch: NDArray[np.float32]) -> None:
    """Of the linear model, in numpy: mean over the pixels, then a product."""
    batch = batch[:, :8, :8]
    found = {layer.name: layer for layer in explain(LINEAR / "int8.tflite", LINEAR / "fp32.tflite", batch).layers}
    graph = unpack((LINEAR / "int8.tflite").read_bytes(), "int8")
    (scale,), (zero,) = graph.scales(0), graph.zero_points(0)
    image = (np.clip(np.rint(batch / scale) + zero, -128, 127) - zero) * scale
    noise = np.square(image - batch).mean()
    assert found["serving_default_image:0"].mse == pytest.approx(noise, rel=1e-3)
    sqnr = 10 * np.log10(np.square(batch).mean() / noise)
    assert found["serving_default_image:0"].own_sqnr_db == pytest.approx(sqnr, abs=0.01)
    outside = ((batch < (-128.5 - zero) * scale) | (batch > (127.5 - zero) * scale)).mean()
    assert outside > 0.1  # the calibration saw -1..3 only
    assert found["serving_default_image:0"].saturated == pytest.approx(outside, abs=1e-3)
    assert found["serving_default_image:0"].cause == "range"
    # The mean of a cut-off image is wrong, but that is not the doing of the mean.
    mean = found["Mean"]
    assert mean.sqnr_db is not None
    assert mean.own_sqnr_db is not None
    assert mean.own_sqnr_db > mean.sqnr_db + 6


def test_a_wrong_scale_of_one_weight_channel_is_named(
    sound: Explanation, batch: NDArray[np.float32], tmp_path: Path
) -> None:
    def edit(graph: Graph) -> None:
        scales = graph.tensors[weights_of(graph, "CONV_2D")].quantization
        scales.scale = np.array(scales.scale)
        scales.scale[5] *= 1.5

    found = explain(edited(INT8, tmp_path, edit), FLOAT, batch)
    worst = found.layers[0]
    assert (worst.name, worst.cause, worst.worst_channel) == ("Relu;Conv2D", "weights", 5)
    assert worst.worst_channel_share > 0.9
    assert found.weights.snr_db < sound.weights.snr_db - 6
    assert found.weights.snr_db < found.activations.snr_db - 3
    # The layers after it carry the noise on, and are sound themselves.
    mean = next(layer for layer in found.layers if layer.name == "Mean")
    assert mean.sqnr_db is not None
    assert mean.own_sqnr_db is not None
    assert mean.own_sqnr_db > mean.sqnr_db + 10


@pytest.mark.parametrize("name", ["Relu;Conv2D", "Mean", "Identity"])
def test_a_range_that_is_too_narrow_is_named(name: str, batch: NDArray[np.float32], tmp_path: Path) -> None:
    def edit(graph: Graph) -> None:
        parameters = tensor(graph, name).quantization
        parameters.scale = np.array(parameters.scale) / 8

    worst = explain(edited(INT8, tmp_path, edit), FLOAT, batch).layers[0]
    assert (worst.name, worst.cause) == (name, "range")
    assert worst.saturated > 0.1


@pytest.mark.parametrize("name", ["Relu;Conv2D", "Mean"])
def test_a_zero_point_at_the_wrong_end_is_named(name: str, batch: NDArray[np.float32], tmp_path: Path) -> None:
    def edit(graph: Graph) -> None:
        parameters = tensor(graph, name).quantization
        parameters.zeroPoint = -1 - np.array(parameters.zeroPoint)

    worst = explain(edited(INT8, tmp_path, edit), FLOAT, batch).layers[0]
    assert (worst.name, worst.cause) == (name, "range")


def test_a_wrong_bias_is_an_offset(batch: NDArray[np.float32], tmp_path: Path) -> None:
    def edit(graph: Graph) -> None:
        operator = next(each for each in graph.operators if each.kind == "CONV_2D")
        bias = operator.inputs[2]
        values = graph.constant(bias)
        assert values is not None
        values = values.copy()
        values[2] += round(1.0 / graph.scales(bias)[2])
        graph.set_constant(bias, values)

    worst = explain(edited(INT8, tmp_path, edit), FLOAT, batch).layers[0]
    assert (worst.name, worst.cause, worst.worst_channel) == ("Relu;Conv2D", "offset", 2)


def test_tensors_renamed_by_a_quantiser_are_part_of_the_next_layer(
    sound: Explanation, batch: NDArray[np.float32], tmp_path: Path
) -> None:
    def edit(graph: Graph) -> None:
        tensor(graph, "Mean").name = b"renamed"

    found = explain(edited(INT8, tmp_path, edit), FLOAT, batch)
    assert found.unmatched == ("Mean",)
    assert {layer.name for layer in found.layers} == {"image", "Relu;Conv2D", "Identity"}
    assert found.whole == sound.whole


def test_raw_pixels_are_compared_with_normalised_ones() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)
    found = explain(LINEAR / "uint8.tflite", LINEAR / "fp32.tflite", pixels.astype(np.float32), pixels)
    assert [layer.name for layer in found.layers if layer.kind == "input"] == []
    assert found.whole.snr_db > 30
    assert {layer.dtype for layer in found.layers} == {"int8", "uint8"}


# -- Bad input ----------------------------------------------------------------------------------------------


def refused(quantised: Path, against: Path, batch: NDArray[Any]) -> str:
    with pytest.raises(ArtifactError) as caught:
        explain(quantised, against, batch)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_first_is_the_quantised_one(batch: NDArray[np.float32]) -> None:
    assert "tiny_fp32.tflite is not quantised" in refused(FLOAT, FLOAT, batch)
    assert "tiny_int8.tflite is quantised itself" in refused(INT8, INT8, batch)


def test_two_networks_are_refused(batch: NDArray[np.float32], tmp_path: Path) -> None:
    assert "not of one network" in refused(INT8, LINEAR / "fp32.tflite", batch)

    def rename(graph: Graph) -> None:
        for number, each in enumerate(graph.tensors):
            each.name = f"other_{number}".encode()

    assert "not of one network" in refused(edited(INT8, tmp_path, rename), FLOAT, batch)


def test_another_training_of_the_same_network_is_refused(batch: NDArray[np.float32], tmp_path: Path) -> None:
    def retrain(graph: Graph) -> None:
        rng = np.random.default_rng(1)
        for kind in ("CONV_2D", "FULLY_CONNECTED"):
            weights = weights_of(graph, kind)
            graph.set_constant(weights, rng.normal(0, 0.3, graph.shape(weights)).astype(np.float32))

    assert "another training" in refused(INT8, edited(FLOAT, tmp_path, retrain), batch)


def test_an_activation_that_is_not_finite_is_named(batch: NDArray[np.float32], tmp_path: Path) -> None:
    damaged = copy.copy(batch)
    damaged[1, 0, 0, 0] = np.nan
    message = refused(INT8, FLOAT, damaged)
    assert "is not finite on image 2" in message


def test_an_input_of_another_size_is_refused() -> None:
    assert "--input-spec" in refused(INT8, FLOAT, np.zeros((1, 16, 16, 3), np.float32))


@pytest.mark.parametrize("size", [0, 100, 2000])
def test_a_file_cut_short_is_refused(size: int, batch: NDArray[np.float32], tmp_path: Path) -> None:
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(INT8.read_bytes()[:size])
    assert "cut.tflite" in refused(cut, FLOAT, batch)
    assert "cut.tflite" in refused(INT8, cut, batch)
