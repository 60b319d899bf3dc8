"""Weights rounded together: int8 like those rounded alone, and nearer to the outputs that they are for."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.quantize.rounding import LEVELS, PAIR_LIMIT, round_integers, round_weights


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
    for rounded in (round_weights(weights), round_weights(weights, covariance)):
        integers = rounded / scale
        np.testing.assert_allclose(integers, np.rint(integers), atol=1e-3)
        assert np.abs(integers).max() < LEVELS + 1e-3
        np.testing.assert_array_equal(np.abs(weights).argmax(axis=2), np.abs(rounded).argmax(axis=2))
        # Whoever rounds them again finds the same numbers.
        np.testing.assert_allclose(round_weights(rounded), rounded, rtol=1e-6)
    assert (np.abs(round_weights(weights) - weights) <= scale * 0.5001).all()


def test_outputs_lose_less_than_by_rounding_to_the_nearest() -> None:
    weights, inputs, covariance = problem()
    nearest = variance_of_error(weights, round_weights(weights), inputs)
    compensated = variance_of_error(weights, round_weights(weights, covariance), inputs)
    assert compensated.shape == (2, 12)
    assert (compensated < nearest / 2).all()  # measured: a 24th in the mean


def test_inputs_that_do_not_vary_together_change_nothing() -> None:
    weights, _, _ = problem()
    alone = np.broadcast_to(np.diag(np.linspace(1, 2, 24)), (2, 24, 24))
    np.testing.assert_array_equal(round_weights(weights, alone), round_weights(weights))


def test_what_the_images_do_not_show_is_rounded_to_the_nearest() -> None:
    """Inputs that never vary (a dead ReLU), and outputs without weights."""
    weights, _, covariance = problem()
    weights[0, 3] = 0
    silent = covariance.copy()
    silent[1] = 0
    rounded = round_weights(weights, silent)
    assert not rounded[0, 3].any()
    np.testing.assert_array_equal(rounded[1], round_weights(weights)[1])


def test_fewer_images_than_inputs_are_enough() -> None:
    weights, inputs, _ = problem()
    few = inputs[:, :8] - inputs[:, :8].mean(axis=1, keepdims=True)
    rounded = round_weights(weights, few.transpose(0, 2, 1) @ few / 8)
    assert np.isfinite(rounded).all()
    nearest = variance_of_error(weights, round_weights(weights), inputs)
    assert variance_of_error(weights, rounded, inputs).sum() < nearest.sum()


def neighbours(inputs: int) -> NDArray[np.intp]:
    """0 and 1 are a pair, 2 and 3, ...; the last of an odd number is alone."""
    other = np.arange(inputs) ^ 1
    return np.where(other < inputs, other, np.arange(inputs))


def largest_pair(values: NDArray[np.int8]) -> int:
    """The most that weights of one sign of a pair add up to, (groups, outputs, inputs)."""
    pairs = values[:, :, : values.shape[2] // 2 * 2].astype(int).reshape(*values.shape[:2], -1, 2)
    return int(max(pairs.clip(0).sum(axis=3).max(), (-pairs).clip(0).sum(axis=3).max()))


@pytest.mark.parametrize("compensated", [True, False])
def test_no_pair_is_beyond_the_limit_and_what_is_far_from_it_keeps_its_step(compensated: bool) -> None:
    weights, _, covariance = problem()
    weights[0, 0] = np.resize([1, -1], 24)  # of opposite signs: two products take from each other
    weights[0, 1] = np.resize([1, 1, 0.01], 24)  # the worst: both at the end
    made = round_integers(weights, covariance if compensated else None, partners=neighbours(24))
    free = round_integers(weights, covariance if compensated else None)
    assert largest_pair(free.values) > PAIR_LIMIT
    assert largest_pair(made.values) <= PAIR_LIMIT
    np.testing.assert_array_equal(made.values[0, 0], free.values[0, 0])
    np.testing.assert_array_equal(made.steps[0, 0], free.steps[0, 0])
    # The worst keeps half of its range, and nothing less.
    assert np.abs(made.values[0, 1]).max() >= PAIR_LIMIT // 2
    assert (made.steps >= free.steps).all()
    assert (made.steps <= 2 * free.steps).all()


def test_giving_up_range_costs_less_than_rounding_each_alone() -> None:
    weights, inputs, covariance = problem()
    for limit in range(3):
        weights[0, limit, :6] = np.abs(weights[0, limit]).max()
    made = round_integers(weights, covariance, partners=neighbours(24))
    half = round_integers(weights, covariance, PAIR_LIMIT // 2)
    nearest = variance_of_error(weights, round_weights(weights), inputs)
    assert variance_of_error(weights, made.real().astype(np.float32), inputs).sum() < nearest.sum()
    assert variance_of_error(weights, made.real().astype(np.float32), inputs).sum() < 0.7 * (
        variance_of_error(weights, half.real().astype(np.float32), inputs).sum()
    )


def test_integers_are_those_of_rounding_to_the_nearest_where_nothing_binds() -> None:
    weights, _, _ = problem()
    np.testing.assert_allclose(round_integers(weights, None).real(), round_weights(weights), rtol=1e-5)
    weights[1, 2] = 0
    for partners in (None, neighbours(24)):
        assert not round_integers(weights, None, partners=partners).values[1, 2].any()


def test_the_last_of_an_odd_number_of_inputs_is_alone() -> None:
    weights = np.array([[[0.1, 0.2, 1.0]]], np.float32)
    made = round_integers(weights, None, partners=neighbours(3))
    np.testing.assert_array_equal(made.values, [[[13, 25, 127]]])


def test_more_inputs_than_a_block_are_rounded_as_in_one() -> None:
    """Errors are handed on from block to block: what 200 inputs lose does not depend on where blocks end."""
    rng = np.random.default_rng(5)
    weights = rng.standard_normal((1, 8, 200)).astype(np.float32)
    mixed = rng.standard_normal((4000, 20)) @ rng.standard_normal((20, 200)) + 0.1 * rng.standard_normal((4000, 200))
    covariance = (mixed.T @ mixed / 4000)[None]
    blocked = round_weights(weights, covariance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ghostedge.quantize.rounding._BLOCK", 200)
        np.testing.assert_allclose(blocked, round_weights(weights, covariance), atol=1e-6)
