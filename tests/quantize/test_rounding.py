"""Weights rounded together: int8 like those rounded alone, and nearer to the outputs that they are for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghostedge.quantize.rounding import LEVELS, round_to_nearest, round_weights


def problem(seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """Weights (2, 12, 24), inputs (2, 4000, 24) that vary together and around a mean, their covariance."""
    rng = np.random.default_rng(seed)
    weights = (rng.standard_normal((2, 12, 24)) * np.logspace(-3, 2, 12)[:, None]).astype(np.float32)
    mixed = rng.standard_normal((2, 4000, 6)) @ rng.standard_normal((2, 6, 24))
    inputs = mixed + 0.1 * rng.standard_normal((2, 4000, 24)) + rng.uniform(-3, 3, (2, 1, 24))
    centred = inputs - inputs.mean(axis=1, keepdims=True)
    return weights, inputs, centred.transpose(0, 2, 1) @ centred / 4000


def variance_of_error(
    exact: NDArray[np.float32], rounded: NDArray[np.float32], inputs: NDArray[np.float64]
) -> NDArray[np.float64]:
    errors = inputs @ (rounded.astype(np.float64) - exact).transpose(0, 2, 1)
    return np.asarray(errors.var(axis=1))


def test_weights_are_int8_by_output() -> None:
    weights, _, covariance = problem()
    scale = np.abs(weights).max(axis=2, keepdims=True) / LEVELS
    for rounded in (round_to_nearest(weights), round_weights(weights, covariance)):
        integers = rounded / scale
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() < LEVELS + 1e-3
        np.testing.assert_array_equal(np.abs(weights).argmax(axis=2), np.abs(rounded).argmax(axis=2))
        # Whoever rounds them again finds the same numbers.
        np.testing.assert_allclose(round_to_nearest(rounded), rounded, rtol=1e-6)
    assert (np.abs(round_to_nearest(weights) - weights) <= scale * 0.5001).all()


def test_outputs_lose_less_than_by_rounding_to_the_nearest() -> None:
    weights, inputs, covariance = problem()
    nearest = variance_of_error(weights, round_to_nearest(weights), inputs)
    compensated = variance_of_error(weights, round_weights(weights, covariance), inputs)
    assert compensated.shape == (2, 12)
    assert (compensated < nearest / 2).all()  # measured: a 24th in the mean


def test_inputs_that_do_not_vary_together_change_nothing() -> None:
    weights, _, _ = problem()
    alone = np.broadcast_to(np.diag(np.linspace(1, 2, 24)), (2, 24, 24))
    np.testing.assert_array_equal(round_weights(weights, alone), round_to_nearest(weights))


def test_what_the_images_do_not_show_is_rounded_to_the_nearest() -> None:
    """Inputs that never vary (a dead ReLU), and outputs without weights."""
    weights, _, covariance = problem()
    weights[0, 3] = 0
    silent = covariance.copy()
    silent[1] = 0
    rounded = round_weights(weights, silent)
    assert not rounded[0, 3].any()
    np.testing.assert_array_equal(rounded[1], round_to_nearest(weights)[1])


def test_fewer_images_than_inputs_are_enough() -> None:
    weights, inputs, _ = problem()
    few = inputs[:, :8] - inputs[:, :8].mean(axis=1, keepdims=True)
    rounded = round_weights(weights, few.transpose(0, 2, 1) @ few / 8)
    assert np.isfinite(rounded).all()
    nearest = variance_of_error(weights, round_to_nearest(weights), inputs)
    assert variance_of_error(weights, rounded, inputs).sum() < nearest.sum()
