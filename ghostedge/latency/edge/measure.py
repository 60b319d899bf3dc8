"""Carry out one run in a process of its own: load, verify, warm up, time."""

from __future__ import annotations

import gc
import importlib
import importlib.util
import multiprocessing
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ghostedge.latency.edge import BenchmarkError, Record, Run, atomic, one_line
from ghostedge.latency.edge.picture import decode, input_spec, noise, resize_and_crop, to_tensor
from ghostedge.latency.edge.runtimes import RUNTIMES, how_to_install, load_runtime, version_of, what_to_do
from ghostedge.latency.edge.system import OtherWork, glance, memory_mib, snapshot
from ghostedge.latency.edge.timing import NullRuntime, collect, measure_overhead, sample_ms, summarise, warm_up
from ghostedge.latency.edge.verification import Verification, bounds_of, read_golden

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
