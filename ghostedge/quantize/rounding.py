"""Round weights to 8 bits so that the errors of the weights of one output make up for each other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVELS", "InputMoments", "round_to_nearest", "round_weights"]

#: The largest integer that a weight becomes; the smallest is its negative.
LEVELS = 127

#: Of the mean variance of the inputs, added to each one's: what the calibration images do not show is not relied on.
_DAMPING = 0.01


@dataclass(frozen=True)
class InputMoments:
    """What an operator with weights reads, one row of its weights at a time, over positions of all images.

    Attributes:
        mean: float64 (groups, inputs): inputs are taps times channels of a group.
        covariance: float64 (groups, inputs, inputs).
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


def _scale(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """One step an output, (groups, outputs, 1): the largest weight is `LEVELS` of them."""
    scale = np.abs(weights).max(axis=-1, keepdims=True) / LEVELS
    return np.where(scale == 0, 1.0, scale)


def round_to_nearest(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The real numbers that int8 weights stand for: symmetric, one scale an output.

    Args:
        weights: (groups, outputs, inputs).
    """
    exact = weights.astype(np.float64)
    scale = _scale(exact)
    return np.asarray(np.rint(exact / scale) * scale, np.float32)


def round_weights(weights: NDArray[np.float32], covariance: NDArray[np.float64]) -> NDArray[np.float32]:
    """Like `round_to_nearest`, but with the least expected squared error of the outputs instead of the weights.

    Weight by weight is rounded, that of the most varied input first; what its rounding does to the output, those still
    to come make up for as far as their inputs vary together (Frantar et al., GPTQ: Accurate Post-Training Quantization
    for Generative Pre-trained Transformers, 2022, equations 2 and 3, by the Cholesky form of section 3.3). Around
    their means: the shift of the mean a bias takes exactly.

    The largest weight of an output stays the largest, so that whoever rounds the result finds the same scale and
    the same integers.

    Args:
        weights: (groups, outputs, inputs).
        covariance: (groups, inputs, inputs), of the inputs.
    """
    exact = weights.astype(np.float64)
    scale = _scale(exact)
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    order = np.argsort(-variance, axis=1, kind="stable")
    damping = _DAMPING * variance.mean(axis=1)
    damping = np.where(damping == 0, 1.0, damping)  # inputs that never vary
    sorted_covariance = np.take_along_axis(
        np.take_along_axis(covariance, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    damped = sorted_covariance + damping[:, None, None] * np.eye(variance.shape[1])
    share = np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2)  # upper triangular
    left = np.take_along_axis(exact / scale, order[:, None, :], axis=2)
    largest, sign = np.abs(left).argmax(axis=2), np.sign(left)
    rounded = np.empty_like(left)
    for index in range(left.shape[2]):
        column = np.clip(np.rint(left[:, :, index]), -LEVELS, LEVELS)
        column = np.where(largest == index, LEVELS * sign[:, :, index], column)
        error = (left[:, :, index] - column) / share[:, index, index, None]
        left[:, :, index:] -= error[:, :, None] * share[:, None, index, index:]
        rounded[:, :, index] = column
    back = np.argsort(order, axis=1)
    return np.asarray(np.take_along_axis(rounded, back[:, None, :], axis=2) * scale, np.float32)
