"""The noise floor is what two runs of one checkpoint show, and nothing else passes for one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.accuracy.fit import arithmetic_warning
from ghostedge.accuracy.noise import noise_floor
from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.errors import LedgerError
from ghostedge.ghostnet.arithmetic import Arithmetic

STRICT, DEFAULT = Arithmetic("float32"), Arithmetic("default")


def test_two_runs_that_are_the_same_have_no_noise(make_ledger: Any, paired_logits: Any) -> None:
    labels, logits, _ = paired_logits()
    first, again = (make_ledger(logits, labels, file="m.ckpt") for _ in range(2))
    floor = noise_floor(first, again)
    assert (floor.identical, floor.flips, floor.low_points, floor.high_points) == (True, 0, 0.0, 0.0)
    assert (floor.verdict, floor.logits[0].snr_db) == ("PASS", None)
    assert floor.covers(floor.drop)


def test_one_bit_is_noise(make_ledger: Any, paired_logits: Any) -> None:
    labels, logits, _ = paired_logits()
    other = logits.copy()
    other[7, other[7].argmax()] = np.nextafter(other[7].max(), np.float32(np.inf))
    floor = noise_floor(make_ledger(logits, labels, file="m.ckpt"), make_ledger(other, labels, file="m.ckpt"))
    assert (floor.identical, floor.flips) == (False, 0)
    assert floor.high_points > 0


def test_the_band_is_the_interval_of_the_drop_to_both_sides(make_ledger: Any, paired_logits: Any) -> None:
    """8 losses and 2 gains of 2,000 images: a drop of 0.3 points, and either run could have been the reference."""
    labels, logits, other = paired_logits(losses=8, gains=2, others=3)
    first, again = make_ledger(logits, labels, file="m.ckpt"), make_ledger(other, labels, file="m.ckpt")
    floor, back = noise_floor(first, again), noise_floor(again, first)
    assert (floor.flips, floor.drop.drop_points) == (13, pytest.approx(0.3))
    assert floor.high_points == pytest.approx(floor.drop.upper_points)
    assert floor.low_points == -floor.high_points
    assert back.high_points == pytest.approx(floor.high_points)
    inside, outside = (compare_ledgers(first, make_ledger(paired_logits(losses=n)[2], labels)).drop for n in (10, 30))
    assert (floor.covers(inside), floor.covers(outside)) == (True, False)


def test_another_model_is_no_second_run(make_ledger: Any, paired_logits: Any) -> None:
    labels, logits, other = paired_logits(losses=3)
    with pytest.raises(LedgerError, match=r"between two runs of one model; these are of m\.ckpt .* and other\.ckpt"):
        noise_floor(make_ledger(logits, labels, file="m.ckpt"), make_ledger(other, labels, file="other.ckpt"))


@pytest.mark.parametrize(
    ("ours", "theirs", "device", "runtimes", "message"),
    [
        (STRICT, DEFAULT, "CPU", ("mindspore", "mindspore"), "was computed in float32, the candidate in default"),
        (STRICT, STRICT, "CPU", ("mindspore", "mindspore"), None),
        (None, DEFAULT, "CPU", ("mindspore", "mindspore"), "the reference's arithmetic is not recorded"),
        (None, None, "Ascend", ("mindspore", "litert"), "does not record its arithmetic, and Ascend has others"),
        (None, None, "CPU", ("mindspore", "litert"), None),
        (STRICT, None, "Ascend", ("mindspore", "litert"), None),
    ],
)
def test_ledgers_of_other_arithmetic_are_named(
    ours: Arithmetic | None,
    theirs: Arithmetic | None,
    device: str,
    runtimes: tuple[str, str],
    message: str | None,
    make_ledger: Any,
    paired_logits: Any,
) -> None:
    labels, logits, _ = paired_logits(images=50)
    first, second = (
        make_ledger(logits, labels, file="m.ckpt", runtime=name, arithmetic=each, device=device).metadata
        for name, each in zip(runtimes, (ours, theirs), strict=True)
    )
    found = arithmetic_warning(first, second)
    if message is None:
        assert found is None
    else:
        assert found is not None
        assert message in found
        assert "--noise-floor" in found
