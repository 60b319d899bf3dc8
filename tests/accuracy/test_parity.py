"""Two ledgers give the numbers that were planted in them, and ledgers that do not fit each other are refused."""

from __future__ import annotations

import dataclasses
import json
import math
import time
from typing import Any

import numpy as np
import pytest

from ghostedge.accuracy.fit import check_comparable
from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.accuracy.statistics import worst_verdict
from ghostedge.compare import compare
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.ledger import Ledger
from ghostedge.model import InputSpec
from ghostedge.stored import plain


@pytest.fixture(scope="module")
def pair(make_ledger: Any, paired_logits: Any) -> tuple[Ledger, Ledger]:
    """A reference, and a candidate that loses 30 images, gains 12, and turns 9 that stay wrong."""
    labels, reference, candidate = paired_logits(losses=30, gains=12, others=9)
    return make_ledger(reference, labels, file="model.ckpt"), make_ledger(candidate, labels)


def test_the_planted_flips_are_counted(pair: tuple[Ledger, Ledger]) -> None:
    result = compare_ledgers(*pair)
    assert (result.images, result.labelled) == (2000, 2000)
    assert (result.drop.losses, result.drop.gains) == (30, 12)
    assert result.drop.drop_points == pytest.approx(100 * 18 / 2000)
    assert result.flip_counts == {"loss": 30, "other": 9, "gain": 12}
    assert result.agreement.count == 2000 - 51
    assert (result.reference.top1.count, result.candidate.top1.count) == (1480, 1462)
    assert result.reference.top5.count >= 1480


def test_the_verdict_is_about_the_margin_asked_for(pair: tuple[Ledger, Ledger]) -> None:
    # 18 of 2,000 images: 0.9 points, 90% interval 0.36 to 1.44.
    assert compare_ledgers(*pair, max_drop=2.0).verdict == "PASS"
    assert compare_ledgers(*pair, max_drop=0.3).verdict == "FAIL"
    undecided = compare_ledgers(*pair, max_drop=0.5)
    assert undecided.verdict == "INCONCLUSIVE"
    assert undecided.images_to_decide is not None
    assert undecided.images_to_decide > 2000


def test_exchanging_the_ledgers_exchanges_losses_and_gains(pair: tuple[Ledger, Ledger]) -> None:
    one, other = pair
    there, back = compare_ledgers(one, other), compare_ledgers(other, one)
    assert back.drop.drop_points == -there.drop.drop_points
    assert back.drop.lower_points == pytest.approx(-there.drop.upper_points)
    assert (back.drop.losses, back.drop.gains) == (there.drop.gains, there.drop.losses)


def test_flips_come_worst_first_with_the_way_their_logits_went(make_ledger: Any) -> None:
    labels = np.array([0, 0, 1, 2], np.int32)
    reference = np.array([[5, 0, 0], [5, 4, 0], [5, 4, 0], [3, 2, 1]], np.float32)
    candidate = np.array([[4, 6, 0], [4, 5, 0], [4, 5, 0], [2, 3, 1]], np.float32)
    result = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    found = [(flip.image_id[-6:-5], flip.kind, flip.severity) for flip in result.flips]
    # Image 1: 5 to 0 for the right class became 4 to 6 against it: 5 + 2.
    assert found == [("1", "loss", 7.0), ("2", "loss", 2.0), ("4", "other", 2.0), ("3", "gain", 2.0)]
    assert result.flips[0].reference_confidence_percent == pytest.approx(100 * math.exp(5) / (math.exp(5) + 2))
    assert not any(flip.severity_is_lower_bound for flip in result.flips)


def test_a_class_outside_the_best_five_makes_the_severity_a_lower_bound(make_ledger: Any) -> None:
    labels = np.array([7], np.int32)
    reference = np.array([[9, 8, 7, 6, 5, 0, 0, 0]], np.float32)
    candidate = np.array([[8, 7, 6, 5, 4, 9, 0, 0]], np.float32)
    [flip] = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels)).flips
    # The reference's logit of class 5 is 0, but its ledger knows only that it is at most 5: 9 - 5, plus 9 - 8.
    assert (flip.severity, flip.severity_is_lower_bound) == (5.0, True)


def test_a_failed_image_is_wrong_not_absent(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=500)
    errors: list[str | None] = [None] * 500
    errors[3] = errors[4] = "truncated JPEG"
    result = compare_ledgers(
        make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels, errors=errors)
    )
    assert result.candidate.top1.images == result.drop.images == 500
    assert (result.drop.losses, result.candidate.failures, result.agreement.images) == (2, 2, 498)
    assert [failure.candidate for failure in result.failures] == ["truncated JPEG"] * 2
    assert any("no answer for 2 images" in warning for warning in result.warnings)


def test_images_that_the_reference_failed_on_do_not_make_up_for_losses(make_ledger: Any, paired_logits: Any) -> None:
    """30 of 2,000 images lost; the reference's machine could not read 40 others, which the candidate gets right."""
    labels, reference, candidate = paired_logits(losses=30)
    errors: list[str | None] = [None] * 100 + ["truncated JPEG"] * 40 + [None] * 1860
    honest = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    result = compare_ledgers(
        make_ledger(reference, labels, file="m.ckpt", errors=errors), make_ledger(candidate, labels)
    )
    assert (honest.verdict, result.verdict) == ("FAIL", "FAIL")
    assert (result.drop.losses, result.drop.gains, result.drop.images) == (30, 0, 2000)
    assert sum(change.gains for change in result.classes) == 0
    assert result.reference.top1.count == honest.reference.top1.count - 40
    assert any("40 images that the candidate gets right have no answer by the reference" in w for w in result.warnings)


def test_an_answer_that_is_not_a_number_is_not_right(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=100)
    candidate[:] = np.nan
    labels[:] = 0  # what sorting NaN names first
    with np.errstate(all="ignore"):
        broken = make_ledger(candidate, labels)
    assert broken.top5_class[0, 0] == 0
    assert compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), broken).candidate.top1.count == 0


def test_an_overflowing_model_is_named(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=100)
    candidate[:7] = np.inf
    with np.errstate(all="ignore"):
        broken = make_ledger(candidate, labels, keep_logits=True)
    result = compare_ledgers(make_ledger(reference, labels, file="m.ckpt", keep_logits=True), broken)
    assert any("NaN or infinity for 7 images" in warning for warning in result.warnings)
    json.dumps(plain(result), allow_nan=False)


def test_unlabelled_images_are_left_out_of_accuracy_and_said_so(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=100)
    labels[90:] = -1
    result = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    assert (result.images, result.labelled, result.agreement.images) == (100, 90, 100)
    assert any("10 of 100 images have no label" in warning for warning in result.warnings)


def test_labels_in_another_order_cannot_pass_unnoticed(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(losses=300)
    shuffled = np.random.default_rng(1).permutation(20).astype(np.int32)[labels]
    result = compare_ledgers(make_ledger(reference, shuffled, file="m.ckpt"), make_ledger(candidate, shuffled))
    assert any("no better than chance" in warning for warning in result.warnings)
    right = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    assert not any("chance" in warning for warning in right.warnings)


def test_six_ledgers_of_imagenets_size_take_less_than_20_seconds(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=50_000, losses=900, gains=500, others=1500)
    first, second = make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels)
    started = time.process_time()  # not the wall clock: other work may share the cores
    for _ in range(6):
        assert compare_ledgers(first, second).drop.losses == 900
    assert time.process_time() - started < 20


# -- Logits -------------------------------------------------------------------------------------------------


def test_whole_logits_give_the_signal_to_noise_ratio_of_compare(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(noise=0.05)
    result = compare_ledgers(
        make_ledger(reference, labels, file="m.ckpt", keep_logits=True),
        make_ledger(candidate, labels, keep_logits=True),
    )
    best_five, whole = result.logits
    exact = compare(reference, candidate)
    assert (best_five.basis, whole.basis) == ("top5_float32", "all_float16")
    assert whole.snr_db == pytest.approx(exact.snr_db, abs=0.05)  # float16 adds rounding at about 70 dB
    assert whole.values == reference.size
    # The same noise on larger logits.
    assert best_five.snr_db is not None
    assert whole.snr_db is not None
    assert best_five.snr_db > whole.snr_db


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def test_the_divergence_is_scipys_and_the_best_five_bound_it_from_below(make_ledger: Any, paired_logits: Any) -> None:
    from scipy.stats import entropy

    labels, reference, candidate = paired_logits(losses=20, noise=0.2)
    exact = entropy(softmax(reference.astype(float)), softmax(candidate.astype(float)), axis=1).mean()
    result = compare_ledgers(
        make_ledger(reference, labels, file="m.ckpt", keep_logits=True),
        make_ledger(candidate, labels, keep_logits=True),
    )
    best_five, whole = result.logits
    assert whole.kl_nats == pytest.approx(exact, rel=1e-3)
    assert not whole.kl_is_lower_bound
    assert best_five.kl_is_lower_bound
    assert 0.3 * exact < best_five.kl_nats <= exact


def test_the_bound_counts_all_other_classes_as_one(make_ledger: Any) -> None:
    from scipy.stats import entropy

    # Ten classes: the best five take probability from the other five, which a ledger knows only as a sum.
    reference = np.array([[1.4, 1.3, 1.2, 1.1, 1.0, 0, 0, 0, 0, 0]], np.float32)
    candidate = reference + np.array([[1, 1, 1, 1, 1, 0, 0, 0, 0, 0]], np.float32)
    p, q = (np.append(softmax(x)[0, :5], softmax(x)[0, 5:].sum()) for x in (reference, candidate))
    labels = np.array([0], np.int32)
    [only] = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels)).logits
    assert only.kl_nats == pytest.approx(entropy(p, q), rel=1e-4)


def test_five_classes_or_fewer_leave_nothing_to_bound(make_ledger: Any, paired_logits: Any) -> None:
    from scipy.stats import entropy

    labels, reference, candidate = paired_logits(classes=4, noise=0.1)
    [only] = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels)).logits
    exact = entropy(softmax(reference.astype(float)), softmax(candidate.astype(float)), axis=1).mean()
    assert not only.kl_is_lower_bound
    assert only.kl_nats == pytest.approx(exact, rel=1e-2)
    assert only.snr_db == pytest.approx(compare(reference, candidate).snr_db, abs=1e-3)


def test_identical_logits_have_no_noise(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, _ = paired_logits(images=50)
    result = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(reference, labels))
    assert [(entry.snr_db, entry.max_abs, entry.kl_nats) for entry in result.logits] == [(None, 0.0, 0.0)]
    assert result.agreement.percent == 100


def test_a_reference_of_zeros_has_a_ratio_that_json_can_hold(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=50)
    result = compare_ledgers(make_ledger(0 * reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    assert [entry.snr_db for entry in result.logits] == [-999.0]
    json.dumps(plain(result), allow_nan=False)


# -- Classes ------------------------------------------------------------------------------------------------


def test_a_ruined_class_stands_out_from_chance(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(losses=40, gains=40)
    ruined = np.flatnonzero((labels == 5) & (reference.argmax(axis=1) == 5))[10:30]
    candidate[ruined, 6] = candidate[ruined].max(axis=1) + 1
    result = compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, labels))
    significant = [change for change in result.classes if change.p_adjusted < 0.05]
    assert [change.index for change in significant] == [5]
    assert significant[0] is result.classes[0]
    assert significant[0].losses >= 20
    assert sum(change.losses for change in result.classes) == result.drop.losses


def test_flips_fall_where_the_reference_was_unsure(pair: tuple[Ledger, Ledger]) -> None:
    bins = compare_ledgers(*pair).confidence_bins
    assert sum(entry.flips for entry in bins) == 51
    assert sum(entry.images for entry in bins) == 2000
    assert [(bins[0].low_percent, bins[-1].high_percent)] == [(0.0, 100.0)]


# -- Ledgers that do not fit --------------------------------------------------------------------------------


def with_metadata(ledger: Ledger, **changes: Any) -> Ledger:
    return dataclasses.replace(ledger, metadata=dataclasses.replace(ledger.metadata, **changes))


def test_other_images_are_named_with_counts(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=6)
    theirs = [f"img{i}.JPEG" for i in range(2, 8)]
    first = make_ledger(reference, labels, file="m.ckpt", ids=[f"img{i}.JPEG" for i in range(6)])
    with pytest.raises(
        LedgerError, match=r"2 only in the reference \(img0.JPEG, img1.JPEG\), 2 only in the candidate \(img6.JPEG, "
    ):
        compare_ledgers(first, make_ledger(candidate, labels, ids=theirs))


def test_other_labels_are_named_with_counts(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=50)
    shifted = (labels + 1) % 20
    with pytest.raises(LedgerError, match=r"the labels of 50 of 50 images differ \(ILSVRC2012_val_00000001.JPEG: "):
        compare_ledgers(make_ledger(reference, labels, file="m.ckpt"), make_ledger(candidate, shifted.astype(np.int32)))


def test_files_of_the_same_names_and_other_bytes_are_refused_with_counts(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, candidate = paired_logits(images=50)
    content = np.arange(50)
    content[[3, 7]] += 1000
    first = make_ledger(reference, labels, file="m.ckpt")
    with pytest.raises(
        LedgerError,
        match=r"files of 2 of 50 images have the same names but other bytes \(\S+4.JPEG, \S+8.JPEG\)",
    ):
        compare_ledgers(first, make_ledger(candidate, labels, content_crc32=content))


@pytest.mark.parametrize("side", ["reference", "candidate"])
def test_ledgers_without_checksums_pair_by_name_and_say_so(make_ledger: Any, paired_logits: Any, side: str) -> None:
    labels, *logits = paired_logits(images=50)
    first, second = (
        make_ledger(values, labels, file=file, content_crc32=np.full(50, -1) if name == side else None)
        for name, file, values in zip(("reference", "candidate"), ("m.ckpt", "m.tflite"), logits, strict=True)
    )
    (warning,) = compare_ledgers(first, second).warnings
    assert warning.startswith(f"the {side} does not record the content of 50 images (no checksum): they are paired by")


def test_another_preprocessing_is_named(pair: tuple[Ledger, Ledger]) -> None:
    reference, candidate = pair
    other = with_metadata(candidate, preprocessing="pillow_bilinear", input=InputSpec(resize=232))
    with pytest.raises(LedgerError, match="resize rule opencv_linear and pillow_bilinear, resize 256 and 232"):
        compare_ledgers(reference, other)
    check_comparable(reference, other, same_preprocessing=False)


def test_another_normalisation_is_named_where_both_normalise(pair: tuple[Ledger, Ledger]) -> None:
    reference, candidate = pair
    with pytest.raises(LedgerError, match=r"mean \(0.485, 0.456, 0.406\) and \(0.5, 0.5, 0.5\)"):
        compare_ledgers(reference, with_metadata(candidate, input=InputSpec(mean=(0.5, 0.5, 0.5))))


def test_another_form_of_the_input_tensor_is_no_difference(pair: tuple[Ledger, Ledger]) -> None:
    reference, candidate = pair
    nhwc = InputSpec(layout="NHWC", dtype="uint8", range="raw", colour_order="BGR")
    assert compare_ledgers(reference, with_metadata(candidate, input=nhwc)).drop.losses == 30


def test_another_checkpoint_is_refused_and_an_unknown_one_warned_about(pair: tuple[Ledger, Ledger]) -> None:
    reference, candidate = pair
    with pytest.raises(LedgerError, match=r"from the checkpoint cccccccccccc..., the candidate from dddddddddddd..."):
        compare_ledgers(reference, with_metadata(candidate, checkpoint_sha256="d" * 64))
    result = compare_ledgers(reference, with_metadata(candidate, checkpoint_sha256=None))
    assert any("the candidate does not record its checkpoint" in warning for warning in result.warnings)


def test_everything_that_differs_is_in_one_message(pair: tuple[Ledger, Ledger]) -> None:
    reference, candidate = pair
    other = with_metadata(candidate, checkpoint_sha256="d" * 64, preprocessing="pillow_bilinear", classes=21)
    with pytest.raises(LedgerError, match=r"20 classes, the candidate 21; the preprocessing differs.*; .*checkpoint"):
        compare_ledgers(reference, other)


def test_a_model_compared_with_itself_is_warned_about(pair: tuple[Ledger, Ledger]) -> None:
    reference, _ = pair
    assert any("with itself" in warning for warning in compare_ledgers(reference, reference).warnings)


def test_ledgers_without_images_or_labels_are_refused(make_ledger: Any, paired_logits: Any) -> None:
    labels, reference, _ = paired_logits(images=5)
    unlabelled = make_ledger(reference, np.full(5, -1, np.int32), file="m.ckpt")
    with pytest.raises(LedgerError, match="no image of the ledgers has a label"):
        compare_ledgers(unlabelled, unlabelled)
    nothing = make_ledger(np.empty((0, 20), np.float32), np.empty(0, np.int32), ids=[])
    with pytest.raises(LedgerError, match="holds no image"):
        compare_ledgers(make_ledger(reference, labels), nothing)


@pytest.mark.parametrize("margin", [0.0, -1.0, 100.0])
def test_a_margin_out_of_range_is_refused(pair: tuple[Ledger, Ledger], margin: float) -> None:
    with pytest.raises(UsageError, match="must be above 0"):
        compare_ledgers(*pair, max_drop=margin)


def test_the_worst_verdict_wins() -> None:
    assert worst_verdict(["PASS", "FAIL", "INCONCLUSIVE"]) == "FAIL"
    assert worst_verdict(["PASS", "INCONCLUSIVE"]) == "INCONCLUSIVE"
    assert worst_verdict(["PASS"]) == "PASS"
