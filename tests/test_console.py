"""Tables stand in columns; progress is one line on a terminal and now and then a line elsewhere."""

from __future__ import annotations

import doctest
import io
import sys
import time

import pytest

from ghostedge import console
from ghostedge.cli.fetch import _Transfer
from ghostedge.console import ProgressWriter, aligned, time_left


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds; a test moves them on."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_the_example() -> None:
    assert doctest.testmod(console).failed == 0


def test_columns_and_a_rule() -> None:
    rows = [("Model", "", "Top-1"), ("a.onnx", "x", ""), ("b", "", "74.0")]
    assert aligned(rows) == ["Model      Top-1", "------  -  -----", "a.onnx  x", "b          74.0"]
    assert aligned(rows, right=[2])[3] == "b           74.0"
    assert aligned([("Only", "Header")]) == ["Only  Header", "----  ------"]


def test_time_left() -> None:
    assert [time_left(seconds) for seconds in (0, 451.2, 11_520)] == [
        "0 min 0 s left", "7 min 31 s left", "3 h 12 min left",
    ]  # fmt: skip


def test_on_a_terminal_the_status_is_rewritten(monkeypatch: pytest.MonkeyPatch, clock: list[float]) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    with ProgressWriter() as progress:
        for seconds in (0.1, 0.3, 0.1):
            clock[0] += seconds
            progress.status(f"at {clock[0]:.1f}")
        progress.line("a line")
        progress.status("done", last=True)
    assert terminal.getvalue() == "\r\x1b[Kat 100.4\na line\n\r\x1b[Kdone\n"


def test_elsewhere_it_is_a_line_every_ten_seconds(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with ProgressWriter() as progress:
        for _ in range(25):
            clock[0] += 1
            progress.status(f"at {clock[0]:.0f}")
        progress.status("done", last=True)
    assert capsys.readouterr().err == "at 110\nat 120\ndone\n"


def test_quiet_shows_warnings_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressWriter(quiet=True) as progress:
        progress.status("half", last=True)
        progress.line("a line")
        progress.warn("a warning")
    assert capsys.readouterr().err == "a warning\n"


def test_a_transfer_tells_share_speed_and_time_left(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    with ProgressWriter() as progress:
        shown = _Transfer("net", progress)
        shown(10_000_000, 25_000_000)  # from an earlier run
        clock[0] += 10
        shown(20_000_000, 25_000_000)
        clock[0] += 10
        shown(21_000_000, None)
    assert capsys.readouterr().err == (
        "net: 20.0 MB of 25.0 MB (80%)  1.0 MB/s  0 min 5 s left\nnet: 21.0 MB  0.6 MB/s\n"
    )
