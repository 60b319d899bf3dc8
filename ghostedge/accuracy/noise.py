"""The reference's own noise: what a perfect copy of it would show, from two runs of the same checkpoint.

A reference is a measurement too. Run again, on another card, or in another arithmetic (HF32 in place of float32), it
answers some images otherwise. A drop that is no larger than the one between two such runs is not the artifact's fault.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ghostedge.accuracy.logits import LogitDifference
from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.accuracy.statistics import PairedDrop, Proportion, Verdict
from ghostedge.errors import LedgerError
from ghostedge.evaluation.ledger import Ledger


@dataclass(frozen=True)
class NoiseFloor:
    """What lies between two runs of the reference.

    Attributes:
        images: images in both.
        flips: images with another best class in the second run.
        top1: the second run's share of labelled images whose best class is the label.
        top5: its share with the label among the best five.
        agreement: images with the same best class, of those answered by both.
        drop: paired drop of top-1 accuracy from the first run to the second.
        logits: how far the logits are apart, as of an artifact.
        identical: the two gave every image the same answer, to the last bit.
        max_drop_points: the margin that `verdict` is about.
        verdict: what an artifact that answers as the second run would be judged.
        low_points: lower end of the band, minus `high_points`: either run could have been the reference.
        high_points: upper end: the end of the drop's 90% interval that is farther from zero; 0 where all is identical.
    """

    images: int
    flips: int
    top1: Proportion
    top5: Proportion
    agreement: Proportion
    drop: PairedDrop
    logits: tuple[LogitDifference, ...]
    identical: bool
    max_drop_points: float
    verdict: Verdict
    low_points: float
    high_points: float

    def covers(self, drop: PairedDrop) -> bool:
        """Whether an observed drop lies within the band, both rounded as reports show them."""
        return round(self.low_points, 2) <= round(drop.drop_points, 2) <= round(self.high_points, 2)


def noise_floor(reference: Ledger, again: Ledger, max_drop: float = 0.5) -> NoiseFloor:
    """Compare the reference with a second run of the same checkpoint.

    Args:
        reference: the first run.
        again: the second: with the same settings, or on another device or in another arithmetic.
        max_drop: see `compare_ledgers`.

    Raises:
        LedgerError: the second is of another checkpoint or another model file, or does not fit the reference.
        UsageError: an impossible margin.
    """
    ours, theirs = reference.metadata, again.metadata
    if ours.model.get("sha256") != theirs.model.get("sha256"):
        raise LedgerError(
            f"a noise floor is between two runs of one model; these are of {ours.model.get('file')} "
            f"({str(ours.model.get('sha256'))[:12]}...) and {theirs.model.get('file')} "
            f"({str(theirs.model.get('sha256'))[:12]}...)"
        )
    result = compare_ledgers(reference, again, max_drop, most_listed=0)
    same = _identical(reference, again)
    high = 0.0 if same else max(abs(result.drop.lower_points), abs(result.drop.upper_points))
    return NoiseFloor(
        images=result.images,
        flips=sum(result.flip_counts.values()),
        top1=result.candidate.top1,
        top5=result.candidate.top5,
        agreement=result.agreement,
        drop=result.drop,
        logits=result.logits,
        identical=same,
        max_drop_points=result.max_drop_points,
        verdict=result.verdict,
        low_points=0.0 if same else -high,
        high_points=high,
    )


def _identical(reference: Ledger, again: Ledger) -> bool:
    """Whether every stored number is the same; failed images have none."""
    return all(
        np.array_equal(getattr(reference, name), getattr(again, name), equal_nan=name != "top5_class")
        for name in ("top5_class", "top5_logit", "label_logit", "log_sum_exp")
    )
