"""Time a model on an Android device that is reached by adb: with the demo app, or with a Python that is there.

The app's benchmark mode is what a phone's users get; it needs the app and a ``.tflite``. Where a Python is named, the
script runs with it as it does by ssh; that is for boards and rooted phones, because adb's user cannot start Termux's.

Either way the device works on its own, so that pulling the cable stops nothing: when it is back, here or in a later
run of the same command, what is finished is fetched and the rest goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Protocol

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices.app import AppRuns
from ghostedge.latency.devices.base import RECONNECT_S, BenchmarkRequest, Patience
from ghostedge.latency.devices.job import SILENCE_S, Job, Log, check_code, fetch_record
from ghostedge.latency.devices.phone import Errand, Phone, UnpluggedError
from ghostedge.latency.edge import BenchmarkError
from ghostedge.latency.edge.system import device_lock
from ghostedge.lazy import require

__all__ = ["AdbDevice"]

_LOOK_S = 1.0
_POLL_S = 1.0
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
                            errand = Errand(phone, request, self._folder, progress, notes)
                            way = AppRuns(errand) if self._python is None else PythonRun(errand, self._python)
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
    path = Path(tempfile.gettempdir()) / f"ghostedge-adb-{re.sub(r'[^A-Za-z0-9.-]+', '-', serial)}.lock"
    try:
        with device_lock(path):
            yield
    except BenchmarkError as exc:
        raise DeviceError(f"adb:{serial}: {exc}") from exc


class PythonRun:
    """One request, carried out by the script in a folder of its own on the device, detached from adb.

    Args:
        errand: what to do.
        python: as the device's shell finds it.
    """

    def __init__(self, errand: Errand, python: str) -> None:
        self._phone, self._notes, self._parent = errand.phone, errand.notes, errand.folder
        self._job, self._log = Job(errand.request, python, errand.folder), Log(errand.progress)
        self._progress = errand.progress

    def go_on(self, output: Path, pause: Callable[[float], None]) -> tuple[Path, ...]:
        """All steps, each of which finds what is done already. Returns: the records."""
        phone, job = self._phone, self._job
        name, found = f"adb:{phone.serial}", phone.shell(job.python_version())
        job.check_python(name, found.code, found.output, "leave --python out to use the demo app")
        phone.shell(f"mkdir -p {job.folder}/files")
        phone.send_missing(job.files, job.folder, self._progress)
        self._start()
        code = self._follow(pause)
        names = phone.shell(f"ls {job.folder}/records").output.split()
        files = []
        for name in sorted(name for name in names if name.endswith(".json")):
            content = phone.read(f"{job.folder}/records/{name}")
            files.append(fetch_record(content, output / PurePosixPath(name).name, job.sha256s, self._notes))
        phone.shell(f"rm -rf {job.folder}; rmdir {self._parent}")
        check_code(code, self._log.lines, f"{name}: ")
        return tuple(files)

    def _start(self) -> None:
        """Start the script, detached, unless it runs or has finished."""
        phone, job = self._phone, self._job
        if phone.size(f"{job.folder}/exit_code") is not None or self._is_running():
            return
        # Android has no /tmp, where the script's lock would be; this folder every user of adb may write to.
        runner = f"export TMPDIR={PurePosixPath(self._parent).parent}\n{job.runner()}"
        begin = f"cd {job.folder} && rm -f pid log.txt && cat > run.sh <<'END'\n{runner}END\n"
        phone.shell(f"{begin}setsid nohup sh run.sh >/dev/null 2>&1 </dev/null & sleep 0.2")

    def _is_running(self) -> bool:
        return self._phone.shell(self._job.is_running()).code == 0

    def _follow(self, pause: Callable[[float], None]) -> int:
        """Wait for the end, showing what the script says. Returns: its exit code."""
        phone, job, log = self._phone, self._job, self._log
        log.begin()
        heard = time.monotonic()
        while True:
            ended = phone.read(f"{job.folder}/exit_code").strip()
            if log.feed(phone.read(f"{job.folder}/log.txt", log.offset)):
                heard = time.monotonic()
            if ended:
                return int(ended)
            if time.monotonic() - heard > SILENCE_S:
                heard = time.monotonic()
                if not self._is_running() and phone.size(f"{job.folder}/exit_code") is None:
                    raise DeviceError(
                        f"adb:{phone.serial}: the script was ended there; run the same command again to go on"
                    )
            pause(_POLL_S)

    def stop(self) -> None:
        """End the script; its finished records stay there and the next call goes on."""
        self._phone.shell(self._job.stop())
