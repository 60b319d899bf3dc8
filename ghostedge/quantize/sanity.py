"""Name what is wrong with a calibration batch or with a quantised model's answers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import DatasetError, ParityError
from ghostedge.model import InputSpec

__all__ = ["check_batch", "check_logits"]

#: The normalised channel means of photographs differ by less; where red and blue are swapped, by 0.69.
_SWAPPED = 0.35


def check_batch(batch: NDArray[Any], spec: InputSpec) -> tuple[str, ...]:
    """Check that a calibration batch is what the model takes.

    Args:
        batch: float32 or uint8, (n, ...), as the model shall see it.
        spec: what the model takes.

    Returns:
        What is suspicious but possible, one line each.

    Raises:
        DatasetError: it cannot be such a batch; the message names the likely mistake.
    """
    wrong = "the calibration batch does not fit the model: "
    expected = spec.shape(len(batch))
    if batch.shape != expected:
        swapped = [np.moveaxis(batch, *axes).shape for axes in ((1, 3), (3, 1))] if batch.ndim == 4 else []
        other = "NCHW" if spec.layout == "NHWC" else "NHWC"
        hint = f" (it looks like {other})" if expected in swapped else ""
        raise DatasetError(f"{wrong}its shape is {batch.shape}, layout {spec.layout} means {expected}{hint}")
    if not np.isfinite(batch).all():
        raise DatasetError(
            f"{wrong}image {int(np.argmin(np.isfinite(batch).reshape(len(batch), -1).all(1)))} is not finite"
        )
    low, high = float(batch.min()), float(batch.max())
    if spec.range == "raw":
        if high <= 1.0:
            raise DatasetError(f"{wrong}raw input is 0..255, but nothing is above {high:.3g} (scaled to 0..1?)")
        if low < 0:
            raise DatasetError(f"{wrong}raw input is 0..255, but it begins at {low:.3g} (normalised already?)")
    else:
        black, white = spec.span()
        if high > white + 0.01 or low < black - 0.01:
            guess = " (0..255, not normalised?)" if high > 50 and low >= 0 else ""
            raise DatasetError(
                f"{wrong}normalised pixels lie in {black:.2f}..{white:.2f}, these in {low:.2f}..{high:.2f}{guess}"
            )
        if low >= 0 and high <= 1.0 and black < -0.5:
            raise DatasetError(f"{wrong}everything is in 0..1 and nothing is negative: scaled to 0..1, not normalised?")
    return _suspicions(batch, spec)


def _suspicions(batch: NDArray[Any], spec: InputSpec) -> tuple[str, ...]:
    channels = np.moveaxis(batch, 1 if spec.layout == "NCHW" else 3, 0).reshape(3, len(batch), -1).astype(np.float32)
    found = []
    spread = channels.std(axis=2).max(axis=0)
    if flat := int((spread < 1e-3 * max(1e-6, float(np.abs(channels).max()))).sum()):
        found.append(f"{flat} of {len(batch)} calibration images are of one single colour")
    if len(batch) > 1 and float(channels.std(axis=1).max()) < 1e-6:
        found.append("all calibration images are the same")
    if spec.range == "normalised":
        means = channels.mean(axis=(1, 2))
        # Of a tensor in the order R, G, B whose pixels are B, G, R the first channel is too dark, the last too bright.
        tilt = float(means[2] - means[0]) * (1 if spec.colour_order == "RGB" else -1)
        if tilt > _SWAPPED:
            found.append(f"blue is brighter than red by {tilt:.2f} standard deviations: are red and blue swapped?")
    return tuple(found)


def check_logits(exact: NDArray[np.float32], quantised: NDArray[np.float32], name: str) -> None:
    """Compare a quantised model's logits with those of the model it was made from, float32 (n, classes), n >= 2.

    Raises:
        ParityError: not finite; a class whose logit no longer moves (dead); many logits at one end (saturated);
            softmax far from the original's confidence. The message names `name` and the first such class.
    """
    if not np.isfinite(quantised).all():
        raise ParityError(f"{name}: logits are not finite")
    if len(exact) < 2:
        return
    moves, moved = exact.std(axis=0), quantised.std(axis=0)
    # The step of the output's quantisation is the least distance between two values.
    step = float(np.diff(np.unique(quantised)).min()) if np.ptp(quantised) else 0.0
    dead = np.flatnonzero((moved == 0) & (moves > 4 * step))
    if len(dead):
        raise ParityError(
            f"{name}: {len(dead)} of {exact.shape[1]} classes are dead (class {dead[0]} always answers "
            f"{quantised[0, dead[0]]:.3g}, in float it moves by {moves[dead[0]]:.3g}); "
            "the calibration images do not fit"
        )
    for end, sign in ((quantised.max(), 1), (quantised.min(), -1)):
        at_end = quantised == end
        beyond = sign * (exact - end) > 4 * step
        if (share := float((at_end & beyond).mean())) > 0.001:
            raise ParityError(
                f"{name}: {share:.1%} of the logits are cut off at {end:.3g}, the float model goes to "
                f"{(exact.max() if sign > 0 else exact.min()):.3g}; the calibration images do not cover what it meets"
            )
