"""The statistics of a parity verdict: bounds of the paired accuracy drop and what goes with them.

**The paired drop.** Two models answer the same n images. A *loss* is an image that the reference gets right and the
candidate wrong, a *gain* the opposite; the drop of accuracy is (losses - gains) / n, and only these discordant images
carry information about it. The bounds are those of the asymptotic score interval for a paired difference (Tango,
Statistics in Medicine 17, 1998, 891-908) with the skewness and variance corrections of Laud (R package ratesci,
``scorepairci``), because losses usually outnumber gains and a symmetric method is then off on both sides. Where no
image is discordant, the exact binomial bound (the "rule of three": 3 / n) takes the place of a score bound of 2.1 / n.

True coverage of the one-sided 95% bounds, in percent (upper, lower), by enumeration of all outcomes; the methods in the
other columns were the alternatives. *Share* is drop / discordance: 0 = losses equal gains, 0.8 = nine losses to a gain.

======  ===========  =====  =====  ============  ============  =============  ============
images  discordance  share  pairs  this          Tango         Bonett-Price   Wald
======  ===========  =====  =====  ============  ============  =============  ============
 2,000        0.1 %    0.0      2  97.0, 97.0    97.0, 97.0    99.8, 99.8     97.0, 97.0
 2,000        0.1 %    0.8      2  97.0, 97.0    99.7, 97.0    99.7, 99.8     83.4, 99.1
 2,000        0.5 %    0.0     10  94.8, 94.8    94.8, 94.8    96.5, 96.5     94.8, 94.8
 2,000        0.5 %    0.8     10  95.1, 93.7    96.5, 93.7    94.0, 98.0     92.2, 97.6
 2,000          2 %    0.3     40  95.0, 95.0    95.2, 94.7    95.0, 96.0     94.5, 95.6
 2,000          2 %    0.8     40  95.0, 94.9    95.4, 94.9    94.1, 96.6     93.5, 96.1
10,000        0.5 %    0.8     50  94.9, 94.9    95.3, 94.7    94.2, 96.4     93.7, 96.2
10,000          5 %    0.8    500  95.0, 95.0    95.1, 94.9    94.6, 95.4     94.6, 95.3
50,000        0.1 %    0.8     50  94.9, 95.0    95.4, 94.7    94.1, 96.4     93.7, 96.2
50,000        0.5 %    0.8    250  95.0, 95.0    95.2, 94.9    94.5, 95.6     94.5, 95.5
50,000          2 %    0.8  1,000  95.0, 95.0    95.1, 94.9    94.7, 95.3     94.7, 95.3
======  ===========  =====  =====  ============  ============  =============  ============

With 10 or more discordant images expected, both bounds stay within 93.7-95.9% at every share of 0 to 0.95, from 20 on
within 94.5-95.5%. Below 10, counts are so coarse that no bound of fixed level exists: coverage swings between 92.4%
and 100%. Rates are fractions 0..1 in this module; *points* are percentage points.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ghostedge.errors import UsageError

Verdict = Literal["PASS", "FAIL", "INCONCLUSIVE"]

#: The level of every bound and interval, unless another one is asked for.
CONFIDENCE = 0.95

#: "Images needed" are so many that a decision has this chance.
POWER = 0.8

_STANDARD_NORMAL = NormalDist()

_Numbers = NDArray[np.float64]


# -- One proportion -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Proportion:
    """A share of images with its two-sided 95% Wilson interval.

    Attributes:
        count: how many images have the property.
        images: of how many.
        percent: 100 * count / images; 0 where `images` is 0.
        low_percent: lower end of the interval.
        high_percent: upper end of the interval.
    """

    count: int
    images: int
    percent: float
    low_percent: float
    high_percent: float


def wilson_interval(count: int, images: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The two-sided Wilson score interval of a proportion (Wilson, JASA 22, 1927), fractions 0..1.

    With no image at all it is (0, 1): nothing is known.
    """
    if images == 0:
        return 0.0, 1.0
    z = _STANDARD_NORMAL.inv_cdf(0.5 + confidence / 2)
    share = count / images
    centre = share + z * z / (2 * images)
    half = z * math.sqrt(share * (1 - share) / images + z * z / (4 * images * images))
    scale = 1 + z * z / images
    # At 0 and at n the ends are exactly 0 and 1; rounding must not leave 1e-19 there.
    low = 0.0 if count == 0 else (centre - half) / scale
    high = 1.0 if count == images else (centre + half) / scale
    return low, high


def proportion(count: int, images: int) -> Proportion:
    """`count` of `images` in percent with its 95% Wilson interval."""
    low, high = wilson_interval(count, images)
    return Proportion(count, images, 100 * count / images if images else 0.0, 100 * low, 100 * high)


# -- The paired drop ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PairedDrop:
    """The reference's accuracy minus the candidate's on the same images.

    Attributes:
        images: how many images were answered by both.
        losses: images that only the reference gets right.
        gains: images that only the candidate gets right.
        drop_points: 100 * (losses - gains) / images, percentage points; above zero the candidate is worse.
        lower_points: one-sided lower 95% bound of the true drop.
        upper_points: one-sided upper 95% bound; (`lower_points`, `upper_points`) is a two-sided 90% interval.
        p_value: exact two-sided McNemar test of "losses and gains are equally likely".
    """

    images: int
    losses: int
    gains: int
    drop_points: float
    lower_points: float
    upper_points: float
    p_value: float


def paired_drop(losses: int, gains: int, images: int) -> PairedDrop:
    """The drop of accuracy with its one-sided 95% bounds. Raises: UsageError for impossible counts."""
    if min(losses, gains) < 0 or images < 1 or losses + gains > images:
        raise UsageError(f"{losses} losses and {gains} gains among {images} images is impossible")
    lower, upper = drop_bounds(losses, gains, images)
    return PairedDrop(
        images=images,
        losses=losses,
        gains=gains,
        drop_points=100 * (losses - gains) / images,
        lower_points=100 * float(lower),
        upper_points=100 * float(upper),
        p_value=mcnemar_p_value(losses, gains),
    )


def drop_bounds(
    losses: ArrayLike, gains: ArrayLike, images: ArrayLike, confidence: float = CONFIDENCE
) -> tuple[_Numbers, _Numbers]:
    """One-sided lower and upper bounds of the true drop, each at `confidence`; see the module's docstring.

    Args:
        losses: counts, any shape (broadcast with the others).
        gains: counts.
        images: counts, at least losses + gains, at least 1.
        confidence: of each bound alone.

    Returns:
        lower, upper: fractions -1..1, float64 of the broadcast shape.
    """
    b, c, n = np.broadcast_arrays(*(np.asarray(value, np.float64) for value in (losses, gains, images)))
    # Exchanging the two models changes the sign of the drop, so the lower bound is an upper bound of the opposite.
    return -_upper_bound(c, b, n, confidence), _upper_bound(b, c, n, confidence)


def _upper_bound(losses: _Numbers, gains: _Numbers, images: _Numbers, confidence: float) -> _Numbers:
    z = _STANDARD_NORMAL.inv_cdf(confidence)
    low = (losses - gains) / images
    high = np.ones_like(low)
    for _ in range(52):  # bisection down to float64's resolution of the interval -1..1
        middle = (low + high) / 2
        inside = _score(losses, gains, images, middle, z) > -z
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    exact = -np.expm1(math.log1p(-confidence) / images)  # P(no loss in n images) = 1 - confidence
    return np.where(losses + gains == 0, exact, high)


def _score(losses: _Numbers, gains: _Numbers, images: _Numbers, drop: _Numbers, z: float) -> _Numbers:
    """Tango's score of the hypothesis that the true drop is `drop`, less its skewness at the quantile `z`.

    The score is (observed - drop) / sqrt(variance under the hypothesis). The Cornish-Fisher term skewness (z^2 - 1) / 6
    makes its tail at `z` that of a normal variable.
    """
    variance, skewness = _moments_under(losses, gains, images, drop)
    standard_error = np.sqrt(variance / np.maximum(images - 1, 1))
    score: _Numbers = ((losses - gains) / images - drop) / standard_error - skewness * (z * z - 1) / 6
    return score


def _moments_under(losses: _Numbers, gains: _Numbers, images: _Numbers, drop: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Variance of one image's contribution (+1 loss, -1 gain, 0) and skewness of their mean, given that `drop` is true.

    The one free parameter, the rate of gains, is at its maximum of the likelihood: the larger root of
    2n q^2 + B q - gains * drop * (1 - drop) = 0 with B = (2n - losses + gains) drop - losses - gains (Tango 1998, (4)).
    """
    b = (2 * images - losses + gains) * drop - losses - gains
    root = np.sqrt(np.maximum(b * b + 8 * images * gains * drop * (1 - drop), 0))
    gain_rate = np.maximum((root - b) / (4 * images), np.maximum(0, -drop))
    discordance = 2 * gain_rate + drop
    variance = np.maximum(discordance - drop * drop, 1e-30)  # not so small that its power below is zero
    third_moment = drop - 3 * drop * discordance + 2 * drop**3
    # Laud's variance of the mean is variance / (n - 1); the third moment of the mean is third_moment / n^2.
    skewness = third_moment / images**2 / (variance / np.maximum(images - 1, 1)) ** 1.5
    return variance, skewness


def mcnemar_p_value(losses: int, gains: int) -> float:
    """Exact two-sided McNemar test: twice the smaller binomial tail of the discordant pairs at 1/2, at most 1."""
    return min(1.0, 2 * _upper_tail(max(losses, gains), losses + gains))


def loss_p_value(losses: int, gains: int) -> float:
    """Exact one-sided McNemar test against "losses are no likelier than gains"."""
    return _upper_tail(losses, losses + gains)


def _upper_tail(k: int, n: int) -> float:
    """P(X >= k) for X ~ Binomial(n, 1/2), summed in logarithms so that n may be tens of thousands."""
    if k <= 0:
        return 1.0
    first = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2)
    i = np.arange(k, n, dtype=np.float64)
    rest = np.cumsum(np.log((n - i) / (i + 1)))  # log of C(n, i + 1) / C(n, k)
    return min(1.0, math.exp(first) * (1 + float(np.exp(rest).sum())))


# -- The verdict --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decision:
    """What the bounds of a drop say about a margin.

    Attributes:
        verdict: ``"PASS"``, ``"FAIL"`` or ``"INCONCLUSIVE"``.
        images_to_decide: where inconclusive: with how many images in all the verdict would fall with 80% power if
            discordance and drop stay as observed; None where decided, or where the observed drop is the margin itself.
    """

    verdict: Verdict
    images_to_decide: int | None


def decide(drop: PairedDrop, margin_points: float) -> Decision:
    """PASS when the upper bound of the drop is within the margin, FAIL when the lower one is beyond it."""
    if drop.upper_points <= margin_points:
        return Decision("PASS", None)
    if drop.lower_points > margin_points:
        return Decision("FAIL", None)
    rate = (drop.losses + drop.gains) / drop.images
    needed = _images_needed(margin_points / 100, rate, drop.drop_points / 100, POWER, CONFIDENCE)
    return Decision("INCONCLUSIVE", None if needed is None else max(needed, drop.images + 1))


def check_max_drop(points: float) -> None:
    """Raise UsageError for a margin of accuracy that is not above 0 and below 100 percentage points."""
    if not 0 < points < 100:
        raise UsageError(f"--max-drop is {points:g} points; it must be above 0 and below 100")


def worst_verdict(verdicts: Iterable[Verdict]) -> Verdict:
    """FAIL before INCONCLUSIVE before PASS; PASS of none."""
    found = set(verdicts)
    return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"


# -- Power --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How many images a margin needs, before any is run.

    Attributes:
        margin_points: the margin.
        discordance_percent: expected share of images that exactly one of the two models gets right.
        expected_drop_points: the drop that the candidate is expected to have.
        power: the chance of a verdict other than INCONCLUSIVE.
        confidence: of the one-sided bound.
        images: how many images that takes.
        verdict: which verdict it is: PASS where the expected drop is below the margin, FAIL where it is above.
    """

    margin_points: float
    discordance_percent: float
    expected_drop_points: float
    power: float
    confidence: float
    images: int
    verdict: Verdict


def plan(
    margin_points: float,
    discordance_percent: float,
    expected_drop_points: float = 0.0,
    power: float = POWER,
    confidence: float = CONFIDENCE,
) -> Plan:
    """The number of images that decides about `margin_points` with the chance `power`.

    The bound is that of `drop_bounds`, the observed drop taken as normal around the expected one.

    Raises:
        UsageError: a drop larger than the discordance, a drop equal to the margin, or a number out of range.
    """
    if not 0 <= discordance_percent <= 100 or abs(expected_drop_points) > discordance_percent:
        raise UsageError(
            f"a discordance of {discordance_percent:g} % cannot hold a drop of {expected_drop_points:g} points; "
            "the discordance lies between the drop and 100 %"
        )
    if not 0 < margin_points < 100:
        raise UsageError(f"the margin is {margin_points:g} points; it must be above 0 and below 100")
    if not 0.5 <= power < 1 or not 0.5 < confidence < 1:
        raise UsageError(f"power {power:g} and confidence {confidence:g} must lie between 0.5 and 1")
    images = _images_needed(
        margin_points / 100, discordance_percent / 100, expected_drop_points / 100, power, confidence
    )
    if images is None:
        raise UsageError(
            f"an expected drop of {expected_drop_points:g} points is the margin itself: no number of images decides"
        )
    verdict: Verdict = "PASS" if expected_drop_points < margin_points else "FAIL"
    return Plan(margin_points, discordance_percent, expected_drop_points, power, confidence, images, verdict)


def plan_margin(
    images: int, discordance_percent: float, expected_drop_points: float = 0.0, power: float = POWER
) -> float:
    """The smallest margin, in points, that `images` images can show with the chance `power`: the inverse of `plan`."""
    low, high = max(expected_drop_points, 0.0) / 100, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        needed = _images_needed(middle, discordance_percent / 100, expected_drop_points / 100, power, CONFIDENCE)
        low, high = (low, middle) if needed is not None and needed <= images else (middle, high)
    return 100 * high


def _images_needed(margin: float, discordance: float, drop: float, power: float, confidence: float) -> int | None:
    """The smallest n whose bound clears `margin` with the chance `power`; None where more than 10^12."""
    if drop > margin:  # to FAIL is to PASS with the two models exchanged
        return _images_needed(-margin, discordance, -drop, power, confidence)
    loss_rate, gain_rate = (discordance + drop) / 2, (discordance - drop) / 2
    z, z_power = _STANDARD_NORMAL.inv_cdf(confidence), _STANDARD_NORMAL.inv_cdf(power)
    spread = math.sqrt(max(discordance - drop * drop, 0.0))

    def enough(n: int) -> bool:
        expected = np.array([n * loss_rate, n * gain_rate, n, margin], np.float64)
        variance, skewness = map(float, _moments_under(*expected))
        reach = math.sqrt(variance / (n - 1)) * (z - skewness * (z * z - 1) / 6)
        return bool(margin - drop >= reach + z_power * spread / math.sqrt(n))

    # With no discordant image at all the exact bound rules, whatever was expected: fewer images never pass.
    fewest = math.ceil(math.log1p(-confidence) / math.log1p(-margin)) if margin > 0 else 0
    candidates = range(max(fewest, 2), 10**12)
    place = bisect.bisect_left(candidates, True, key=enough)
    return candidates[place] if place < len(candidates) else None


# -- Many tests -------------------------------------------------------------------------------------------


def holm(p_values: ArrayLike) -> _Numbers:
    """Holm's adjusted p values (Scandinavian Journal of Statistics 6, 1979), in the order given.

    Calling every test below 0.05 significant then makes one or more false calls in at most 5% of all reports, however
    the tests depend on each other.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * (len(p) - np.arange(len(p))))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1.0)
    return adjusted
