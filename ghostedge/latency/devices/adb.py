"""Time a model on an Android device that is reached by adb: with the demo app, or with a Python that is there.

The app's benchmark mode is what a phone's users get; it needs the app and a ``.tflite``. Where a Python is named, the
script runs with it as it does by ssh; that is for boards and rooted phones, because adb's user cannot start Termux's.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path, PurePosixPath

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices import BenchmarkRequest, Progress
from ghostedge.latency.devices.app import AppRuns
from ghostedge.latency.devices.phone import Phone
from ghostedge.latency.devices.remote import RECONNECT_S, Job, RemoteDevice, Work
from ghostedge.latency.edge import BenchmarkError
from ghostedge.latency.edge.system import device_lock
from ghostedge.lazy import require

__all__ = ["AdbDevice"]


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
