"""``ghostedge gate`` from files to the exit code and the summary of a pull request."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostedge.cli.main import main
from ghostedge.regression.measure import Inputs
from tests.regression.conftest import Project, project

__all__ = ["project"]  # the fixture

Run = Callable[..., int]


def arguments(inputs: Inputs) -> list[str]:
    return [
        *("--artifact", *map(str, inputs.artifacts)),
        *("--reference", str(inputs.reference)),
        *("--ledger", *map(str, inputs.ledgers)),
        *("--instructions", str(inputs.instructions)),
        *("--latency", str(inputs.latency)),
    ]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.chdir(tmp_path)
    return lambda inputs, *more: main(["gate", *arguments(inputs), *map(str, more)])


@pytest.mark.parametrize(
    ("flips", "code", "verdict"),
    [({}, 0, "PASS"), ({"losses": 60, "gains": 20}, 2, "FAIL"), ({"losses": 12, "gains": 3}, 3, "INCONCLUSIVE")],
)
def test_the_exit_code_is_the_verdict(
    run: Run, project: Project, flips: dict[str, int], code: int, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project(), "--update", "--max-drop", 0.5) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("## Gate: PASS")
    assert captured.err == "wrote gate.json; commit it\n"
    assert run(project(**flips)) == code
    assert capsys.readouterr().out.startswith(f"## Gate: {verdict}\n")
    assert run(project(**flips), "--json") == code
    document = json.loads(capsys.readouterr().out)
    assert (document["schema_version"], document["verdict"], len(document["checks"])) == (1, verdict, 6)


def test_the_self_test_blocks_all_and_ends_with_2_where_it_does_not(
    run: Run, project: Project, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ghostedge.regression import gate

    inputs = project()
    run(inputs, "--update")
    capsys.readouterr()
    assert run(inputs, "--self-test") == 0
    assert "7 of 7 planted regressions are blocked" in capsys.readouterr().out
    monkeypatch.setattr(gate, "_growth_percent", lambda before, now: 0.0)
    assert run(inputs, "--self-test", "--json") == 2
    planted = json.loads(capsys.readouterr().out)["planted"]
    assert [each["kind"] for each in planted if not each["blocked"]] == ["size", "instructions", "latency"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--max-drop", "1"], "--max-drop: bounds are in the baseline; change them with --update"),
        (["--update", "--self-test"], "one after the other"),
        (["--update", "--max-size-growth", "-1"], "max_size_growth_percent is -1; it must be 0 or more"),
        (["--baseline", "gone.json"], "the baseline gone.json does not exist"),
    ],
)
def test_a_mistake_is_one_line(
    run: Run, project: Project, more: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(project(), *more) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert said in line
