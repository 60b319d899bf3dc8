"""Choose the range that an activation is quantised to, from its values on many images."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import choose

__all__ = ["ESTIMATORS", "Observation", "Observer", "Range", "estimate", "int8_range", "whole_range"]

T = TypeVar("T", bound=Hashable)

_BINS = 2048
#: The shares of the whole range that `mse` and `lp` try for either end.
_SHARES = np.linspace(0.25, 1.0, 31)
#: How many values of an activation are kept an image; a few hundred images give the quantiles to 1 in 100,000.
_SAMPLES = 2048
#: How much wider than what the calibration images reach the range of small activations is.
_HEADROOM = 1.1
_INT8_LEVELS = 256


@dataclass(frozen=True)
class Range:
    """The real numbers that the smallest and the largest integer stand for; 0 lies between them."""

    low: float
    high: float

    @classmethod
    def of(cls, low: float, high: float) -> Range:
        """`low` to `high`, widened to hold 0, which must have an integer of its own (padding, ReLU)."""
        return cls(min(float(low), 0.0), max(float(high), 0.0))


@dataclass(frozen=True)
class Observation:
    """What an activation was over all images.

    Attributes:
        whole: the least and the greatest value.
        samples: float32 (n,): values spread evenly over positions and channels, of every image.
        complete: `samples` are all values of every image: the activation is small, so their number is too.
    """

    whole: Range
    samples: NDArray[np.float32]
    complete: bool


class Observer:
    """Sample activations' values over many images, as much as choosing their quantisation needs.

    The same values in the same order give the same observations.
    """

    def __init__(self) -> None:
        self._offsets = np.random.default_rng(0)
        self._low: dict[str, float] = {}
        self._high: dict[str, float] = {}
        self._samples: dict[str, list[NDArray[np.float32]]] = {}
        self._complete: dict[str, bool] = {}

    def add(self, name: str, value: NDArray[np.float32]) -> bool:
        """Observe one image's value of an activation. Returns: whether it is finite; if not, it is not kept."""
        least, most = float(value.min()), float(value.max())
        if not np.isfinite(least + most):
            return False
        self._low[name] = min(self._low.get(name, np.inf), least)
        self._high[name] = max(self._high.get(name, -np.inf), most)
        flat = value.reshape(-1)
        # An odd step meets every channel; the offset moves the grid from image to image.
        step = max(1, flat.size // _SAMPLES) | 1
        self._samples.setdefault(name, []).append(flat[int(self._offsets.integers(step)) :: step].copy())
        self._complete[name] = self._complete.get(name, True) and step == 1
        return True

    def observations(self) -> dict[str, Observation]:
        """Activation -> what it was."""
        return {
            name: Observation(
                whole=Range.of(self._low[name], self._high[name]),
                samples=np.concatenate(samples),
                complete=self._complete[name],
            )
            for name, samples in self._samples.items()
        }


def minmax(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """All that was seen: nothing is clipped, outliers make the steps coarse."""
    return whole


def percentile(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """All but the outermost 0.005% at either end."""
    low, high = np.percentile(samples, [0.005, 99.995])
    return Range.of(max(low, whole.low), min(high, whole.high))


def mse(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """The range with the least mean squared error, rounding and clipping together.

    Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.1.1.
    """
    return _least_error(samples, whole, levels, 2.0)


def lp(samples: NDArray[np.float32], whole: Range, levels: int) -> Range:
    """Like `mse` with the power 2.4, which clips less (L_p ranges: Nahshan et al., Loss Aware Quantization, 2021)."""
    return _least_error(samples, whole, levels, 2.4)


def _least_error(samples: NDArray[np.float32], whole: Range, levels: int, power: float) -> Range:
    """A clipped value costs its distance to `power`, another one the mean of that over half a step to either side."""
    if whole.high <= whole.low:
        return whole
    counts, edges = np.histogram(samples, _BINS, (whole.low, whole.high))
    values = (edges[:-1] + edges[1:]) / 2
    lows = whole.low * _SHARES if whole.low < 0 else np.zeros(1)
    highs = whole.high * _SHARES if whole.high > 0 else np.zeros(1)
    below = (np.clip(lows[:, None] - values, 0, None) ** power) @ counts
    above = (np.clip(values - highs[:, None], 0, None) ** power) @ counts
    step = (highs[None, :] - lows[:, None]) / (levels - 1)
    error = below[:, None] + above[None, :] + (step / 2) ** power / (power + 1) * counts.sum()
    i, j = np.unravel_index(int(error.argmin()), error.shape)
    return Range.of(lows[i], highs[j])


#: Name -> (samples float32 (n,), the whole range seen, number of integer levels) -> the range to use.
ESTIMATORS: Mapping[str, Callable[[NDArray[np.float32], Range, int], Range]] = {
    "minmax": minmax,
    "percentile": percentile,
    "mse": mse,
    "lp": lp,
}


def estimate(estimator: str, samples: NDArray[np.float32], whole: Range, levels: int = 256) -> Range:
    """The range of an activation, from a fair sample of its values and the whole range of them.

    Raises:
        UsageError: no such estimator.
    """
    return ESTIMATORS[choose("range estimator", estimator, ESTIMATORS)](samples, whole, levels)


def whole_range(observed: Sequence[Observation]) -> Range:
    """From the least to the greatest value of several activations."""
    return Range(min(o.whole.low for o in observed), max(o.whole.high for o in observed))


def int8_range(observed: Sequence[Observation], estimator: str, headroom: float = _HEADROOM) -> Range:
    """The one range of several activations whose integers have the same 256 levels.

    Args:
        observed: what each of them was.
        estimator: a key of `ESTIMATORS`.
        headroom: how many times as wide as what the calibration images reach the range of small activations is.

    Raises:
        UsageError: no such estimator.
    """
    whole = whole_range(observed)
    if all(o.complete for o in observed):
        # Squeezed activations: too few values for a tail to show, and each clipped one costs a channel.
        return Range(whole.low * headroom, whole.high * headroom)
    return estimate(estimator, np.concatenate([o.samples for o in observed]), whole, _INT8_LEVELS)
