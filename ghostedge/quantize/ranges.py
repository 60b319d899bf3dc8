"""Choose the range that an activation is quantised to, from samples of its values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import choose

__all__ = ["ESTIMATORS", "Range", "estimate"]

_BINS = 2048
#: Shares of the whole range that `mse` tries for either end.
_SHARES = np.linspace(0.25, 1.0, 31)


@dataclass(frozen=True)
class Range:
    """The real numbers that the smallest and the largest integer stand for; 0 lies between them."""

    low: float
    high: float

    @classmethod
    def of(cls, low: float, high: float) -> Range:
        """`low` to `high`, widened to hold 0, which must have an integer of its own (padding, ReLU)."""
        return cls(min(float(low), 0.0), max(float(high), 0.0))


def minmax(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """All that was seen: nothing is clipped, outliers make the steps coarse."""
    return whole


def percentile(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """All but the outermost 0.005% at either end."""
    low, high = np.percentile(samples, [0.005, 99.995])
    return Range.of(max(low, whole.low), min(high, whole.high))


def mse(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """The range with the least mean squared error, rounding and clipping together.

    Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.1.1: what is clipped costs its squared
    distance, what is not costs step**2 / 12.
    """
    if whole.high <= whole.low:
        return whole
    counts, edges = np.histogram(samples, _BINS, (whole.low, whole.high))
    values = (edges[:-1] + edges[1:]) / 2
    lows = whole.low * _SHARES[:, None] if whole.low < 0 else np.zeros((1, 1))
    highs = whole.high * _SHARES[:, None] if whole.high > 0 else np.zeros((1, 1))
    below = (np.clip(lows - values, 0, None) ** 2) @ counts  # (number of lows,)
    above = (np.clip(values - highs, 0, None) ** 2) @ counts
    step = (highs.ravel()[None, :] - lows.ravel()[:, None]) / (levels - 1)
    error = below[:, None] + above[None, :] + step**2 / 12 * counts.sum()
    i, j = np.unravel_index(int(error.argmin()), error.shape)
    return Range.of(lows.ravel()[i], highs.ravel()[j])


#: Name -> (samples float32 (n,), the whole range seen, number of integer levels) -> the range to use.
ESTIMATORS: Mapping[str, Callable[[NDArray[np.float32], Range, int], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
}


def estimate(estimator: str, samples: NDArray[np.float32], whole: Range, levels: int = 256) -> Range:
    """The range for values of which `samples` is a fair sample and `whole` holds all.

    Raises:
        UsageError: no such estimator.
    """
    return ESTIMATORS[choose("range estimator", estimator, ESTIMATORS)](samples, whole, levels)
