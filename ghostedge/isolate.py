"""Run a Python module in a child process, because it may crash or hang, and say in one line what became of it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence

from ghostedge.errors import GhostedgeError


class ChildError(GhostedgeError):
    """A child process that crashed, hung or failed; who started it says what that means to the user.

    Attributes:
        returncode: its exit code, minus the number of the signal that ended it, or None where it was not done in time.
        deliberate: it ended by itself and the message is the last line it wrote to stderr, which is not a traceback's.
    """

    def __init__(self, message: str, returncode: int | None, deliberate: bool = False) -> None:
        super().__init__(message)
        self.returncode, self.deliberate = returncode, deliberate


def run_module(
    module: str,
    arguments: Sequence[str] = (),
    *,
    timeout_s: float,
    stdin: str = "",
    environment: Mapping[str, str] | None = None,
) -> str:
    """The last line that ``python -m module`` writes to stdout.

    Args:
        module: of this package, or of a library; the working directory is not a place to import from.
        arguments: of its command line.
        timeout_s: seconds after which it is killed.
        stdin: what it reads there.
        environment: instead of this process's.

    Raises:
        ChildError: it did not end with exit code 0.
    """
    command = [sys.executable, "-P", "-m", module, *arguments]
    try:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout_s, env=environment, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise ChildError(f"not done in {timeout_s:.0f} s", None) from exc
    if done.returncode < 0:
        raise ChildError(f"it crashed ({how_it_ended(done.returncode)})", done.returncode)
    if done.returncode:
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no message"]
        traceback = any(line.startswith("Traceback") for line in lines)
        raise ChildError(lines[-1], done.returncode, deliberate=not traceback)
    return (done.stdout.splitlines() or [""])[-1]


def how_it_ended(returncode: int) -> str:
    """``"signal SIGSEGV"`` or ``"exit code 3"``."""
    if returncode >= 0:
        return f"exit code {returncode}"
    try:
        return f"signal {signal.Signals(-returncode).name}"
    except ValueError:  # one without a name
        return f"signal {-returncode}"
