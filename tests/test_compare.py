"""Differences between logits are measured right, and nothing non-finite passes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ghostedge.compare import Difference, compare
from ghostedge.errors import ParityError


def test_identical_logits_have_infinite_snr_and_null_in_json() -> None:
    logits = np.array([[1.0, 2.0], [3.0, 0.0]], np.float32)
    difference = compare(logits, logits.copy())
    assert difference == Difference(images=2, max_abs=0.0, snr_db=math.inf, top1_agreement=1.0)
    assert difference.to_dict()["snr_db"] is None
    assert Difference.from_dict(difference.to_dict()) == difference


def test_a_known_difference() -> None:
    reference = np.array([[3.0, 4.0], [5.0, 0.0]], np.float32)  # power 9 + 16 + 25 = 50
    candidate = reference + np.array([[0.5, -0.6], [0.0, 0.0]], np.float32)  # noise power 0.25 + 0.36
    difference = compare(reference, candidate)
    assert difference.snr_db == pytest.approx(10 * math.log10(50 / 0.61), abs=1e-5)
    assert difference.max_abs == pytest.approx(0.6, abs=1e-6)
    assert difference.top1_agreement == 0.5  # 3.5 against 3.4: the first image flipped


def test_another_number_of_classes_is_refused() -> None:
    with pytest.raises(ParityError, match=r"\(2, 5\).*\(2, 4\)"):
        compare(np.ones((2, 4)), np.ones((2, 5)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite_logits_are_refused(bad: float) -> None:
    with pytest.raises(ParityError, match="the artifact's logits hold NaN or infinity"):
        compare(np.ones((1, 2)), np.array([[1.0, bad]]))
