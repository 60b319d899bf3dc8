"""What is carried to a device that has a Python, and what the script says there: the same by ssh and by adb."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Callable

from ghostedge.files import sha256_file
from ghostedge.latency.devices.base import SCRIPT, BenchmarkRequest

__all__ = ["Job", "Log"]


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
