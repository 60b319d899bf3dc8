"""The command line as a whole: help, exit codes, one line an error, light to start."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import ghostedge.cli.main as main_module
from ghostedge import errors
from ghostedge.cli import EXIT_CODES
from ghostedge.cli.main import COMMANDS, main
from ghostedge.errors import CheckpointError, ParityError
from tests.pythons import find_python

#: Every error class of ours.
ERRORS = [name for name in errors.__all__ if name[0].isupper()]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A command `probe` whose `run` a test may replace."""
    module = types.ModuleType("probe")
    module.__dict__.update(HELP="probe", EPILOG="", ARGUMENTS={}, run=lambda args: 0)
    monkeypatch.setitem(sys.modules, "probe", module)
    monkeypatch.setattr(main_module, "COMMANDS", {"probe": "probe"})
    return module


def test_every_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    for name in COMMANDS:
        with pytest.raises(SystemExit) as caught:
            main([name, "--help"])
        assert caught.value.code == 0
        assert f"ghostedge {name}" in capsys.readouterr().out.partition("examples:")[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["exprot"], "unknown command 'exprot'; did you mean 'export'? available:"),
        (["export"], "one of the arguments --checkpoint --mindir is required"),
        ([], "the following arguments are required: COMMAND"),
        (["export", "--checkpoint", "a.ckpt", "--targte", "onnx"], "--targte onnx; see 'ghostedge export --help'"),
        (["predict", "a.jpg", "--artifact", "a.onnx", "b.onnx", "-q"], "b.onnx -q; see 'ghostedge predict --help'"),
        (["--joson", "fetch", "x"], "unrecognized arguments: --joson; see 'ghostedge --help'"),
        (
            ["export", "--checkpoint", "a.ckpt", "--target", "tflight"],
            "unknown target 'tflight'; did you mean 'tflite'?",
        ),
        (["export", "--checkpoint", "a.ckpt", "--precision", "fp61"], "unknown precision 'fp61'; did you mean 'fp16'?"),
        (
            ["export", "--checkpoint", "a.ckpt", "--target", "onnx", "--precision", "fp16"],
            "target onnx has no precision 'fp16'; it is supported by: openvino, tflite",
        ),
        (["export", "--mindir", "a.mindir", "--target", "mindir"], "the source is mindir already"),
    ],
)
def test_a_wrong_command_line_is_one_line_and_exit_code_1(
    arguments: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.ckpt", "a.mindir"):
        Path(name).write_bytes(b"x")
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not Path("build").exists()


@pytest.mark.parametrize(("error", "code"), [(CheckpointError("bad"), 1), (ParityError("far"), 2)])
def test_an_error_is_one_line_with_its_exit_code(
    command: types.ModuleType, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    def fail(args: object) -> int:
        raise error

    command.run = fail  # type: ignore[attr-defined]
    assert main(["probe"]) == code
    assert capsys.readouterr().err == f"ghostedge: error: {error}\n"
    with pytest.raises(type(error)):
        main(["probe", "--debug"])


@pytest.mark.parametrize("flag", ["json", "quiet", "debug"])
@pytest.mark.parametrize("where", ["before", "after", "nowhere"])
def test_the_flags_of_every_command_stand_before_it_or_after_it(
    command: types.ModuleType, flag: str, where: str
) -> None:
    seen: dict[str, bool] = {}
    command.run = lambda args: seen.update(vars(args)) or 0  # type: ignore[attr-defined]
    words = [f"--{flag}"]
    assert main([*(words * (where == "before")), "probe", *(words * (where == "after"))]) == 0
    assert {name: seen[name] for name in ("json", "quiet", "debug")} == {
        name: name == flag and where != "nowhere" for name in ("json", "quiet", "debug")
    }


def test_the_help_and_the_docs_name_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    listed = re.findall(r"^  (\d+) ", capsys.readouterr().out.partition("exit codes:")[2], re.MULTILINE)
    codes = {0, 1, 130, *EXIT_CODES.values(), *(getattr(errors, name).exit_code for name in ERRORS)}
    assert set(map(int, listed)) == codes
    page = (Path(main_module.__file__).parents[2] / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    assert set(map(int, re.findall(r"^\| (\d+) \|", page, re.MULTILINE))) == codes


def test_ctrl_c_is_130_without_a_traceback(command: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(args: object) -> int:
        raise KeyboardInterrupt

    command.run = interrupt  # type: ignore[attr-defined]
    assert main(["probe"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_of_ours_is_not_hidden(command: types.ModuleType) -> None:
    def bug(args: object) -> int:
        raise ZeroDivisionError

    command.run = bug  # type: ignore[attr-defined]
    with pytest.raises(ZeroDivisionError):
        main(["probe"])


def test_help_is_light() -> None:
    # A ratio within one run, not a time: `--help` costs less than five bare interpreters that import argparse and
    # numpy (0.3 s at most on the slowest machine that was tried; one such import takes about 0.1 s there).
    def seconds(arguments: list[str]) -> float:
        best = float("inf")
        for _ in range(5):
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
            best = min(best, time.perf_counter() - started)
        return best

    assert seconds(["-m", "ghostedge", "--help"]) < 5 * seconds(["-c", "import argparse, numpy"])


def test_a_closed_pipe_is_not_an_error() -> None:
    script = f"set -o pipefail; {sys.executable} -m ghostedge export --help | head -1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.stderr == ""
    assert json.dumps(done.stdout.strip()).startswith('"usage: ghostedge export')


@pytest.mark.parametrize("version", ["3.9", "3.10"])
def test_a_python_that_is_too_old_is_one_line(version: str) -> None:
    """Run by one, where the machine has it: nothing may fail in its own words before the check."""
    old = find_python(version)
    if old is None:
        pytest.skip(f"left out: no Python {version} is here")
    program = "import sys; sys.path.insert(0, sys.argv.pop(1)); from ghostedge.cli.main import main; sys.exit(main([]))"
    root = str(Path(main_module.__file__).parents[2])
    done = subprocess.run([old, "-c", program, root], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == f"ghostedge: error: Python 3.11 to 3.14 is needed, this is {version}\n"


def test_a_32_bit_system_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert main([]) == 1
    assert "a 64-bit system is needed" in capsys.readouterr().err


def test_what_installs_a_missing_package_depends_on_how_this_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import ghostedge.errors as errors

    clone = Path(main_module.__file__).parents[2]
    command = f"pip install --constraint {clone}/locks/edge.txt --editable '{clone}[tflite]'"
    assert command in str(errors.MissingExtraError("ai_edge_litert", "tflite"))
    assert "locks/edge.txt" in str(errors.MissingExtraError("httpx", "fetch"))
    assert "locks/export.txt" in str(errors.MissingExtraError("onnx", "export"))
    monkeypatch.setattr(errors, "__file__", "/usr/lib/python3/site-packages/ghostedge/errors.py")
    assert str(errors.MissingExtraError("ai_edge_litert", "tflite")).endswith("run: pip install 'ghostedge[tflite]'")


def test_mindspore_on_a_python_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import ghostedge.errors as errors

    class Later(tuple):
        major, minor = 3, 13

    monkeypatch.setattr(sys, "version_info", Later((3, 13)))
    message = str(errors.MissingExtraError("mindspore", "export"))
    assert message.endswith(
        "it does not exist for Python 3.13: export with Python 3.11 or 3.12 (evaluate and benchmark run here)"
    )


@pytest.mark.parametrize(
    ("option", "said"), [([], ["left out", "not met", "stop"]), (["--quiet"], ["not met", "stop"])]
)
def test_quiet_says_nothing_of_what_is_left_out_by_default(
    option: list[str], said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import ghostedge.pipeline.export as module
    from ghostedge.errors import UsageError
    from ghostedge.pipeline.build import Event

    def export(on_event: Callable[[Event], None], **_: object) -> None:
        on_event(Event("skipped", "", "left out"))
        on_event(Event("unmet", "", "not met"))
        raise UsageError("stop")

    monkeypatch.setattr(module, "export", export)
    assert main(["export", "--mindir", "a.mindir", *option]) == 1
    assert [line.rpartition(": ")[2] for line in capsys.readouterr().err.splitlines()] == said
