from __future__ import annotations

import json
from pathlib import Path

import artwork
import numpy as np
import pytest

from ghostedge.demo import verify_demo_files
from ghostedge.models.checkpoint import load_checkpoint

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
    monkeypatch.setattr(publish, "RECALIBRATION", 64)
    demo = tmp_path / "files"
    arguments = ["--run", str(run), "--cache", str(run.parent), "--output", str(demo)]
    few = ["--validation", "12", "--calibration", "4"]
    # Whatever one step has learned, it is not 70 to 92% of four colours it has hardly seen.
    code = publish.main([*arguments, *few])
    assert code == 1
    assert "outside of 70 to 92%" in capsys.readouterr().err
    assert not demo.exists()

    assert publish.main([*arguments, *few, "--any-accuracy"]) == 0
    record = json.loads((demo / "training.json").read_text())
    assert verify_demo_files(demo) == 16 + 5
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
