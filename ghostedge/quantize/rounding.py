"""Round weights to 8 bits so that the errors of the weights of one output make up for each other.

That needs to know how what the weights are multiplied by varies: `MomentSums` measures it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    *("LEVELS", "PAIR_LIMIT", "ROUNDINGS", "InputMoments", "Integers", "MomentSums"),
    *("round_integers", "round_weights"),
]

#: Column, what is left to round, what is rounded (groups, outputs, inputs) -> that column's integers (groups, outputs).
_Choose = Callable[[int, NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]

#: How weights are rounded: each by itself, or so that errors make up for each other.
ROUNDINGS = ("compensated", "nearest")

#: The largest integer that a weight becomes; the smallest is its negative.
LEVELS = 127

#: The largest sum of two weights of one sign whose products with numbers of 0 to 255 are added in 16 bits.
PAIR_LIMIT = 32767 // 255

#: How many columns are rounded before one product hands their errors on to all columns after them.
_BLOCK = 64

#: The steps that an output may take, as multiples of the one that its largest weight needs.
_STEPS = (1.0, 1.1, 1.2, 1.35, 1.6, 2.0)

#: This share of the inputs' mean variance is added to each one's, so as not to rely on what few images show.
_DAMPING = 0.01

#: How many positions of an activation are looked at in an image.
_POSITIONS = 32
#: How many images' inputs are kept before they are multiplied together: the products are many times as large.
_TOGETHER = 8


@dataclass(frozen=True)
class InputMoments:
    """What an operator with weights reads, one row of its weights at a time, over positions of all images.

    Attributes:
        mean: float64 (groups, inputs): inputs are taps times channels of a group.
        covariance: float64 (groups, inputs, inputs).
    """

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


class MomentSums:
    """Add up the inputs of operators image by image; the same in the same order give the same moments."""

    def __init__(self) -> None:
        self._positions = np.random.default_rng(0)
        self._kept: dict[str, list[NDArray[np.float32]]] = {}
        self._count: dict[str, int] = {}
        self._sum: dict[str, Any] = {}
        self._products: dict[str, Any] = {}

    def add(self, name: str, rows: NDArray[np.float32]) -> None:
        """Add what an operator reads of one image: (groups, positions, inputs)."""
        kept = self._kept.setdefault(name, [])
        kept.append(rows)
        if len(kept) == _TOGETHER:
            self._multiply(name)

    def add_convolution(
        self,
        name: str,
        value: NDArray[np.float32],
        taps: tuple[int, int],
        strides: tuple[int, int],
        dilations: tuple[int, int],
        pads: tuple[tuple[int, int], tuple[int, int]],
        groups: int,
    ) -> None:
        """Add what a convolution reads of one image at some of its positions.

        Args:
            name: of the operator.
            value: (rows, columns, channels), without its padding.
            taps: rows and columns of the kernel.
            strides: between positions, rows and columns.
            dilations: between taps.
            pads: zeros before and after, of rows and of columns.
            groups: of channels.
        """
        if pads != ((0, 0), (0, 0)):
            value = _pad(value, *pads)
        counts = [
            (size - (tap - 1) * dilation - 1) // stride + 1
            for size, tap, stride, dilation in zip(value.shape[:2], taps, strides, dilations, strict=True)
        ]
        places = np.arange(counts[0] * counts[1])
        if len(places) > _POSITIONS:
            places = np.sort(self._positions.choice(places, _POSITIONS, replace=False))
        row, column = np.divmod(places, counts[1])
        rows = row[:, None] * strides[0] + np.arange(taps[0]) * dilations[0]
        columns = column[:, None] * strides[1] + np.arange(taps[1]) * dilations[1]
        patches = value[rows[:, :, None], columns[:, None, :]]  # (positions, rows, columns, channels)
        grouped = patches.reshape(*patches.shape[:3], groups, -1)
        self.add(name, np.ascontiguousarray(grouped.transpose(3, 0, 1, 2, 4)).reshape(groups, len(places), -1))

    def moments(self) -> dict[str, InputMoments]:
        """Operator -> what it reads; called once, after the last image."""
        for name in tuple(self._kept):
            self._multiply(name)
        moments = {}
        for name, count in self._count.items():
            mean = self._sum[name] / count
            covariance = self._products.pop(name)  # in place: they are the largest thing here
            covariance /= count
            covariance -= mean[:, :, None] * mean[:, None, :]
            moments[name] = InputMoments(mean, covariance)
        return moments

    def _multiply(self, name: str) -> None:
        # In float64 the sum does not depend on how many threads add it up, to more digits than rounding looks at.
        rows = np.concatenate(self._kept.pop(name), axis=1, dtype=np.float64)
        self._count[name] = self._count.get(name, 0) + rows.shape[1]
        self._sum[name] = self._sum.get(name, 0.0) + rows.sum(axis=1)
        self._products[name] = self._products.get(name, 0.0) + rows.transpose(0, 2, 1) @ rows


def _pad(value: NDArray[np.float32], rows: tuple[int, int], columns: tuple[int, int]) -> NDArray[np.float32]:
    """`numpy.pad` with zeros, which takes several times as long for the small images here."""
    height, width, channels = value.shape
    padded = np.zeros((sum(rows) + height, sum(columns) + width, channels), value.dtype)
    padded[rows[0] : rows[0] + height, columns[0] : columns[0] + width] = value
    return padded


def _needed_steps(exact: NDArray[np.float64], limit: int = LEVELS) -> NDArray[np.float64]:
    """One step an output, (groups, outputs, 1): the largest weight is `limit` of them."""
    steps = np.abs(exact).max(axis=-1, keepdims=True) / limit
    return np.where(steps == 0, 1.0, steps)


def round_weights(weights: NDArray[np.float32], covariance: NDArray[np.float64] | None = None) -> NDArray[np.float32]:
    """The real numbers that int8 weights stand for: symmetric, one scale an output, the outputs' expected error least.

    Round one weight at a time, starting with the input that varies most. The weights that are still to be rounded make
    up for what this does to the output, as far as their inputs vary together (Frantar et al., GPTQ: Accurate
    Post-Training Quantization for Generative Pre-trained Transformers, 2022, equations 2 and 3, by the Cholesky form of
    section 3.3). Inputs are taken around their means, because a bias takes the shift of the mean exactly.

    The largest weight of an output stays the largest, so that whoever rounds the result finds the same scale and
    the same integers.

    Args:
        weights: (groups, outputs, inputs).
        covariance: (groups, inputs, inputs), of the inputs; None to round each weight to the nearest.
    """
    exact = weights.astype(np.float64)
    scale = _needed_steps(exact)
    if covariance is None:
        return np.asarray(np.rint(exact / scale) * scale, np.float32)
    order, _, share = _in_order(covariance)
    left = np.take_along_axis(exact / scale, order[:, None, :], axis=2)
    largest, sign = np.abs(left).argmax(axis=2), np.sign(left)

    def choose(index: int, left: NDArray[np.float64], rounded: NDArray[np.float64]) -> NDArray[np.float64]:
        column = np.clip(np.rint(left[:, :, index]), -LEVELS, LEVELS)
        return np.asarray(np.where(largest == index, LEVELS * sign[:, :, index], column))

    rounded = _round_in_order(left, share, choose)
    back = np.argsort(order, axis=1)
    return np.asarray(np.take_along_axis(rounded, back[:, None, :], axis=2) * scale, np.float32)


@dataclass(frozen=True)
class Integers:
    """Weights in 8 bits.

    Attributes:
        values: int8 (groups, outputs, inputs).
        steps: float32 (groups, outputs, 1), what one of them is worth.
    """

    values: NDArray[np.int8]
    steps: NDArray[np.float32]

    def real(self) -> NDArray[np.float64]:
        """What they stand for, (groups, outputs, inputs)."""
        return self.values.astype(np.float64) * self.steps


def round_integers(
    weights: NDArray[np.float32],
    covariance: NDArray[np.float64] | None,
    limit: int = LEVELS,
    partners: NDArray[np.intp] | None = None,
) -> Integers:
    """Round as `round_weights` does, but with the step that costs each output least, and no pair beyond `PAIR_LIMIT`.

    Where the two weights of a pair have one sign and add up to more, both give up a part of the surplus, the one whose
    input varies less the larger part; the weights that are still to be rounded make up for it. An output may also take
    a wider step, which makes all its integers smaller. Each output takes the step of `_STEPS` with the least expected
    squared error; the last of them leaves no surplus, so none is worse off than with half the range.

    Args:
        weights: (groups, outputs, inputs).
        covariance: (groups, inputs, inputs), of the inputs; None to round each weight to the nearest.
        limit: the largest integer.
        partners: (inputs,), the input that each is paired with, itself where it has none; None for no pairs.
    """
    exact = weights.astype(np.float64)
    groups, outputs, inputs = exact.shape
    first = _needed_steps(exact, limit).astype(np.float32)
    damped = share = None
    if covariance is None:
        order, variance = np.tile(np.arange(inputs), (groups, 1)), np.ones((groups, inputs))
    else:
        order, damped, share = _in_order(covariance)
        variance = np.diagonal(damped, axis1=1, axis2=2)
    ordered = np.take_along_axis(exact, order[:, None, :], axis=2)
    back = np.argsort(order, axis=1)
    partner = None if partners is None else np.take_along_axis(back, partners[order], axis=1)
    best, steps = np.zeros_like(ordered), first.copy()
    least = np.full((groups, outputs), np.inf)
    rows = np.arange(outputs)
    for wider in _STEPS:
        step = first[:, rows] * np.float32(wider)
        rounded = _round_in_order(ordered[:, rows] / step, share, _bounded(float(limit), partner, variance))
        error = rounded * step - ordered[:, rows]
        cost = ((error if damped is None else error @ damped) * error).sum(axis=2)
        better = cost < least[:, rows]
        least[:, rows] = np.where(better, cost, least[:, rows])
        steps[:, rows] = np.where(better[:, :, None], step, steps[:, rows])
        best[:, rows] = np.where(better[:, :, None], rounded, best[:, rows])
        if wider == 1:
            # Where no pair is beyond the limit a wider step has only more to round.
            rows = np.flatnonzero(_crowded(exact / first, partners))
        if not len(rows):
            break
    return Integers(np.take_along_axis(best, back[:, None, :], axis=2).astype(np.int8), steps)


def _crowded(scaled: NDArray[np.float64], partners: NDArray[np.intp] | None) -> NDArray[np.bool_]:
    """(outputs,): whether a pair of an output's weights, (groups, outputs, inputs), is beyond `PAIR_LIMIT`."""
    if partners is None:
        return np.zeros(scaled.shape[1], np.bool_)
    other = np.where(partners == np.arange(len(partners)), 0.0, scaled[:, :, partners])
    beyond = (scaled * other > 0) & (np.abs(scaled + other) > PAIR_LIMIT)
    return np.asarray(beyond.any(axis=(0, 2)))


def _bounded(limit: float, partner: NDArray[np.intp] | None, variance: NDArray[np.float64]) -> _Choose:
    """Choose the integers of a column: at most `limit` each, and with its partner at most `PAIR_LIMIT`.

    Args:
        limit: the largest integer.
        partner: (groups, inputs), of each column; itself for none. None: there are no pairs.
        variance: (groups, inputs), of what meets the columns.
    """

    def choose(index: int, left: NDArray[np.float64], rounded: NDArray[np.float64]) -> NDArray[np.float64]:
        wanted = left[:, :, index]
        if partner is None:
            return np.asarray(np.clip(np.rint(wanted), -limit, limit))
        at = partner[:, index]
        alone, done = (at == index)[:, None], (at < index)[:, None]
        of_partner = np.where(done, _column(rounded, at), _column(left, at))
        other = np.where(alone, 0.0, of_partner)
        # The partner is still to be rounded: both give up a part of the surplus, the less varied one more.
        theirs = np.take_along_axis(variance, at[:, None], axis=1)
        part = theirs / (theirs + variance[:, index : index + 1])
        surplus = np.where(wanted * other > 0, np.abs(wanted + other) - PAIR_LIMIT, 0.0).clip(0)
        wanted = np.where(done, wanted, wanted - np.sign(wanted) * surplus * part)
        high = np.where(done, np.minimum(limit, PAIR_LIMIT - other.clip(0)), limit)
        low = np.where(done, -np.minimum(limit, PAIR_LIMIT - (-other).clip(0)), -limit)
        return np.asarray(np.clip(np.rint(wanted), low, high))

    return choose


def _column(values: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Column ``at[group]`` of each group of (groups, outputs, inputs)."""
    return np.take_along_axis(values, at[:, None, None], axis=2)[:, :, 0]


def _in_order(
    covariance: NDArray[np.float64],
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The order of the inputs, the most varied first; in it their damped covariance; how later ones share an error."""
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    order = np.argsort(-variance, axis=1, kind="stable")
    damping = _DAMPING * variance.mean(axis=1)
    damping = np.where(damping == 0, 1.0, damping)  # inputs that never vary
    sorted_covariance = np.take_along_axis(
        np.take_along_axis(covariance, order[:, :, None], axis=1), order[:, None, :], axis=2
    )
    damped = sorted_covariance + damping[:, None, None] * np.eye(variance.shape[1])
    share = np.swapaxes(np.linalg.cholesky(np.linalg.inv(damped)), 1, 2)  # upper triangular
    return order, damped, share


def _round_in_order(
    left: NDArray[np.float64],
    share: NDArray[np.float64] | None,
    choose: _Choose,
) -> NDArray[np.float64]:
    """Round column by column by `choose`, handing the error of each on to those after it.

    Args:
        left: (groups, outputs, inputs), in steps; changed.
        share: see `_in_order`; None to hand nothing on.
        choose: see `_Choose`.
    """
    rounded = np.zeros_like(left)
    inputs = left.shape[2]
    for begin in range(0, inputs, _BLOCK):
        end = min(begin + _BLOCK, inputs)
        errors = np.zeros_like(left[:, :, begin:end])
        for index in range(begin, end):
            rounded[:, :, index] = choose(index, left, rounded)
            if share is not None:
                error = (left[:, :, index] - rounded[:, :, index]) / share[:, index, index, None]
                left[:, :, index:end] -= error[:, :, None] * share[:, None, index, index:end]
                errors[:, :, index - begin] = error
        if share is not None:
            left[:, :, end:] -= errors @ share[:, begin:end, end:]
    return rounded
