"""Speak to one Android device through the adb server."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ghostedge.errors import DeviceError
from ghostedge.latency.devices.remote import Answer, LostError
from ghostedge.lazy import require

__all__ = ["Phone"]

_ANSWER_S = 30.0
_SERVER_S = 20.0
#: What a device is for a moment after it is plugged in or connected, and for how long at most, seconds.
_PASSING = (None, "offline", "authorizing", "connecting")
_SETTLE_S, _SETTLE_PAUSE_S = 5.0, 0.2


class Phone:
    """One device of the adb server that `ANDROID_ADB_SERVER_PORT` names (default 5037); it is started if need be.

    Args:
        serial: as ``adb devices`` shows it; ``HOST:PORT`` for one in the network, which is then connected.

    Raises (every method): LostError.
    """

    storage = "storage"

    def __init__(self, serial: str) -> None:
        self.serial, self.name = serial, f"adb:{serial}"
        self._adb: Any = require("adbutils", "devices")
        self._client: Any = self._adb.AdbClient()
        self._device: Any = self._client.device(serial=serial)

    # -- state --------------------------------------------------------------------------------------------------------

    def attach(self) -> None:
        """See that the device is there and lets us in.

        Raises:
            DeviceError: adb is not installed, or the device has not allowed this computer.
            LostError: it is not there.
        """
        self._start_server()
        deadline = time.monotonic() + _SETTLE_S
        while True:
            states = self._states()
            state = states.get(self.serial)
            if state not in _PASSING or time.monotonic() > deadline:
                break
            if ":" in self.serial:  # the server gives one in the network up after a while; it must be told again
                with contextlib.suppress(self._adb.AdbError):
                    if state is not None:
                        self._client.disconnect(self.serial)
                    self._client.connect(self.serial, timeout=_ANSWER_S)
            elif state is None:
                break
            time.sleep(_SETTLE_PAUSE_S)
        if state is None:
            others = ", ".join(sorted(states))
            there = f"attached: {others}" if others else "none is attached"
            raise LostError(
                f"{self.name} is not there ({there}); plug it in, switch on USB debugging, and see: adb devices"
            )
        if state == "unauthorized":
            raise DeviceError(f"{self.name} has not allowed this computer; unlock it and confirm 'Allow USB debugging'")
        if state != "device":
            raise LostError(f"{self.name} is {state}; unplug it and plug it in again")

    def _is_there(self) -> bool:
        """Whether the adb server has the device now."""
        try:
            return self._states().get(self.serial) == "device"
        except DeviceError:
            return False

    def _start_server(self) -> None:
        """As adbutils would do by itself, but silently: what adb prints is not a result of ours."""
        try:
            socket.create_connection((self._client.host, self._client.port), timeout=2).close()
            return
        except OSError:
            pass
        try:
            # Not captured: the server would hold a pipe open for as long as it lives.
            quiet, command = subprocess.DEVNULL, [self._adb.adb_path(), "start-server"]
            subprocess.run(command, timeout=_SERVER_S, check=True, stdin=quiet, stdout=quiet, stderr=quiet)
        except (OSError, self._adb.AdbError, subprocess.SubprocessError) as exc:
            raise DeviceError("the adb server does not start; run: adb start-server, and see what it says") from exc

    def _states(self) -> dict[str, str]:
        with self._answering():
            return {each.serial: each.state for each in self._client.list()}

    @contextlib.contextmanager
    def _answering(self) -> Iterator[None]:
        """What adbutils raises when a device or the server goes away is many things; here it is one.

        EOFError and ValueError come of answers that end in the middle, and of lengths that are not numbers then.
        """
        try:
            yield
        except (self._adb.AdbError, OSError, EOFError, ValueError) as exc:
            reason = " ".join(str(exc).split()) or type(exc).__name__
            raise LostError(f"{self.name} does not answer ({reason}); is it still plugged in?") from exc

    # -- commands and files -------------------------------------------------------------------------------------------

    async def shell(self, command: str, timeout_s: float = _ANSWER_S) -> Answer:
        """Run lines of shell there, and wait for their end. The answer holds both streams."""
        with self._answering():
            done = await asyncio.to_thread(self._device.shell2, command, timeout=timeout_s, v2=True)
        return Answer(int(done.returncode), str(done.output).strip())

    async def size(self, remote: str) -> int | None:
        """The size of a file in bytes, None where there is none."""
        found = await self.shell(f"stat -c %s {shlex.quote(remote)}")
        return int(found.output) if found.code == 0 and found.output.isdigit() else None

    async def sha256(self, remote: str) -> str | None:
        """The digest of a file, None where there is none or no program for it."""
        found = await self.shell(f"sha256sum {shlex.quote(remote)}", timeout_s=4 * _ANSWER_S)
        return found.output.split()[0] if found.code == 0 and found.output else None

    async def free_bytes(self, folder: str) -> int | None:
        """What is free where `folder` lies; None where it is not told."""
        found = await self.shell(f"df -k {folder}")
        fields = found.output.splitlines()[-1].split() if found.code == 0 and found.output else []
        # Filesystem, 1K-blocks, Used, Available, Use%, Mounted on; a long first field has a line of its own.
        share = next((place for place, field in enumerate(fields) if field.endswith("%")), 0)
        return int(fields[share - 1]) * 1024 if share > 0 and fields[share - 1].isdigit() else None

    async def send(self, file: Path, remote: str) -> None:
        """Write a file there, whole or not at all; its folder is made. Raises: DeviceError where that fails."""
        await self.shell(f"mkdir -p {shlex.quote(str(PurePosixPath(remote).parent))}")
        partial = f"{remote}.partial"
        try:
            await asyncio.to_thread(self._device.sync.push, file, partial, mode=0o644)
        except (self._adb.AdbError, OSError, EOFError, ValueError) as exc:
            if not await asyncio.to_thread(self._is_there):
                raise LostError(f"{self.name} does not answer; is it still plugged in?") from exc
            raise DeviceError(
                f"{self.name}: {file.name} cannot be written to {remote} there; is its storage full?"
            ) from exc
        whole = await self.size(partial) == file.stat().st_size
        if not whole or (await self.shell(shlex.join(["mv", partial, remote]))).code != 0:
            raise DeviceError(f"{self.name}: {remote} is not whole there; is its storage full?")

    async def read(self, remote: str, offset: int = 0) -> bytes:
        """What stands in a small file from `offset` on; nothing where it is not there."""
        command = f"tail -c +{offset + 1} {shlex.quote(remote)}"
        with self._answering():
            done = await asyncio.to_thread(self._device.shell2, command, timeout=_ANSWER_S, encoding=None, v2=True)
        return bytes(done.stdout) if done.returncode == 0 else b""
