"""Run a Python module in a child process, because it may crash or hang, and say in one line what became of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence

from ghostedge.errors import GhostedgeError
from ghostedge.signals import shielded, signal_name


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
        with shielded():
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                env=environment,
            )
        try:
            stdout, stderr = process.communicate(stdin, timeout=timeout_s)
        finally:  # also where Ctrl-C ends the wait
            process.kill()
            process.wait()
    except subprocess.TimeoutExpired as exc:
        raise ChildError(f"not done in {timeout_s:.0f} s", None) from exc
    if process.returncode < 0:
        raise ChildError(f"it crashed ({how_it_ended(process.returncode)})", process.returncode)
    if process.returncode:
        lines = [line.strip() for line in stderr.splitlines() if line.strip()] or ["no message"]
        traceback = any(line.startswith("Traceback") for line in lines)
        raise ChildError(lines[-1], process.returncode, deliberate=not traceback)
    return (stdout.splitlines() or [""])[-1]


def how_it_ended(returncode: int) -> str:
    """``"signal SIGSEGV"`` or ``"exit code 3"``."""
    return f"exit code {returncode}" if returncode >= 0 else signal_name(-returncode)
