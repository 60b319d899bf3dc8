"""Run edge_benchmark.py with a Python that is on an Android device."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ghostedge.errors import DeviceError
from ghostedge.latency.devices.base import SCRIPT_DONE, BenchmarkRequest, fetch_record
from ghostedge.latency.devices.job import Job, Log
from ghostedge.latency.devices.local import last_error
from ghostedge.latency.devices.phone import Phone

__all__ = ["PythonRun", "send_missing"]

_POLL_S = 1.0
#: Without news for so long, the device is asked whether the script still runs.
_SILENCE_S = 20.0
#: What must be free on the device beside the models: records, and room to breathe.
_SPARE_BYTES = 4 << 20


class PythonRun:
    """One request, carried out by the script in a folder of its own on the device, detached from adb.

    Args:
        phone: where.
        request: what to measure.
        python: as the device's shell finds it.
        folder: where jobs lie on the device.
        progress: called with a line of text now and then.
        notes: warnings to add to each record.
    """

    def __init__(
        self,
        phone: Phone,
        request: BenchmarkRequest,
        python: str,
        folder: str,
        progress: Callable[[str], None],
        notes: tuple[dict[str, str], ...] = (),
    ) -> None:
        self._phone, self._job, self._notes = phone, Job(request, python, folder), notes
        self._parent, self._progress, self._log = folder, progress, Log(progress)

    def go_on(self, output: Path, pause: Callable[[float], None]) -> tuple[Path, ...]:
        """All steps, each of which finds what is done already. Returns: the records."""
        phone, job = self._phone, self._job
        self._check_python()
        phone.shell(f"mkdir -p {job.folder}/files")
        send_missing(phone, job.files, job.folder, self._progress)
        self._start()
        code = self._follow(pause)
        names = phone.shell(f"ls {job.folder}/records").output.split()
        files = []
        for name in sorted(name for name in names if name.endswith(".json")):
            content = phone.read(f"{job.folder}/records/{name}")
            files.append(fetch_record(content, output / PurePosixPath(name).name, job.sha256s, self._notes))
        phone.shell(f"rm -rf {job.folder}; rmdir {self._parent}")
        if code not in SCRIPT_DONE:
            reason = last_error(self._log.lines) or f"the script failed (exit code {code})"
            raise DeviceError(f"adb:{phone.serial}: {reason}")
        return tuple(files)

    def _check_python(self) -> None:
        python, serial = self._job.python, self._phone.serial
        found = self._phone.shell(f"{python} -c 'import sys; print(*sys.version_info[:2])'")
        version = tuple(int(part) for part in found.output.split()[-2:] if part.isdigit())
        if found.code != 0 or len(version) != 2:
            raise DeviceError(f"adb:{serial}: '{python}' does not run there; leave --python out to use the demo app")
        if version < (3, 9):
            raise DeviceError(f"adb:{serial}: Python {version[0]}.{version[1]} is there; 3.9 or newer is needed")

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
        # A process id may be another program's after the device was started anew.
        check = 'kill -0 "$p" && grep -q run.sh "/proc/$p/cmdline"'
        return self._phone.shell(f'p="$(cat {self._job.folder}/pid)" && {check}').code == 0

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
            if time.monotonic() - heard > _SILENCE_S:
                heard = time.monotonic()
                if not self._is_running() and phone.size(f"{job.folder}/exit_code") is None:
                    raise DeviceError(
                        f"adb:{phone.serial}: the script was ended there; run the same command again to go on"
                    )
            pause(_POLL_S)

    def stop(self) -> None:
        """End the script; its finished records stay there and the next call goes on."""
        self._phone.shell(f'cd {self._job.folder} && p="$(cat pid)" && {{ kill -- "-$p" || kill "$p"; }}')


def send_missing(phone: Phone, files: dict[Path, str], folder: str, progress: Callable[[str], None]) -> None:
    """Send what is not on the device yet, if there is room for all of it.

    Args:
        phone: where to.
        files: file here -> its whole path there; its folder is made.
        folder: an existing one there, whose storage must have room.
        progress: called with each file's name and size.

    Raises:
        DeviceError: the device's storage is full.
    """
    missing = {file: remote for file, remote in files.items() if phone.size(remote) != file.stat().st_size}
    needed = sum(file.stat().st_size for file in missing) + _SPARE_BYTES
    free = phone.free_bytes(folder) if missing else None
    if free is not None and free < needed:
        raise DeviceError(
            f"adb:{phone.serial}: its storage is full: {needed / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free"
        )
    for file, remote in missing.items():
        progress(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB)")
        phone.shell(f"mkdir -p {shlex.quote(str(PurePosixPath(remote).parent))}")
        phone.send(file, remote)
