from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import artwork
import numpy as np
import pytest

from ghostedge.demo import verify_demo_files
from ghostedge.evaluation.ledger import read_ledger, write_ledger
from ghostedge.ghostnet.checkpoint import load_checkpoint

pytest.importorskip("timm", reason="left out: the training recipe needs timm")


import chain
import faults
import publish
import train


@pytest.fixture(scope="module")
def run(art: artwork.Artwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run of one step on the small artwork, with the artwork's cache beside it."""
    folder = tmp_path_factory.mktemp("training")
    artwork.save_artwork(art, folder)
    arguments = ["--output", str(folder / "run"), "--cache", str(folder), "--workers", "1"]
    train.main([*arguments, "--batch", "4", "--steps", "1"])
    (folder / "run" / "log.jsonl").write_text("{}\n")  # a line comes every 20 steps
    return folder / "run"


def test_publishing_writes_whole_demo_files_whose_faults_can_be_measured(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "RECALIBRATION", 8)
    demo = tmp_path / "files"
    arguments = ["--run", str(run), "--cache", str(run.parent), "--output", str(demo)]
    few = ["--no-noise-floor", "--validation", "12", "--calibration", "4", "--difficulty", "0.25", "--weights", "model"]
    # Whatever one step has learned, it is not 70 to 92% of four colours it has hardly seen.
    code = publish.main([*arguments, *few, "--validation", "4"])
    assert code == 1
    assert "outside of 70 to 92%" in capsys.readouterr().err
    assert not demo.exists()

    assert publish.main([*arguments, *few, "--any-accuracy"]) == 0
    record = json.loads((demo / "training.json").read_text())
    assert verify_demo_files(demo) == 16 + 6
    assert record["images"]["difficulty"] == 0.25
    assert record["training"]["weights"] == "model"
    assert record["reference"]["agreement_with_pytorch_percent"] == 100
    ledger = read_ledger(demo / publish.REFERENCE)
    assert ledger.metadata.is_reference
    assert ledger.metadata.checkpoint_sha256 == record["checkpoint_sha256"]
    assert 100 * ledger.correct().mean() == pytest.approx(record["validation"]["all"]["top1_percent"], abs=0.01)
    assert load_checkpoint(demo / publish.CHECKPOINT).num_classes == 4
    assert record["validation"]["all"]["images"] == 12
    assert record["training"]["pictures"] == 4
    seen, held_out = record["validation"]["styles seen in training"], record["validation"]["held-out style emojione"]
    assert (seen["images"], held_out["images"]) == (11, 1)
    capsys.readouterr()

    assert faults.main(["--demo", str(demo), "--json"]) == 0
    rows = {row["fault"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() == {"none", *chain.NETWORK_FAULTS, *chain.INPUT_FAULTS}
    assert rows["none"]["top1_percent"] == record["validation"]["all"]["top1_percent"]
    assert rows["none"]["snr_db"] is None
    assert all(row["snr_db"] < 100 for row in rows.values() if row["fault"] != "none")


def test_difficulties_are_tried_without_a_file(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "RECALIBRATION", 8)
    arguments = ["--run", str(run), "--cache", str(run.parent), "--output", str(tmp_path / "files")]
    assert publish.main([*arguments, "--validation", "8", "--try-difficulties", "0,0.9"]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert first.endswith("on 8 validation pictures:")
    assert [line.partition(":")[0] for line in lines] == ["difficulty 0", "difficulty 0.9"]
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_mindspore_runs_differently_is_not_published(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_ledger: Any
) -> None:
    ledger = make_ledger(np.eye(4, dtype=np.float32), np.arange(4, dtype=np.int32), file="artwork_1x.ckpt")
    write_ledger(tmp_path / publish.REFERENCE, ledger)
    monkeypatch.setattr(publish.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    answers = dict(zip(ledger.image_ids.tolist(), range(4), strict=True))
    assert publish.add_reference(tmp_path, answers)["agreement_with_pytorch_percent"] == 100
    answers[ledger.image_ids[0]] = 3
    with pytest.raises(SystemExit, match=r"MindSpore gives 75\.00% of the images the class that PyTorch gives them"):
        publish.add_reference(tmp_path, answers)


def test_a_fault_row_counts_what_changed() -> None:
    sound = np.array([[3, 1], [3, 1], [1, 3], [1, 3]], np.float32)
    broken = np.array([[3, 1], [1, 3], [1, 3], [3, 1]], np.float32)
    row = faults.compared("some fault", broken, sound, labels=np.array([0, 0, 1, 0], np.int32))
    assert row["top1_percent"] == 75.0
    assert (row["top1_changed_images"], row["lost_images"], row["won_images"]) == (2, 1, 1)
    # Half of the rows differ by 2 in both logits: signal 40, noise 16.
    assert row["snr_db"] == pytest.approx(10 * np.log10(40 / 16), abs=0.05)


def test_rounding_keeps_eleven_significant_bits() -> None:
    exact = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    exact[0] = 1e-7  # would lose bits as a float16
    rounded = publish.rounded(exact)
    assert np.abs(rounded / exact - 1).max() <= 2.0**-11
    assert np.array_equal(publish.rounded(rounded), rounded)
    assert not np.any(rounded.view(np.uint32) & 0x1FFF)
