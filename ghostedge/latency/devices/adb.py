"""Time a model on an Android device that is reached by adb: with the demo app, or with a Python that is there.

The app's benchmark mode is what a phone's users get; it needs the app and a ``.tflite``. Where a Python is named, the
script runs with it as it does by ssh; that is for boards and rooted phones, because adb's user cannot start Termux's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices import BenchmarkRequest, Progress
from ghostedge.latency.devices.app import AppRuns
from ghostedge.latency.devices.remote import RECONNECT_S, Answer, Job, LostError, RemoteDevice, Work
from ghostedge.latency.edge import BenchmarkError
from ghostedge.latency.edge.system import device_lock
from ghostedge.lazy import require

__all__ = ["AdbDevice", "Phone"]

_ANSWER_S = 30.0
_SERVER_S = 20.0
#: What a device is for a moment after it is plugged in or connected, and for how long at most, seconds.
_PASSING = (None, "offline", "authorizing", "connecting")
_SETTLE_S, _SETTLE_PAUSE_S = 5.0, 0.2


class AdbDevice(RemoteDevice):
    """A phone, or a board with Android, that ``adb devices`` lists.

    Args:
        address: its serial number, or ``HOST:PORT`` of one in the network.
        python: the Python there to use; None for the demo app.
        fixed_performance: measure at Android's fixed clocks (Android 11 or newer), which are switched off afterwards.
        folder: where jobs lie on the device.
        reconnect_s: for how long a device that went away is waited for, seconds.
    """

    _gone = "it does not come back"
    _waiting = "unplugged; waiting for it"

    def __init__(
        self,
        address: str,
        *,
        python: str | None = None,
        fixed_performance: bool = False,
        folder: str = "/data/local/tmp/ghostedge",
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        if not address or any(character.isspace() for character in address):
            raise UsageError(f"--device adb:{address} names no device; write adb:SERIAL, as 'adb devices' lists them")
        super().__init__(f"adb:{address}", reconnect_s)
        self._serial, self._python, self._folder = address, python, folder
        self._fixed_performance = fixed_performance
        self._to_free: Phone | None = None  # from its fixed clocks
        require("adbutils", "devices")

    async def benchmark(self, request: BenchmarkRequest, output: Path, progress: Progress) -> tuple[Path, ...]:
        """See `Device.benchmark`."""
        with _only_one(self._serial):
            try:
                return await super().benchmark(request, output, progress)
            finally:
                if self._to_free is not None:
                    with contextlib.suppress(DeviceError):
                        await _set_fixed_performance(self._to_free, False)

    def _work(self, request: BenchmarkRequest, progress: Progress) -> Work:
        notes = (_FIXED_NOTE,) if self._fixed_performance else ()
        if self._python is None:
            return AppRuns(request, self._folder, progress, notes)
        return Job(
            request,
            self._python,
            self._folder,
            progress,
            instead="leave --python out to use the demo app",
            # Android has no /tmp, where the script's lock would be; this folder every user of adb may write to.
            environment=f"export TMPDIR={PurePosixPath(self._folder).parent}",
            notes=notes,
        )

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Phone]:
        phone = Phone(self._serial)
        await asyncio.to_thread(phone.attach)
        yield phone

    async def _prepare(self, machine: Phone) -> None:
        if self._fixed_performance:
            self._to_free = machine
            await _set_fixed_performance(machine, True)  # again after each loss: a restart switches it off


#: Beside each number that was measured at fixed clocks: it is another one than users meet.
_FIXED_NOTE = {
    "code": "fixed_performance",
    "text": "measured in Android's fixed-performance mode: clocks that the device can hold, not the highest",
}


async def _set_fixed_performance(phone: Phone, on: bool) -> None:
    """Raises: DeviceError where the device has no such mode."""
    # Android 11 and newer. Devices without the power interface for it say "Failed to set FIXED_PERFORMANCE mode".
    done = await phone.shell(f"cmd power set-fixed-performance-mode-enabled {'true' if on else 'false'}")
    if done.code != 0 or "fail" in done.output.lower() or "unknown command" in done.output.lower():
        raise DeviceError(
            f"{phone.name} has no fixed-performance mode (some devices have it from Android 11 on); "
            "leave --fixed-performance out"
        )


@contextlib.contextmanager
def _only_one(serial: str) -> Iterator[None]:
    """Hold the device's lock: two benchmarks at once would measure each other.

    On this side, because a device on a cable has one computer, and because such a lock cannot outlive its process.
    """
    path = Path(tempfile.gettempdir()) / f"ghostedge-adb-{re.sub(r'[^A-Za-z0-9.-]+', '-', serial)}.lock"
    try:
        with device_lock(path):
            yield
    except BenchmarkError as exc:
        raise DeviceError(f"adb:{serial}: {exc}") from exc


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
