"""What a command does when it is interrupted: one line, the signal's exit code, and nothing left behind.

A command runs in a child process with a process group of its own. The process that the user started loads no library
and only waits, so that it answers SIGINT, SIGTERM and SIGHUP from its first instruction to its last, whatever the
command is doing: MindSpore installs handlers of its own while it compiles, and a library may hold the interpreter for
minutes.

- The command is told once, by SIGTERM: `KeyboardInterrupt` is raised in its main thread, and what it started is ended
  by its own ``finally`` blocks. A second signal changes nothing, so that it cannot skip them.
- A command that does not heed it, or is not done in time, is killed with its whole group.
- Files and folders that it had noted with `note` are removed by the process that waits.
- A command that a library crashes is one line too, and exit code 1.

Where the process that waits is killed itself, the system kills the command.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

#: What ends a command.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

#: A command notices a signal as soon as its main thread runs Python; after this long a library holds the interpreter.
_HEED_S = 2.0

#: One that has noticed may take so long to end what it started; a benchmark on a device elsewhere takes longest.
_CLEAN_S = 12.0

#: So often the child's end is looked for as well: QEMU's user mode loses signals that come before they are waited for.
_LOOK_S = 0.5

#: prctl's option of Linux: the signal to get when the parent ends.
_PR_SET_PDEATHSIG = 1

#: The list of what to remove, and whether a signal was noticed; shared with the process that waits. None without one.
_journal: int | None = None

#: The signal that interrupted this process.
_interrupted: int | None = None


def supervised(command: Callable[[], int]) -> int:
    """Run `command` in a child process and wait for it; returns in both processes.

    Args:
        command: returns an exit code; runs in the main thread of the child.

    Returns:
        Its exit code; 128 and the number of the signal that ended it (130, 143, 129); 1 where it crashed.
    """
    if not hasattr(signal, "sigtimedwait"):  # not Linux: Python's own Ctrl-C is all there is
        return command()
    # What was ignored when we were started stays so: nohup, and jobs in the background of a script.
    waited = {*SIGNALS, signal.SIGTSTP}
    waited = {signal.SIGCHLD, *(number for number in waited if signal.getsignal(number) != signal.SIG_IGN)}
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # where it is ignored, a child's exit code is lost
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    parent = os.getpid()
    try:
        journal, child = os.memfd_create("ghostedge"), os.fork()
    except (AttributeError, OSError):  # no memory file, or no room for a process: the command says more
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return command()
    if child == 0:
        return _run(command, journal, parent, mask)
    with contextlib.suppress(OSError):
        os.setpgid(child, child)  # both do it: neither may go on before it is done
    first, code = _wait(child, waited, journal)
    if b"=" in _read(journal).split(b"\0") and 0 <= code < 128:
        first = 0  # the signal was the command's own way to end
    ended_by = first or (code - 128 if code > 128 else max(-code, 0))
    if ended_by:
        _end_group(child)
        _remove_noted(journal)
    if not ended_by:
        return code
    if first or code > 128:
        _say(_farewell(ended_by))
        return 128 + ended_by
    reason = "the system may be short of memory" if ended_by == signal.SIGKILL else "a library that it runs failed"
    _say(f"ghostedge: error: the command was ended by {signal_name(ended_by)}; {reason}")
    return 1


def signal_name(number: int) -> str:
    """``"signal SIGSEGV"``, or ``"signal 63"`` for one without a name."""
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"


def _farewell(number: int) -> str:
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal_name(number)}"
    return f"ghostedge: {what}; run the same command again to continue"


# -- the process that waits ----------------------------------------------------------------------------------------


def _wait(child: int, waited: set[signal.Signals], journal: int) -> tuple[int, int]:
    """Wait for the child's end. Returns: the first signal that came, or 0; its exit code as `subprocess` gives it."""
    first, since = 0, 0.0
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return first, os.waitstatus_to_exitcode(status)
        if first:
            came = signal.sigtimedwait(waited, 0.05)
            if time.monotonic() - since > (_CLEAN_S if _heeded(journal) else _HEED_S):
                _kill_group(child, signal.SIGKILL)
            if came is None:
                continue
        elif (came := signal.sigtimedwait(waited, _LOOK_S)) is None:
            continue
        if came.si_signo == signal.SIGTSTP:  # Ctrl-Z reaches the terminal's group alone, which is ours
            _kill_group(child, signal.SIGSTOP)
            os.kill(os.getpid(), signal.SIGSTOP)
            _kill_group(child, signal.SIGCONT)
        elif came.si_signo != signal.SIGCHLD and not first:
            first, since = came.si_signo, time.monotonic()
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)


def _kill_group(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child, number)


def _end_group(child: int) -> None:
    """Kill what the command started and did not end; wait a moment until it is gone."""
    _kill_group(child, signal.SIGKILL)
    until = time.monotonic() + 1
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            os.killpg(child, 0)
            time.sleep(0.01)


def _read(journal: int) -> bytes:
    return os.pread(journal, os.fstat(journal).st_size, 0)


def _heeded(journal: int) -> bool:
    """Whether the command has noticed the signal."""
    return bool({b"!", b"="} & {*_read(journal).split(b"\0")})


def _remove_noted(journal: int) -> None:
    import shutil
    from pathlib import Path

    noted = dict[bytes, None]()
    for entry in _read(journal).split(b"\0"):
        if entry[:1] == b"+":
            noted[entry[1:]] = None
        elif entry[:1] == b"-":
            noted.pop(entry[1:], None)
    for path in map(Path, map(os.fsdecode, noted)):
        with contextlib.suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


def _say(line: str) -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # stderr may be closed, or full
        print(f"\r\x1b[K{line}" if sys.stderr.isatty() else line, file=sys.stderr, flush=True)


# -- the process that works ----------------------------------------------------------------------------------------


def _run(command: Callable[[], int], journal: int, parent: int, mask: set[int | signal.Signals]) -> int:
    """Be the child: run the command; an interruption ends this process here, without a library's own shutdown."""
    global _journal
    os.setpgid(0, 0)
    with contextlib.suppress(ImportError, OSError, AttributeError):  # some builds of Python lack ctypes
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
    _journal = journal
    for number in (*SIGNALS, signal.SIGTSTP):
        if number == signal.SIGTERM or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL if number == signal.SIGTSTP else _interrupt)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # in the background of the terminal it may still write there
    try:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        code = command()
    except BaseException:
        if _interrupted is None:
            raise
        code = 1
    if _interrupted is not None:
        os._exit(128 + _interrupted)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # all is done: the interpreter's own end may be cut short
    return code


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Raise `KeyboardInterrupt`, once. From then on the process that waits has the word, and nobody else."""
    global _interrupted
    _interrupted = number
    for each in SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    if _journal is not None:
        os.write(_journal, b"!\0")
    # What destructors, threads and libraries say of it is noise; some code puts the file itself back.
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    os.dup2(sys.stderr.fileno(), 2)
    raise KeyboardInterrupt


def note(path: str | os.PathLike[str]) -> None:
    """From now on, remove this file or folder where the command is interrupted or killed; `forget` ends that."""
    _write(b"+", path)


def forget(path: str | os.PathLike[str]) -> None:
    """It is gone, or is meant to stay."""
    _write(b"-", path)


def _write(kind: bytes, path: str | os.PathLike[str]) -> None:
    if _journal is not None:
        from pathlib import Path

        os.write(_journal, kind + os.fsencode(Path(path).absolute()) + b"\0")


@contextlib.contextmanager
def stopping(stop: Callable[[], None]) -> Iterator[None]:
    """In the block a signal only calls `stop`, which lets the block end: so a server ends, with the command's own code.

    Other threads than the main one have no signals: for them this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heed(number: int, frame: FrameType | None) -> None:
        if _journal is not None:
            os.write(_journal, b"=\0")
        stop()

    with kept():
        for each in SIGNALS:
            if signal.getsignal(each) != signal.SIG_IGN:
                signal.signal(each, heed)
        yield


@contextlib.contextmanager
def shielded() -> Iterator[None]:
    """Processes that are started in the block get no signal but SIGKILL: it is their parent that ends them.

    The block itself is interrupted at its end.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """After the block this process's handlers are those of before, whatever a library installs as it is imported."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may
            for number, handler in before.items():
                if handler is not None:
                    signal.signal(number, handler)
