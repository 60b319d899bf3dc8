"""Time a model on an Android device that is reached by adb: with the demo app, or with a Python that is there.

The app's benchmark mode is what a phone's users get; it needs the app and a ``.tflite``. Where a Python is named, the
script runs with it as it does by ssh; that is for boards and rooted phones, because adb's user cannot start Termux's.

Either way the device works on its own, so that pulling the cable stops nothing: when it is back, here or in a later
run of the same command, what is finished is fetched and the rest goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices.app import AppRuns
from ghostedge.latency.devices.base import RECONNECT_S, BenchmarkRequest, Patience
from ghostedge.latency.devices.phone import Phone, UnpluggedError
from ghostedge.latency.devices.phone_python import PythonRun
from ghostedge.lazy import require

__all__ = ["AdbDevice"]

_LOOK_S = 1.0
_STOP_S = 15.0


class _Way(Protocol):
    """How a request is carried out on a phone; every step finds what is done already."""

    def go_on(self, output: Path, pause: Callable[[float], None]) -> tuple[Path, ...]:
        """All steps to the records; `pause(seconds)` waits and raises `_StoppedError` when there is no more to do."""
        ...

    def stop(self) -> None:
        """End what runs on the device; finished records stay there."""
        ...


class AdbDevice:
    """A phone, or a board with Android, that ``adb devices`` lists.

    Args:
        address: its serial number, or ``HOST:PORT`` of one in the network.
        python: the Python there to use; None for the demo app.
        fixed_performance: measure at Android's fixed clocks (Android 11 or newer), which are switched off afterwards.
        folder: where jobs lie on the device.
        reconnect_s: for how long a device that went away is waited for, seconds.
    """

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
        self.name = f"adb:{address}"
        self._serial, self._python, self._folder = address, python, folder
        self._fixed_performance, self._reconnect_s = fixed_performance, reconnect_s
        require("adbutils", "devices")

    async def benchmark(
        self, request: BenchmarkRequest, output: Path, progress: Callable[[str], None]
    ) -> tuple[Path, ...]:
        """See `Device.benchmark`."""
        loop, stopped = asyncio.get_running_loop(), threading.Event()

        def say(text: str) -> None:  # from the thread that waits for adb
            loop.call_soon_threadsafe(progress, text)

        work = asyncio.ensure_future(asyncio.to_thread(self._benchmark, request, output, say, stopped))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stopped.set()
            with contextlib.suppress(BaseException):
                async with asyncio.timeout(_STOP_S):
                    await work
            raise

    def _benchmark(
        self, request: BenchmarkRequest, output: Path, progress: Callable[[str], None], stopped: threading.Event
    ) -> tuple[Path, ...]:
        phone = Phone(self._serial)
        way: _Way | None = None
        notes = (_FIXED_NOTE,) if self._fixed_performance else ()

        def pause(seconds: float) -> None:
            if stopped.wait(seconds):
                raise _StoppedError

        with _only_one(self._serial):
            patience = Patience(self._reconnect_s, _LOOK_S)
            try:
                while True:
                    try:
                        phone.attach()
                        patience.answered()
                        if self._fixed_performance:
                            _set_fixed_performance(phone, True)  # again after each loss: a restart switches it off
                        if way is None:
                            way = self._way(phone, request, progress, notes)
                        return way.go_on(output, pause)
                    except UnpluggedError as exc:
                        pause_s = patience.lost(exc, f"{self.name}: it does not come back")
                        progress("unplugged; waiting for it")
                        pause(pause_s)
            except _StoppedError:
                if way is not None:
                    with contextlib.suppress(DeviceError):
                        way.stop()
                raise DeviceError(f"{self.name}: interrupted") from None
            finally:
                if self._fixed_performance and patience.has_answered:
                    with contextlib.suppress(DeviceError):
                        _set_fixed_performance(phone, False)

    def _way(
        self,
        phone: Phone,
        request: BenchmarkRequest,
        progress: Callable[[str], None],
        notes: tuple[dict[str, str], ...],
    ) -> _Way:
        if self._python is not None:
            return PythonRun(phone, request, self._python, self._folder, progress, notes)
        return AppRuns(phone, request, self._folder, progress, notes)


class _StoppedError(Exception):
    """Ctrl-C."""


#: Beside each number that was measured at fixed clocks: it is another one than users meet.
_FIXED_NOTE = {
    "code": "fixed_performance",
    "text": "measured in Android's fixed-performance mode: clocks that the device can hold, not the highest",
}


def _set_fixed_performance(phone: Phone, on: bool) -> None:
    """Raises: DeviceError where the device has no such mode."""
    # Android 11 and newer. Devices without the power interface for it say "Failed to set FIXED_PERFORMANCE mode".
    done = phone.shell(f"cmd power set-fixed-performance-mode-enabled {'true' if on else 'false'}")
    if done.code != 0 or "fail" in done.output.lower() or "unknown command" in done.output.lower():
        raise DeviceError(
            f"adb:{phone.serial} has no fixed-performance mode (some devices have it from Android 11 on); "
            "leave --fixed-performance out"
        )


@contextlib.contextmanager
def _only_one(serial: str) -> Iterator[None]:
    """Hold the device's lock: two benchmarks at once would measure each other.

    On this side, because a device on a cable has one computer, and because such a lock cannot outlive its process.
    """
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    path = Path(tempfile.gettempdir()) / f"ghostedge-adb-{re.sub(r'[^A-Za-z0-9.-]+', '-', serial)}.lock"
    try:
        # For reading where it exists: a file of another user in /tmp may be locked, but not opened for writing.
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            handle = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise DeviceError(f"adb:{serial}: cannot make the lock {path}: {exc.strerror}") from exc
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise DeviceError(
                f"adb:{serial}: another benchmark is running on this device (it holds {path}); wait for it"
            ) from exc
        yield
    finally:
        os.close(handle)
