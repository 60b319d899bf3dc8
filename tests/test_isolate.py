"""What became of a child process is one line: its last words, its signal, or that it took too long."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ghostedge.isolate import ChildError, how_it_ended, run_module

CHILD = {
    "echo": "import sys; print('first'); print(sys.stdin.read(), *sys.argv[1:])",
    "refuse": "raise SystemExit('it is too small')",
    "raise": "print('about to'); {}['absent']",
    "silent": "raise SystemExit(3)",
    "crash": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hang": "import time; time.sleep(60)",
}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which the modules ``child_...`` of `CHILD` can be imported."""
    for name, code in CHILD.items():
        (tmp_path / f"child_{name}.py").write_text(code)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def test_the_last_line_comes_back(environment: dict[str, str]) -> None:
    said = run_module("child_echo", ["a", "b"], timeout_s=60, stdin="given", environment=environment)
    assert said == "given a b"


@pytest.mark.parametrize(
    ("name", "message", "returncode", "deliberate"),
    [
        ("refuse", "it is too small", 1, True),
        ("raise", "KeyError: 'absent'", 1, False),
        ("silent", "no message", 3, True),
        ("crash", "it crashed (signal SIGSEGV)", -11, False),
        ("hang", "not done in 1 s", None, False),
    ],
)
def test_a_failure_is_one_line(
    name: str, message: str, returncode: int | None, deliberate: bool, environment: dict[str, str]
) -> None:
    with pytest.raises(ChildError) as caught:
        run_module(f"child_{name}", timeout_s=1 if name == "hang" else 60, environment=environment)
    assert str(caught.value) == message
    assert (caught.value.returncode, caught.value.deliberate) == (returncode, deliberate)


def test_ends_have_names() -> None:
    assert [how_it_ended(code) for code in (0, 3, -9, -63)] == [
        "exit code 0",
        "exit code 3",
        "signal SIGKILL",
        "signal 63",
    ]
