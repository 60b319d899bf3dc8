"""The expected shift of rounded weights, and that taking it from the bias takes it from the output."""

from __future__ import annotations

import numpy as np

from ghostedge.quantize.bias import expected_shift, rounded_weights


def test_rounded_weights_are_int8_by_output_channel() -> None:
    rng = np.random.default_rng(0)
    weights = (rng.standard_normal((6, 3, 3, 4)) * np.logspace(-3, 2, 6)[:, None, None, None]).astype(np.float32)
    rounded = rounded_weights(weights, "CONV_2D")
    scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127
    np.testing.assert_allclose(rounded / scale, np.rint(weights / scale), atol=1e-3)
    assert (np.abs(rounded - weights) <= scale * 0.5001).all()
    assert not rounded_weights(np.zeros_like(weights), "CONV_2D").any()


def test_the_shift_of_a_convolution_is_what_its_mean_input_gives() -> None:
    """Output of constant images: exactly the expectation, away from the border."""
    rng = np.random.default_rng(1)
    mean = rng.uniform(0, 3, 4)
    weights = rng.standard_normal((6, 3, 3, 4)).astype(np.float32)
    error = (rounded_weights(weights, "CONV_2D") - weights).astype(np.float64)
    np.testing.assert_allclose(expected_shift(weights, "CONV_2D", mean), np.einsum("orci,i->o", error, mean))


def test_grouped_depthwise_and_dense_weights_meet_their_own_inputs() -> None:
    rng = np.random.default_rng(2)
    mean = rng.uniform(0, 3, 8)
    grouped = rng.standard_normal((6, 3, 3, 4)).astype(np.float32)  # two groups of four inputs
    error = (rounded_weights(grouped, "CONV_2D") - grouped).sum(axis=(1, 2))
    expected = np.concatenate([error[:3] @ mean[:4], error[3:] @ mean[4:]])
    np.testing.assert_allclose(expected_shift(grouped, "CONV_2D", mean), expected, rtol=1e-4, atol=1e-5)
    depthwise = rng.standard_normal((1, 3, 3, 8)).astype(np.float32)
    error = (rounded_weights(depthwise, "DEPTHWISE_CONV_2D") - depthwise).sum(axis=(0, 1, 2))
    np.testing.assert_allclose(expected_shift(depthwise, "DEPTHWISE_CONV_2D", mean), error * mean, rtol=1e-4, atol=1e-5)
    dense = rng.standard_normal((5, 8)).astype(np.float32)
    error = rounded_weights(dense, "FULLY_CONNECTED") - dense
    np.testing.assert_allclose(expected_shift(dense, "FULLY_CONNECTED", mean), error @ mean, rtol=1e-4, atol=1e-5)
