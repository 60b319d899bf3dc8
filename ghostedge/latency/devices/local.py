"""Run the script on this machine, and say what its exit code means on any."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path

from ghostedge.errors import DeviceError, UsageError
from ghostedge.files import output_error
from ghostedge.latency.devices import SCRIPT, BenchmarkRequest, Progress, new_records, records_in

__all__ = ["LocalDevice", "check_code"]

_STOP_S = 10.0


class LocalDevice:
    """This machine, in a process of its own; `address` is empty."""

    name = "local"

    def __init__(self, address: str = "") -> None:
        if address:
            raise UsageError(f"--device local takes no address; did you mean 'ssh:{address}'?")

    async def benchmark(self, request: BenchmarkRequest, output: Path, progress: Progress) -> tuple[Path, ...]:
        """See `Device.benchmark`."""
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise output_error(output, exc) from exc
        before = records_in(output)
        arguments = request.arguments({path: str(path) for path in request.files()}, str(output))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        lines: list[str] = []
        try:
            assert process.stderr is not None
            async for line in process.stderr:
                lines.append(line.decode(errors="replace").rstrip())
                if lines[-1].startswith("["):
                    progress(lines[-1])
            code = await process.wait()
        finally:
            if process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    process.terminate()
                try:
                    await asyncio.wait_for(process.wait(), _STOP_S)
                except TimeoutError:
                    process.kill()
        check_code(code, lines)
        return new_records(request, output, before)


def check_code(code: int, lines: Sequence[str], where: str = "") -> None:
    """Raise DeviceError unless every record is there: 2 says that a model's answers are wrong.

    Args:
        code: the script's exit code.
        lines: what it wrote on stderr.
        where: the beginning of the message.
    """
    if code not in (0, 2):
        raise DeviceError(where + (_last_error(lines) or f"edge_benchmark.py failed (exit code {code})"))


def _last_error(lines: Sequence[str]) -> str:
    """The errors among the lines as one line; the last line where there are none."""
    mark = "edge_benchmark: error: "
    errors = [line.partition(mark)[2] for line in lines if mark in line]
    return "; ".join(errors) or next((line for line in reversed(lines) if line.strip()), "")
