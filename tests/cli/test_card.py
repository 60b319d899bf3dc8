"""``ghostedge card`` prints the card or writes it, and says what is missing and how to bring it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ghostedge.cli.main import main
from tests.reports.test_card import folder

__all__ = ["folder"]  # the fixture


def test_it_is_written_whole_and_what_is_missing_is_on_stderr(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(folder), "--license", "mit", "--output", str(folder / "README.md")]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "ghostedge: the card has no accuracy; --reference R --ledger L... brings it",
        "ghostedge: the card has no latency; --latency DIR brings it",
        "ghostedge: the card has no count of ARM64 instructions; --instructions F brings it",
        f"wrote {folder / 'README.md'}",
    ]
    assert main(["card", str(folder), "--license", "mit", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert captured.out == (folder / "README.md").read_text(encoding="utf-8")
    assert main(["card", str(folder), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == ["accuracy", "latency", "count of ARM64 instructions"]


def test_a_folder_without_a_manifest_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["card", str(tmp_path)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "holds no manifest.json; give the --output of ghostedge export" in line
