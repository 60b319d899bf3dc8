"""How far the logits of two ledgers are from each other: on the best five classes, and on all where they were kept."""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import snr_db
from ghostedge.evaluation.ledger import Ledger

#: Below this a probability that is one minus a sum of float32 probabilities is rounding.
_SMALLEST_REST = 1e-6

#: Rows of whole logits that are compared at a time: 256 x 1,000 float32 values are 1 MB, which stays in the cache.
_CHUNK = 256

#: The ratio where all logits of the reference are zero; it stands for minus infinity, which JSON does not have.
_NO_SIGNAL_DB = -999.0


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


def logit_differences(reference: Ledger, candidate: Ledger) -> tuple[LogitDifference, ...]:
    """How far the logits of two ledgers of the same images differ: on the best five, and on all where stored."""
    answered = reference.answered & candidate.answered
    if not answered.any():
        return ()
    shared = _shared_logits(reference, candidate, answered)
    if reference.logits is None or candidate.logits is None:
        return (shared,)
    return (shared, _whole_logits(reference.logits, candidate.logits, answered))


def _stored_db(signal: float, noise: float) -> float | None:
    """The ratio as reports store it: None for no difference."""
    ratio = snr_db(signal, noise)
    return None if ratio == math.inf else max(ratio, _NO_SIGNAL_DB)


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
    return LogitDifference(
        basis="top5_float32",
        values=len(a),
        snr_db=_stored_db(float((a**2).sum()), float(((a - b) ** 2).sum())),
        max_abs=float(np.abs(a - b).max(initial=0.0)),
        kl_nats=max(divergence / len(rows), 0.0),
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
    return LogitDifference(
        basis="all_float16",
        values=sum(counts) * reference.shape[1],
        snr_db=_stored_db(sum(signals), sum(noises)),
        max_abs=max(maxima),
        kl_nats=max(sum(divergences) / max(sum(counts), 1), 0.0),
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
