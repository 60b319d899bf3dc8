"""Charge a drop of accuracy to the step that caused it, from the ledgers of the steps in between.

Between the reference and a deployed artifact lie a few changes: other preprocessing, another runtime, quantised
weights, quantised activations. With a ledger after each of them the drop splits without remainder, because every step
is paired with the one before it on the same images. The split belongs to the order of the steps: a change is charged
for what it does to the model as the earlier changes left it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from ghostedge.accuracy.fit import check_comparable
from ghostedge.accuracy.logits import logit_differences
from ghostedge.accuracy.parity import paired_drop_of
from ghostedge.accuracy.statistics import PairedDrop, holm, loss_p_value
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.ledger import Ledger
from ghostedge.lazy import choose

#: Step -> what it is called in reports. A step but preprocessing changes the model and leaves the pictures alone.
STEPS: dict[str, str] = {
    "preprocessing": "Preprocessing",
    "float": "Float conversion",
    "weights": "Weight quantisation",
    "activations": "Activation quantisation",
}

#: A step is charged when its test, corrected for the number of steps, is below this.
_SIGNIFICANCE = 0.05


@dataclass(frozen=True)
class AttributionStep:
    """One change and what it cost.

    Attributes:
        step: a key of `STEPS`.
        model: file name of the model after the change.
        top1_percent: accuracy after the change.
        drop: paired drop from the step before to this one.
        p_adjusted: one-sided exact McNemar test of a drop, after Holm's correction for all steps.
        snr_db: of the logits of the best five classes against the step before; None where they are identical.
    """

    step: str
    model: str
    top1_percent: float
    drop: PairedDrop
    p_adjusted: float
    snr_db: float | None


@dataclass(frozen=True)
class Attribution:
    """A drop, split.

    Attributes:
        reference_top1_percent: where it starts.
        steps: in order; their drops add up to `total`.
        total: paired drop from the reference to the last step.
        charged: the step with the largest drop among those whose drop is significant; None where none is.
    """

    reference_top1_percent: float
    steps: tuple[AttributionStep, ...]
    total: PairedDrop
    charged: str | None


def attribute(reference: Ledger, stages: Sequence[tuple[str, Ledger]]) -> Attribution:
    """Split the drop from `reference` to the last of `stages`.

    Args:
        reference: the ledger everything starts from.
        stages: (step, ledger after the step), in the order in which the changes were made.

    Raises:
        UsageError: no step, an unknown one, or one named twice.
        LedgerError: ledgers of different images, labels or checkpoints; a step that changed nothing, or also
            something else: preprocessing must change the pictures alone, the other steps the model alone.
    """
    if not stages:
        raise UsageError(f"there is no step to charge; name one or more of {', '.join(STEPS)}")
    names = [choose("attribution step", step, STEPS) for step, _ in stages]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UsageError(f"the step '{twice[0]}' is named twice; a step has one ledger")
    pairs = list(itertools.pairwise([reference, *(ledger for _, ledger in stages)]))
    for name, pair in zip(names, pairs, strict=True):
        _check_step(name, *pair)
    # The same images are no gains in any step: or else the drops of the steps would not add up to the whole.
    drops = [paired_drop_of(*pair, unknown=reference.failed) for pair in pairs]
    adjusted = holm([loss_p_value(drop.losses, drop.gains) for drop in drops])
    steps = tuple(
        AttributionStep(
            step=name,
            model=str(ledger.metadata.model.get("file", "?")),
            top1_percent=100 * int(ledger.correct().sum()) / drop.images,
            drop=drop,
            p_adjusted=float(p),
            snr_db=next((found.snr_db for found in logit_differences(previous, ledger)), None),
        )
        for name, (previous, ledger), drop, p in zip(names, pairs, drops, adjusted, strict=True)
    )
    significant = [step for step in steps if step.p_adjusted < _SIGNIFICANCE]
    total = paired_drop_of(reference, stages[-1][1], unknown=reference.failed)
    return Attribution(
        reference_top1_percent=100 * int(reference.correct().sum()) / total.images,
        steps=steps,
        total=total,
        charged=max(significant, key=lambda step: step.drop.drop_points).step if significant else None,
    )


def _check_step(step: str, previous: Ledger, ledger: Ledger) -> None:
    """Check that `ledger` differs from `previous` in what `step` names, and in nothing else."""
    check_comparable(previous, ledger, same_preprocessing=step != "preprocessing")
    before, after = previous.metadata, ledger.metadata
    # A checkpoint and the MindIR exported from it are one model in two files, both run by MindSpore.
    same_file = before.model.get("sha256") == after.model.get("sha256")
    formats = {before.model.get("format"), after.model.get("format")}
    same_model = same_file or formats <= {"checkpoint", "mindir"}
    if step == "preprocessing":
        pictures = [(m.preprocessing, m.input.height, m.input.width, m.input.resize) for m in (before, after)]
        if pictures[0] == pictures[1]:
            raise LedgerError(
                "the step 'preprocessing' changes no preprocessing; its ledger has that of the one before"
            )
        if not same_model:
            raise LedgerError(
                f"the step 'preprocessing' also changes the model ({before.model.get('file')} to "
                f"{after.model.get('file')}); evaluate the same model with the other preprocessing"
            )
    elif same_file:
        raise LedgerError(f"the step '{step}' has the same model file as the one before ({after.model.get('file')})")
