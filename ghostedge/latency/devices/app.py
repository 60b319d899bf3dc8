"""Run the benchmark mode of the Android demo app, one run after the other.

The app is given a model, golden vectors and settings as extras of an intent, measures in its own process, and writes
the record to its folder when it is through; where it cannot, it writes a file FILENAME.error with one line in the
record's place.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import re
import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostedge.errors import DeviceError, UsageError
from ghostedge.files import sha256_file
from ghostedge.latency.devices import BenchmarkRequest, Progress
from ghostedge.latency.devices.phone import Phone
from ghostedge.latency.devices.remote import fetch_record, send_missing
from ghostedge.latency.records import read_record

__all__ = ["PACKAGE", "AppRuns"]

PACKAGE = "org.ghostedge.demo"
_ACTIVITY = f"{PACKAGE}/.BenchmarkActivity"
_PROCESS = f"{PACKAGE}:benchmark"  # the activity's own, which an open demo does not have
_FILES = f"/sdcard/Android/data/{PACKAGE}/files"
_MODELS, _RECORDS = f"{_FILES}/models", f"{_FILES}/records"

_POLL_S = 1.0
#: A process that has just been asked for may not be there yet.
_START_S = 10.0
_TELL_EVERY_S = 10.0
#: Longer than any run can take: quick ones seconds, valid ones minutes on the slowest phone.
_LIMIT_MIN = 30.0

#: What `dumpsys window policy` says of a lock screen: of Android 7 to 15, and of older ones.
_LOCKED = re.compile(
    r"KeyguardServiceDelegate\s+showing=true|KeyguardStateMonitor\s+mIsShowing=true|"
    r"mShowingLockscreen=true|mDreamingLockscreen=true"
)


@dataclass(frozen=True)
class _Run:
    """One start of the app, and the names of its record here and there."""

    model: Path
    sha256: str
    threads: int
    xnnpack: bool
    mode: str
    minutes: int
    golden: Path | None = None
    golden_sha256: str | None = None

    @property
    def name(self) -> str:
        fast, verify = "" if self.xnnpack else "-noxnnpack", "-verify" if self.verifies else ""
        return f"{self.model.stem}-app-{self.threads}t{fast}{verify}"

    @property
    def verifies(self) -> bool:
        """Whether only the answers are checked."""
        return self.mode == "verify"

    @property
    def sent(self) -> dict[str, tuple[Path, str]]:
        """What the app needs: place there -> the file here and its digest."""
        files = ((self.model, self.sha256), (self.golden, self.golden_sha256))
        return {_place(file): (file, sha256) for file, sha256 in files if file and sha256}

    @property
    def remote_name(self) -> str:
        """Another for each model and setting, so that a record found there is of just this run."""
        settings = [self.threads, self.xnnpack, self.mode, self.minutes]
        asked = json.dumps([self.sha256, *settings, self.golden_sha256])
        return f"ghostedge-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"

    def command(self) -> str:
        return shlex.join([
            *("am", "start", "-S", "-W", "-n", _ACTIVITY),
            *("--es", "model", _place(self.model)),
            *("--ei", "threads", str(self.threads)),
            *("--ez", "xnnpack", "true" if self.xnnpack else "false"),
            *("--es", "mode", self.mode),
            *(("--ei", "minutes", str(self.minutes)) if self.minutes else ()),
            *(("--es", "golden", _place(self.golden)) if self.golden else ()),
            *("--es", "out", self.remote_name),
        ])  # fmt: skip

    def is_done_in(self, path: Path) -> bool:
        """Whether the record at `path`, of an earlier call, is of just this run."""
        try:
            record = read_record(path)
            settings, mode = record["settings"], record["mode"]
            minutes = (record.get("sustained") or {}).get("minutes", 0)
            found = (record["artifact"]["sha256"], settings["threads"], settings["xnnpack"], minutes)
            golden = record["verification"]["golden"]["sha256"] if self.golden else None
        except (DeviceError, KeyError, TypeError):
            return False
        # A valid and a sustained run are both "full".
        same_mode = mode == self.mode if "verify" in (mode, self.mode) else (mode == "quick") == (self.mode == "quick")
        asked = (self.sha256, self.threads, self.xnnpack, self.minutes)
        return same_mode and found == asked and golden == self.golden_sha256


def _place(file: Path) -> str:
    """Where a file goes: under its own name, which the record tells."""
    return f"{_MODELS}/{file.name}"


class AppRuns:
    """One request, carried out by the demo app: only of ``.tflite``, and only what the app can be told.

    Args:
        request: what to measure.
        folder: on the device, for marks of what was started.
        progress: called with a line of text now and then.
        notes: warnings to add to each latency record.

    Raises:
        UsageError: the app cannot measure that.
    """

    def __init__(
        self, request: BenchmarkRequest, folder: str, progress: Progress, notes: Sequence[Mapping[str, str]]
    ) -> None:
        self._folder, self._progress, self._notes = f"{folder}/app", progress, notes
        self._runs, self._resume = _runs(request)

    async def go_on(self, phone: Phone, output: Path) -> tuple[Path, ...]:
        """Every run; records that are finished on the device are fetched and not measured again."""
        await self._check_app(phone)
        files = []
        for number, run in enumerate(self._runs, start=1):
            path = output / f"{_distinct(run, self._runs)}.json"
            label = f"[{number}/{len(self._runs)}] {run.name}"
            if path.exists() and (self._resume or await self._fetched(phone, run)) and run.is_done_in(path):
                self._progress(f"{label}: already measured")
                files.append(path)
                continue
            # In this order: a run that ends between the two questions has left its record.
            is_under_way = await self._is_under_way(phone, run)
            content = await self._record(phone, run)
            if not content:
                if not is_under_way:
                    await self._start(phone, run, label)
                content = await self._wait(phone, run, label)
            record = fetch_record(content, path, {run.sha256}, self._notes)
            files.append(path)
            await phone.shell(f"touch {self._mark(run, 'fetched')}; rm -f {_RECORDS}/{run.remote_name}")
            self._progress(f"{label}: {_result(record)}")
        sent = shlex.join(sorted({place for run in self._runs for place in run.sent}))
        await phone.shell(f"rm -f {sent}; rm -rf {self._folder}; am force-stop {PACKAGE}")
        return tuple(files)

    async def stop(self, phone: Phone) -> None:
        """End the app; finished records stay there."""
        await phone.shell(f"am force-stop {PACKAGE}")

    async def _check_app(self, phone: Phone) -> None:
        if (await phone.shell(f"pm path {PACKAGE}")).code != 0:
            raise DeviceError(
                f"{phone.name}: the demo app is not installed there; install it (see android_demo/README.md): "
                f"adb -s {phone.serial} install ghostedge-demo.apk, or name a Python of the device with --python"
            )
        # Folders that adb makes are closed to the app on some versions of Android: let it make its own.
        if (await phone.shell(f"ls -d {_MODELS}")).code != 0:
            await phone.shell(f"am start -W -n {_ACTIVITY}")
            await phone.shell(f"ls -d {_MODELS} || mkdir -p {_MODELS}")

    async def _check_unlocked(self, phone: Phone) -> None:
        """Wake the device; behind a lock screen the app would wait, or run on the slow cores."""
        if "mWakefulness=Awake" not in (await phone.shell("dumpsys power | grep mWakefulness=")).output:
            await phone.shell("input keyevent KEYCODE_WAKEUP")
        if not await self._is_locked(phone):
            return
        await phone.shell("wm dismiss-keyguard")  # one without a secret goes away
        if await self._is_locked(phone):
            raise DeviceError(f"{phone.name} is locked; unlock its screen and run the same command again")

    async def _is_locked(self, phone: Phone) -> bool:
        return _LOCKED.search((await phone.shell("dumpsys window policy")).output) is not None

    def _mark(self, run: _Run, what: str) -> str:
        return f"{self._folder}/{run.remote_name}.{what}"

    async def _fetched(self, phone: Phone, run: _Run) -> bool:
        """Whether an earlier attempt of this same command has brought the record here."""
        return await phone.size(self._mark(run, "fetched")) is not None

    async def _is_under_way(self, phone: Phone, run: _Run) -> bool:
        started = await phone.size(self._mark(run, "started")) is not None
        return started and (await phone.shell(f"pidof {_PROCESS}")).code == 0

    async def _start(self, phone: Phone, run: _Run, label: str) -> None:
        await self._check_unlocked(phone)
        for place, (file, sha256) in run.sent.items():
            if await phone.sha256(place) != sha256:
                await phone.shell(f"rm -f {shlex.quote(place)}")  # another file of this name
                await send_missing(phone, {file: place}, _MODELS, self._progress)
        self._progress(f"{label}: starting")
        # In one command, so that a cable pulled between them does not make the app start twice; and one mark at a
        # time, for a start stops the app.
        clean = f"mkdir -p {self._folder}; rm -f {self._folder}/*.started {_RECORDS}/{run.remote_name}.error"
        said = await phone.shell(f"{clean}; touch {self._mark(run, 'started')} && {run.command()}")
        error = next((line for line in said.output.splitlines() if line.startswith(("Error", "Exception"))), "")
        if said.code != 0 or error:
            raise DeviceError(f"{phone.name}: the app does not start: {error or said.output or said.code}")

    async def _record(self, phone: Phone, run: _Run) -> bytes:
        """The run's record, if it is there whole."""
        content = await phone.read(f"{_RECORDS}/{run.remote_name}")
        try:
            json.loads(content)
        except ValueError:
            return b""
        return content

    async def _wait(self, phone: Phone, run: _Run, label: str) -> bytes:
        started, told = time.monotonic(), 0.0
        limit_s = 60 * (_LIMIT_MIN + run.minutes)
        while not (content := await self._record(phone, run)):
            elapsed = time.monotonic() - started
            error = (await phone.read(f"{_RECORDS}/{run.remote_name}.error")).decode(errors="replace").strip()
            if error:
                await phone.shell(f"rm -f {_RECORDS}/{run.remote_name}.error {self._mark(run, 'started')}")
                raise DeviceError(f"{phone.name}: {run.model.name}: {error.splitlines()[0]}")
            gone = elapsed > _START_S and (await phone.shell(f"pidof {_PROCESS}")).code != 0
            if gone and not await self._record(phone, run):
                raise DeviceError(
                    f"{phone.name}: the app ended without a record of {run.model.name}; see: "
                    f"adb -s {phone.serial} logcat -d | grep {PACKAGE}"
                )
            if elapsed > limit_s:
                raise DeviceError(f"{phone.name}: no record of {run.model.name} after {limit_s / 60:.0f} minutes")
            if elapsed - told >= _TELL_EVERY_S:
                told = elapsed
                self._progress(f"{label}: {'verifying' if run.verifies else 'measuring'} for {elapsed:.0f} s")
            await asyncio.sleep(_POLL_S)
        return content


def _runs(request: BenchmarkRequest) -> tuple[tuple[_Run, ...], bool]:
    """Every run that is asked for, and whether records that are here already are left out."""
    for artifact in request.artifacts:
        if artifact.suffix != ".tflite":
            raise UsageError(f"the demo app measures .tflite, not {artifact.name}; name a Python with --python for it")
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--xnnpack", choices=("on", "off", "both"), default="on")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--sustained", type=float, default=0.0)
    parser.add_argument("--verify-only", action="store_true")
    known, unknown = parser.parse_known_args([*request.options, *(["--image"] if request.image else [])])
    if unknown:
        raise UsageError(f"the demo app does not take {unknown[0]}; name a Python of the device with --python for it")
    if known.sustained % 1:
        raise UsageError(f"the demo app takes whole minutes, not --sustained {known.sustained:g}")
    mode = "sustained" if known.sustained else "quick" if known.quick else "valid"
    if known.verify_only:
        mode = "verify"
        if request.golden is None:
            raise UsageError("--verify-only needs golden vectors; name their file with --golden")
    minutes = int(known.sustained) if mode == "sustained" else 0
    golden_sha256 = sha256_file(request.golden) if request.golden else None
    fast = {"on": (True,), "off": (False,), "both": (True, False)}[known.xnnpack]
    sha256s = {model: sha256_file(model) for model in request.artifacts}
    runs = [
        _Run(model, sha256s[model], threads, xnnpack, mode, minutes, request.golden, golden_sha256)
        for model in request.artifacts
        for threads in request.threads
        for xnnpack in fast
    ]
    return tuple(dict.fromkeys(runs)), known.resume


def _result(record: dict[str, Any]) -> str:
    """A record in a few words."""
    checked = record["verification"]
    answers = "" if checked is None else f"answers {'right' if checked['correct'] else 'WRONG'}"
    latency = f"p50 {record['latency_ms']['p50']:.3f} ms" if "latency_ms" in record else ""
    return ", ".join(filter(None, (latency, answers)))


def _distinct(run: _Run, runs: tuple[_Run, ...]) -> str:
    """The record's name here; two models of one name are told apart by their digests."""
    same = [other for other in runs if other.name == run.name]
    return run.name if same == [run] else f"{run.name}-{run.sha256[:8]}"
