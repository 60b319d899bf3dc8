"""Compare two ledgers image by image: accuracies, the paired drop and its verdict, logits, flips and classes.

Everything is paired by `image_id`. An image that a model failed on counts as wrong for that model, never as absent, so
no failure makes a denominator smaller. In the pairs the benefit of the doubt is the reference's: an image that only the
candidate answers is no gain, or else a damaged file on the reference's machine would make up for a loss here. A *flip*
is an image for which the two models name different best classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghostedge.accuracy.fit import check_comparable, warnings_of
from ghostedge.accuracy.logits import LogitDifference, logit_differences
from ghostedge.accuracy.reliability import Calibration, reliability
from ghostedge.accuracy.statistics import (
    PairedDrop,
    Proportion,
    Verdict,
    check_max_drop,
    decide,
    holm,
    loss_p_value,
    paired_drop,
    proportion,
)
from ghostedge.evaluation.ledger import Ledger

_CONFIDENCE_BINS = 10

FlipKind = Literal["loss", "other", "gain"]

#: Worst first: the reference was right; neither is; the candidate is right.
_FLIP_ORDER: tuple[FlipKind, ...] = ("loss", "other", "gain")


@dataclass(frozen=True)
class ModelAccuracy:
    """One model's accuracy on the labelled images.

    Attributes:
        top1: share of labelled images whose best class is the label.
        top5: share of labelled images with the label among the best five.
        failures: images without an answer; they count as wrong.
        calibration: how reliable its probabilities are, over the answered, labelled images.
    """

    top1: Proportion
    top5: Proportion
    failures: int
    calibration: Calibration


@dataclass(frozen=True)
class Flip:
    """One image for which the two models name different best classes.

    Attributes:
        image_id: the image.
        kind: ``"loss"``: only the reference is right; ``"gain"``: only the candidate; ``"other"``: neither.
        label: the true class, -1 unknown.
        reference_class: the reference's best class.
        candidate_class: the candidate's.
        severity: how far logits moved to turn the decision: by how much the reference preferred its class to the
            candidate's, plus the opposite preference of the candidate.
        severity_is_lower_bound: a class was outside a model's best five, whose fifth logit stood in for it.
        reference_confidence_percent: softmax probability of the reference's class.
        candidate_confidence_percent: softmax probability of the candidate's class.
    """

    image_id: str
    kind: FlipKind
    label: int
    reference_class: int
    candidate_class: int
    severity: float
    severity_is_lower_bound: bool
    reference_confidence_percent: float
    candidate_confidence_percent: float


@dataclass(frozen=True)
class Failure:
    """One image that a model has no answer for: the error of the reference and of the candidate, None for an answer."""

    image_id: str
    reference: str | None
    candidate: str | None


@dataclass(frozen=True)
class ClassChange:
    """What happened to the images of one true class.

    Attributes:
        index: the class.
        images: how many there are.
        reference_correct: how many the reference gets right.
        candidate_correct: how many the candidate gets right.
        losses: right before, wrong now.
        gains: wrong before, right now; without the images that the reference has no answer for.
        p_value: exact one-sided McNemar test against "losses are no likelier than gains".
        p_adjusted: the same after Holm's correction for all classes that have images.
    """

    index: int
    images: int
    reference_correct: int
    candidate_correct: int
    losses: int
    gains: int
    p_value: float
    p_adjusted: float


@dataclass(frozen=True)
class ConfidenceBin:
    """Images by the probability that the reference gave its best class.

    Attributes:
        low_percent: lower edge of the bin.
        high_percent: upper edge.
        images: how many images are in it.
        flips: how many of them the candidate names another class for.
    """

    low_percent: float
    high_percent: float
    images: int
    flips: int


@dataclass(frozen=True)
class ParityResult:
    """One candidate beside the reference, in the words of ``reports/parity.schema.json``.

    Attributes:
        images: images in both ledgers.
        labelled: those with a known label; accuracies and the drop are over these.
        reference: the reference's accuracy.
        candidate: the candidate's.
        drop: paired drop of top-1 accuracy.
        top5_drop: paired drop of top-5 accuracy; reported, not judged.
        max_drop_points: the margin that `verdict` is about.
        verdict: ``"PASS"``, ``"FAIL"`` or ``"INCONCLUSIVE"``.
        images_to_decide: see `Decision`.
        agreement: images answered by both with the same best class, of those answered by both.
        logits: one entry a basis; both where both ledgers hold whole logits.
        flip_counts: flips by kind.
        flips: worst first (losses, then wrong either way, then gains; each by severity), at most as many as asked for.
        failures: images that one of the models has no answer for, at most as many as asked for.
        classes: classes with at least one loss or gain, the strongest evidence of a loss first.
        confidence_bins: flips by the reference's confidence.
        warnings: what a reader of the numbers should know.
    """

    images: int
    labelled: int
    reference: ModelAccuracy
    candidate: ModelAccuracy
    drop: PairedDrop
    top5_drop: PairedDrop
    max_drop_points: float
    verdict: Verdict
    images_to_decide: int | None
    agreement: Proportion
    logits: tuple[LogitDifference, ...]
    flip_counts: dict[FlipKind, int]
    flips: tuple[Flip, ...]
    failures: tuple[Failure, ...]
    classes: tuple[ClassChange, ...]
    confidence_bins: tuple[ConfidenceBin, ...]
    warnings: tuple[str, ...]


def compare_ledgers(
    reference: Ledger, candidate: Ledger, max_drop: float = 0.5, *, most_listed: int = 1000
) -> ParityResult:
    """Compare two ledgers of the same images in every respect.

    Args:
        reference: what the candidate is held to.
        candidate: made from the same images, labels, preprocessing and checkpoint.
        max_drop: the largest drop of top-1 accuracy that is acceptable, percentage points, above 0.
        most_listed: how many flips and failures are listed one by one; all are counted.

    Raises:
        LedgerError: the ledgers do not fit each other; the message names all that differs, with counts and examples.
        UsageError: `max_drop` is not above 0 and below 100.
    """
    check_max_drop(max_drop)
    check_comparable(reference, candidate)
    drop = paired_drop_of(reference, candidate)
    decision = decide(drop, max_drop)
    answered = reference.answered & candidate.answered
    same = reference.top5_class[:, 0] == candidate.top5_class[:, 0]
    flip_rows = np.flatnonzero(answered & ~same)
    now_right = np.where(candidate.correct()[flip_rows], _FLIP_ORDER.index("gain"), _FLIP_ORDER.index("other"))
    kinds = np.where(reference.correct()[flip_rows], _FLIP_ORDER.index("loss"), now_right)
    return ParityResult(
        images=len(reference),
        labelled=drop.images,
        reference=accuracy_of(reference),
        candidate=accuracy_of(candidate),
        drop=drop,
        top5_drop=paired_drop_of(reference, candidate, top=5),
        max_drop_points=float(max_drop),
        verdict=decision.verdict,
        images_to_decide=decision.images_to_decide,
        agreement=proportion(int((answered & same).sum()), int(answered.sum())),
        logits=logit_differences(reference, candidate),
        flip_counts={kind: int((kinds == place).sum()) for place, kind in enumerate(_FLIP_ORDER)},
        flips=_flips(reference, candidate, flip_rows, kinds, most_listed),
        failures=tuple(
            Failure(str(reference.image_ids[i]), reference.errors[i], candidate.errors[i])
            for i in np.flatnonzero(reference.failed | candidate.failed)[:most_listed]
        ),
        classes=_class_changes(reference, candidate),
        confidence_bins=_confidence_bins(reference, answered, same),
        warnings=tuple(warnings_of(reference, candidate)),
    )


def paired_drop_of(
    reference: Ledger, candidate: Ledger, top: int = 1, *, unknown: NDArray[np.bool_] | None = None
) -> PairedDrop:
    """The paired drop of top-`top` accuracy over the labelled images of two comparable ledgers.

    Args:
        reference: the model before.
        candidate: the model after.
        top: 1..5.
        unknown: bool (n,): images that cannot be gains; None for those that `reference` has no answer for.
    """
    losses, gains = _discordant(reference, candidate, top, unknown)
    return paired_drop(int(losses.sum()), int(gains.sum()), int((reference.labels >= 0).sum()))


def _discordant(
    reference: Ledger, candidate: Ledger, top: int = 1, unknown: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The losses and the gains, each bool (n,)."""
    right, now = reference.correct(top), candidate.correct(top)
    return right & ~now, now & ~right & ~(~reference.answered if unknown is None else unknown)


def accuracy_of(ledger: Ledger) -> ModelAccuracy:
    """A model's own accuracy over the labelled images of its ledger."""
    labelled = ledger.labels >= 0
    answered = labelled & ledger.answered
    return ModelAccuracy(
        top1=proportion(int(ledger.correct().sum()), int(labelled.sum())),
        top5=proportion(int(ledger.correct(5).sum()), int(labelled.sum())),
        failures=int(ledger.failed.sum()),
        calibration=reliability(ledger.confidence[answered], ledger.correct()[answered]),
    )


# -- Flips, failures, classes -------------------------------------------------------------------------------


def _flips(
    reference: Ledger, candidate: Ledger, rows: NDArray[np.intp], kinds: NDArray[np.intp], most: int
) -> tuple[Flip, ...]:
    ours, theirs = reference.top5_class[rows, 0], candidate.top5_class[rows, 0]
    other_in_reference, known_in_reference = _logit_of(reference, rows, theirs)
    other_in_candidate, known_in_candidate = _logit_of(candidate, rows, ours)
    severity = (reference.top5_logit[rows, 0] - other_in_reference) + (
        candidate.top5_logit[rows, 0] - other_in_candidate
    )
    bounded = ~(known_in_reference & known_in_candidate)
    before, after = (100 * ledger.confidence[rows] for ledger in (reference, candidate))
    return tuple(
        Flip(
            image_id=str(reference.image_ids[rows[k]]),
            kind=_FLIP_ORDER[kinds[k]],
            label=int(reference.labels[rows[k]]),
            reference_class=int(ours[k]),
            candidate_class=int(theirs[k]),
            severity=float(severity[k]),
            severity_is_lower_bound=bool(bounded[k]),
            reference_confidence_percent=float(before[k]),
            candidate_confidence_percent=float(after[k]),
        )
        for k in np.lexsort((-severity, kinds))[:most]
    )


def _logit_of(
    ledger: Ledger, rows: NDArray[np.intp], classes: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The logit of one class a row, and whether it is known; where it is not, the fifth best, which is above it."""
    hits = ledger.top5_class[rows] == classes[:, None]
    listed = hits.any(axis=1)
    value = np.where(listed, ledger.top5_logit[rows, hits.argmax(axis=1)], ledger.top5_logit[rows, -1])
    is_label = ~listed & (ledger.labels[rows] == classes)
    return np.where(is_label, ledger.label_logit[rows], value), listed | is_label


def _class_changes(reference: Ledger, candidate: Ledger) -> tuple[ClassChange, ...]:
    labelled = reference.labels >= 0
    label = reference.labels[labelled]
    right, now = reference.correct()[labelled], candidate.correct()[labelled]

    def count(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
        return np.bincount(label[mask], minlength=int(label.max()) + 1)

    images, before, after = count(np.ones_like(right)), count(right), count(now)
    losses, gains = (count(pairs[labelled]) for pairs in _discordant(reference, candidate))
    present = np.flatnonzero(images)
    p = np.array([loss_p_value(int(losses[c]), int(gains[c])) for c in present])
    changes = [
        ClassChange(
            index=int(c),
            images=int(images[c]),
            reference_correct=int(before[c]),
            candidate_correct=int(after[c]),
            losses=int(losses[c]),
            gains=int(gains[c]),
            p_value=float(raw),
            p_adjusted=float(adjusted),
        )
        for c, raw, adjusted in zip(present, p, holm(p), strict=True)
        if losses[c] + gains[c]
    ]
    return tuple(sorted(changes, key=lambda change: (change.p_value, change.gains - change.losses, change.index)))


def _confidence_bins(
    reference: Ledger, answered: NDArray[np.bool_], same: NDArray[np.bool_]
) -> tuple[ConfidenceBin, ...]:
    confidence = reference.confidence[answered]
    index = np.minimum((confidence * _CONFIDENCE_BINS).astype(int), _CONFIDENCE_BINS - 1)
    images = np.bincount(index, minlength=_CONFIDENCE_BINS)
    flips = np.bincount(index[~same[answered]], minlength=_CONFIDENCE_BINS)
    width = 100 / _CONFIDENCE_BINS
    return tuple(
        ConfidenceBin(width * i, width * (i + 1), int(images[i]), int(flips[i])) for i in range(_CONFIDENCE_BINS)
    )
