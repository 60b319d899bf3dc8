"""What is carried to a device that has a Python, what the script says there, and what comes back: by ssh as by adb."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from ghostedge.errors import DeviceError
from ghostedge.files import atomic_write, sha256_file
from ghostedge.latency.devices.base import SCRIPT, BenchmarkRequest
from ghostedge.latency.records import parse_record

__all__ = ["SILENCE_S", "Job", "Log", "check_code", "check_room", "fetch_record"]

#: Without news for so long, a device is asked whether the script still runs.
SILENCE_S = 20.0
#: What must be free on a device beside the models: records, and room to breathe.
_SPARE_BYTES = 4 << 20


class Job:
    """The files of one request and where they go on the device."""

    def __init__(self, request: BenchmarkRequest, python: str, folder: str) -> None:
        self.python = python
        sha256s = {file: sha256_file(file) for file in (SCRIPT, *request.files())}
        self.sha256s = {sha256s[file] for file in request.artifacts}
        digest = hashlib.sha256()
        digest.update(json.dumps([python, request.threads, request.options]).encode())
        for sha256 in sha256s.values():
            digest.update(sha256.encode())
        self.folder = f"{folder}/{digest.hexdigest()[:16]}"
        # Weights lie beside their .xml under their own names; two models may have one name, so each has a folder.
        places = {SCRIPT: SCRIPT.name}
        for file in request.artifacts:
            places[file] = f"files/{sha256s[file][:12]}/{file.name}"
            if file.suffix == ".xml":
                weights = file.with_suffix(".bin")
                places[weights] = f"files/{sha256s[file][:12]}/{weights.name}"
        for file in filter(None, (request.image, request.golden)):
            places[file] = f"files/{sha256s[file][:12]}/{file.name}"
        self.files = {file: f"{self.folder}/{place}" for file, place in places.items()}
        self._arguments = request.arguments(places, "records")

    def runner(self) -> str:
        """A shell script that runs the benchmark and leaves its exit code when it is through."""
        resume = [] if "--resume" in self._arguments else ["--resume"]
        command = shlex.join([SCRIPT.name, *self._arguments, *resume])
        return (
            "echo $$ > pid\n"
            f"{self.python} {command} > table.txt 2> log.txt\n"
            "echo $? > exit_code.partial && mv exit_code.partial exit_code\n"
        )

    # -- lines of shell, the same for both ways to a device -----------------------------------------------------------

    def python_version(self) -> str:
        """Prints the version of the Python there."""
        return f"{self.python} -c 'import sys; print(*sys.version_info[:2])'"

    def check_python(self, name: str, code: int, said: str, instead: str) -> None:
        """Raise DeviceError where what `python_version` came to is no Python that the script runs on."""
        version = tuple(int(part) for part in said.split()[-2:] if part.isdigit())
        if code != 0 or len(version) != 2:
            raise DeviceError(f"{name}: '{self.python}' does not run there; {instead}")
        if version < (3, 9):
            raise DeviceError(f"{name}: Python {version[0]}.{version[1]} is there; 3.9 or newer is needed")

    def is_running(self) -> str:
        """Ends with 0 where the script runs."""
        # A process id may be another program's after the device was started anew.
        check = 'kill -0 "$p" && { [ ! -r "/proc/$p/cmdline" ] || grep -q run.sh "/proc/$p/cmdline"; }'
        return f'p="$(cat {self.folder}/pid)" && {check}'

    def stop(self) -> str:
        """Ends the script; its finished records stay there and the next call goes on."""
        return f'cd {self.folder} && p="$(cat pid)" && {{ kill -- "-$p" || kill "$p"; }}'


class Log:
    """The lines of the script's log that have come; each is shown once, over however many connections."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        self.lines: list[str] = []
        self.offset = 0
        self._progress = progress
        self._seen: set[str] = set()
        self._rest = b""

    def begin(self) -> None:
        """Read from the first byte: after a lost connection or a restart of the device."""
        self.lines, self.offset, self._rest = [], 0, b""

    def feed(self, data: bytes) -> bool:
        """Take what came after `offset`; whether there was anything."""
        self.offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in (raw.decode(errors="replace").rstrip() for raw in lines):
            self.lines.append(line)
            if line.startswith("[") and line not in self._seen:
                self._seen.add(line)
                self._progress(line)
        return bool(data)


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


def check_room(name: str, what: str, files: Collection[Path], free_bytes: int | None) -> None:
    """Raise DeviceError where `files` do not fit into a device's storage, which people call `what`."""
    needed = sum(file.stat().st_size for file in files) + _SPARE_BYTES
    if free_bytes is not None and free_bytes < needed:
        raise DeviceError(
            f"{name}: its {what} is full: {needed / 1e6:.0f} MB are needed, {free_bytes / 1e6:.0f} MB are free"
        )


def fetch_record(content: bytes, path: Path, sha256s: Collection[str], notes: Sequence[Mapping[str, str]] = ()) -> Path:
    """Write a record that came from a device, whole, if it is of a model that was sent.

    Args:
        content: the file's bytes as they came.
        path: where to.
        sha256s: of the models that were sent.
        notes: warnings to add, each with ``code`` and ``text``: what the device itself does not know.

    Raises:
        DeviceError: it is damaged, or of another model.
        OutputError: it cannot be written.
    """
    record = parse_record(content, path.name)
    if (record["artifact"] or {}).get("sha256") not in sha256s:
        raise DeviceError(f"{path.name} is of another model than the one sent; measure again")
    if notes and record["kind"] == "latency_record":  # a verification has no time that they would be about
        record["warnings"] = [*record["warnings"], *map(dict, notes)]
        content = json.dumps(record, separators=(",", ":")).encode()
    atomic_write(path, content)
    return path
