"""Answers of phones on the disk: whatever ends the server, or fills the disk, none is lost nor another run's."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.datasets import name_column
from ghostedge.errors import OutputError
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import LedgerMetadata, ids_sha256
from ghostedge.model import InputSpec
from ghostedge.serve.ledgers import LedgerRun

IDS = [f"{number}.jpg" for number in range(6)]
LABELS = np.array([0, 1, 2, 0, 1, 2], np.int32)
LOGITS = np.random.default_rng(2).normal(0, 1, (6, 3)).astype(np.float32)

METADATA = LedgerMetadata(
    model={"file": "m.tflite", "sha256": "0" * 64, "format": "tflite", "precision": "fp32"},
    input=InputSpec(),
    preprocessing="opencv_linear",
    runtime={"name": "litert.js", "version": "1"},
    device="CPU",
    host={"phone": "One", "browser": "a test"},
    classes=3,
    dataset={"images": len(IDS), "ids_sha256": ids_sha256(name_column(IDS))},
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "one-m.jsonl"


def opened(path: Path, metadata: LedgerMetadata = METADATA, labels: np.ndarray = LABELS) -> LedgerRun:
    """What a server that was just started has of the ledger."""
    return LedgerRun(path, metadata, IDS, labels, keep_logits=False)


def add(run: LedgerRun, *places: int) -> bool:
    return run.add(places, LOGITS[list(places)], [None] * len(places), [-1] * len(places))


def test_what_the_phone_is_called_decides_nothing(path: Path) -> None:
    add(opened(path), 0, 1, 2)
    renamed = opened(path, replace(METADATA, host={**METADATA.host, "phone": "Two"}))
    assert renamed.done == {0, 1, 2}
    assert add(renamed, 3, 4, 5)
    assert read_json_lines(path).metadata.host["phone"] == "Two"
    assert opened(path).whole


@pytest.mark.parametrize(
    "other",
    [
        lambda path: opened(path, replace(METADATA, model={**METADATA.model, "sha256": "1" * 64})),
        lambda path: opened(path, labels=LABELS[::-1].copy()),
    ],
)
def test_answers_of_another_run_are_neither_taken_nor_lost(path: Path, other: Callable[[Path], LedgerRun]) -> None:
    add(opened(path), 0, 1, 2)
    another = other(path)
    assert not another.done
    assert not another.replaces
    assert add(another, 0, 1, 2, 3, 4, 5)
    own = opened(path)
    assert own.replaces
    assert own.done == {0, 1, 2}
    add(own, 3, 4, 5)
    assert opened(path).whole


def test_a_damaged_ledger_is_made_again(path: Path) -> None:
    add(opened(path), *range(6))
    whole = path.read_bytes()
    for damaged in (b"".join(whole.splitlines(True)[:4]), whole.replace(b'"label":1', b'"label":2', 1)):
        path.write_bytes(damaged)
        run = opened(path)
        assert run.replaces
        assert not run.done
        assert add(run, *range(6))
        assert path.read_bytes() == whole


def test_half_a_line_of_a_full_disk_costs_no_row(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = opened(path)
    add(run, 0)
    (part,) = path.parent.glob("*.part")

    def full(handle: int) -> None:
        os.ftruncate(handle, os.fstat(handle).st_size - 40)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("ghostedge.serve.ledgers.os.fsync", full)
        with pytest.raises(OutputError, match="the disk is full"):
            add(run, 1, 2)
    assert part.read_text().count("\n") == 2
    add(run, 1, 2)
    add(run, 3)
    assert opened(path).done == {0, 1, 2, 3}


@pytest.mark.parametrize("restarted", [False, True])
def test_a_disk_that_is_full_for_the_ledger_itself_costs_no_row(
    path: Path, restarted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opened(path)
    with monkeypatch.context() as patched:
        patched.setattr("ghostedge.serve.ledgers.atomic_write", full_disk)
        with pytest.raises(OutputError):
            add(run, *range(6))
    assert not path.exists()
    assert opened(path).finish() if restarted else add(run, *range(6))
    assert len(read_json_lines(path)) == 6


def full_disk(path: Path, data: bytes | str) -> None:
    raise OutputError(f"cannot write {path}: the disk is full")
