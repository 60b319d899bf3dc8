"""Check that two ledgers fit each other, and say what a reader of their comparison should know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.accuracy.statistics import proportion
from ghostedge.errors import LedgerError
from ghostedge.evaluation.ledger import Ledger, LedgerMetadata


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
    if same_preprocessing and (differing := preprocessing_differences(ours, theirs)):
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


def preprocessing_differences(ours: LedgerMetadata, theirs: LedgerMetadata) -> list[str]:
    """``"what ours and theirs"`` of every property of the picture that differs."""
    pairs: dict[str, tuple[Any, Any]] = {"resize rule": (ours.preprocessing, theirs.preprocessing)}
    names = ["height", "width", "resize"]
    if ours.input.range == theirs.input.range == "normalised":
        names += ["mean", "std"]
    pairs |= {name: (getattr(ours.input, name), getattr(theirs.input, name)) for name in names}
    return [f"{name} {a} and {b}" for name, (a, b) in pairs.items() if a != b]


def arithmetic_warning(ours: LedgerMetadata, theirs: LedgerMetadata) -> str | None:
    """What to know of the arithmetic of two ledgers that no noise floor tells; None for nothing.

    Of artifacts in other runtimes the arithmetic is a property of theirs, which is what is judged.
    """
    ask = "how much that makes: --noise-floor with a second ledger of the checkpoint"
    if ours.arithmetic is None and ours.runtime.get("name") == "mindspore" and ours.device != "CPU":
        return f"the reference does not record its arithmetic, and {ours.device} has others than float32; {ask}"
    if "mindspore" not in (ours.runtime.get("name"), theirs.runtime.get("name")) or theirs.arithmetic is None:
        return None
    if ours.arithmetic is None:
        return f"the candidate was computed in {theirs.arithmetic}, the reference's arithmetic is not recorded; {ask}"
    if ours.deciding.arithmetic == theirs.deciding.arithmetic:
        return None
    return f"the reference was computed in {ours.arithmetic}, the candidate in {theirs.arithmetic}; {ask}"


def warnings_of(reference: Ledger, candidate: Ledger) -> Iterable[str]:
    """What a reader of the numbers should know, one line each."""
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
        if unknown := int((ledger.answered & (ledger.content_crc32 < 0)).sum()):
            yield (
                f"the {name} does not record the content of {unknown:,} images (no checksum): they are paired by name, "
                "and that both models saw the same files was not compared"
            )
        if not ledger.checksum:
            yield f"the ledger of the {name} has no checksum (an older version made it): damage would not be noticed"
    top1 = proportion(int(reference.correct().sum()), int((reference.labels >= 0).sum()))
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
    if count := int((~reference.answered & candidate.correct()).sum()):
        yield (
            f"{count:,} images that the candidate gets right have no answer by the reference: they are in the "
            "candidate's accuracy but are no gains in the drop; run 'ghostedge reference' again, it tries just these"
        )
    for name, ledger in (("reference", reference), ("candidate", candidate)):
        if count := int((~ledger.answered & ~ledger.failed).sum()):
            yield f"the {name}'s logits hold NaN or infinity for {count:,} images: it overflows"
