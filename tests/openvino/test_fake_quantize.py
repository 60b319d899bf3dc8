"""The quantisers of an IR: one range for what is concatenated, 0 on the grid, none where float32 reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ConvertError, UsageError
from ghostedge.openvino.fake_quantize import activation_quantisers, choose_ranges, drop_needless, set_range
from ghostedge.quantize.ranges import Range

openvino = pytest.importorskip("openvino")
ops = openvino.opset13


def quantiser(source: Any, name: str, high: float = 100.0) -> Any:
    """A FakeQuantize of 256 levels over 0 to `high`, which no activation here reaches."""
    ends = [ops.constant(np.float32(value)) for value in (0, high, 0, high)]
    made = ops.fake_quantize(source, *ends, 256)
    made.set_friendly_name(name)
    return made


@pytest.fixture
def model() -> Any:
    """Input (1, 2, 64, 64) -> two quantised branches, concatenated -> convolution; a resized gate multiplies that.

    The branches are the input, and ten times its ReLU.
    """
    image = ops.parameter([1, 2, 64, 64], np.float32, "image")
    plain = quantiser(image, "plain")
    wide = quantiser(ops.multiply(ops.relu(image), ops.constant(np.float32(10))), "wide")
    weights = ops.constant(np.random.default_rng(0).standard_normal((2, 4, 1, 1)).astype(np.float32))
    quantised_weights = quantiser(weights, "weights", 1.0)
    joined = ops.concat([plain, wide], 1)
    mixed = ops.convolution(joined, quantised_weights, [1, 1], [0, 0], [0, 0], [1, 1])
    pooled = ops.avg_pool(image, [2, 2], [0, 0], [0, 0], [2, 2], exclude_pad=True)
    sizes = ops.constant(np.array([64, 64], np.int64))
    axes = ops.constant(np.array([2, 3], np.int64))
    gate = ops.interpolate(
        quantiser(ops.sigmoid(pooled), "gate"),
        sizes,
        "linear",
        "sizes",
        axes=axes,
        coordinate_transformation_mode="align_corners",
    )
    product = ops.multiply(mixed, quantiser(gate, "resized"))
    return openvino.Model([product], [image], "branches")


@pytest.fixture(scope="module")
def batch() -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (16, 2, 64, 64)).astype(np.float32)


def span(operator: Any) -> tuple[float, float]:
    low, high, out_low, out_high = (operator.input_value(i).get_node().get_data().item() for i in range(1, 5))
    assert (low, high) == (out_low, out_high)
    return low, high


def spans(model: Any) -> dict[str, tuple[float, float]]:
    return {operator.get_friendly_name(): span(operator) for operator in activation_quantisers(model)}


def values(model: Any, batch: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    network = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for image in batch:
        yield network(image[None])[0].copy()


def test_weights_are_no_activations(model: Any) -> None:
    assert set(spans(model)) == {"plain", "wide", "gate", "resized"}


def test_what_is_concatenated_shares_the_range_of_both(model: Any, batch: NDArray[np.float32]) -> None:
    choose_ranges(model, batch, "minmax")
    found = spans(model)
    assert found["plain"] == found["wide"]
    low, high = found["plain"]
    assert low <= -0.99
    assert 9.9 <= high < 10.1
    assert 0.73 < found["gate"][1] < 1.2  # sigmoid(1), and the room of small activations


def test_a_quantiser_is_given_what_the_network_makes_of_the_images(model: Any, batch: NDArray[np.float32]) -> None:
    exact = list(values(without_quantisers(model.clone()), batch))
    choose_ranges(model, batch, "minmax")
    difference = [np.abs(a - b).max() for a, b in zip(exact, values(model, batch), strict=True)]
    assert max(difference) < 4 * 10 / 255 * 3  # a step of each of the four channels that are summed


def test_what_an_earlier_quantiser_cut_does_not_count(model: Any, batch: NDArray[np.float32]) -> None:
    set_range({q.get_friendly_name(): q for q in activation_quantisers(model)}["gate"], Range(0, 0.3))
    choose_ranges(model, batch, "minmax")
    assert spans(model)["resized"][1] > 0.5  # the sigmoid of 0, which is at the middle of the pooled values


def without_quantisers(model: Any) -> Any:
    for operator in activation_quantisers(model):
        for port in operator.output(0).get_target_inputs():
            port.replace_source_output(operator.input_value(0))
    return model


def test_the_estimator_decides(model: Any, batch: NDArray[np.float32]) -> None:
    spiked = batch.copy()
    spiked[0, 0, 0, 0] = 2
    found = {}
    for estimator in ("minmax", "mse"):
        chosen = model.clone()
        choose_ranges(chosen, spiked, estimator)
        found[estimator] = spans(chosen)["wide"][1]
    assert found["minmax"] > 19.9
    assert found["mse"] < 15
    with pytest.raises(UsageError, match="unknown range estimator 'histogram'"):
        choose_ranges(model, batch, "histogram")


def test_an_activation_that_is_not_finite_is_named_with_the_image(model: Any, batch: NDArray[np.float32]) -> None:
    damaged = batch.copy()
    damaged[3, 1, 5, 5] = np.inf
    with pytest.raises(ConvertError, match=r"activation '(plain|wide)' is not finite on calibration image 4"):
        choose_ranges(model, damaged, "mse")


def test_the_images_decide_and_not_their_order_in_memory(model: Any, batch: NDArray[np.float32]) -> None:
    twice = model.clone()
    choose_ranges(model, batch, "lp")
    choose_ranges(twice, np.asfortranarray(batch), "lp")
    assert spans(model) == spans(twice)


def test_nothing_is_quantised_between_a_resize_and_its_product(model: Any) -> None:
    assert drop_needless(model) == 2
    assert set(spans(model)) == {"plain", "wide"}


@pytest.mark.parametrize("wanted", [Range(-1.3, 2.1), Range(0, 7), Range(-3, 0), Range(-1e-3, 5), Range(-5, 1e-3)])
def test_zero_is_a_level_and_nothing_wanted_is_cut(model: Any, wanted: Range) -> None:
    chosen = activation_quantisers(model)[0]
    set_range(chosen, wanted)
    low, high = span(chosen)
    step = (high - low) / 255
    assert low <= wanted.low + step / 2
    assert high >= wanted.high - step / 2
    assert abs(low / step - round(low / step)) < 1e-3
    assert high - low < 1.01 * (wanted.high - wanted.low)


def test_an_activation_that_is_always_zero_keeps_its_range(model: Any) -> None:
    chosen = activation_quantisers(model)[0]
    before = span(chosen)
    set_range(chosen, Range(0, 0))
    assert span(chosen) == before
