"""Compare the logits of two models on the same images, number by number."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ParityError


@dataclass(frozen=True)
class Difference:
    """How far one model's logits are from another's.

    Attributes:
        images: how many images were run.
        max_abs: the largest absolute difference of one logit.
        snr_db: ``10 log10(sum(reference^2) / sum((candidate - reference)^2))`` over all images and classes, dB;
            ``inf`` when the logits are identical.
        top1_agreement: the fraction of images with the same best class, 0..1.
    """

    images: int
    max_abs: float
    snr_db: float
    top1_agreement: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; ``snr_db`` is null for identical logits, since JSON has no infinity."""
        return {
            "images": self.images,
            "max_abs": self.max_abs,
            "snr_db": None if math.isinf(self.snr_db) else round(self.snr_db, 2),
            "top1_agreement": self.top1_agreement,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Difference:
        """Read what `to_dict` wrote."""
        snr = math.inf if data["snr_db"] is None else data["snr_db"]
        return cls(data["images"], data["max_abs"], snr, data["top1_agreement"])

    def __str__(self) -> str:
        snr = "identical" if math.isinf(self.snr_db) else f"{self.snr_db:.1f} dB"
        return f"{snr}, max abs {self.max_abs:.2g}, top-1 agreement {self.top1_agreement:.1%} of {self.images} images"


def snr_db(signal: float, noise: float) -> float:
    """Signal-to-noise ratio ``10 log10(signal / noise)``, dB.

    Args:
        signal: the sum of the reference's squares.
        noise: the sum of the squared differences to it.

    Returns:
        ``inf`` without noise, ``-inf`` for noise without a signal. JSON, which has neither, holds null for ``inf``.
    """
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


def compare(reference: NDArray[Any], candidate: NDArray[Any]) -> Difference:
    """Compare two models' logits of the same images.

    Args:
        reference: shape (n, classes), n >= 1, finite.
        candidate: the same shape.

    Raises:
        ParityError: the shapes differ (another number of classes), or a logit is NaN or infinite.
    """
    if reference.shape != candidate.shape:
        raise ParityError(
            f"the logits have shape {candidate.shape}, those of the model it was made from {reference.shape}"
        )
    for name, logits in (("the source's", reference), ("the artifact's", candidate)):
        if not np.isfinite(logits).all():
            raise ParityError(f"{name} logits hold NaN or infinity: the model overflows on real images")
    exact = reference.astype(np.float64)
    error = candidate.astype(np.float64) - exact
    signal, noise = float((exact**2).sum()), float((error**2).sum())
    return Difference(
        images=len(reference),
        max_abs=float(np.abs(error).max()),
        snr_db=snr_db(signal, noise),
        top1_agreement=float((reference.argmax(1) == candidate.argmax(1)).mean()),
    )
