"""The statistics agree with published values, with scipy, and with simulation."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from ghostedge.accuracy.reliability import reliability
from ghostedge.accuracy.statistics import (
    decide,
    drop_bounds,
    holm,
    loss_p_value,
    mcnemar_p_value,
    paired_drop,
    plan,
    plan_margin,
    proportion,
    wilson_interval,
)
from ghostedge.errors import UsageError


@pytest.mark.parametrize(
    ("count", "images", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17, 1998, 857-872, table I, method 3; digits from statsmodels 0.15.0.
        (81, 263, 0.2552885198782742, 0.36620957698280004),
        (1, 29, 0.006113214292762667, 0.17175521879320294),
        (0, 20, 0.0, 0.1611251580528194),
        (50, 50, 0.9286524008666412, 1.0),
        (37_000, 50_000, 0.7361369378694586, 0.7438261869589519),
    ],
)
def test_wilson_interval_has_the_published_ends(count: int, images: int, low: float, high: float) -> None:
    assert wilson_interval(count, images) == pytest.approx((low, high), abs=1e-12)


def test_a_proportion_of_no_image_says_nothing() -> None:
    nothing = proportion(0, 0)
    assert (nothing.percent, nothing.low_percent, nothing.high_percent) == (0.0, 0.0, 100.0)


@pytest.mark.parametrize(
    ("losses", "gains", "p"),
    [
        # statsmodels 0.15.0, mcnemar(exact=True).
        (1, 7, 0.0703125),
        (25, 10, 0.016673847800120715),
        (0, 0, 1.0),
        (0, 6, 0.03125),
        (1200, 1100, 0.03896685268382023),
    ],
)
def test_mcnemar_is_exact(losses: int, gains: int, p: float) -> None:
    assert mcnemar_p_value(losses, gains) == pytest.approx(p, rel=1e-9)
    assert mcnemar_p_value(gains, losses) == mcnemar_p_value(losses, gains)


def test_mcnemar_equals_scipys_binomial_test() -> None:
    from scipy.stats import binomtest

    for losses, gains in [(0, 1), (4, 4), (3, 9), (120, 80), (12_000, 11_800)]:
        two_sided = binomtest(losses, losses + gains).pvalue
        one_sided = binomtest(losses, losses + gains, alternative="greater").pvalue
        assert mcnemar_p_value(losses, gains) == pytest.approx(two_sided, rel=1e-9)
        assert loss_p_value(losses, gains) == pytest.approx(one_sided, rel=1e-9)


def test_bounds_have_the_published_ends() -> None:
    # The airway example (1, 1, 7, 12) of ratesci's vignette "Confidence intervals and tests for paired comparisons of
    # binomial proportions" (skewness-corrected score, 95% two-sided): -0.5281 to -0.0184.
    lower, upper = drop_bounds(1, 7, 21, confidence=0.975)
    assert (round(float(lower), 4), round(float(upper), 4)) == (-0.5281, -0.0184)


def test_without_a_flip_the_upper_bound_is_the_exact_binomial_one() -> None:
    lower, upper = drop_bounds(0, 0, [66, 500, 50_000])
    assert (1 - upper) ** np.array([66, 500, 50_000]) == pytest.approx(0.05)
    assert lower == pytest.approx(-upper)


def test_exchanging_the_models_changes_the_sign() -> None:
    lower, upper = drop_bounds([30, 2], [12, 0], 1000)
    opposite_lower, opposite_upper = drop_bounds([12, 0], [30, 2], 1000)
    assert lower == pytest.approx(-opposite_upper)
    assert upper == pytest.approx(-opposite_lower)


def test_more_losses_never_lower_a_bound() -> None:
    losses, gains = np.meshgrid(np.arange(40), np.arange(40), indexing="ij")
    for bound in drop_bounds(losses, gains, 500):
        assert (np.diff(bound, axis=0) > 0).all()
        assert (np.diff(bound, axis=1) < 0).all()


#: images, discordance in percent, share of it that is drop: what conversions to fp16 and int8 look like.
SETTINGS = [
    (2_000, 1.0, 0.0),
    (2_000, 2.0, 0.3),
    (2_000, 5.0, 0.8),
    (10_000, 0.5, 0.0),
    (10_000, 0.5, 0.8),
    (10_000, 5.0, 0.3),
    (50_000, 0.1, 0.0),
    (50_000, 0.1, 0.8),
    (50_000, 1.0, 0.5),
    (50_000, 5.0, 0.1),
]


def outcomes(images: int, discordance: float, share: float, draws: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Losses and gains of `draws` evaluations, and the true drop."""
    rate = discordance / 100
    loss_rate, gain_rate = rate * (1 + share) / 2, rate * (1 - share) / 2
    drawn = np.random.default_rng(7).multinomial(images, [loss_rate, gain_rate, 1 - rate], size=draws)
    return drawn[:, 0], drawn[:, 1], loss_rate - gain_rate


@pytest.mark.parametrize(("images", "discordance", "share"), SETTINGS)
def test_each_bound_covers_the_true_drop_in_95_of_100_evaluations(
    images: int, discordance: float, share: float
) -> None:
    losses, gains, drop = outcomes(images, discordance, share, 10_000)
    lower, upper = drop_bounds(losses, gains, images)
    # 10,000 draws have a standard error of 0.2 points.
    assert 0.94 <= (drop <= upper).mean() <= 0.96
    assert 0.94 <= (lower <= drop).mean() <= 0.96


def test_the_coverage_test_sees_a_wald_bound() -> None:
    losses, gains, drop = outcomes(2_000, 1.0, 0.8, 10_000)
    observed = (losses - gains) / 2_000
    wald = observed + 1.645 * np.sqrt(((losses + gains) / 2_000 - observed**2) / 2_000)
    assert (drop <= wald).mean() < 0.94


def test_enumeration_gives_the_documented_coverage_where_images_are_few() -> None:
    # The row "2,000 images, 0.5 %, share 0.8" of the module's table: 95.1 above, 93.7 below.
    from scipy.stats import multinomial

    rates = [0.0045, 0.0005, 0.995]
    losses, gains = (grid.ravel() for grid in np.meshgrid(np.arange(40), np.arange(12), indexing="ij"))
    weight = multinomial.pmf(np.stack([losses, gains, 2000 - losses - gains], axis=1), 2000, rates)
    lower, upper = drop_bounds(losses, gains, 2000)
    assert weight.sum() == pytest.approx(1, abs=1e-6)
    assert weight[upper >= 0.004].sum() == pytest.approx(0.951, abs=5e-4)
    assert weight[lower <= 0.004].sum() == pytest.approx(0.937, abs=5e-4)


@pytest.mark.parametrize(
    ("losses", "gains", "images", "verdict"),
    [
        (60, 50, 50_000, "PASS"),
        (600, 100, 50_000, "FAIL"),
        (14, 5, 2_000, "INCONCLUSIVE"),
        (0, 0, 66, "INCONCLUSIVE"),
        (0, 0, 600, "PASS"),
        (0, 300, 2_000, "PASS"),
    ],
)
def test_the_verdict_needs_a_bound_on_one_side_of_the_margin(
    losses: int, gains: int, images: int, verdict: str
) -> None:
    decision = decide(paired_drop(losses, gains, images), 0.5)
    assert decision.verdict == verdict
    assert (decision.images_to_decide is None) == (verdict != "INCONCLUSIVE")


def test_without_a_flip_600_images_decide_about_half_a_point() -> None:
    # 0.995^n = 0.05 at n = 597.6.
    assert decide(paired_drop(0, 0, 66), 0.5).images_to_decide == 598


def test_no_number_of_images_decides_when_the_drop_is_the_margin() -> None:
    assert decide(paired_drop(15, 5, 2_000), 0.5).images_to_decide is None


@pytest.mark.parametrize(
    ("margin", "discordance", "drop"),
    [(0.5, 0.5, 0.1), (0.5, 1.0, 0.0), (0.5, 2.0, 0.2), (1.0, 5.0, 0.3), (0.5, 5.0, 1.0), (0.5, 2.0, 1.5)],
)
def test_the_planned_images_reach_the_planned_power(margin: float, discordance: float, drop: float) -> None:
    planned = plan(margin, discordance, drop, power=0.8)
    losses, gains, _ = outcomes(planned.images, discordance, drop / discordance, 10_000)
    lower, upper = drop_bounds(losses, gains, planned.images)
    decided = 100 * upper <= margin if planned.verdict == "PASS" else 100 * lower > margin
    assert planned.verdict == ("PASS" if drop < margin else "FAIL")
    assert 0.77 <= decided.mean() <= 0.84  # counts are whole numbers: the power moves in steps


def test_plan_margin_is_the_inverse_of_plan() -> None:
    images = plan(0.5, 2.0, 0.1).images
    assert plan_margin(images, 2.0, 0.1) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((0.5, 1.0, 2.0), "cannot hold a drop of 2 points"),
        ((0.5, 1.0, 0.5), "no number of images decides"),
        ((0.0, 1.0, 0.0), "must be above 0"),
        ((0.5, 1.0, 0.0, 1.0), "power 1"),
    ],
)
def test_an_impossible_plan_is_refused(arguments: tuple[float, ...], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        plan(*arguments)


@pytest.mark.parametrize("counts", [(-1, 0, 10), (6, 5, 10), (0, 0, 0)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="impossible"):
        paired_drop(*counts)


def test_holm_gives_the_values_of_statsmodels() -> None:
    # statsmodels 0.15.0, multipletests(method="holm").
    assert holm([0.01, 0.04, 0.03, 0.005, 0.5, 0.005]) == pytest.approx([0.04, 0.09, 0.09, 0.03, 0.5, 0.03])


def test_calibration_error_of_a_model_that_is_80_percent_sure_and_60_percent_right() -> None:
    result = reliability(np.full(50, 0.8), np.arange(50) < 30)
    assert result.error_percent == pytest.approx(20.0)
    [only] = [entry for entry in result.bins if entry.images]
    assert (only.confidence_percent, only.accuracy_percent) == (pytest.approx(80.0), pytest.approx(60.0))


def test_a_calibrated_model_has_no_calibration_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(size=200_000)
    result = reliability(confidence, rng.uniform(size=200_000) < confidence)
    assert result.error_percent < 0.5
    assert sum(entry.images for entry in result.bins) == 200_000


def test_the_ends_of_the_confidence_scale_have_a_bin() -> None:
    result = reliability(np.array([0.0, 1.0]), np.array([False, True]))
    assert result.error_percent == 0.0
    assert (result.bins[0].images, result.bins[-1].images) == (1, 1)


def test_a_model_that_loses_every_image_has_bounds_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drop = paired_drop(80, 0, 80)
    assert 90 < drop.lower_points <= 100
    assert drop.upper_points <= 100
