"""Keep of an activation's values over many images what choosing its quantisation needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ghostedge.quantize.ranges import Range, estimate

__all__ = ["Observation", "Observer", "int8_range", "whole_range"]

#: Values kept of an activation and an image; a few hundred images give the quantiles to 1 in 100,000.
_SAMPLES = 2048
#: The range of small activations, as a multiple of what the calibration images reach.
_HEADROOM = 1.1
_INT8_LEVELS = 256


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
    """Takes the values of activations image by image; the same values in the same order give the same observations."""

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


def whole_range(observed: Sequence[Observation]) -> Range:
    """From the least to the greatest value of several activations."""
    return Range(min(o.whole.low for o in observed), max(o.whole.high for o in observed))


def int8_range(observed: Sequence[Observation], estimator: str, headroom: float = _HEADROOM) -> Range:
    """The range for the 256 levels that activations share.

    Args:
        observed: of each.
        estimator: a key of `ghostedge.quantize.ranges.ESTIMATORS`.
        headroom: the range of small activations, as a multiple of what the calibration images reach.

    Raises:
        UsageError: no such estimator.
    """
    whole = whole_range(observed)
    if all(o.complete for o in observed):
        # Squeezed activations: too few values for a tail to show, and each clipped one costs a channel.
        return Range(whole.low * headroom, whole.high * headroom)
    return estimate(estimator, np.concatenate([o.samples for o in observed]), whole, _INT8_LEVELS)
