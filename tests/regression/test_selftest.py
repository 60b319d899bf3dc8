"""The self-test plants each regression on the user's own files, and sees a gate that lets one through."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ghostedge.errors import UsageError
from ghostedge.regression import gate, selftest
from ghostedge.regression.gate import Check, update
from ghostedge.regression.selftest import self_test, self_test_markdown
from tests.regression.conftest import Project

KINDS = ["accuracy", "size", "instructions", "latency", "preprocessing", "stale baseline", "missing artifact"]


def test_each_regression_is_blocked_and_nothing_is_changed(project: Project, tmp_path: Path) -> None:
    inputs = project(losses=3, gains=2)
    update(tmp_path / "gate.json", inputs)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    found = self_test(tmp_path / "gate.json", inputs)
    assert [(each.kind, each.blocked) for each in found] == [(kind, True) for kind in KINDS]
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    text = self_test_markdown(found)
    assert text.startswith("## Self-test of the gate: 7 of 7 planted regressions are blocked")
    assert "grew by just over 1%, from " in text
    assert "16 of 2,000 images answered wrongly in the ledger" in text


def test_what_the_baseline_lacks_is_not_planted(project: Project, tmp_path: Path) -> None:
    inputs = replace(project(), reference=None, ledgers=(), latency=None)
    update(tmp_path / "gate.json", inputs)
    found = {each.kind: each for each in self_test(tmp_path / "gate.json", inputs)}
    assert [kind for kind in KINDS if found[kind].blocked is None] == ["accuracy", "latency", "preprocessing"]
    assert found["accuracy"].what == "the baseline has no accuracy (give --reference and --ledger to --update)"
    assert "4 of 4 planted" in self_test_markdown(list(found.values()))


def test_too_few_images_for_any_drop_are_said_to_be_so(project: Project, tmp_path: Path) -> None:
    inputs = project(images=8)
    update(tmp_path / "gate.json", inputs, max_drop_points=40.0)
    found = self_test(tmp_path / "gate.json", inputs)[0]
    assert (found.blocked, found.what) == (
        None, "8 images are too few for any drop to be beyond 40 points for certain"
    )  # fmt: skip


@pytest.mark.parametrize(
    ("function", "kinds"),
    [
        ("_of_cost", ["size", "instructions", "latency"]),
        ("_of_accuracy", ["accuracy"]),
        ("_of_problem", ["preprocessing"]),
    ],
)
def test_a_gate_that_lets_it_through_is_seen(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: str, kinds: list[str]
) -> None:
    inputs = project()
    update(tmp_path / "gate.json", inputs)
    monkeypatch.setattr(gate, function, lambda *args: Check("size", "", "", "PASS"))
    found = self_test(tmp_path / "gate.json", inputs)
    assert [each.kind for each in found if not each.blocked] == kinds
    assert "| **NO** | nothing |" in self_test_markdown(found)


def test_a_gate_that_sees_neither_stale_nor_missing_is_seen(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = project()
    update(tmp_path / "gate.json", inputs)
    monkeypatch.setattr(gate, "_of_artifacts", lambda before, now: iter(()))
    found = self_test(tmp_path / "gate.json", inputs)
    assert [each.kind for each in found if not each.blocked] == ["stale baseline", "missing artifact"]


def test_it_starts_from_what_passes(project: Project, tmp_path: Path) -> None:
    inputs = project()
    update(tmp_path / "gate.json", inputs)
    counts: Any = json.loads((tmp_path / "counts.json").read_text())
    (tmp_path / "counts.json").write_text(json.dumps(counts[:1]))
    with pytest.raises(UsageError, match="the gate blocks before anything is planted: the baseline has its instruct"):
        self_test(tmp_path / "gate.json", inputs)


def test_the_weights_beside_an_ir_and_other_formats_grow_too(tmp_path: Path) -> None:
    import shutil

    from ghostedge.regression.measure import Inputs
    from tests.regression.conftest import DATA

    for name in ("tiny.xml", "tiny.bin"):
        shutil.copy(DATA / "tiny" / name, tmp_path)
    inputs = Inputs((tmp_path / "tiny.xml",))
    update(tmp_path / "gate.json", inputs)
    found = {each.kind: each for each in self_test(tmp_path / "gate.json", inputs)}
    assert found["size"].blocked
    assert selftest._PLANTS.keys() == found.keys()
