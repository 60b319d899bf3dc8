"""A drop planted in one step is charged to that step, and ledgers that are no such step are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.accuracy.attribution import attribute
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.ledger import Ledger

Stages = list[tuple[str, Ledger]]


@pytest.fixture(scope="module")
def chain(make_ledger: Any, paired_logits: Any) -> tuple[Ledger, Stages]:
    """The reference and four steps that lose 10, 0, 4 and 40 images more."""
    labels, reference, pillow = paired_logits(losses=10, gains=4, images=4000)
    converted = pillow + np.float32(1e-6)
    weights = lose(converted, labels, 4)
    activations = lose(weights, labels, 40)
    return make_ledger(reference, labels, file="m.ckpt"), [
        ("preprocessing", make_ledger(pillow, labels, file="m.mindir", preprocessing="pillow_bilinear")),
        ("float", make_ledger(converted, labels, file="fp32.tflite", preprocessing="pillow_bilinear")),
        ("weights", make_ledger(weights, labels, file="dynamic.tflite", preprocessing="pillow_bilinear")),
        ("activations", make_ledger(activations, labels, file="int8.tflite", preprocessing="pillow_bilinear")),
    ]


def lose(logits: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """The same logits with `count` more images wrong."""
    rows = np.flatnonzero(logits.argmax(axis=1) == labels)[-count:]
    worse = logits.copy()
    worse[rows, (labels[rows] + 1) % logits.shape[1]] = logits[rows].max(axis=1) + 0.1
    return worse


def test_the_steps_add_up_and_the_worst_is_charged(chain: tuple[Ledger, Stages]) -> None:
    result = attribute(*chain)
    assert [(step.drop.losses, step.drop.gains) for step in result.steps] == [(10, 4), (0, 0), (4, 0), (40, 0)]
    assert sum(step.drop.drop_points for step in result.steps) == pytest.approx(result.total.drop_points)
    assert result.reference_top1_percent - result.total.drop_points == pytest.approx(result.steps[-1].top1_percent)
    assert result.charged == "activations"


def test_the_steps_add_up_where_images_have_no_answer(make_ledger: Any, paired_logits: Any) -> None:
    """The reference failed on 20 images and the middle step on others; what comes after answers all."""
    labels, reference, candidate = paired_logits(losses=10)
    no_reference: list[str | None] = ["unreadable"] * 20 + [None] * 1980
    no_middle: list[str | None] = [None] * 1980 + ["overflow"] * 20
    no_middle[15:40] = ["overflow"] * 25
    last = lose(candidate, labels, 7)
    result = attribute(
        make_ledger(reference, labels, file="m.ckpt", errors=no_reference),
        [
            ("float", make_ledger(candidate, labels, file="fp16.tflite", errors=no_middle)),
            ("weights", make_ledger(last, labels, file="int8.tflite")),
        ],
    )
    assert sum(step.drop.drop_points for step in result.steps) == pytest.approx(result.total.drop_points)
    assert (result.total.losses, result.total.gains) == (7, 0)


def test_chance_is_not_charged(chain: tuple[Ledger, Stages]) -> None:
    reference, stages = chain
    # Ten losses and four gains: p = 0.09.
    assert attribute(reference, stages[:2]).charged is None


def test_a_subset_of_steps_is_enough(chain: tuple[Ledger, Stages]) -> None:
    reference, stages = chain
    assert [step.step for step in attribute(stages[0][1], stages[1:]).steps] == ["float", "weights", "activations"]
    assert attribute(reference, stages[:1]).steps[0].drop.losses == 10


def test_a_step_must_change_what_it_is_named_after(chain: tuple[Ledger, Stages]) -> None:
    reference, stages = chain
    pillow, converted, weights, _ = (ledger for _, ledger in stages)
    with pytest.raises(LedgerError, match="changes no preprocessing"):
        attribute(pillow, [("preprocessing", pillow)])
    with pytest.raises(LedgerError, match=r"also changes the model \(m.ckpt to fp32.tflite\)"):
        attribute(reference, [("preprocessing", converted)])
    with pytest.raises(LedgerError, match="resize rule opencv_linear and pillow_bilinear"):
        attribute(reference, [("float", converted)])
    with pytest.raises(LedgerError, match=r"same model file as the one before \(dynamic.tflite\)"):
        attribute(converted, [("weights", weights), ("activations", weights)])


def test_unknown_repeated_and_missing_steps_are_refused(chain: tuple[Ledger, Stages]) -> None:
    reference, stages = chain
    with pytest.raises(UsageError, match="did you mean 'weights'"):
        attribute(reference, [("weight", stages[0][1])])
    with pytest.raises(UsageError, match="named twice"):
        attribute(reference, [stages[0], stages[0]])
    with pytest.raises(UsageError, match="no step to charge"):
        attribute(reference, [])
