"""Time a function: warm up until it is steady, take samples, summarise them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any, ClassVar

from ghostedge.latency.edge.common import VERSION, Record, Run

FULL_SAMPLES, FULL_SECONDS = 1024, 60.0
QUICK_SAMPLES, QUICK_SECONDS = 50, 1.0
STEADY_WINDOWS, STEADY_SPREAD, STEADY_MIN_SAMPLES = 3, 0.03, 8
FULL_WINDOW_S, FULL_WARMUP_LIMIT_S = 0.5, 30.0
QUICK_WINDOW_S, QUICK_WARMUP_LIMIT_S = 0.1, 3.0
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
    """Time `run` until it is steady (see the top of this file) or `limit_s` seconds have passed."""
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
    shape, dtype, quantization = (1, 224, 224, 3), "float32", None

    def set_input(self, tensor: Any) -> None:
        """Take the input tensor: not needed."""

    def run(self) -> Any:
        """Nothing."""

    def output(self) -> Any:
        """No output."""
        return None
