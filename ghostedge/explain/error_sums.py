"""Add up the errors of one layer of a quantised .tflite model over all images, and name what makes most of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import snr_db
from ghostedge.explain.roles import Role
from ghostedge.tflite.graph import Graph, Operator

__all__ = ["ErrorSums"]

#: y - g of a sound layer is a few times what even rounding makes: integer kernels round more than once.
_ROUNDING_EXCESS = 8.0

#: Fewer values of a channel than this cannot tell an offset from chance.
_OFFSET_VALUES = 32

#: What stands for the SQNR, dB, of a layer that gives zeros alone in float and noise in integers.
_NO_SIGNAL_DB = -300.0


class ErrorSums:
    """The sums of one layer over all images; its own error is added up for each channel (last axis).

    Args:
        graph: of the quantised model.
        tensor: the activation there.
    """

    def __init__(self, graph: Graph, tensor: int) -> None:
        self.dtype, self.scale, self.zero, self.limits = graph.dtype(tensor).lower(), None, 0, None
        if self.dtype != "float32":
            self.scale, self.zero = graph.scales(tensor)[0], (*graph.zero_points(tensor), 0)[0]
            self.limits = np.iinfo(self.dtype)
        shape = graph.shape(tensor)
        self.channels = shape[-1] if shape else 1
        self.count = self.ends = self.saturated = 0
        self.signal = self.noise = self.dot = self.energy = self.expected = self.arrived = 0.0
        self.weights = self.rest = self.clipped = 0.0
        self.own, self.shift = np.zeros(self.channels), np.zeros(self.channels)

    def add(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        f: NDArray[np.float32],
        g: NDArray[np.float32],
        stored: NDArray[Any],
    ) -> None:
        """Add one image: the letters are those of `ghostedge.explain`, `stored` is y before dequantisation."""
        x, y, f, g, stored = (value.reshape(-1, self.channels) for value in (x, y, f, g, stored))
        own = y - f
        squared = np.square(own)
        self.count += x.size
        self.signal += _sum(np.square(x))
        self.noise += _sum(np.square(y - x))
        self.arrived += _sum(np.square(f - x))
        self.dot += _sum(x * y)
        self.energy += _sum(np.square(y))
        self.expected += _sum(np.square(f))
        self.weights += _sum(np.square(g - f))
        self.rest += _sum(np.square(y - g))
        self.own += squared.sum(axis=0, dtype=np.float64)
        self.shift += own.sum(axis=0, dtype=np.float64)
        if self.scale is not None and self.limits is not None:
            half = self.scale / 2
            lowest, highest = ((end - self.zero) * self.scale for end in (self.limits.min, self.limits.max))
            low, high = stored == self.limits.min, stored == self.limits.max
            beyond = (low & (f < lowest - half)) | (high & (f > highest + half))
            self.ends += int(np.count_nonzero(low | high))
            self.saturated += int(np.count_nonzero(beyond))
            self.clipped += _sum(squared[beyond])

    def result(self, name: str, role: Role, operator: Operator | None) -> dict[str, Any]:
        """The fields of `ghostedge.explain.LayerError`.

        Args:
            name: of the activation.
            role: of the layer.
            operator: the float model's; None for the model's input.
        """
        own, norm = float(self.own.sum()), math.sqrt(self.signal * self.energy)
        worst = int(self.own.argmax())
        arrived, accumulated = _db(self.signal, self.arrived), _db(self.signal, self.noise)
        excess = None if self.scale is None else self.rest / self.count / (self.scale**2 / 12)
        shares = {
            "weights_share": self.weights / own if own else 0.0,
            "clipped_share": self.clipped / own if own else 0.0,
            "offset_share": self._offset_share(own),
        }
        return {
            "name": name,
            "place": _place(role, name),
            "kind": role.kind,
            "operator": "" if operator is None else operator.kind,
            "dtype": self.dtype,
            "scale": self.scale,
            "zero_point": None if self.scale is None else self.zero,
            "sqnr_db": accumulated,
            "mse": self.noise / self.count,
            "cosine": self.dot / norm if norm else float(self.signal == self.energy),
            "own_sqnr_db": _db(self.expected, own),
            "drop_db": None if arrived is None or accumulated is None else arrived - accumulated,
            **shares,
            "step_excess": excess,
            "ends": self.ends / self.count,
            "saturated": self.saturated / self.count,
            "worst_channel": worst,
            "worst_channel_share": float(self.own[worst]) / own if own else 0.0,
            "cause": _cause(own, shares, excess),
        }

    def _offset_share(self, own: float) -> float:
        if not own or self.count < _OFFSET_VALUES * self.channels:
            return 0.0
        return float((self.shift**2).sum()) / (self.count / self.channels) / own


def _sum(values: NDArray[Any]) -> float:
    return float(values.sum(dtype=np.float64))


def _db(signal: float, noise: float) -> float | None:
    """`ghostedge.compare.snr_db` in numbers that JSON has; None without noise."""
    found = snr_db(signal, noise)
    return None if found == math.inf else max(found, _NO_SIGNAL_DB)


def _place(role: Role, name: str) -> str:
    """Where a layer is; of one without a name in the checkpoint (a pad) its block and the end of its tensor's name."""
    end = name.rsplit("/", 1)[-1] or name
    if not role.place:
        return end
    only_block = role.place.startswith("blocks.") and role.place.count(".") == 1 and role.kind != "head"
    return f"{role.place}.{end}" if only_block else role.place


def _cause(own: float, shares: Mapping[str, float], excess: float | None) -> str:
    if not own:
        return "none"
    for cause, share in (("range", "clipped_share"), ("weights", "weights_share"), ("offset", "offset_share")):
        if shares[share] > 0.5:
            return cause
    if excess is None:  # a float output: where there are integer weights, LiteRT quantised the input for them
        return "input" if shares["weights_share"] else "arithmetic"
    return "rounding" if excess < _ROUNDING_EXCESS else "arithmetic"
