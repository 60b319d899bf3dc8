"""What the ways to another machine have in common: wait for it, run the script there, and bring its records here.

The script and the models are carried to a folder on the machine whose name is a digest of all that is asked for. The
script runs there on its own, detached from the connection, so that a lost connection or a pulled cable stops nothing:
when the machine is back, here or in a later run of the same command, what is finished is fetched and the rest goes on.
When the records are here, the folder there is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import math
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from ghostedge.errors import DeviceError
from ghostedge.files import atomic_write, sha256_file
from ghostedge.latency.devices import SCRIPT, BenchmarkRequest, Progress
from ghostedge.latency.devices.local import check_code
from ghostedge.latency.records import parse_record

__all__ = ["RECONNECT_S", "Answer", "Job", "LostError", "Machine", "RemoteDevice", "fetch_record", "send_missing"]

#: For how long a machine that went away is waited for: a Raspberry Pi that lost its power is back in a minute.
RECONNECT_S = 300.0
_RETRY_S, _STOP_S = 1.0, 15.0
#: The machine is looked at less and less often: each look is a little work there.
_FIRST_POLL_S, _LAST_POLL_S = 0.2, 2.0
#: Without news for so long, a machine is asked whether the script still runs.
_SILENCE_S = 20.0
#: What must be free on a machine beside the models: records, and room to breathe.
_SPARE_BYTES = 4 << 20


class LostError(DeviceError):
    """The machine does not answer: before it ever did an error, later worth another try."""


@dataclass(frozen=True)
class Answer:
    """What a shell command came to: its exit code, and what it printed."""

    code: int
    output: str


class Machine(Protocol):
    """A machine that is connected. Every method raises LostError where it does not answer any more.

    Attributes:
        name: of the device, as on the command line.
        storage: what people call the place of its files.
    """

    name: str
    storage: str

    async def shell(self, command: str) -> Answer:
        """Run lines of shell there, and wait for their end."""
        ...

    async def size(self, remote: str) -> int | None:
        """The size of a file in bytes, None where there is none."""
        ...

    async def free_bytes(self, folder: str) -> int | None:
        """What is free where `folder` lies; None where it is not told."""
        ...

    async def send(self, file: Path, remote: str) -> None:
        """Write a file there, whole or not at all; its folder is made. Raises: DeviceError where that fails."""
        ...

    async def read(self, remote: str, offset: int = 0) -> bytes:
        """What stands in a small file from `offset` on; nothing where it is not there."""
        ...


class Work(Protocol):
    """A request as it is carried out on a machine; every step finds what is done already."""

    async def go_on(self, machine: Any, output: Path) -> tuple[Path, ...]:
        """All steps to the records."""
        ...

    async def stop(self, machine: Any) -> None:
        """End what runs there; finished records stay and the next call goes on."""
        ...


class RemoteDevice(ABC):
    """A device that may go away and come back.

    Args:
        name: as on the command line.
        reconnect_s: for how long it is waited for, from each loss on, seconds; not at all before it answered once.
    """

    #: What a loss is called when it is for good, and when it is waited for.
    _gone = "the connection is lost"
    _waiting = "connection lost; trying again"

    def __init__(self, name: str, reconnect_s: float) -> None:
        self.name, self._reconnect_s = name, reconnect_s

    @abstractmethod
    def _connected(self) -> AbstractAsyncContextManager[Machine]:
        """A connection. Raises: DeviceError; LostError, one that is worth another try."""

    @abstractmethod
    def _work(self, request: BenchmarkRequest, progress: Progress) -> Work:
        """How the request is carried out."""

    async def _prepare(self, machine: Any) -> None:  # noqa: B027 (most need nothing)
        """Set the machine up, each time that it is reached."""

    async def benchmark(self, request: BenchmarkRequest, output: Path, progress: Progress) -> tuple[Path, ...]:
        """See `Device.benchmark`."""
        work = self._work(request, progress)
        has_answered, give_up_s = False, math.inf
        try:
            while True:
                try:
                    async with self._connected() as machine:
                        has_answered, give_up_s = True, math.inf
                        await self._prepare(machine)
                        return await work.go_on(machine, output)
                except LostError as exc:
                    if not has_answered:  # a wrong address is not tried again
                        raise
                    give_up_s = min(give_up_s, time.monotonic() + self._reconnect_s)
                    if time.monotonic() > give_up_s:
                        raise DeviceError(
                            f"{self.name}: {self._gone}; what was started goes on there, and the same command brings "
                            "its records later"
                        ) from exc
                progress(self._waiting)
                await asyncio.sleep(min(_RETRY_S, self._reconnect_s / 10))
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(_STOP_S), self._connected() as machine:
                    await work.stop(machine)
            raise


class Job:
    """One request, carried out by the script in a folder of its own.

    Args:
        request: what to measure.
        python: as the machine's shell finds it.
        folder: where jobs lie on the machine.
        progress: called with a line of text now and then.
        instead: what to do where the machine has no such Python.
        environment: a line of shell before the script.
        notes: warnings to add to each record.
    """

    def __init__(
        self,
        request: BenchmarkRequest,
        python: str,
        folder: str,
        progress: Progress,
        *,
        instead: str = "install Python or give --python",
        environment: str = "",
        notes: Sequence[Mapping[str, str]] = (),
    ) -> None:
        self._python, self._parent, self._progress = python, folder, progress
        self._instead, self._environment, self._notes = instead, environment, notes
        sha256s = {file: sha256_file(file) for file in (SCRIPT, *request.files())}
        self._sha256s = {sha256s[file] for file in request.artifacts}
        digest = hashlib.sha256()
        digest.update(json.dumps([python, request.threads, request.options]).encode())
        for sha256 in sha256s.values():
            digest.update(sha256.encode())
        self._folder = f"{folder}/{digest.hexdigest()[:16]}"
        # Weights lie beside their .xml under their own names; two models may have one name, so each has a folder.
        places = {file: f"files/{sha256[:12]}/{file.name}" for file, sha256 in sha256s.items()}
        places[SCRIPT] = SCRIPT.name
        for file in request.artifacts:
            if file.suffix == ".xml":
                weights = file.with_suffix(".bin")
                places[weights] = f"files/{sha256s[file][:12]}/{weights.name}"
        self.files = {file: f"{self._folder}/{place}" for file, place in places.items()}
        self._arguments = request.arguments(places, "records")
        self._shown: set[str] = set()  # lines of the log, each once over however many connections

    async def go_on(self, machine: Machine, output: Path) -> tuple[Path, ...]:
        """See `Work.go_on`. Raises: DeviceError where a record is missing, or of another model."""
        await self._check_python(machine)
        await machine.shell(f"mkdir -p {self._folder}/files")
        await send_missing(machine, self.files, self._folder, self._progress)
        # In this order: a run that ends between the two questions has left its exit code.
        if not await self._is_running(machine) and await machine.size(f"{self._folder}/exit_code") is None:
            await self._start(machine)
        code, lines = await self._follow(machine)
        files = await self._fetch(machine, output)
        with contextlib.suppress(LostError):  # all is here: a folder left there is no reason to measure again
            await machine.shell(f"rm -rf {self._folder} && rmdir {self._parent} 2>/dev/null")
        check_code(code, lines, f"{machine.name}: ")
        return files

    async def stop(self, machine: Machine) -> None:
        """See `Work.stop`."""
        await machine.shell(f'cd {self._folder} && p="$(cat pid)" && {{ kill -- "-$p" || kill "$p"; }}')

    async def _check_python(self, machine: Machine) -> None:
        found = await machine.shell(f"{self._python} -c 'import sys; print(*sys.version_info[:2])'")
        version = tuple(int(part) for part in found.output.split()[-2:] if part.isdigit())
        if found.code != 0 or len(version) != 2:
            raise DeviceError(f"{machine.name}: '{self._python}' does not run there; {self._instead}")
        if version < (3, 9):
            raise DeviceError(f"{machine.name}: Python {version[0]}.{version[1]} is there; 3.9 or newer is needed")

    async def _start(self, machine: Machine) -> None:
        """Start a shell script, detached, that runs the benchmark and leaves its exit code when it is through."""
        resume = [] if "--resume" in self._arguments else ["--resume"]
        command = shlex.join([SCRIPT.name, *self._arguments, *resume])
        # With a session of its own it outlives the connection and can be stopped as a whole.
        await machine.shell(
            f"cd {self._folder} && rm -f pid log.txt && cat > run.sh <<'END'\n"
            f"{self._environment}\n"
            "echo $$ > pid\n"
            f"{self._python} {command} > table.txt 2> log.txt\n"
            "echo $? > exit_code.partial && mv exit_code.partial exit_code\n"
            "END\n"
            "if command -v setsid >/dev/null; then s=setsid; else s=; fi\n"
            "$s nohup sh run.sh >/dev/null 2>&1 </dev/null & sleep 0.2"
        )

    async def _is_running(self, machine: Machine) -> bool:
        # A process id may be another program's after the machine was started anew.
        check = 'kill -0 "$p" && { [ ! -r "/proc/$p/cmdline" ] || grep -q run.sh "/proc/$p/cmdline"; }'
        return (await machine.shell(f'p="$(cat {self._folder}/pid)" && {check}')).code == 0

    async def _follow(self, machine: Machine) -> tuple[int, list[str]]:
        """Wait for the end, showing what the script says. Returns: its exit code, and the lines of its log."""
        log, heard, pause_s = b"", time.monotonic(), _FIRST_POLL_S
        while True:
            ended = await machine.read(f"{self._folder}/exit_code")
            news = await machine.read(f"{self._folder}/log.txt", len(log))
            log += news
            lines = [line.decode(errors="replace").rstrip() for line in log.split(b"\n")[:-1]]
            for line in lines:
                if line.startswith("[") and line not in self._shown:
                    self._shown.add(line)
                    self._progress(line)
            if ended.strip():
                return int(ended), lines
            if news:
                heard = time.monotonic()
            elif time.monotonic() - heard > _SILENCE_S:
                heard = time.monotonic()
                if not await self._is_running(machine) and await machine.size(f"{self._folder}/exit_code") is None:
                    raise DeviceError(
                        f"{machine.name}: the script was ended there; run the same command again to go on"
                    )
            await asyncio.sleep(pause_s)
            pause_s = min(1.2 * pause_s, _LAST_POLL_S)

    async def _fetch(self, machine: Machine, output: Path) -> tuple[Path, ...]:
        """Bring every record here, whole, and see that it is of a model that was sent."""
        listed = await machine.shell(f"ls -1 {self._folder}/records 2>/dev/null")
        files = []
        for name in sorted(listed.output.splitlines()):
            if PurePosixPath(name).suffix not in (".json", ".npy") or "/" in name:
                continue
            content = await machine.read(f"{self._folder}/records/{name}")
            if name.endswith(".json"):
                fetch_record(content, output / name, self._sha256s, self._notes)
                files.append(output / name)
            else:
                atomic_write(output / name, content)
        return tuple(files)


async def send_missing(machine: Machine, files: Mapping[Path, str], folder: str, progress: Progress) -> None:
    """Send what is not on a machine yet, if there is room for all of it.

    Args:
        machine: where to.
        files: file here -> its whole path there.
        folder: an existing one there, whose storage must have room.
        progress: called with each file's name and size.

    Raises:
        DeviceError: the storage is full.
    """
    missing = {file: remote for file, remote in files.items() if await machine.size(remote) != file.stat().st_size}
    needed = sum(file.stat().st_size for file in missing) + _SPARE_BYTES
    free = await machine.free_bytes(folder) if missing else None
    if free is not None and free < needed:
        raise DeviceError(
            f"{machine.name}: its {machine.storage} is full: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are "
            "free"
        )
    for file, remote in missing.items():
        progress(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB)")
        await machine.send(file, remote)


def fetch_record(
    content: bytes, path: Path, sha256s: Collection[str], notes: Sequence[Mapping[str, str]] = ()
) -> dict[str, Any]:
    """Write a record that came from a device, whole, if it is of a model that was sent. Returns: the record.

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
    return record
