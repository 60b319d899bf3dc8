"""A command that is interrupted ends in one line with the signal's code, and leaves no process and no folder behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ghostedge.errors import CheckpointError, GhostedgeError, MissingExtraError, UnsupportedPrimitiveError
from tests.heed import heed

#: Starts a command with this body: the process that waits, and the process id of the command.
Start = Callable[..., tuple[subprocess.Popen[str], int]]

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}

#: What stands before every command: it says on stdout that it has begun, and starts a process that outlives nobody.
HEAD = """
import os, signal, subprocess, sys, time
from pathlib import Path
from ghostedge import signals

def command():
    folder = Path(sys.argv[1])
    print(os.getpid(), flush=True)
"""
TAIL = "\nsys.exit(signals.supervised(command))\n"

WAIT = "    time.sleep(60)\n"
CLEAN = """
    try:
        print("working", flush=True)
        time.sleep(60)
    finally:
        time.sleep(0.4)
        (folder / "cleaned").touch()
"""
#: As a library that computes: its main thread never comes back to Python, and no other thread gets a turn.
STUCK = """
    import ctypes
    signals.note(folder / "staging")
    (folder / "staging").mkdir()
    (folder / "staging" / "half").touch()
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    print("stuck", flush=True)
    ctypes.PyDLL(None).sleep(60)
"""
SWALLOW = """
    while True:
        try:
            time.sleep(60)
        except BaseException:
            print("an error of ours", file=sys.stderr)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a command with this body in a session of its own, and waits until it has begun: its process, its child."""
    running = []

    def run(body: str, before: str = "") -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HEAD + body + before + TAIL, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=heed,
        )
        running.append(process)
        assert process.stdout
        return process, int(process.stdout.readline())

    yield run
    for process in running:
        process.kill()
        process.communicate()


#: Around LiteRT's own words stderr is put elsewhere, and back at the end.
PUT_BACK = """
    kept = os.dup(2)
    try:
        time.sleep(60)
    finally:
        os.dup2(kept, 2)
        print("interrupted", file=sys.stderr)
"""


@pytest.mark.parametrize("number", CODES)
def test_one_line_and_the_signals_code(number: signal.Signals, start: Start) -> None:
    process, child = start(WAIT)
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == CODES[number]
    assert err.count("\n") == 1
    assert err.startswith("ghostedge: ")
    assert "run the same command again" in err
    assert not alive(child)


def test_a_second_signal_does_not_skip_what_cleans_up(start: Start, tmp_path: Path) -> None:
    process, child = start(CLEAN)
    assert process.stdout
    assert process.stdout.readline() == "working\n"
    for _ in range(4):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        with contextlib.suppress(ProcessLookupError):  # it may be done by now
            os.kill(child, signal.SIGTERM)  # as systemd does, to every process
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count("\n")) == (130, 1)
    assert (tmp_path / "cleaned").exists()
    assert not alive(child)


def test_what_does_not_heed_it_is_killed_with_all_that_it_started(start: Start, tmp_path: Path) -> None:
    process, child = start(STUCK)
    assert process.stdout
    assert process.stdout.readline() == "stuck\n"
    (grandchild,) = Path(f"/proc/{child}/task/{child}/children").read_text().split()
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 143  # the library would take 60 s
    assert not alive(child)
    assert not alive(int(grandchild))
    assert not (tmp_path / "staging").exists()


def test_a_command_that_swallows_it_is_ended_and_says_nothing(start: Start) -> None:
    process, _ = start(SWALLOW, "signals._CLEAN_S = 0.3")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count("\n")) == (130, 1)


def test_one_line_where_stderr_is_put_back(start: Start) -> None:
    process, _ = start(PUT_BACK)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.count("\n")) == (130, 1)


def test_a_crash_is_one_line(start: Start) -> None:
    process, _ = start("    os.kill(os.getpid(), signal.SIGSEGV)\n")
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert err == "ghostedge: error: the command was ended by signal SIGSEGV; a library that it runs failed\n"


def test_kill_9_of_the_process_that_waits_ends_the_command(start: Start) -> None:
    process, child = start(WAIT)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while alive(child):
        assert time.monotonic() < deadline, "the command outlived the process that waits for it"
        time.sleep(0.01)


def test_ctrl_z_stops_both_and_fg_goes_on_with_both(start: Start) -> None:
    process, child = start(WAIT)

    def wait_for(states: str) -> None:
        until = time.monotonic() + 30
        for pid in (process.pid, child):
            while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in states:
                assert time.monotonic() < until, f"{pid} is not {states}"
                time.sleep(0.01)

    process.send_signal(signal.SIGTSTP)
    wait_for("T")
    process.send_signal(signal.SIGCONT)
    wait_for("SR")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_what_was_ignored_stays_ignored() -> None:
    """nohup."""
    program = HEAD + "    time.sleep(0.5)\n    return 7\n" + TAIL
    process = subprocess.Popen(
        ["nohup", sys.executable, "-c", program, "."], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout
    process.stdout.readline()
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=30)
    assert process.returncode == 7


def test_an_exit_code_and_the_output_come_through() -> None:
    program = HEAD + "    print('out'); print('err', file=sys.stderr)\n    return 3\n" + TAIL
    done = subprocess.run([sys.executable, "-c", program, "."], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()[1], done.stderr) == (3, "out", "err\n")


def test_ctrl_c_while_it_imports_is_one_line_too() -> None:
    """From the first moment on: whatever is imported then."""
    for wait_s in (0.05, 0.1, 0.2, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "ghostedge", "inspect", "absent.onnx"],
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=heed,
        )
        until = time.monotonic() + 30
        while not Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text() and time.monotonic() < until:
            if process.poll() is not None:
                break
        time.sleep(wait_s / 2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
        assert process.returncode in (1, 130)  # 1: it was done
        assert err.count("\n") == 1
        assert "Traceback" not in err


def test_workers_get_no_signal_but_their_parents() -> None:
    """A group's Ctrl-C must not end a worker before its parent has decided; `kill` must not either."""
    from ghostedge.signals import shielded

    with shielded():
        worker = subprocess.Popen(
            [sys.executable, "-c", "import time; print('x', flush=True); time.sleep(60)"], stdout=-1
        )
    assert worker.stdout
    worker.stdout.readline()
    for number in CODES:
        worker.send_signal(number)
    time.sleep(0.2)
    assert worker.poll() is None
    worker.kill()
    assert worker.wait() == -signal.SIGKILL
    worker.stdout.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize(
    "error",
    [
        CheckpointError("bad"),
        MissingExtraError("onnx", "export"),
        UnsupportedPrimitiveError({"X": ("a", "b")}, ("Y",)),
    ],
)
def test_a_workers_error_stays_what_it_is(error: GhostedgeError) -> None:
    import pickle

    read = pickle.loads(pickle.dumps(error))
    assert type(read) is type(error)
    assert str(read) == str(error)
    assert vars(read) == vars(error)


def test_scratch_folders_are_gone_and_noted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from ghostedge import signals
    from ghostedge.files import scratch_folder

    journal = os.memfd_create("test")
    monkeypatch.setattr(signals, "_journal", journal)
    left = tmp_path / "left"
    left.mkdir()
    signals.note(left)
    with scratch_folder(tmp_path / "staging") as place:
        (place / "half").touch()
    assert not place.exists()
    signals._remove_noted(journal)
    assert not left.exists()
    os.close(journal)


def test_handlers_that_a_library_installs_are_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    from ghostedge.lazy import require

    def install(name: str) -> str:
        for number in CODES:
            signal.signal(number, lambda *_: None)
        return name

    monkeypatch.setattr(importlib, "import_module", install)
    before = [signal.getsignal(number) for number in CODES]
    assert require("mindspore.nn", "export") == "mindspore.nn"
    assert [signal.getsignal(number) for number in CODES] == before
