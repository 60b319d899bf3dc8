"""Choose the ranges that activations are quantised to, from their values on many images and from what ties them."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import choose

__all__ = [
    *("ESTIMATORS", "Observation", "Observer", "Range", "UnionFind"),
    *("connected", "estimate", "int8_range", "whole_range"),
]

T = TypeVar("T", bound=Hashable)

_BINS = 2048
#: The shares of the whole range that `_least_error` tries for either end.
_SHARES = np.linspace(0.25, 1.0, 31)
#: How many values of an activation are kept an image; a few hundred images give the quantiles to 1 in 100,000.
_SAMPLES = 2048
#: How much wider than what the calibration images reach the range of small activations is.
_HEADROOM = 1.1
_LEVELS = 256


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
        self._seen: dict[str, list[tuple[float, float, NDArray[np.float32], bool]]] = {}

    def add(self, name: str, value: NDArray[np.float32]) -> bool:
        """Observe one image's value of an activation. Returns: whether it is finite; if not, it is not kept."""
        least, most = float(value.min()), float(value.max())
        if not np.isfinite(least + most):
            return False
        flat = value.reshape(-1)
        # An odd step meets every channel; the offset moves the grid from image to image.
        step = max(1, flat.size // _SAMPLES) | 1
        samples = flat[int(self._offsets.integers(step)) :: step].copy()
        self._seen.setdefault(name, []).append((least, most, samples, step == 1))
        return True

    def observations(self) -> dict[str, Observation]:
        """Activation -> what it was."""
        found = {}
        for name, images in self._seen.items():
            least, most, samples, complete = zip(*images, strict=True)
            found[name] = Observation(Range.of(min(least), max(most)), np.concatenate(samples), all(complete))
        return found


def _minmax(samples: NDArray[np.float32], whole: Range) -> Range:
    """All that was seen: nothing is clipped, outliers make the steps coarse."""
    return whole


def _percentile(samples: NDArray[np.float32], whole: Range) -> Range:
    """All but the outermost 0.005% at either end."""
    low, high = np.percentile(samples, [0.005, 99.995])
    return Range.of(max(low, whole.low), min(high, whole.high))


def _least_error(samples: NDArray[np.float32], whole: Range, power: float) -> Range:
    """The range with the least error, rounding and clipping together.

    A clipped value costs its distance to `power`, another one the mean of that over half a step to either side.
    """
    if whole.high <= whole.low:
        return whole
    counts, edges = np.histogram(samples, _BINS, (whole.low, whole.high))
    values = (edges[:-1] + edges[1:]) / 2
    lows = whole.low * _SHARES if whole.low < 0 else np.zeros(1)
    highs = whole.high * _SHARES if whole.high > 0 else np.zeros(1)
    below = (np.clip(lows[:, None] - values, 0, None) ** power) @ counts
    above = (np.clip(values - highs[:, None], 0, None) ** power) @ counts
    step = (highs[None, :] - lows[:, None]) / (_LEVELS - 1)
    error = below[:, None] + above[None, :] + (step / 2) ** power / (power + 1) * counts.sum()
    i, j = np.unravel_index(int(error.argmin()), error.shape)
    return Range.of(lows[i], highs[j])


#: Name -> (samples float32 (n,), the whole range seen) -> the range to use for 256 levels.
#:
#: ``mse``: Nagel et al., A White Paper on Neural Network Quantization, 2021, section 3.1.1. ``lp`` clips less (L_p
#: ranges: Nahshan et al., Loss Aware Quantization, 2021).
ESTIMATORS: Mapping[str, Callable[[NDArray[np.float32], Range], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": partial(_least_error, power=2.0),
    "lp": partial(_least_error, power=2.4),
}


def estimate(estimator: str, samples: NDArray[np.float32], whole: Range) -> Range:
    """The range that one of `ESTIMATORS` chooses. Raises: UsageError where there is none of that name."""
    return ESTIMATORS[choose("range estimator", estimator, ESTIMATORS)](samples, whole)


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
    return estimate(estimator, np.concatenate([o.samples for o in observed]), whole)


class UnionFind(Generic[T]):
    """Sets of items, each alone at first."""

    def __init__(self, items: Iterable[T]) -> None:
        self._leader = {item: item for item in items}

    def find(self, item: T) -> T:
        """The leader of an item's set: the same for all of a set."""
        leader = self._leader
        while leader[item] != item:
            leader[item] = item = leader[leader[item]]
        return item

    def join(self, first: T, second: T) -> None:
        """Make one set of the sets of two items; the first one's leader leads it."""
        self._leader[self.find(second)] = self.find(first)


def connected(items: Iterable[T], ties: Iterable[Sequence[T]]) -> list[list[T]]:
    """The smallest groups of `items` that split no tie, ordered as `items` are.

    Args:
        items: each once.
        ties: items that belong together; one item ties nothing.
    """
    ordered = list(items)
    sets = UnionFind(ordered)
    for tie in ties:
        for other in tie[1:]:
            sets.join(tie[0], other)
    groups: dict[T, list[T]] = {}
    for item in ordered:
        groups.setdefault(sets.find(item), []).append(item)
    return list(groups.values())
