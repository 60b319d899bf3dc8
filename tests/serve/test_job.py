"""What is served: which golden vectors are a model's own, and which images are run, in which order."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.golden import read_golden, write_golden
from ghostedge.errors import ArtifactError, LedgerError, UsageError
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.serve.job import Crops, make_job


def test_a_reference_of_other_images_is_one_line(model: Path, data: Path, reference: Path) -> None:
    with pytest.raises(LedgerError, match="is of 24 images, which are not the 5 of --data and --limit"):
        make_job([model], data=data, limit=5, reference=reference)
    job = make_job([model], data=data, reference=reference, order="decisive")
    assert job.images is not None
    ledger = read_ledger(reference)
    margins = (ledger.top5_logit[:, 0] - ledger.top5_logit[:, 1])[job.images.order]
    assert (np.diff(margins) >= 0).all()


def test_golden_vectors_of_another_model_are_left_alone_or_refused(model: Path, tmp_path: Path) -> None:
    lone = tmp_path / "lone.tflite"
    shutil.copy(model, lone)
    own = read_golden(next(model.parent.glob("*.npz")))
    other = tmp_path / "lone.golden.npz"
    write_golden(other, replace(own, logits=own.logits[:, :4], class_names=()))
    assert make_job([lone]).subjects[0].golden is None
    with pytest.raises(ArtifactError, match=r"does not fit .*: it has answers of 4 classes, not 5"):
        make_job([lone], golden=other)


def test_a_crop_is_decoded_once_for_many_phones(model: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = make_job([model], data=data, limit=3)
    assert job.images is not None
    crops = Crops(job.images)
    first = crops.get(1, job.subjects[0])
    monkeypatch.setattr("ghostedge.serve.job.decode", None)
    assert crops.get(1, job.subjects[0]) == first
    assert len(first) == 32 * 32 * 3


def test_the_browser_decodes_only_for_the_rule_that_the_page_has(
    model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ghostedge.serve.job.PAGE_RESIZE_RULE", "another")
    with pytest.raises(UsageError, match="--jpeg: the page resizes by another"):
        make_job([model], data=data, browser_decodes=True)
