"""Compare two ledgers image by image: accuracies, the paired drop and its verdict, logits, flips and classes.

Everything is paired by `image_id`. An image that a model failed on counts as wrong for that model, never as absent, so
no failure makes a denominator smaller. In the pairs the benefit of the doubt is the reference's: an image that only the
candidate answers is no gain, or else a damaged file on the reference's machine would make up for a loss here. A *flip*
is an image for which the two models name different best classes.
"""

from __future__ import annotations

import dataclasses
import math
import os
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ghostedge.accuracy.statistics import (
    Calibration,
    PairedDrop,
    Proportion,
    Verdict,
    calibration,
    decide,
    holm,
    loss_p_value,
    paired_drop,
    proportion,
)
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.ledger import Ledger, LedgerMetadata

__all__ = [
    "ClassChange",
    "ConfidenceBin",
    "Failure",
    "Flip",
    "LogitDifference",
    "ModelAccuracy",
    "ParityResult",
    "accuracy_of",
    "check_comparable",
    "compare_ledgers",
    "logit_differences",
    "paired_drop_of",
    "worst_verdict",
]

#: Below this a probability that is one minus a sum of float32 probabilities is rounding.
_SMALLEST_REST = 1e-6

#: Rows of whole logits that are compared at a time: 256 x 1,000 float32 values are 1 MB, which stays in the cache.
_CHUNK = 256

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
        calibration: of the answered, labelled images.
    """

    top1: Proportion
    top5: Proportion
    failures: int
    calibration: Calibration


@dataclass(frozen=True)
class LogitDifference:
    """How far the candidate's logits are from the reference's, over the images that both answered.

    Attributes:
        basis: ``"top5_float32"``: the classes that are among both models' best five, and the label's;
            ``"all_float16"``: every class, as stored in float16, whose rounding alone limits the ratio to about 70 dB.
        values: how many logits were compared.
        snr_db: 10 log10(sum(reference^2) / sum((candidate - reference)^2)); None where they are identical.
        max_abs: the largest absolute difference.
        kl_nats: mean Kullback-Leibler divergence of the candidate's class probabilities from the reference's.
        kl_is_lower_bound: with ``"top5_float32"`` the other classes are lumped into one, which can only lower it.
    """

    basis: Literal["top5_float32", "all_float16"]
    values: int
    snr_db: float | None
    max_abs: float
    kl_nats: float
    kl_is_lower_bound: bool


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
    """One image that a model has no answer for.

    Attributes:
        image_id: the image.
        reference: the reference's error, None where it answered.
        candidate: the candidate's.
    """

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
    """One candidate beside the reference.

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

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as ``reports/parity.schema.json`` describes them."""
        return dataclasses.asdict(self)


def compare_ledgers(
    reference: Ledger, candidate: Ledger, max_drop: float = 0.5, *, most_listed: int = 1000
) -> ParityResult:
    """Everything that two ledgers of the same images say about each other.

    Args:
        reference: what the candidate is held to.
        candidate: made from the same images, labels, preprocessing and checkpoint.
        max_drop: the largest drop of top-1 accuracy that is acceptable, percentage points, above 0.
        most_listed: how many flips and failures are listed one by one; all are counted.

    Raises:
        LedgerError: the ledgers do not fit each other; the message names all that differs, with counts and examples.
        UsageError: `max_drop` is not above 0 and below 100.
    """
    if not 0 < max_drop < 100:
        raise UsageError(f"--max-drop is {max_drop:g} points; it must be above 0 and below 100")
    check_comparable(reference, candidate)
    drop = paired_drop_of(reference, candidate)
    decision = decide(drop, max_drop)
    answered = _answered(reference) & _answered(candidate)
    same = reference.top5_class[:, 0] == candidate.top5_class[:, 0]
    flip_rows = np.flatnonzero(answered & ~same)
    kinds = _flip_kinds(reference, candidate, flip_rows)
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
        failures=_failures(reference, candidate, most_listed),
        classes=_class_changes(reference, candidate),
        confidence_bins=_confidence_bins(reference, answered, same),
        warnings=tuple(_warnings(reference, candidate)),
    )


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS; PASS of none."""
    found = set(verdicts)
    return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"


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
    return right & ~now, now & ~right & ~(~_answered(reference) if unknown is None else unknown)


def accuracy_of(ledger: Ledger) -> ModelAccuracy:
    """A model's own accuracy over the labelled images of its ledger."""
    labelled = ledger.labels >= 0
    answered = labelled & _answered(ledger)
    return ModelAccuracy(
        top1=proportion(int(ledger.correct().sum()), int(labelled.sum())),
        top5=proportion(int(ledger.correct(5).sum()), int(labelled.sum())),
        failures=int(ledger.failed.sum()),
        calibration=calibration(_confidence(ledger)[answered], ledger.correct()[answered]),
    )


# -- Whether two ledgers fit --------------------------------------------------------------------------------


def check_comparable(reference: Ledger, candidate: Ledger, *, same_preprocessing: bool = True) -> None:
    """Check that two ledgers are of the same images, labels, classes, preprocessing and checkpoint.

    The form of the input tensor (layout, dtype, raw or normalised, colour order) may differ between runtimes; the
    picture that the network sees (size, resize rule, mean and std) may not, unless `same_preprocessing` is False.

    Raises:
        LedgerError: names everything that differs. Also for ledgers without images or without labels.
    """
    if len(reference) == 0 or len(candidate) == 0:
        raise LedgerError(f"the {'reference' if len(reference) == 0 else 'candidate'} ledger holds no image")
    ours, theirs = reference.metadata, candidate.metadata
    problems = list(_image_problems(reference, candidate))
    if ours.classes != theirs.classes:
        problems.append(f"the reference has {ours.classes} classes, the candidate {theirs.classes}")
    if same_preprocessing and (differing := _preprocessing_differences(ours, theirs)):
        problems.append(
            f"the preprocessing differs: {', '.join(differing)} (what that costs: --attribute preprocessing=LEDGER)"
        )
    if ours.checkpoint_sha256 and theirs.checkpoint_sha256 and ours.checkpoint_sha256 != theirs.checkpoint_sha256:
        problems.append(
            f"the reference was made from the checkpoint {ours.checkpoint_sha256[:12]}..., "
            f"the candidate from {theirs.checkpoint_sha256[:12]}..."
        )
    if problems:
        raise LedgerError("the ledgers do not fit each other: " + "; ".join(problems))
    if not (reference.labels >= 0).any():
        raise LedgerError("no image of the ledgers has a label, so there is no accuracy to compare")


def _image_problems(reference: Ledger, candidate: Ledger) -> Iterable[str]:
    if not np.array_equal(reference.image_ids, candidate.image_ids):
        missing = np.setdiff1d(reference.image_ids, candidate.image_ids)
        extra = np.setdiff1d(candidate.image_ids, reference.image_ids)
        yield (
            f"the reference has {len(reference):,} images and the candidate {len(candidate):,}"
            + (f", {len(missing):,} only in the reference ({_examples(missing)})" if len(missing) else "")
            + (f", {len(extra):,} only in the candidate ({_examples(extra)})" if len(extra) else "")
        )
        return
    if len(rows := np.flatnonzero(reference.labels != candidate.labels)):
        examples = ", ".join(
            f"{reference.image_ids[i]}: {reference.labels[i]} and {candidate.labels[i]}" for i in rows[:3]
        )
        yield (
            f"the labels of {len(rows):,} of {len(reference):,} images differ ({examples}{_more(rows)}); "
            "labels are indices in alphabetical order of the synsets"
        )
    ours, theirs = reference.content_crc32, candidate.content_crc32
    if len(rows := np.flatnonzero((ours >= 0) & (theirs >= 0) & (ours != theirs))):
        yield (
            f"the files of {len(rows):,} of {len(reference):,} images have the same names but other bytes "
            f"({_examples(reference.image_ids[rows])}), as after encoding or resizing them again; evaluate both models "
            "on the same files"
        )


def _examples(ids: NDArray[np.str_]) -> str:
    return ", ".join(map(str, ids[:3])) + _more(ids)


def _more(items: Sequence[object] | NDArray[Any]) -> str:
    return ", ..." if len(items) > 3 else ""


def _preprocessing_differences(ours: LedgerMetadata, theirs: LedgerMetadata) -> list[str]:
    """``"what ours and theirs"`` of every property of the picture that differs."""
    pairs: dict[str, tuple[Any, Any]] = {"resize rule": (ours.preprocessing, theirs.preprocessing)}
    names = ["height", "width", "resize"]
    if ours.input.range == theirs.input.range == "normalised":
        names += ["mean", "std"]
    pairs |= {name: (getattr(ours.input, name), getattr(theirs.input, name)) for name in names}
    return [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]


def _warnings(reference: Ledger, candidate: Ledger) -> Iterable[str]:
    ours, theirs = reference.metadata, candidate.metadata
    if not ours.is_reference:
        yield "the reference ledger is not MindSpore's own run of the checkpoint (made by 'ghostedge reference')"
    if not (ours.checkpoint_sha256 and theirs.checkpoint_sha256):
        side = "candidate" if ours.checkpoint_sha256 else "reference"
        yield f"the {side} does not record its checkpoint: that both come from the same one was not checked"
    if (ours.model.get("sha256"), ours.runtime, ours.device) == (
        theirs.model.get("sha256"),
        theirs.runtime,
        theirs.device,
    ):
        yield "reference and candidate are the same model file on the same runtime: this compares it with itself"
    for name, ledger in (("reference", reference), ("candidate", candidate)):
        if unknown := int((_answered(ledger) & (ledger.content_crc32 < 0)).sum()):
            yield (
                f"the {name} does not record the content of {unknown:,} images (no checksum): they are paired by name, "
                "and that both models saw the same files was not compared"
            )
    top1 = accuracy_of(reference).top1
    if top1.low_percent <= 100 / ours.classes:
        yield (
            f"the reference is right on {top1.percent:.2f}% of the images, no better than chance: with labels in "
            "another order than the logits (alphabetical order of the synsets), or untrained weights, no drop can show"
        )
    if unlabelled := int((reference.labels < 0).sum()):
        yield f"{unlabelled:,} of {len(reference):,} images have no label; accuracies and the drop are over the others"
    for name, failed in (("reference", reference.failed), ("candidate", candidate.failed)):
        if count := int(failed.sum()):
            yield f"the {name} has no answer for {count:,} images; they count as wrong"
    if count := int((~_answered(reference) & candidate.correct()).sum()):
        yield (
            f"{count:,} images that the candidate gets right have no answer by the reference: they are in the "
            "candidate's accuracy but are no gains in the drop; run 'ghostedge reference' again, it tries just these"
        )
    for name, ledger in (("reference", reference), ("candidate", candidate)):
        if count := int((~_answered(ledger) & ~ledger.failed).sum()):
            yield f"the {name}'s logits hold NaN or infinity for {count:,} images: it overflows"


# -- Logits -------------------------------------------------------------------------------------------------


def logit_differences(reference: Ledger, candidate: Ledger) -> tuple[LogitDifference, ...]:
    """The differences of the logits of two ledgers of the same images: on the best five, and on all where stored."""
    answered = _answered(reference) & _answered(candidate)
    if not answered.any():
        return ()
    shared = _shared_logits(reference, candidate, answered)
    if reference.logits is None or candidate.logits is None:
        return (shared,)
    return (shared, _whole_logits(reference.logits, candidate.logits, answered))


def _difference(
    basis: Literal["top5_float32", "all_float16"],
    sums: tuple[float, float],
    max_abs: float,
    values: int,
    kl_nats: float,
    *,
    kl_is_lower_bound: bool,
) -> LogitDifference:
    signal, noise = sums
    snr_db = None if noise == 0 else 10 * math.log10(max(signal, sys.float_info.min) / noise)
    return LogitDifference(basis, values, snr_db, max_abs, max(kl_nats, 0.0), kl_is_lower_bound)


def _shared_logits(reference: Ledger, candidate: Ledger, answered: NDArray[np.bool_]) -> LogitDifference:
    """Compare the classes that both models name among their best five, and the label's."""
    rows = np.flatnonzero(answered)
    ours, theirs = reference.top5_class[rows], candidate.top5_class[rows]
    row, i, j = np.nonzero((ours[:, :, None] == theirs[:, None, :]) & (ours[:, :, None] >= 0))
    label = reference.labels[rows]
    named = (ours == label[:, None]).any(axis=1) & (theirs == label[:, None]).any(axis=1)
    extra = np.flatnonzero((label >= 0) & ~named)
    at = np.concatenate([row, extra])
    a, b = (
        np.concatenate([ledger.top5_logit[rows][row, place], ledger.label_logit[rows][extra]]).astype(np.float64)
        for ledger, place in ((reference, i), (candidate, j))
    )
    p, q = (np.exp(x - ledger.log_sum_exp[rows][at]) for x, ledger in ((a, reference), (b, candidate)))
    divergence = float((p * (a - b + (candidate.log_sum_exp - reference.log_sum_exp)[rows][at])).sum())
    rest_p, rest_q = (np.maximum(1 - np.bincount(at, weights=x, minlength=len(rows)), _SMALLEST_REST) for x in (p, q))
    divergence += float((rest_p * np.log(rest_p / rest_q)).sum())
    return _difference(
        "top5_float32",
        (float((a**2).sum()), float(((a - b) ** 2).sum())),
        float(np.abs(a - b).max(initial=0.0)),
        len(a),
        divergence / len(rows),
        kl_is_lower_bound=reference.metadata.classes > ours.shape[1],
    )


def _whole_logits(
    reference: NDArray[np.float16], candidate: NDArray[np.float16], answered: NDArray[np.bool_]
) -> LogitDifference:
    rows = np.flatnonzero(answered)

    def compare_rows(start: int) -> tuple[int, float, float, float, float]:
        """Rows compared, energy of the reference, energy and maximum of the difference, sum of the divergences."""
        chunk = rows[start : start + _CHUNK]
        a, b = (x[chunk].astype(np.float32) for x in (reference, candidate))
        finite = np.isfinite(a.sum(axis=1) + b.sum(axis=1))  # a logit beyond 65,504 is infinite in float16
        a, b = (a, b) if finite.all() else (a[finite], b[finite])
        difference = b - a
        # KL(p || q) = sum p (a - b) + log sum exp b - log sum exp a, and difference is b - a.
        log_a, weights = _log_sum_exp(a)
        log_b, _ = _log_sum_exp(b)
        divergence = float((log_b - log_a - (weights * difference).sum(axis=1)).sum(dtype=np.float64))
        largest = float(np.abs(difference).max(initial=0.0))
        signal, noise = (float(np.square(x, out=x).sum(dtype=np.float64)) for x in (a, difference))
        return len(a), signal, noise, largest, divergence

    # NumPy leaves Python's lock while it computes; the sums are taken in the order of the rows, whoever is first.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(compare_rows, range(0, len(rows), _CHUNK)))
    counts, signals, noises, maxima, divergences = zip(*parts, strict=True)
    return _difference(
        "all_float16",
        (sum(signals), sum(noises)),
        max(maxima),
        sum(counts) * reference.shape[1],
        sum(divergences) / max(sum(counts), 1),
        kl_is_lower_bound=False,
    )


def _log_sum_exp(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Log of the sum of exponentials, shape (n,), and the softmax probabilities, shape (n, classes)."""
    peak = logits.max(axis=1, keepdims=True)
    weights = logits - peak
    np.exp(weights, out=weights)
    total = weights.sum(axis=1, keepdims=True)
    log_total: NDArray[np.float32] = (peak + np.log(total))[:, 0]
    weights /= total
    return log_total, weights


def _answered(ledger: Ledger) -> NDArray[np.bool_]:
    """bool (n,): the images with an answer that is a number; a model that overflows gives NaN or infinity."""
    finite: NDArray[np.bool_] = np.isfinite(ledger.log_sum_exp)
    return finite & ~ledger.failed


def _confidence(ledger: Ledger) -> NDArray[np.float64]:
    """Softmax probability of the best class, shape (n,), NaN where there is no answer."""
    best = ledger.top5_logit[:, 0].astype(np.float64) - ledger.log_sum_exp
    probability: NDArray[np.float64] = np.minimum(np.exp(best), 1.0)
    return probability


# -- Flips, failures, classes -------------------------------------------------------------------------------


def _flip_kinds(reference: Ledger, candidate: Ledger, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Place in `_FLIP_ORDER` of each flipped row."""
    right, now = reference.correct()[rows], candidate.correct()[rows]
    kinds: NDArray[np.intp] = np.where(right, 0, np.where(now, 2, 1))
    return kinds


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
    before, after = (100 * _confidence(ledger)[rows] for ledger in (reference, candidate))
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


def _failures(reference: Ledger, candidate: Ledger, most: int) -> tuple[Failure, ...]:
    rows = np.flatnonzero(reference.failed | candidate.failed)[:most]
    return tuple(Failure(str(reference.image_ids[i]), reference.errors[i], candidate.errors[i]) for i in rows)


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
    return tuple(sorted(changes, key=_by_evidence))


def _by_evidence(change: ClassChange) -> tuple[float, int, int]:
    return change.p_value, change.gains - change.losses, change.index


def _confidence_bins(
    reference: Ledger, answered: NDArray[np.bool_], same: NDArray[np.bool_]
) -> tuple[ConfidenceBin, ...]:
    confidence = _confidence(reference)[answered]
    index = np.minimum((confidence * _CONFIDENCE_BINS).astype(int), _CONFIDENCE_BINS - 1)
    images = np.bincount(index, minlength=_CONFIDENCE_BINS)
    flips = np.bincount(index[~same[answered]], minlength=_CONFIDENCE_BINS)
    width = 100 / _CONFIDENCE_BINS
    return tuple(
        ConfidenceBin(width * i, width * (i + 1), int(images[i]), int(flips[i])) for i in range(_CONFIDENCE_BINS)
    )
