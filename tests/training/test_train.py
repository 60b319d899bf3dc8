from __future__ import annotations

import json
from pathlib import Path

import artwork
import numpy as np
import pytest

pytest.importorskip("timm", reason="left out: the training recipe needs timm")


import pictures
import torch
import train


@pytest.fixture
def cache(art: artwork.Artwork, tmp_path: Path) -> Path:
    """The small artwork as files, where the worker processes find it."""
    artwork.save_artwork(art, tmp_path)
    return tmp_path


#: The shipped checkpoint was given 48 minutes, and 14 for its finish at 224 pixels. Here a five-hundredth of both.
RECIPE, FINISH = 48 / 500, 14 / 500


def test_a_moment_of_the_recipe_runs_in_two_workers(cache: Path) -> None:
    # All sizes of the recipe's schedule, reached in so short a time by batches of 8 pictures in place of 64.
    output = cache / "run"
    minutes = ["--minutes", str(RECIPE), "--finish-minutes", str(FINISH), "--batch", "8"]
    train.main(["--output", str(output), "--cache", str(cache), *minutes])
    state = torch.load(output / "state.pt")
    assert state["classes"] == ["blue", "green", "red", "yellow"]
    assert state["done"]["step"] > 0
    assert state["done"]["pictures"] == 8 * state["done"]["step"]
    assert state["done"]["seconds"] >= 60 * (RECIPE + FINISH)
    assert all(torch.isfinite(tensor).all() for tensor in state["average"].values())


def test_it_learns_and_a_stopped_run_continues(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "SIDES", ((1.0, 48),))
    monkeypatch.setattr(pictures, "DIFFICULTY", 0.1)
    output = cache / "run"
    recipe = ["--output", str(output), "--cache", str(cache), "--workers", "1", "--batch", "16"]
    train.main([*recipe, "--steps", "20"])
    before = torch.load(output / "state.pt")
    assert before["done"]["step"] == 20
    train.main([*recipe, "--steps", "20"])  # loads, finds nothing left to do, and keeps what it loaded
    after = torch.load(output / "state.pt")
    for part in ("model", "average"):
        torch.testing.assert_close(after[part], before[part], rtol=0, atol=0)
    torch.testing.assert_close(after["optimiser"]["state"], before["optimiser"]["state"], rtol=0, atol=0)
    train.main([*recipe, "--steps", "60"])
    log = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    assert [(line["step"], line["pictures"]) for line in log] == [(20, 320), (40, 640), (60, 960)]
    # Four colours are easy: chance is a loss of log 4 = 1.39 and a quarter right.
    assert log[-1]["loss"] < 0.7
    assert log[-1]["training_top1"] > 0.75


def test_workers_that_drift_apart_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def another_worker_has_less(tensor: torch.Tensor, operation: object) -> None:
        if operation == train.dist.ReduceOp.MIN:
            tensor -= 1e-9

    monkeypatch.setattr(train.dist, "all_reduce", another_worker_has_less)
    with pytest.raises(RuntimeError, match="the workers' weights differ"):
        train.check_in_step(torch.nn.Linear(2, 2))


def test_another_list_of_classes_does_not_resume(cache: Path) -> None:
    torch.save({"seed": 0, "classes": ["something else"]}, cache / "state.pt")
    with pytest.raises(SystemExit, match="belongs to another seed or list of classes; choose another --output"):
        train.main(["--output", str(cache), "--cache", str(cache), "--steps", "1", "--workers", "1"])


def test_the_schedules_end_at_the_size_and_difficulty_of_use() -> None:
    sides = [train.side_at(progress) for progress in np.linspace(0, 1, 101)]
    assert sides == sorted(sides)
    assert sides[-1] == 224
    assert train.difficulty_at(0) == 0
    assert train.difficulty_at(0.9) == pictures.DIFFICULTY
    rates = [train.learning_rate_at(progress, peak=1.0) for progress in np.linspace(0, 2, 201)]
    assert max(rates) == pytest.approx(1.0)
    assert rates.index(max(rates)) == 3
    assert rates[99] == pytest.approx(0.01, abs=0.001)
    assert (rates[100], rates[200]) == pytest.approx((train.FINISH_SHARE, 0.01 * train.FINISH_SHARE))


def test_missing_artwork_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"run: python training/artwork\.py"):
        train.main(["--output", str(tmp_path / "run"), "--cache", str(tmp_path), "--steps", "1"])
    assert not (tmp_path / "run").exists()
