#!/usr/bin/env python3
# Written by benchmarks/build_edge_benchmark.py; do not edit. Its parts are the modules of ghostedge/latency/edge/.
"""Measure how long one picture takes on this device: a Raspberry Pi, a phone or a PC.

This file runs alone: copy it and a model to the device. It needs Python >= 3.9, NumPy and one runtime (ai-edge-litert
or tflite-runtime for .tflite, openvino for .xml, onnxruntime for .onnx), Pillow for --image; it says what is missing.

    python3 edge_benchmark.py model.tflite --threads 1,2,4 --golden model.golden.npz

What a sample is: copy the input tensor in, infer, copy the output tensor out; one picture, one request at a time.

What the timer is NOT aware of: what the model computes, file formats, decoding and preprocessing (measured apart with
--image), batches, requests in parallel, power. It times a function. Whether the answers are right is checked before the
timer starts, with --golden: pictures and the right logits, as ghostedge export writes them beside the model. The same
loaded model is asked that is timed afterwards, one picture a hundred times. A latency whose answers are wrong is not
valid. --runtime null
times a function that does nothing: the script's own overhead, which is also in every record.

How a run goes, each in a fresh process: load, first inference, warm-up until steady, timed samples, all kept.

- Steady: the medians of three windows in a row lie within 3% of each other; a window is at least 0.5 s and 8 samples.
  Medians, because one interrupted sample must not prolong the warm-up; three, because two agree by chance in a slow
  drift; 0.5 s, because the kernel's frequency governors decide every 10 to 100 ms and must have settled within one.
- Valid: at least 1,024 samples and 60 s (the rule of MLPerf for a single stream), steady, and nothing seen that made
  the number another one: other programs at work, throttling, a falling frequency, a drift, an emulated CPU. Each
  reason is written down; the number is too.

The result is one JSON record a run, schema version 2 (latency_record.schema.json of ghostedge). Units are in the names.
--verify-only does not time: its record (kind "verification_record") says whether the answers are right.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gc
import hashlib
import importlib
import importlib.util
import io
import itertools
import json
import math
import multiprocessing
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, ClassVar, NoReturn

Run = Callable[[], object]
Record = dict[str, Any]
VERSION = "1.1"
SCHEMA_VERSION = 2


class BenchmarkError(Exception):
    """One line: what is wrong and what to do."""


def one_line(exc: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(exc).split())[:400] or type(exc).__name__


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block succeeds, and is removed when it does not."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as exc:
        reason = "the disk is full" if exc.errno == 28 else exc.strerror
        raise BenchmarkError(f"cannot write {path}: {reason}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def say(text: str) -> None:
    """Progress, for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# Time a function: warm up until it is steady, take samples, summarise them, and judge whether the number is valid.
# ---------------------------------------------------------------------------------------------------------------------

#: What a run takes unless it is told otherwise, and with --quick.
FULL = {"min_samples": 1024, "min_seconds": 60.0, "window_s": 0.5, "warmup_limit_s": 30.0, "split_repeats": 50}
QUICK = {"min_samples": 50, "min_seconds": 1.0, "window_s": 0.1, "warmup_limit_s": 3.0, "split_repeats": 10}
STEADY_WINDOWS, STEADY_SPREAD, STEADY_MIN_SAMPLES = 3, 0.03, 8
WATCH_EVERY_S = 2.0
OVERHEAD_SAMPLES = 2000


def sample_ms(run: Run) -> float:
    """Milliseconds that one call of `run` takes."""
    started = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - started) / 1e6


def collect(
    run: Run,
    min_samples: int,
    min_seconds: float,
    watch: Callable[[float], object] | None = None,
    max_seconds: float = float("inf"),
) -> tuple[list[float], float]:
    """Time `run` until there are `min_samples` samples and `min_seconds` have passed, or `max_seconds` have.

    `watch(seconds)` is called between samples, every `WATCH_EVERY_S` seconds: never while a sample is timed.

    Returns: the samples, milliseconds, and the seconds that all of it took.
    """
    samples = []
    started = time.perf_counter()
    next_watch = WATCH_EVERY_S
    while True:
        samples.append(sample_ms(run))
        elapsed = time.perf_counter() - started
        if (len(samples) >= min_samples and elapsed >= min_seconds) or elapsed >= max_seconds:
            return samples, elapsed
        if watch is not None and elapsed >= next_watch:
            watch(elapsed)
            next_watch = elapsed + WATCH_EVERY_S


def warm_up(run: Run, window_s: float, limit_s: float) -> Record:
    """Time `run` until it is steady (see the script's docstring) or `limit_s` seconds have passed."""
    medians, count, spread, elapsed = [], 0, None, 0.0
    started = time.perf_counter()
    while elapsed < limit_s and (spread is None or spread > STEADY_SPREAD):
        window, _ = collect(run, STEADY_MIN_SAMPLES, window_s, max_seconds=limit_s - elapsed)
        count += len(window)
        medians.append(statistics.median(window))
        last = medians[-STEADY_WINDOWS:]
        spread = max(last) / min(last) - 1 if len(last) == STEADY_WINDOWS and min(last) > 0 else None
        elapsed = time.perf_counter() - started
    return {
        "samples": count,
        "duration_s": round(elapsed, 3),
        "steady": spread is not None and spread <= STEADY_SPREAD,
        "spread_percent": None if spread is None else round(100 * spread, 2),
        "window_medians_ms": [round(value, 4) for value in medians],
    }


def percentile(ordered: list[float], share: int) -> float:
    """The value that `share` of the sorted samples do not exceed: the nearest rank, a value that was measured."""
    return ordered[max(0, -(-len(ordered) * share // 100) - 1)]


def summarise(samples: list[float]) -> dict[str, float]:
    """p50, p90, p95, p99, mean, std, min and max of samples, in their unit."""
    ordered = sorted(samples)
    summary = {f"p{share}": percentile(ordered, share) for share in (50, 90, 95, 99)}
    summary["mean"] = statistics.fmean(ordered)
    summary["std"] = statistics.stdev(ordered) if len(ordered) > 1 else 0.0
    summary["min"], summary["max"] = ordered[0], ordered[-1]
    return {key: round(value, 6) for key, value in summary.items()}


def measure_overhead() -> float:
    """What the timer adds to each sample: the same loop around a function that does nothing, microseconds."""
    null = NullRuntime()
    collect(null.run, OVERHEAD_SAMPLES // 10, 0)
    samples, _ = collect(null.run, OVERHEAD_SAMPLES, 0)
    return 1e3 * statistics.median(samples)


class NullRuntime:
    """Does nothing, so that what is timed is the script itself."""

    name, version, delegate = "null", VERSION, None
    details: ClassVar[Record] = {}
    description: ClassVar[Record] = {}
    shape, dtype = (1, 224, 224, 3), "float32"

    def run(self) -> Any:
        """Nothing."""

    def output(self) -> Any:
        """No output."""
        return None


#: Bounds of validity. 5% is the smallest difference between two artifacts that people act on.
MAX_DRIFT, MAX_FREQUENCY_FALL, MAX_OVERHEAD = 0.05, 0.05, 0.01
#: Cores' worth of work by others during the timed samples; an idle Raspberry Pi OS desktop stays below 0.1.
MAX_OTHER_CORES = 0.2
#: Looks at the frequency from which a fall can be told; the shortest valid run, of a minute, has 29.
FEWEST_LOOKS = 15


def judge(record: Record) -> tuple[list[Record], list[Record]]:
    """Why the number is not valid, and what should be known beside it: two lists of {code, text}."""
    if record["runtime"]["name"] == "null":
        return [{"code": "null", "text": "the null runtime does nothing: what is timed is the script itself"}], []
    reasons = [{"code": code, "text": text} for code, text in _reasons(record)]
    warnings = [{"code": code, "text": text} for code, text in _warnings(record)]
    return reasons, warnings


def _reasons(record: Record) -> Iterator[tuple[str, str]]:
    samples, seconds, p50 = record["samples_ms"], record["duration_s"], record["latency_ms"]["p50"]
    verification = record["verification"]
    if verification is not None and not verification["correct"]:
        yield "wrong_answers", verification["reason"]
    if record["mode"] == "quick":
        yield "quick", f"--quick: {len(samples)} samples in {seconds:.1f} s"
    elif len(samples) < FULL["min_samples"] or seconds < FULL["min_seconds"]:
        needed = f"{FULL['min_samples']} and {FULL['min_seconds']:.0f} s"
        yield "too_short", f"{len(samples)} samples in {seconds:.0f} s, not {needed}"
    if record["device"]["emulated"]:
        yield "emulated", "the processor is emulated: times say nothing about a real one"
    warmup = record["warmup"]
    if not warmup["steady"]:
        spread = warmup["spread_percent"]
        apart = "" if spread is None else f": the last windows' medians lie {spread:.1f}% apart"
        yield "not_steady", f"not steady after {warmup['duration_s']:.1f} s of warm-up{apart}"
    drift = change(samples)
    if drift is not None and abs(drift) > MAX_DRIFT:
        word = "longer" if drift > 0 else "less"
        yield "drift", f"the last third of the samples took {abs(drift):.0%} {word} than the first"
    other = record["context"]["other_cores"]
    if other is not None and other > MAX_OTHER_CORES:
        yield "busy", f"other programs used {other:.1f} cores meanwhile; stop them"
    fall = change(highest_frequencies(record), FEWEST_LOOKS)
    if fall is not None and -fall > MAX_FREQUENCY_FALL:
        yield "frequency_fell", f"the CPU frequency fell by {-fall:.0%} meanwhile"
    before, after = (record["context"][when]["throttle_flags"] for when in ("before", "after"))
    if before is not None and after is not None:
        seen = {*before["now"], *after["now"], *set(after["since_boot"]) - set(before["since_boot"])}
        if seen:
            text = ", ".join(sorted(seen))
            yield "throttled", f"the firmware reports: {text}; check the power supply and the cooling"
    share = record["overhead_us"] / 1e3 / p50 if p50 else 1.0
    if share > MAX_OVERHEAD:
        yield "overhead", f"the script's overhead of {record['overhead_us']:.1f} us is {share:.1%} of the median"


def _warnings(record: Record) -> Iterator[tuple[str, str]]:
    settings, delegate, output = record["settings"], record["delegate"], record["output"]
    if output is not None and not output["finite"]:
        yield "not_finite", "the output holds infinity or NaN"
    repeats = (record["verification"] or {}).get("repeats", {})
    if repeats and not (repeats["identical"] and repeats["after_timing_identical"]):
        yield "not_repeatable", "one picture did not always give the same answer"
    if settings["xnnpack"] and delegate is not None and delegate["delegated_share"] < 1:
        yield "not_all_delegated", f"XNNPACK runs {delegate['delegated_nodes']} of {delegate['nodes']} operators"
    ran = highest_frequencies(record)
    limit = max(filter(None, record["device"]["max_frequency_mhz"] or ()), default=0.0)
    if ran and statistics.median(ran) < limit * (1 - MAX_FREQUENCY_FALL):
        yield "below_max_frequency", f"ran at {statistics.median(ran):.0f} of {limit:.0f} MHz"
    if record["context"]["before"]["power"]["source"] == "battery":
        yield "battery", "the device runs on its battery"
    governors = {governor for governor in record["context"]["before"]["governor"] or () if governor}
    if governors - {"performance"}:
        names = ", ".join(sorted(governors))
        yield "governor", f"CPU governor: {names} (as applications meet it; --help tells how to fix the frequency)"
    usable = len(settings["cpus"]) if settings["cpus"] else record["device"]["cores"]
    if usable is not None and settings["threads"] > usable:
        yield "too_many_threads", f"{settings['threads']} threads on {usable} cores"


def change(values: list[float], fewest: int = 30) -> float | None:
    """How much larger the median of the last third is than that of the first, as a share; None for under `fewest`."""
    third = len(values) // 3
    early = statistics.median(values[:third]) if len(values) >= fewest else 0.0
    return statistics.median(values[-third:]) / early - 1 if early else None


def highest_frequencies(record: Record) -> list[float]:
    """The fastest core's frequency at each look during the samples, MHz: idle cores may be slow."""
    looks = [[value for value in look["frequency_mhz"] or () if value] for look in record["context"]["during"]]
    return [max(values) for values in looks if values]


# ---------------------------------------------------------------------------------------------------------------------
# Ask the kernel what the device is and what it is doing.
# ---------------------------------------------------------------------------------------------------------------------

#: Bits of the Raspberry Pi firmware's get_throttled; the same 16 bits higher: since boot.
_THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
#: Where the kernel tells about the device.
SYS, PROC = Path("/sys"), Path("/proc")


def read_text(path: Path | str, default: Any = None) -> Any:
    """A small file's text without the end of line and zero bytes; `default` where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", "\n").strip()
    except OSError:
        return default


def read_number(path: Path | str) -> float | None:
    """A number from a small file, or None."""
    try:
        return float(read_text(path, ""))
    except ValueError:
        return None


def said_by(*command: str) -> str | None:
    """What a command prints, or None where it does not exist or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None


def is_android() -> bool:
    """Whether this Python is built for Android (Termux); that of a Debian inside Termux is not."""
    return hasattr(sys, "getandroidapilevel")


def is_emulated() -> bool:
    """Whether this is an ARM program on a processor that is not ARM (QEMU's user mode): its times mean nothing.

    The kernel of such a machine still describes the real processor.
    """
    if platform.machine() not in ("aarch64", "arm64", "armv7l", "armv8l"):
        return False
    modalias = read_text(SYS / "devices/system/cpu/modalias", "")
    return modalias.startswith("cpu:type:x86") or "vendor_id" in read_text(PROC / "cpuinfo", "")


def cpu_folders() -> list[Path]:
    """The folders of the CPUs in sysfs, in order."""
    folders = (SYS / "devices/system/cpu").glob("cpu[0-9]*")
    return sorted(folders, key=lambda folder: int(folder.name[len("cpu") :]))


def per_cpu(name: str, divisor: float | None = None) -> list[Any] | None:
    """One value a CPU from its cpufreq folder; None where the system does not tell."""
    values = []
    for folder in cpu_folders():
        path = folder / "cpufreq" / name
        number = read_number(path) if divisor else None
        values.append(read_text(path) if divisor is None else None if number is None else number / divisor)
    return values if any(value is not None for value in values) else None


def describe_device() -> Record:
    """What the device is: does not change during a run."""
    cpuinfo = read_text(PROC / "cpuinfo", "")
    fields = dict(line.partition(":")[::2] for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    compatible = read_text(PROC / "device-tree/compatible", "").split()
    memory = read_text(PROC / "meminfo", "").partition("MemTotal:")[2].split()
    system = dict(line.partition("=")[::2] for line in read_text("/etc/os-release", "").splitlines() if "=" in line)
    model = (
        said_by("/system/bin/getprop", "ro.product.model")
        or read_text(PROC / "device-tree/model")
        or read_text(SYS / "class/dmi/id/product_name")
        or None
    )
    soc = said_by("/system/bin/getprop", "ro.soc.model") or (compatible[-1] if compatible else None)
    return {
        "host": platform.node(),
        "model": model,
        "soc": soc,
        "cpu": fields.get("model name") or fields.get("Model") or platform.processor() or None,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "max_frequency_mhz": per_cpu("cpuinfo_max_freq", 1000),
        "memory_mib": round(int(memory[0]) / 1024) if memory else None,
        "system": system.get("PRETTY_NAME", "").strip('"') or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "emulated": is_emulated(),
    }


def throttle_flags() -> Record | None:
    """The Raspberry Pi firmware's flags, now and since boot; None on other devices."""
    # In the file "50005", from the command "throttled=0x50005"; the folders are named otherwise on each board.
    files = list((SYS / "devices/platform").glob("soc*/soc*firmware/get_throttled"))
    text = read_text(files[0]) if files else (said_by("vcgencmd", "get_throttled") or "").partition("=")[2]
    try:
        value = int(text, 16)
    except ValueError:
        return None
    return {
        "value": f"0x{value:x}",
        "now": [name for bit, name in _THROTTLED_BITS.items() if value >> bit & 1],
        "since_boot": [name for bit, name in _THROTTLED_BITS.items() if value >> (bit + 16) & 1],
    }


def temperatures() -> dict[str, float] | None:
    """Thermal zone -> degrees Celsius; None where the system does not tell."""
    found = {}
    for folder in sorted((SYS / "class/thermal").glob("thermal_zone*")):
        value = read_number(folder / "temp")
        if value is not None:
            found[read_text(folder / "type") or folder.name] = value / 1000
    return found or None


def cpu_temperature() -> float | None:
    """The temperature of the processor, degrees Celsius: the hottest zone that is named like one, else the hottest."""
    zones = temperatures() or {}
    named = [v for k, v in zones.items() if any(mark in k.lower() for mark in ("cpu", "soc", "pkg", "core"))]
    return max(named or zones.values(), default=None)


def power() -> Record:
    """Where the power comes from: "mains", "battery" or, as on a Raspberry Pi, None: the system does not tell."""
    source, percent = None, None
    for folder in (SYS / "class/power_supply").glob("*"):
        kind = read_text(folder / "type")
        if kind == "Battery":
            percent = read_number(folder / "capacity")
            discharging = read_text(folder / "status") == "Discharging"
            source = "battery" if discharging else source or "mains"
        elif kind in ("Mains", "USB") and read_text(folder / "online") == "1":
            source = source or "mains"
    return {"source": source, "battery_percent": percent}


def load_average() -> float | None:
    """Of the last minute; None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def snapshot() -> Record:
    """What the device is doing before or after a run."""
    return {
        "time_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "governor": per_cpu("scaling_governor"),
        "frequency_mhz": per_cpu("scaling_cur_freq", 1000),
        "temperature_c": cpu_temperature(),
        "temperatures_c": temperatures(),
        "throttle_flags": throttle_flags(),
        "load_average_1m": load_average(),
        "power": power(),
    }


def glance(seconds: float) -> Record:
    """What the device is doing during a run: only what a few small files tell, for this runs between samples."""
    return {
        "t_s": round(seconds, 2),
        "frequency_mhz": per_cpu("scaling_cur_freq", 1000),
        "temperature_c": cpu_temperature(),
        "load_average_1m": load_average(),
    }


def busy_seconds() -> float | None:
    """Seconds that all CPUs were at work since the system started; None where it does not tell."""
    fields = read_text(PROC / "stat", "").split("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class OtherWork:
    """How many cores other programs, and a hypervisor's other machines, used since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds that all CPUs were at work, that this process was, and of the clock."""
        busy, own = busy_seconds(), os.times()
        return None if busy is None else (busy, own.user + own.system, time.monotonic())

    def cores(self) -> float | None:
        """Cores in use by others on average; None where the system does not tell.

        Android hides the file, and a Debian inside Termux shows one that stands still: then less is at work than
        this process is.
        """
        now = self._now()
        if now is None or self._before is None:
            return None
        busy, own, seconds = (after - before for after, before in zip(now, self._before))
        if seconds <= 0 or busy < own / 2:
            return None
        return round(max(0.0, busy - own) / seconds, 3)


def memory_mib(which: str) -> float | None:
    """Resident memory of this process: ``"VmRSS"`` now or ``"VmHWM"`` at its peak, MiB; None where unknown."""
    fields = read_text(PROC / "self/status", "").partition(which + ":")[2].split()
    return round(int(fields[0]) / 1024, 1) if fields else None


@contextlib.contextmanager
def device_lock(path: Path | None = None) -> Iterator[None]:
    """Hold this device's lock: two benchmarks at once would measure each other."""
    path = path or Path(tempfile.gettempdir()) / "ghostedge-benchmark.lock"
    busy = BenchmarkError(f"another benchmark is running on this device (it holds {path}); wait for it")
    # Opened for reading where it exists: a file of another user in /tmp may be locked, but not opened for writing.
    try:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            handle = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise BenchmarkError(f"cannot make the lock {path}: {exc.strerror}") from exc
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            except OSError:
                raise busy from None
        else:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise busy from None
        yield
    finally:
        os.close(handle)


# ---------------------------------------------------------------------------------------------------------------------
# Keep the runtimes from reporting home: nothing here may need the network, and a model's name is nobody else's.
# ---------------------------------------------------------------------------------------------------------------------


def report_nothing(package: str) -> None:
    """Turn the telemetry of OpenVINO, NNCF and ONNX Runtime off.

    Args:
        package: what is imported next. ONNX Runtime's is turned off whatever that is, for others import it too.
    """
    # ONNX Runtime since 1.29 sends Microsoft the model's name and hash, and leaves a device id in the home folder,
    # unless this is set when it is first imported.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    if package in ("openvino", "nncf") and package not in sys.modules:
        # Importing these reports home through this package unless it is absent.
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------------
# What XNNPACK takes of a .tflite model, by LiteRT's list of nodes, and whether it finds float16 arithmetic here.
# ---------------------------------------------------------------------------------------------------------------------

Node = Mapping[str, Any]

# Of <sys/auxv.h> and Linux's <asm/hwcap.h> for arm64: scalar and vector float16 arithmetic.
_AT_HWCAP = 16
_HWCAP_FPHP, _HWCAP_ASIMDHP = 1 << 9, 1 << 10


def delegated(nodes: Iterable[Node]) -> tuple[list[Node], set[int], int]:
    """Sort the nodes of an interpreter with delegates applied.

    A delegate's node stands for all operators between its inputs and its outputs; LiteRT keeps those operators in the
    list, so that they are found by walking back from the delegate's outputs.

    Args:
        nodes: ``op_name``, ``inputs`` and ``outputs`` (tensor indices) of each, in execution order.

    Returns:
        The model's operators in that order, the places among them that a delegate runs, and the number of delegates.
    """
    every = list(nodes)
    operators = [node for node in every if node["op_name"] != "DELEGATE"]
    delegates = [node for node in every if node["op_name"] == "DELEGATE"]
    producer = {int(tensor): index for index, node in enumerate(operators) for tensor in node["outputs"]}
    inside: set[int] = set()
    for delegate in delegates:
        given = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            index = producer.get(tensor)
            if tensor in given or index is None or index in inside:
                continue
            inside.add(index)
            pending += [int(each) for each in operators[index]["inputs"]]
    return operators, inside, len(delegates)


def cpu_has_float16() -> bool:
    """Whether XNNPACK finds float16 arithmetic in this computer's CPU."""
    if platform.machine().lower() not in ("aarch64", "arm64"):
        return False
    if sys.platform == "darwin":  # all of Apple's own processors for computers
        return True
    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError, TypeError):  # neither glibc nor Android's C library
        return False
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    wanted = _HWCAP_FPHP | _HWCAP_ASIMDHP
    return bool(getauxval(_AT_HWCAP) & wanted == wanted)


# ---------------------------------------------------------------------------------------------------------------------
# Load a model in one of the runtimes, or say what the user can do.
# ---------------------------------------------------------------------------------------------------------------------

#: Under this key, or as this file, an artifact of ghostedge carries its description.
DESCRIPTION_KEY = "ghostedge"
_DISTRIBUTIONS = {"ai_edge_litert": "ai-edge-litert", "tflite_runtime": "tflite-runtime"}


class Loaded:
    """What the runtimes have in common: one input tensor, which every sample hands over."""

    delegate: Record | None = None
    quantization: Any = None

    def set_input(self, tensor: Any) -> None:
        """Take the input tensor."""
        self._tensor = tensor


def check_one_input(path: str, count: int) -> None:
    """Raise BenchmarkError for a model of several inputs."""
    if count != 1:
        raise BenchmarkError(f"{path} has {count} inputs; models with one are measured")


class LiteRT(Loaded):
    """ai-edge-litert, or its predecessor tflite-runtime: the same interface."""

    def __init__(self, module: str, path: str, threads: int, xnnpack: bool, **_: object) -> None:
        self.name = "litert" if module.startswith("ai_edge_litert") else "tflite-runtime"
        library = importlib.import_module(module)
        self.version = version_of(module)
        resolver = library.OpResolverType
        self._interpreter = library.Interpreter(
            model_path=path,
            num_threads=threads,
            experimental_op_resolver_type=resolver.AUTO if xnnpack else resolver.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        self._interpreter.allocate_tensors()
        inputs = self._interpreter.get_input_details()
        check_one_input(path, len(inputs))
        self._output = self._interpreter.get_output_details()[0]
        self._index = inputs[0]["index"]
        self.shape = tuple(int(size) for size in inputs[0]["shape"])
        self.dtype = inputs[0]["dtype"].__name__
        self.quantization = inputs[0]["quantization"] if inputs[0]["quantization"][0] else None
        self.delegate = delegation(self._interpreter._get_ops_details())
        allowed = allows_float16(path)
        self.details: Record = {"inference_precision": "f16" if xnnpack and allowed and cpu_has_float16() else "f32"}
        self.description = zipped_description(path)

    def run(self) -> Any:
        """Copy in, infer, copy out."""
        self._interpreter.set_tensor(self._index, self._tensor)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output["index"])

    def output(self) -> Any:
        """The output of the last inference, dequantised: float32."""
        values = self._interpreter.get_tensor(self._output["index"])
        scale, zero = self._output["quantization"]
        return (values.astype("float32") - zero) * scale if scale else values.astype("float32")


class OpenVino(Loaded):
    """OpenVINO on the CPU, one stream: its setting for the latency of single requests."""

    name = "openvino"

    def __init__(self, module: str, path: str, threads: int, precision_hint: str | None, **_: object) -> None:
        ov = importlib.import_module("openvino")
        self.version = version_of("openvino")
        core = ov.Core()
        model = core.read_model(path)
        check_one_input(path, len(model.inputs))
        self.shape = tuple(
            dimension.get_length() if dimension.is_static else 1 for dimension in model.input(0).get_partial_shape()
        )
        found = model.get_rt_info([DESCRIPTION_KEY]) if model.has_rt_info([DESCRIPTION_KEY]) else None
        self.description = parse_description(found if isinstance(found, str) else getattr(found, "value", None))
        model.reshape(list(self.shape))
        config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "INFERENCE_NUM_THREADS": str(threads)}
        if precision_hint and precision_hint != "default":
            config["INFERENCE_PRECISION_HINT"] = precision_hint
        compiled = core.compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._input = self._request.get_input_tensor(0).data
        self.dtype = self._input.dtype.name
        precision = compiled.get_property("INFERENCE_PRECISION_HINT")
        name = precision.to_string() if hasattr(precision, "to_string") else str(precision)
        self.details = {"inference_precision": name}

    def run(self) -> Any:
        """Copy in, infer, copy out."""
        self._input[:] = self._tensor
        self._request.infer()
        return self._request.get_output_tensor(0).data.copy()

    def output(self) -> Any:
        """The output of the last inference: float32."""
        return self._request.get_output_tensor(0).data.astype("float32")


class OnnxRuntime(Loaded):
    """ONNX Runtime on its CPU provider."""

    name = "onnxruntime"

    def __init__(self, module: str, path: str, threads: int, **_: object) -> None:
        ort = importlib.import_module("onnxruntime")
        self.version = version_of("onnxruntime")
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self._session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = self._session.get_inputs()
        check_one_input(path, len(inputs))
        self._name = inputs[0].name
        self.shape = tuple(size if isinstance(size, int) else 1 for size in inputs[0].shape)
        # "tensor(float)", "tensor(uint8)", ...
        kind = inputs[0].type[len("tensor(") : -1]
        self.dtype = {"float": "float32", "double": "float64"}.get(kind, kind)
        self.details: Record = {}
        self.description = parse_description(self._session.get_modelmeta().custom_metadata_map.get(DESCRIPTION_KEY))

    def set_input(self, tensor: Any) -> None:
        """Take the input tensor."""
        self._feed = {self._name: tensor}

    def run(self) -> Any:
        """Hand over, infer, receive."""
        self._last = self._session.run(None, self._feed)
        return self._last

    def output(self) -> Any:
        """The output of the last inference: float32."""
        return self._last[0].astype("float32")


#: Runtime -> (module, class, formats it reads). The order is the one in which they are tried.
RUNTIMES = {
    "litert": ("ai_edge_litert.interpreter", LiteRT, ("tflite",)),
    "tflite-runtime": ("tflite_runtime.interpreter", LiteRT, ("tflite",)),
    "openvino": ("openvino", OpenVino, ("openvino", "onnx", "tflite")),
    "onnxruntime": ("onnxruntime", OnnxRuntime, ("onnx",)),
}

#: Format -> the runtimes that are tried for it unless --runtime names one.
PREFERRED = {"tflite": ("litert", "tflite-runtime"), "openvino": ("openvino",), "onnx": ("onnxruntime", "openvino")}


def version_of(module: str) -> str:
    """The version of the distribution that `module` comes from; "unknown" for one without metadata."""
    from importlib import metadata

    package = module.partition(".")[0]
    try:
        return metadata.version(_DISTRIBUTIONS.get(package, package))
    except metadata.PackageNotFoundError:
        return str(getattr(importlib.import_module(package), "__version__", "unknown"))


def model_format(path: str) -> str:
    """``"tflite"``, ``"openvino"`` or ``"onnx"``, by the file's content where it has a mark."""
    try:
        with open(path, "rb") as file:
            head = file.read(1024)
    except FileNotFoundError:
        raise BenchmarkError(f"{path} does not exist") from None
    except OSError as exc:
        raise BenchmarkError(f"{path} cannot be read: {exc.strerror}") from exc
    suffix = Path(path).suffix.lower()
    if not head:
        raise BenchmarkError(f"{path} is empty (0 bytes); copy it again")
    if head[4:8] == b"TFL3":
        return "tflite"
    if suffix == ".xml" and b"<net" in head:
        if not Path(path).with_suffix(".bin").exists():
            raise BenchmarkError(f"{path}: its weights, the .bin file of the same name, are not beside it")
        return "openvino"
    if suffix == ".onnx":
        return "onnx"
    if suffix in (".mindir", ".ckpt", ".pth", ".safetensors"):
        raise BenchmarkError(f"{path} is not a model for a device; convert it first: ghostedge export --help")
    raise BenchmarkError(f"{path} is not a model: .tflite, OpenVINO .xml and .onnx are measured")


def choose_runtime(form: str, asked: str) -> str:
    """The name of the runtime to use for a format: `asked`, or the first that is installed."""
    if asked != "auto":
        if form not in RUNTIMES[asked][2]:
            raise BenchmarkError(f"{asked} does not read {form} models; leave --runtime out")
        names: tuple[str, ...] = (asked,)
    else:
        names = PREFERRED[form]
    for name in names:
        package = RUNTIMES[name][0].partition(".")[0]
        if importlib.util.find_spec(package) is not None:
            return name
    looked_for = ", ".join(names)
    raise BenchmarkError(
        f"no runtime for {form} models is installed (looked for: {looked_for}); {how_to_install(names[0])}"
    )


def how_to_install(
    runtime: str, machine: str | None = None, android: bool | None = None, bits: int | None = None
) -> str:
    """What installs `runtime` on this device."""
    machine = machine or platform.machine()
    android = is_android() if android is None else android
    bits = bits or (64 if sys.maxsize > 2**32 else 32)
    packages = {"litert": "ai-edge-litert", "tflite-runtime": "tflite-runtime"}.get(runtime, runtime)
    if android:
        return (
            "the runtimes have no packages for Android's own Python: in Termux run 'pkg install proot-distro && "
            "proot-distro install debian', and this script inside it; or use the app's benchmark mode"
        )
    if machine.startswith("arm") or bits == 32:
        if runtime == "litert":
            return (
                "this is a 32-bit system, for which ai-edge-litert has no package: install the 64-bit Raspberry Pi OS "
                "(or, with Python 3.9 to 3.11: pip install 'tflite-runtime==2.14.0' 'numpy<2', for fp32 and fp16 "
                "alone: dynamic and int8 may give wrong answers in it, which --golden tells)"
            )
        return f"this is a 32-bit system, for which {packages} has no package: install a 64-bit one"
    return (
        f"run: python3 -m venv ~/benchmark && ~/benchmark/bin/pip install numpy pillow {packages}, and this script "
        "with ~/benchmark/bin/python"
    )


def load_runtime(name: str, path: str, settings: Record) -> tuple[Any, float, float]:
    """Import the runtime and load the model: (runtime, import_ms, load_ms)."""
    module, kind, _ = RUNTIMES[name]
    started = time.perf_counter()
    try:
        report_nothing(module)
        importlib.import_module(module)
    except ImportError as exc:
        raise BenchmarkError(
            f"{name} is installed but does not load here ({one_line(exc)}); it may be built for another processor or "
            f"Python; {how_to_install(name)}"
        ) from exc
    imported = time.perf_counter()
    try:
        runtime = kind(module, path, **settings)
    except BenchmarkError:
        raise
    except Exception as exc:  # what a vendor's loader raises is an open set
        raise BenchmarkError(load_error(name, path, one_line(exc))) from exc
    return runtime, 1e3 * (imported - started), 1e3 * (time.perf_counter() - imported)


def load_error(name: str, path: str, reason: str) -> str:
    """One line for a model that a runtime refused."""
    text, runtime = reason.lower(), f"{name} {version_of(RUNTIMES[name][0])}"
    if "returned a result with an exception set" in text and version_of("numpy").partition(".")[0] not in ("0", "1"):
        # ai-edge-litert 1.0 and tflite-runtime were built for NumPy 1 and do not say so.
        return f"{runtime} is built for NumPy 1, not for {version_of('numpy')}; run: pip install 'numpy<2' ({reason})"
    if "edgetpu" in text or "edge-tpu" in text:
        return f"{path} is compiled for the Edge TPU; measure the file it was compiled from ({reason})"
    if any(mark in text for mark in ("custom op", "didn't find op", "not_implemented", "unsupported op", "opset")):
        return f"{path} holds an operator that {runtime} does not have here; update it or convert again ({reason})"
    if "shapeinferenceerror" in text:
        # ONNX Runtime since 1.28, of a Resize that ghostedge wrote before 0.2.
        return f"{path} has shapes that {runtime} refuses ({reason}); export it again with ghostedge 0.2 or newer"
    return f"{path} is refused by {runtime}: {reason.rstrip('.')}; {what_to_do(path, name)}"


def what_to_do(path: str, runtime: str) -> str:
    """Advice on a model that its runtime refuses or that crashes it: copied again only where its bytes are others."""
    changed = changed_since_export(path)
    if changed is None:
        return f"try another version of {runtime}, or compare the file's sha256 with the one in its manifest.json"
    if changed:
        return f"{changed} is damaged, its sha256 is not the one in manifest.json: copy it again"
    return f"the file is whole, its sha256 is the one in manifest.json: try another version of {runtime}"


def changed_since_export(path: str) -> str | None:
    """The file of a model that has another sha256 than the manifest.json beside it says, "" for none.

    None where there is no manifest, or the model is not in it.
    """
    try:
        manifest = json.loads((Path(path).parent / "manifest.json").read_text(encoding="utf-8"))
        recorded = {file["name"]: file["sha256"] for each in manifest["artifacts"].values() for file in each["files"]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    files = [file for file in (Path(path), Path(path).with_suffix(".bin")) if file.name in recorded]
    if not files:
        return None
    return next((file.name for file in files if not file.exists() or sha256_of(file) != recorded[file.name]), "")


def delegation(nodes: list[dict[str, Any]]) -> Record:
    """How much of a model the delegate runs, from LiteRT's list of nodes."""
    operators, inside, delegates = delegated(nodes)
    return {
        "name": "XNNPACK" if delegates else None,
        "nodes": len(operators),
        "delegated_nodes": len(inside),
        "delegated_share": round(len(inside) / len(operators), 4) if operators else 0.0,
        "partitions": delegates,
    }


def parse_description(text: str | bytes | None) -> Record:
    """The description that ghostedge puts into its artifacts: input, labels, precision; {} for models of others."""
    try:
        description = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return description if isinstance(description, dict) else {}


def zipped_description(path: str) -> Record:
    """As `parse_description`, from the archive that follows a .tflite model. Raises: BenchmarkError: it is damaged."""
    if not zipfile.is_zipfile(path):
        return {}
    try:
        with zipfile.ZipFile(path) as archive:
            name = f"{DESCRIPTION_KEY}.json"
            return parse_description(archive.read(name) if name in archive.namelist() else None)
    except Exception as exc:  # what zipfile raises for damaged files is an open set
        raise BenchmarkError(f"{path}: the files at its end are damaged ({one_line(exc)}); copy it again") from exc


def allows_float16(path: str) -> bool:
    """Whether a .tflite model lets XNNPACK compute it in float16: TensorFlow's reduced_precision_metadata.h."""
    data = Path(path).read_bytes()
    return b"reduced_precision_support" in data and b"fp16accfp16" in data


# ---------------------------------------------------------------------------------------------------------------------
# Make the input: a real photo, or reproducible noise of the same range.
# ---------------------------------------------------------------------------------------------------------------------


def input_spec(description: Record, shape: tuple[int, ...]) -> Record | None:
    """Layout, size and normalisation of the input: those of the description, else the usual ones of ImageNet."""
    nhwc = len(shape) == 4 and shape[3] == 3
    if len(shape) != 4 or (shape[1] != 3 and not nhwc):
        return None
    height, width = (shape[1], shape[2]) if nhwc else (shape[2], shape[3])
    spec = {
        "range": "normalised",
        "resize": round(max(height, width) * 256 / 224),
        "resize_rule": "opencv_linear",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "colour_order": "RGB",
    }
    spec.update(description.get("input", {}))
    spec.update(layout="NHWC" if nhwc else "NCHW", height=height, width=width)
    return spec


def decode(data: bytes) -> Any:
    """JPEG or PNG bytes to uint8 (h, w, 3), RGB."""
    try:
        from PIL import Image
    except ImportError:
        raise BenchmarkError("--image needs Pillow; run: pip install pillow") from None
    import numpy as np

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode not in ("RGB", "L"):
                raise BenchmarkError(f"--image: take an RGB or grey photo, not one of mode {image.mode}")
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError) as exc:  # what Pillow raises for damaged files
        raise BenchmarkError("--image is not a whole JPEG or PNG; take another photo") from exc


def resize_and_crop(image: Any, spec: Record) -> Any:
    """The shorter side to ``spec["resize"]`` pixels, then the centre: uint8 (height, width, 3).

    The same integers as ghostedge.data.preprocess.resize_and_crop, where the rule (OpenCV's INTER_LINEAR) is explained;
    repeated here because this file travels alone, and held to it bit for bit by tests/benchmarks.
    """
    import numpy as np

    if spec["resize_rule"] != "opencv_linear":
        raise BenchmarkError(f"--image: the model's resize rule {spec['resize_rule']} is not known here")

    def axis(source: int, target: int, count: int) -> tuple[Any, Any]:
        position = (np.arange(count) + (target - count) // 2 + 0.5) * (1.0 / (target / source)) - 0.5
        position = position.astype(np.float32)
        index = np.floor(position)
        return index.astype(np.intp), position - index

    def weights(fraction: Any) -> Iterator[Any]:
        one = np.float32(1)
        return (np.rint(part * np.float32(2048)).astype(np.int32) for part in (one - fraction, fraction))

    height, width = image.shape[:2]
    longer = int(np.float32(max(height, width)) / np.float32(min(height, width)) * np.float32(spec["resize"]))
    rows, columns = (spec["resize"], longer) if height < width else (longer, spec["resize"])
    index, fraction = axis(width, columns, spec["width"])
    fraction[(index < 0) | (index >= width - 1)] = 0
    index = np.clip(index, 0, width - 1)
    left, right = (np.repeat(weight, 3) for weight in weights(fraction))
    row, fraction = axis(height, rows, spec["height"])
    upper, lower = np.clip(row, 0, height - 1), np.clip(row + 1, 0, height - 1)
    weight_upper, weight_lower = (weight[:, None] for weight in weights(fraction))
    used, place = np.unique(np.concatenate([upper, lower]), return_inverse=True)
    lines = image[used].take(index, axis=1).reshape(len(used), -1) * left
    lines += image[used].take(np.minimum(index + 1, width - 1), axis=1).reshape(len(used), -1) * right
    lines >>= 4
    place = place.reshape(-1)
    out = lines[place[: spec["height"]]] * weight_upper >> 16
    out += lines[place[spec["height"] :]] * weight_lower >> 16
    out += 2
    out >>= 2
    return out.astype(np.uint8).reshape(spec["height"], spec["width"], 3)


def to_tensor(image: Any, spec: Record, runtime: Any) -> Any:
    """A cropped picture as the model's input tensor: range, colours, layout, type (quantised where it is)."""
    import numpy as np

    out = image.astype(np.float32)
    if spec["range"] == "normalised":
        out -= np.array([255 * value for value in spec["mean"]], np.float32)
        out /= np.array([255 * value for value in spec["std"]], np.float32)
    if spec["colour_order"] == "BGR":
        out = out[..., ::-1]
    if spec["layout"] == "NCHW":
        out = out.transpose(2, 0, 1)
    return quantised(out[None], runtime)


def quantised(values: Any, runtime: Any) -> Any:
    """Float values as the model's input type."""
    import numpy as np

    dtype = np.dtype(runtime.dtype)
    if runtime.quantization is not None:
        scale, zero = runtime.quantization
        values = np.rint(values / np.float32(scale)) + zero
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.rint(values), limits.min, limits.max)
    return np.ascontiguousarray(values.astype(dtype).reshape(runtime.shape))


def noise(spec: Record | None, runtime: Any) -> Any:
    """Reproducible input: the same values on every machine, in the range that pictures have."""
    import numpy as np

    generator = np.random.default_rng(0)
    if spec is None:
        return quantised(generator.random(runtime.shape, dtype=np.float32), runtime)
    picture = generator.integers(0, 256, (spec["height"], spec["width"], 3), dtype=np.uint8)
    return to_tensor(picture, spec, runtime)


# ---------------------------------------------------------------------------------------------------------------------
# Compare the answers of a loaded model with golden vectors.
# ---------------------------------------------------------------------------------------------------------------------

#: One picture is run so often, or until so many seconds have passed on a slow device, and each answer compared.
REPEATS, REPEATS_LIMIT_S, FEWEST_REPEATS = 100, 20.0, 3
#: What answers are held to where the model does not say it: the bounds of the loosest recipe of ghostedge.
DEFAULT_BOUNDS = {"min_snr_db": 18.0, "min_top1_agreement": 0.7}
#: A model that the runtime computes in float16 or bfloat16 where its bounds are of float32 is held to these.
BOUNDS_16_BIT = {"min_snr_db": 40.0, "min_top1_agreement": 0.85}
#: The arrays of a golden file and their dtypes: ghostedge.data.golden.
GOLDEN = {
    "schema_version": "i",
    "crops_u8": "u1",
    "logits": "f4",
    "names": "U",
    "class_names": "U",
    "source_sha256": "U",
}
GOLDEN_SCHEMA_VERSION = 1


def check_golden_file(path: str) -> None:
    """Raise BenchmarkError for a golden file that is missing or not whole, before anything is loaded (no NumPy)."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            missing = sorted({f"{name}.npy" for name in GOLDEN} - set(archive.namelist()))
    except FileNotFoundError:
        raise BenchmarkError(
            f"--golden: {path} does not exist; ghostedge export writes NAME.golden.npz beside the models"
        ) from None
    except Exception as exc:  # what zipfile raises for damaged files is an open set
        raise BenchmarkError(golden_error(path, one_line(exc))) from exc
    if damaged or missing:
        raise BenchmarkError(golden_error(path, f"{damaged} is damaged" if damaged else f"{missing[0]} is missing"))


def golden_error(path: str, reason: str) -> str:
    """One line for a golden file that cannot be used."""
    return f"--golden: {path} is not a whole golden file ({reason}); copy it again, or run ghostedge export again"


def read_golden(path: str) -> dict[str, Any]:
    """The arrays of a golden file by name, checked; see `GOLDEN`."""
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in GOLDEN}  # what is no .npy comes as bytes
    except Exception as exc:  # what NumPy raises for damaged files is an open set
        raise BenchmarkError(golden_error(path, one_line(exc))) from exc
    for name, kind in GOLDEN.items():
        if not arrays[name].dtype.str[1:].startswith(kind):
            raise BenchmarkError(golden_error(path, f"{name} is {arrays[name].dtype}"))
    if arrays["schema_version"].shape or int(arrays["schema_version"]) != GOLDEN_SCHEMA_VERSION:
        raise BenchmarkError(
            f"--golden: {path} has schema version {arrays['schema_version']}, this script reads "
            f"{GOLDEN_SCHEMA_VERSION}; use the script and the file of one ghostedge"
        )
    crops, logits, names = arrays["crops_u8"], arrays["logits"], arrays["names"]
    if crops.ndim != 4 or crops.shape[3] != 3 or logits.ndim != 2 or not 0 < len(crops) == len(logits) == len(names):
        raise BenchmarkError(golden_error(path, f"crops {crops.shape} and logits {logits.shape} do not fit"))
    return arrays


class Verification:
    """Whether a loaded model gives the right answers; the one that is timed, with its delegate and its threads.

    Raises: BenchmarkError, where the golden vectors are for another model.
    """

    def __init__(self, path: str, golden: dict[str, Any], model: str, runtime: Any, spec: Record | None) -> None:
        if spec is None:
            raise BenchmarkError(f"--golden: the input {runtime.shape} of {model} is not a picture")
        said, wanted = str(golden["source_sha256"]), runtime.description.get("source_sha256", "")
        if wanted and said != wanted:
            raise BenchmarkError(
                f"--golden: {path} has the answers of the source {said[:12]}, {model} was made from {wanted[:12]}: "
                "give the golden file of its own export; where that export was made anew since, copy both again"
            )
        found, needed = tuple(golden["crops_u8"].shape[1:3]), (spec["height"], spec["width"])
        if found != needed:
            raise BenchmarkError(
                f"--golden: {path} holds pictures of {found[0]} x {found[1]}, {model} takes {needed[0]} x {needed[1]}: "
                "give the golden file of its own export"
            )
        self._path, self._golden, self._runtime, self._model, self._spec = path, golden, runtime, model, spec

    def first_input(self) -> Any:
        """The tensor of the first picture, for the very first inference after loading."""
        return to_tensor(self._golden["crops_u8"][0], self._spec, self._runtime)

    def _answer(self) -> Any:
        """The logits of the inference just made: float32 (classes,)."""
        logits, classes = self._runtime.output().reshape(-1), self._golden["logits"].shape[1]
        if logits.size != classes:
            raise BenchmarkError(
                f"--golden: {self._path} has answers of {classes} classes, {self._model} gives {logits.size}: give the "
                "golden file of its own export"
            )
        return logits.copy()

    def run(self, bounds: Record) -> Record:
        """Compare all answers; to be called right after an inference of `first_input`.

        The first picture is run `REPEATS` times. Its last answer is the one compared with the golden one: a driver that
        is right only the first time has wrong answers.
        """
        import numpy as np

        started = time.perf_counter()
        first, worst, different, count = self._answer(), 0.0, None, 1
        while count < REPEATS and (count < FEWEST_REPEATS or time.perf_counter() - started < REPEATS_LIMIT_S):
            self._runtime.run()
            count += 1
            again = self._answer()
            if not np.array_equal(first, again, equal_nan=True):
                different = different or count
                worst = max(worst, noise_power(first, again))
        rows = [again]
        for crop in self._golden["crops_u8"][1:]:
            self._runtime.set_input(to_tensor(crop, self._spec, self._runtime))
            self._runtime.run()
            rows.append(self._answer())
        self._first = first
        found = np.stack(rows)
        file = {"file": Path(self._path).name, "sha256": sha256_of(self._path)}
        repeats = {"inferences": count, "first_different": different, "worst": worst}
        return compared(self._golden, file, found, repeats, bounds, time.perf_counter() - started)

    def again(self, record: Record) -> None:
        """After the timed samples: run the first picture once more."""
        self._runtime.set_input(self.first_input())
        self._runtime.run()
        compare_again(record, self._first, self._answer())


def compared(
    golden: dict[str, Any], file: Record, found: Any, repeats: Record, bounds: Record, duration_s: float
) -> Record:
    """What a record says of answers to golden vectors.

    `file` is their file's name and sha256; `found` the answers, float32 (pictures, classes). `repeats` are those of the
    first picture: ``inferences``, ``first_different`` (from 1, None for none) and ``worst``, the `noise_power` of the
    answer that was farthest from the first.
    """
    import numpy as np

    wanted = golden["logits"]
    same = found.argmax(axis=1) == wanted.argmax(axis=1)
    finite = bool(np.isfinite(found).all())
    error = np.abs(found.astype(np.float64) - wanted) if finite else None
    different, worst = repeats["first_different"], repeats["worst"]
    record: Record = {
        "golden": {**file, "images": len(found), "source_sha256": str(golden["source_sha256"])},
        "snr_db": snr_db(noise_power(wanted, found)) if finite else None,
        "max_abs": float(error.max()) if error is not None else None,
        "finite": finite,
        "top1_agreement": float(same.mean()),
        "disagreeing": [str(name) for name in golden["names"][~same][:5]],
        "bounds": bounds,
        "repeats": {
            "inferences": repeats["inferences"],
            "identical": different is None,
            "first_different": different,
            "snr_db": None if different is None or not math.isfinite(worst) else snr_db(worst),
            "after_timing_identical": None,
        },
        "duration_s": round(duration_s, 3),
    }
    reason = wrong_answers(record)
    record.update(correct=reason is None, reason=reason)
    return record


def compare_again(record: Record, first: Any, answer: Any) -> None:
    """Add to a record the answer to the first picture after the timed samples; another one may be a wrong one."""
    import numpy as np

    same = bool(np.array_equal(first, answer, equal_nan=True))
    record["repeats"]["after_timing_identical"] = same
    snr = None if same else snr_db(noise_power(first, answer))
    if record["correct"] and snr is not None and snr < record["bounds"]["min_snr_db"]:
        record.update(correct=False, reason="after the timed samples one picture got another answer than before")


def noise_power(wanted: Any, found: Any) -> float:
    """The power of the difference as a share of the power of `wanted`; infinite where a number is not finite."""
    import numpy as np

    exact = wanted.astype(np.float64)
    noise = float(((found.astype(np.float64) - exact) ** 2).sum())
    return noise / max(float((exact**2).sum()), 1e-300) if math.isfinite(noise) else math.inf


def snr_db(share: float) -> float | None:
    """Signal to noise ratio, dB, of `noise_power`; None for identical numbers, since JSON has no infinity."""
    return None if share == 0.0 else -9999.0 if math.isinf(share) else round(-10.0 * math.log10(share), 2)


def wrong_answers(verification: Record) -> str | None:
    """Why the answers are wrong, for people; None where they are right."""
    bounds, repeats = verification["bounds"], verification["repeats"]
    if not verification["finite"]:
        return "its answers to the golden pictures hold NaN or infinity"
    snr, least = verification["snr_db"], bounds["min_snr_db"]
    if snr is not None and snr < least:
        return f"its answers to the golden pictures are {snr:.1f} dB from MindSpore's, the bound is {least:g} dB"
    share, least_share = verification["top1_agreement"], bounds["min_top1_agreement"]
    if share < least_share:
        names = ", ".join(verification["disagreeing"])
        return f"it agrees on {share:.0%} of the golden pictures, the bound is {least_share:.0%} (not on {names})"
    if not repeats["identical"] and (repeats["snr_db"] is None or repeats["snr_db"] < least):
        return f"inference {repeats['first_different']} of one picture gave another answer than the first"
    return None


def bounds_of(job: Record, runtime: Any) -> Record:
    """What the answers are held to: what the command line says, else the model, else `DEFAULT_BOUNDS`.

    Recipes hold float32 models to more than 16 bits can give, so that those are held to `BOUNDS_16_BIT` at most.
    """
    said = runtime.description.get("bounds") or {}
    bounds = {name: float(said.get(name, default)) for name, default in DEFAULT_BOUNDS.items()}
    if runtime.details.get("inference_precision") in ("f16", "bf16"):
        bounds = {name: min(value, BOUNDS_16_BIT[name]) for name, value in bounds.items()}
    asked = {name: job[name] for name in DEFAULT_BOUNDS if job[name] is not None}
    where = "command line" if asked else "model" if set(said) >= set(DEFAULT_BOUNDS) else "default"
    return {**bounds, **asked, "from": where}


# ---------------------------------------------------------------------------------------------------------------------
# Carry out one run in a process of its own: load, verify, warm up, time.
# ---------------------------------------------------------------------------------------------------------------------

Progress = Callable[[str], object]


def measure(job: Record, progress: Progress) -> Record:
    """Load, warm up and time one model with one setting: the record, without what the parent process adds."""
    if job["cpus"] is not None:
        os.sched_setaffinity(0, job["cpus"])
    rss_before = memory_mib("VmRSS")
    before = snapshot()
    runtime, import_ms, load_ms = load(job, progress)
    rss_loaded = memory_mib("VmRSS")
    spec, photo, verifier, verification, first_ms = None, None, None, None, None
    if job["runtime"] != "null":
        spec = input_spec(runtime.description, runtime.shape)
        if job["golden"]:
            progress("verifying")
            verifier = Verification(job["golden"], read_golden(job["golden"]), job["path"], runtime, spec)
            runtime.set_input(verifier.first_input())
            first_ms = sample_ms(runtime.run)
            verification = verifier.run(bounds_of(job, runtime))
        if job["mode"] == "verify":
            checked = {"verification": verification, "load_ms": round(load_ms, 3), "first_ms": first_ms}
            return {**describe_run(job, runtime), **checked}
        tensor, photo = make_input(job, spec, runtime)
        runtime.set_input(tensor)
    timed, context = time_samples(job, runtime, first_ms, progress)
    if photo and spec:
        timed["split_ms"] = measure_split(photo, spec, runtime, job["split_repeats"])
    output = describe_output(runtime, job["output_npy"])
    if verifier is not None and verification is not None:
        verifier.again(verification)
    return {
        **describe_run(job, runtime, import_ms=round(import_ms, 3)),
        "input": {
            "shape": list(runtime.shape),
            "dtype": runtime.dtype,
            "source": Path(job["image"]).name if job["image"] else "noise",
        },
        "output": output,
        "verification": verification,
        "load_ms": round(load_ms, 3),
        **timed,
        "memory": {"rss_before_mib": rss_before, "rss_loaded_mib": rss_loaded, "rss_peak_mib": memory_mib("VmHWM")},
        "context": {"before": before, **context},
    }


def load(job: Record, progress: Progress) -> tuple[Any, float, float]:
    """The runtime with its model: (runtime, import_ms, load_ms)."""
    if job["runtime"] == "null":
        return NullRuntime(), 0.0, 0.0
    progress("loading")
    if importlib.util.find_spec("numpy") is None:
        raise BenchmarkError("NumPy is not installed; " + how_to_install(job["runtime"]))
    importlib.import_module("numpy")  # now, so that it is not part of the runtime's import time
    settings = {key: job[key] for key in ("threads", "xnnpack", "precision_hint")}
    return load_runtime(job["runtime"], job["path"], settings)


def make_input(job: Record, spec: Record | None, runtime: Any) -> tuple[Any, bytes | None]:
    """The input tensor, and the bytes of the photo that it was made from, if it was."""
    if not job["image"]:
        return noise(spec, runtime), None
    if spec is None:
        raise BenchmarkError(f"--image: the model's input {runtime.shape} is not a picture")
    photo = Path(job["image"]).read_bytes()
    return to_tensor(resize_and_crop(decode(photo), spec), spec, runtime), photo


def time_samples(job: Record, runtime: Any, first_ms: float | None, progress: Progress) -> tuple[Record, Record]:
    """Warm up and time: what goes into the record, and what the device was doing meanwhile."""
    gc.collect()
    gc.disable()
    try:
        if first_ms is None:
            first_ms = sample_ms(runtime.run)
        progress("warming up")
        warmup = warm_up(runtime.run, job["window_s"], job["warmup_limit_s"])
        progress("timing")
        during: list[Record] = []
        other = OtherWork()
        samples, duration_s = collect(
            runtime.run, job["min_samples"], job["min_seconds"], lambda seconds: during.append(glance(seconds))
        )
        other_cores, after = other.cores(), snapshot()
        overhead_us = measure_overhead()
        sustained = sustain(runtime.run, job["sustained_min"], progress) if job["sustained_min"] else None
    finally:
        gc.enable()
    timed = {
        "first_ms": round(first_ms, 4),
        "warmup": warmup,
        "duration_s": round(duration_s, 3),
        "latency_ms": summarise(samples),
        "samples_ms": [round(value, 6) for value in samples],
        "overhead_us": round(overhead_us, 3),
        "split_ms": None,
        "sustained": sustained,
    }
    return timed, {"during": during, "after": after, "other_cores": other_cores}


def describe_run(job: Record, runtime: Any, **further: float) -> Record:
    """What every record says: the model's own precision, the settings of the run, the runtime and its delegate."""
    return {
        "precision": runtime.description.get("precision"),
        "settings": {
            "threads": job["threads"],
            "xnnpack": job["xnnpack"],
            "precision_hint": job["precision_hint"],
            "cpus": None if job["cpus"] is None else sorted(os.sched_getaffinity(0)),
        },
        "runtime": dict(name=runtime.name, version=runtime.version, **further, **runtime.details),
        "delegate": runtime.delegate,
    }


def sustain(run: Run, minutes: float, progress: Progress) -> Record:
    """Go on for `minutes` and say how fast each stretch was: what minute 30 is, and not only minute 1.

    A stretch is a sixtieth of the time, at least 5 s. Its samples are summarised and not kept.
    """
    stretch_s = max(5.0, minutes)
    curve, started = [], time.perf_counter()
    while time.perf_counter() - started < 60 * minutes:
        samples, _ = collect(run, 1, min(stretch_s, max(0.0, 60 * minutes - (time.perf_counter() - started))))
        now = glance(time.perf_counter() - started)
        summary = summarise(samples)
        curve.append(dict(now, samples=len(samples), p50_ms=summary["p50"], p90_ms=summary["p90"]))
        progress(f"sustained: {now['t_s'] / 60:.1f} of {minutes:g} min, p50 {summary['p50']:.2f} ms")
    tenth = max(1, len(curve) // 10)
    first, last = (statistics.median(point["p50_ms"] for point in part) for part in (curve[:tenth], curve[-tenth:]))
    return {
        "minutes": minutes,
        "stretch_s": stretch_s,
        "last_to_first": round(last / first, 4) if first else None,
        "after": snapshot(),
        "curve": curve,
    }


def measure_split(photo: bytes, spec: Record, runtime: Any, repeats: int) -> Record:
    """Decode, preprocess and infer a photo again and again: milliseconds of each part."""
    parts: dict[str, list[float]] = {"decode": [], "preprocess": [], "inference": []}
    for _ in range(repeats):
        held: Record = {}
        parts["decode"].append(sample_ms(lambda: held.update(image=decode(photo))))  # noqa: B023
        parts["preprocess"].append(
            sample_ms(lambda: held.update(tensor=to_tensor(resize_and_crop(held["image"], spec), spec, runtime)))  # noqa: B023
        )
        runtime.set_input(held["tensor"])
        parts["inference"].append(sample_ms(runtime.run))
    return {name: summarise(samples) for name, samples in parts.items()}


def describe_output(runtime: Any, npy: Path | None) -> Record | None:
    """Shape and the five largest values of the first output; written whole to `npy` where that is asked for."""
    output = runtime.output()
    if output is None:
        return None
    if npy:
        import numpy as np

        with atomic(npy) as partial, open(partial, "wb") as file:
            np.save(file, output)
    flat = output.reshape(-1)
    finite = bool(abs(flat).max() < float("inf"))
    order = flat.argsort()[::-1][:5] if finite else ()
    return {
        "shape": list(output.shape),
        "finite": finite,
        "top5": [{"index": int(index), "value": round(float(flat[index]), 6)} for index in order],
    }


def child(job: Record, pipe: Any) -> None:
    """The process of one run: sends ("progress", text), then ("record", dict) or ("error", text)."""
    for number in interruptions():  # Ctrl-C reaches the whole group; the parent ends this process
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    try:
        record = measure(job, lambda text: pipe.send(("progress", text)))
        pipe.send(("record", record))
    except BenchmarkError as exc:
        pipe.send(("error", str(exc)))
    except MemoryError:
        pipe.send(("error", f"the device has not enough memory for {job['path']}"))
    except Exception as exc:  # what a vendor's runtime raises while it infers is an open set
        what = f"{type(exc).__name__}: {one_line(exc)}"
        pipe.send(("error", f"{job['path']}: {job['runtime']} failed: {what}"))
    finally:
        pipe.close()


def run_job(job: Record, progress: Progress) -> Record:
    """Run one job in a fresh process, so that a model that crashes its runtime is one line, and memory is its own."""
    forks = "fork" in multiprocessing.get_all_start_methods() and sys.platform != "darwin"
    context: Any = multiprocessing.get_context("fork" if forks else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=child, args=(job, sender))
    process.start()
    sender.close()
    try:
        while True:
            kind, value = receiver.recv()
            if kind == "progress":
                progress(value)
            elif kind == "error":
                raise BenchmarkError(value)
            else:
                return dict(value)
    except EOFError:
        process.join()
        raise BenchmarkError(crash_message(job, process.exitcode)) from None
    except KeyboardInterrupt:
        process.kill()
        raise
    finally:
        receiver.close()
        process.join(0.5)
        if process.is_alive():
            process.kill()
        process.join()


def interruptions() -> list[int]:
    """The signals that end a run; nohup has SIGHUP ignored, and Windows has none."""
    hangup = getattr(signal, "SIGHUP", None)
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if hangup is not None and signal.getsignal(hangup) != signal.SIG_IGN:
        numbers.append(hangup)
    return numbers


def take_signals() -> None:
    """From now on the first signal is a KeyboardInterrupt with its number, and later ones are nothing."""
    for number in interruptions():
        signal.signal(number, interrupt)


def interrupt(number: int, frame: object) -> None:
    """The first signal ends what is running. A second one must not skip that end: the process of a run would live on
    and hold the device."""
    for each in interruptions():
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(number)


def crash_message(job: Record, exitcode: int | None) -> str:
    """One line for a process that died without a word."""
    name = job["runtime"]
    where = f"{job['path']}: {name}" + (f" {version_of(RUNTIMES[name][0])}" if name in RUNTIMES else "")
    if exitcode == -getattr(signal, "SIGILL", 4):
        return f"{where} uses instructions that this processor does not have; install another version of it"
    if exitcode == -getattr(signal, "SIGKILL", 9):
        return f"{where} was killed; the device may be short of memory"
    if exitcode is not None and exitcode < 0:
        return f"{where} crashed (signal {-exitcode}); {what_to_do(job['path'], name)}"
    return f"{where} failed without a message (exit code {exitcode})"


# ---------------------------------------------------------------------------------------------------------------------
# Plan the runs that the command line asks for, carry them out and print the result.
# ---------------------------------------------------------------------------------------------------------------------

EPILOG = """\
Fixing the frequency (what a comparison needs; what applications meet is the default governor):
  Raspberry Pi, PC: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
  Android:          adb shell cmd power set-fixed-performance-mode-enabled true

Exit codes: 0 every run gave a record (valid or not: the record says), 1 one did not (or a wrong argument), 2 one gave
wrong answers (--golden), 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""


def describe_artifact(path: str, form: str) -> Record:
    """The model file: OpenVINO's weights in the .bin beside the .xml are part of it."""
    files = [Path(path), Path(path).with_suffix(".bin")] if form == "openvino" else [Path(path)]
    hashed = [{"file": file.name, "sha256": sha256_of(file)} for file in files]
    return {
        "file": files[0].name,
        "format": form,
        "size_bytes": sum(file.stat().st_size for file in files),
        "sha256": hashed[0]["sha256"],
        "files": hashed,
    }


def numbers(text: str) -> list[int]:
    """``"1,2,4"`` or ``"0-3"`` as a sorted list without repetitions."""
    try:
        found: set[int] = set()
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        found = set()
    if not found or min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2,4 or 0-3")
    return sorted(found)


def thread_counts(text: str) -> list[int]:
    """As `numbers`, each at least 1."""
    if 0 in (found := numbers(text)):
        raise argparse.ArgumentTypeError("a run needs at least one thread")
    return found


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def cpu_list(text: str) -> list[int]:
    """The CPUs to run on: numbers, or "big" for those with the highest frequency."""
    if text != "big":
        return numbers(text)
    limits = per_cpu("cpuinfo_max_freq", 1000)
    if limits is None:
        raise argparse.ArgumentTypeError("'big': this system does not tell its CPUs' frequencies; give their numbers")
    return [index for index, limit in enumerate(limits) if limit == max(f for f in limits if f)]


class CommandLine(argparse.ArgumentParser):
    """A mistake in the command line ends with 1 and not with argparse's 2, which says here that answers are wrong."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line."""
        self.print_usage(sys.stderr)
        self.exit(1, f"edge_benchmark: error: {message}\n")


def arguments() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = CommandLine(
        description="Measure how long one picture takes on this device.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=".tflite, OpenVINO .xml (its .bin beside it) or .onnx")
    add("--threads", type=thread_counts, default=[1], metavar="N,N", help="one run each (default: 1)")
    add("--runtime", choices=["auto", "null", *RUNTIMES], default="auto", help="default: the one installed")
    add("--xnnpack", choices=["on", "off", "both"], default="on", help="the fast path of LiteRT (default: on)")
    add(
        "--precision-hint",
        choices=["f32", "f16", "bf16", "default"],
        help="for OpenVINO: f32, in which accuracies are evaluated, unless asked otherwise; its own default is f16 or "
        "bf16 where the CPU has it",
    )
    add("--cpus", type=cpu_list, metavar="0-3|big", help="run on these CPUs only; big: the fastest ones")
    add("--image", metavar="PHOTO", help="measure decoding and preprocessing of this photo too")
    add("--golden", metavar="F", help="check the answers first, against NAME.golden.npz of the model's export")
    add("--verify-only", action="store_true", help="check the answers and do not time")
    add("--min-snr-db", type=float, metavar="DB", help="what the answers must keep to (default: what the model says)")
    add("--min-top1-agreement", type=float, metavar="0..1", help="likewise, the share of pictures with the same answer")
    add("--quick", action="store_true", help="a first look in seconds; the record is marked not valid")
    add("--sustained", type=positive, metavar="MIN", help="go on for so many minutes and record the curve")
    for name, kind, metavar in (("min_samples", int, "N"), ("min_seconds", float, "S"), ("warmup_limit_s", float, "S")):
        said = f"default: {FULL[name]:g} (--quick: {QUICK[name]:g})"
        add("--" + name.removesuffix("_s").replace("_", "-"), dest=name, type=kind, metavar=metavar, help=said)
    add("--output", default="latency", metavar="DIR", help="folder of the records (default: latency)")
    add("--save-output", action="store_true", help="write the model's output beside each record, as .npy")
    add("--resume", action="store_true", help="leave out runs whose record is already there")
    add("--version", action="version", version=VERSION)
    return parser


def plan(args: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Every run that is asked for, as plain dicts."""
    given = {name: value for name, value in vars(args).items() if name in FULL and value is not None}
    asked = given.keys() & {"min_samples", "min_seconds"}
    common: Record = {
        **{name: getattr(args, name) for name in ("cpus", "image", "golden", "min_snr_db", "min_top1_agreement")},
        **(QUICK if args.quick else FULL),
        **given,
        "sustained_min": args.sustained,
        "mode": "verify" if args.verify_only else "quick" if args.quick else "custom" if asked else "full",
    }
    jobs, errors = [], []
    if args.runtime == "null":
        # A second of it is a million samples.
        common.update(min_samples=args.min_samples or OVERHEAD_SAMPLES, min_seconds=0.0, window_s=0.01)
        common.update(image=None, golden=None, precision_hint=None)
        jobs.append(dict(common, path=None, runtime="null", threads=1, xnnpack=None, name="null"))
    for path in args.models if args.runtime != "null" else ():
        try:
            form = model_format(path)
            runtime = choose_runtime(form, args.runtime)
        except BenchmarkError as exc:
            errors.append(str(exc))
            continue
        artifact = describe_artifact(path, form)
        litert = RUNTIMES[runtime][1] is LiteRT
        fast = {"on": [True], "off": [False], "both": [True, False]}[args.xnnpack] if litert else [None]
        for threads, xnnpack in itertools.product(args.threads, fast):
            name = f"{Path(path).stem}-{runtime}-{threads}t"
            name += "-noxnnpack" if xnnpack is False else ""
            name += "-" + args.precision_hint if args.precision_hint and runtime == "openvino" else ""
            name += "-cpu" + "_".join(map(str, args.cpus)) if args.cpus else ""
            name += "-verify" if args.verify_only else ""
            job = dict(common, path=path, runtime=runtime, threads=threads, xnnpack=xnnpack, artifact=artifact)
            job["precision_hint"] = (args.precision_hint or "f32") if runtime == "openvino" else None
            same = [other for other in jobs if other["name"] == name]
            if same and same[0]["artifact"]["files"] == artifact["files"]:
                continue
            jobs.append(dict(job, name=f"{name}-{artifact['sha256'][:8]}" if same else name))
    return jobs, errors


def already_done(path: Path, job: Record) -> Record | None:
    """The record at `path` if it is of the same model, settings and demands, else None."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        same = (
            record["schema_version"] == SCHEMA_VERSION
            and record["kind"] == "latency_record"
            and (not job["golden"] or record["verification"]["golden"]["sha256"] == sha256_of(job["golden"]))
            and record["mode"] == job["mode"]
            and all(record["settings"][key] == job[key] for key in ("threads", "xnnpack", "precision_hint", "cpus"))
            and (record["artifact"] or {}).get("files") == (job.get("artifact") or {}).get("files")
            and len(record["samples_ms"]) >= job["min_samples"]
            and record["duration_s"] >= job["min_seconds"]
            and ((record["sustained"] or {}).get("minutes") == job["sustained_min"])
            and record["input"]["source"] == (Path(job["image"]).name if job["image"] else "noise")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same else None


def complete(record: Record, job: Record, device: Record) -> Record:
    """The record with what the parent process knows, and the verdict; keys in the order of reading."""
    precision = record.pop("precision")
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "verification_record" if job["mode"] == "verify" else "latency_record",
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "benchmark": {"program": Path(__file__).name, "version": VERSION, "sha256": sha256_of(__file__)},
        "name": job["name"],
        "mode": job["mode"],
        "artifact": dict(job["artifact"], precision=precision) if job["path"] else None,
        "device": device,
    }
    whole = dict(head, **record)
    if job["mode"] == "verify":
        return whole
    reasons, warnings = judge(whole)
    whole.update(valid=not reasons, invalid_reasons=reasons, warnings=warnings)
    return whole


def latency_table(records: list[Record]) -> str:
    """The result for people: one row a run."""
    times = ("p50 ms", "p90 ms", "p99 ms", "Load ms", "First ms")
    rows = [("Artifact", "Runtime", "Threads", *times, "RSS MiB", "Answers", "Valid")]
    for record in records:
        latency, settings = record["latency_ms"], record["settings"]
        numbers = [latency["p50"], latency["p90"], latency["p99"], record["load_ms"], record["first_ms"]]
        rows.append((
            record["artifact"]["file"] if record["artifact"] else "-",
            record["runtime"]["name"] + (" (no XNNPACK)" if settings["xnnpack"] is False else ""),
            str(settings["threads"]),
            *(f"{number:.3f}" for number in numbers),
            "-" if record["memory"]["rss_peak_mib"] is None else f"{record['memory']['rss_peak_mib']:.0f}",
            answers(record["verification"]),
            "yes" if record["valid"] else "no: " + ", ".join(reason["code"] for reason in record["invalid_reasons"]),
        ))  # fmt: skip
    return aligned(rows)


def verification_table(records: list[Record]) -> str:
    """The result of --verify-only for people: one row a run."""
    rows = [("Artifact", "Runtime", "Threads", "SNR dB", "Top-1", "Pictures", "Repeats", "Answers")]
    for record in records:
        found, repeats = record["verification"], record["verification"]["repeats"]
        rows.append((
            record["artifact"]["file"],
            f"{record['runtime']['name']} {record['runtime']['version']}",
            str(record["settings"]["threads"]),
            "identical" if found["snr_db"] is None and found["finite"] else f"{found['snr_db'] or 0:.1f}",
            f"{found['top1_agreement']:.0%}",
            str(found["golden"]["images"]),
            f"{repeats['inferences']} " + ("identical" if repeats["identical"] else "NOT identical"),
            "right" if found["correct"] else "WRONG",
        ))  # fmt: skip
    return aligned(rows)


def answers(verification: Record | None) -> str:
    """One cell: whether the answers were right."""
    return "not checked" if verification is None else "right" if verification["correct"] else "WRONG"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned columns, a rule under the first."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def benchmark(args: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Run everything that is asked for: (records, errors)."""
    jobs, errors = plan(args)
    if args.image and not Path(args.image).is_file():
        raise BenchmarkError(f"--image: {args.image} does not exist")
    if args.golden:
        check_golden_file(args.golden)
    if args.cpus and not hasattr(os, "sched_setaffinity"):
        raise BenchmarkError("--cpus: this system cannot bind a program to CPUs; leave it out")
    unknown = set(args.cpus or ()) - set(range(os.cpu_count() or 1))
    if unknown:
        raise BenchmarkError(f"--cpus: this device has no CPU {min(unknown)}; it has {os.cpu_count()}")
    try:
        Path(args.output).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BenchmarkError(f"cannot make the folder {args.output}: {exc.strerror}") from exc
    records, device = [], describe_device()
    with device_lock():
        for number, job in enumerate(jobs, start=1):
            path = Path(args.output) / f"{job['name']}.json"
            label = f"[{number}/{len(jobs)}] {job['name']}"
            record = already_done(path, job) if args.resume else None
            if record is not None:
                say(f"{label}: already measured")
                records.append(record)
                continue
            job["output_npy"] = path.with_suffix(".npy") if args.save_output else None
            try:
                record = complete(run_job(job, lambda text: say(f"{label}: {text}")), job, device)  # noqa: B023
                with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
                    json.dump(record, file, separators=(",", ":"))
            except BenchmarkError as exc:
                errors.append(str(exc))
                say(f"{label}: failed")
                continue
            if args.verify_only:
                say(f"{label}: answers {answers(record['verification'])}")
            else:
                say(f"{label}: p50 {record['latency_ms']['p50']:.3f} ms, {'valid' if record['valid'] else 'not valid'}")
            records.append(record)
    return records, errors


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run. Returns: the exit code."""
    parser = arguments()
    args = parser.parse_args(argv)
    if not args.models and args.runtime != "null":
        parser.error("name at least one MODEL (or --runtime null)")
    if args.verify_only and (not args.golden or args.runtime == "null"):
        parser.error("--verify-only needs --golden F and a runtime")
    take_signals()
    try:
        records, errors = benchmark(args)
    except BenchmarkError as exc:
        say(f"edge_benchmark: error: {exc}")
        return 1
    except KeyboardInterrupt as exc:
        say("edge_benchmark: interrupted; finished records are kept, --resume leaves them out")
        return 128 + int(exc.args[0])
    if records:
        print(verification_table(records) if args.verify_only else latency_table(records))
    for record in records:
        for item in record.get("invalid_reasons", []) + record.get("warnings", []):
            print(f"  {record['name']}: {item['text']}")
    for error in dict.fromkeys(errors):
        say(f"edge_benchmark: error: {error}")
    wrong = [record for record in records if record["verification"] and not record["verification"]["correct"]]
    for record in wrong:
        where = f"{record['artifact']['file']} in {record['runtime']['name']} {record['runtime']['version']}"
        say(f"edge_benchmark: wrong answers: {where}: {record['verification']['reason']}")
    return 1 if errors else 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
