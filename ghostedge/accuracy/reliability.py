"""Measure how reliable a model's probabilities are: how far from how often it is right.

Statistics call this calibration, and so do the reports' stored fields; it has nothing to do with calibration images.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Equal-width bins of the calibration error (Guo et al., On Calibration of Modern Neural Networks, ICML 2017).
_BINS = 15


@dataclass(frozen=True)
class CalibrationBin:
    """The images whose best class has a probability in one range.

    Attributes:
        images: how many.
        confidence_percent: mean probability of the best class; None where empty.
        accuracy_percent: share of them that are right; None where empty.
    """

    images: int
    confidence_percent: float | None
    accuracy_percent: float | None


@dataclass(frozen=True)
class Calibration:
    """How far a model's probabilities are from how often it is right.

    Attributes:
        error_percent: expected calibration error: mean over images of |accuracy - confidence| of the image's bin.
        bins: of equal width over 0..1.
    """

    error_percent: float
    bins: tuple[CalibrationBin, ...]


def reliability(confidence: NDArray[np.float64], correct: NDArray[np.bool_]) -> Calibration:
    """The expected calibration error in 15 bins of equal width.

    Args:
        confidence: (n,), the softmax probability of the best class, 0..1.
        correct: (n,), whether it is the true class.
    """
    index = np.clip(np.ceil(np.asarray(confidence, np.float64) * _BINS).astype(int) - 1, 0, _BINS - 1)
    images = np.bincount(index, minlength=_BINS)
    sum_confidence = np.bincount(index, weights=confidence, minlength=_BINS)
    sum_correct = np.bincount(index, weights=correct, minlength=_BINS)
    error = float(np.abs(sum_correct - sum_confidence).sum() / max(len(index), 1))
    bins = tuple(
        CalibrationBin(int(n), 100 * float(s / n), 100 * float(r / n)) if n else CalibrationBin(0, None, None)
        for n, s, r in zip(images, sum_confidence, sum_correct, strict=True)
    )
    return Calibration(100 * error, bins)
