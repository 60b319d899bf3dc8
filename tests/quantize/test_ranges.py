"""Ranges hold zero, hold everything or clip outliers, and clip as little as pays."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import UsageError
from ghostedge.quantize.ranges import ESTIMATORS, Range, connected, estimate


@pytest.fixture(scope="module")
def tailed() -> NDArray[np.float32]:
    """A hundred thousand normal values and three outliers at 60."""
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    values[:3] = 60
    return values


def error(values: NDArray[np.float32], chosen: Range) -> float:
    step = (chosen.high - chosen.low) / 255
    quantised = np.clip(np.rint((values - chosen.low) / step), 0, 255) * step + chosen.low
    return float(((quantised - values) ** 2).mean())


def whole(values: NDArray[np.float32]) -> Range:
    return Range.of(float(values.min()), float(values.max()))


def test_minmax_holds_everything_and_the_others_clip_outliers(tailed: NDArray[np.float32]) -> None:
    assert estimate("minmax", tailed, whole(tailed)) == whole(tailed)
    assert estimate("percentile", tailed, whole(tailed)).high < 10
    mse, lp = (estimate(name, tailed, whole(tailed)) for name in ("mse", "lp"))
    assert mse.high <= lp.high < 60


def test_least_squares_is_no_worse_than_any_other(tailed: NDArray[np.float32]) -> None:
    errors = {name: error(tailed, estimate(name, tailed, whole(tailed))) for name in ESTIMATORS}
    assert errors["mse"] <= 1.02 * min(errors.values())  # the candidates are a grid of 3% steps
    assert errors["mse"] < 0.95 * min(errors["minmax"], errors["percentile"])


def test_values_without_a_tail_are_not_clipped() -> None:
    flat = np.linspace(0, 6, 10_000, dtype=np.float32)
    for name in ("minmax", "mse", "lp"):
        assert estimate(name, flat, Range(0, 6)) == Range(0, 6)


def test_every_range_holds_zero() -> None:
    assert Range.of(2, 5) == Range(0, 5)
    assert Range.of(-5, -2) == Range(-5, 0)
    constant = np.full(100, 3, np.float32)
    for name in ESTIMATORS:
        found = estimate(name, constant, Range.of(3, 3))
        assert found.low <= 0 <= 3 <= found.high + 1e-6


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean 'percentile'"):
        estimate("percentil", np.zeros(4, np.float32), Range(0, 1))


def test_ties_that_share_an_item_make_one_group() -> None:
    assert connected("abcdef", ["ab", "ce", "eb"]) == [["a", "b", "c", "e"], ["d"], ["f"]]


def test_nothing_is_tied_by_one_item_or_none() -> None:
    assert connected([3, 1, 2], [[], [1], [2, 2]]) == [[3], [1], [2]]
