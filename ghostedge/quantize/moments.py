"""Measure mean and covariance of what operators with weights read; rounding needs them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["InputMoments", "MomentSums"]

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
        groups: int,
    ) -> None:
        """Add what a convolution reads of one image at some of its positions.

        Args:
            name: of the operator.
            value: (rows, columns, channels), with its padding.
            taps: rows and columns of the kernel.
            strides: between positions, rows and columns.
            dilations: between taps.
            groups: of channels.
        """
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
