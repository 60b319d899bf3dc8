"""Time a function: warm up until it is steady, take samples, summarise them, and judge whether the number is valid."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

from ghostedge.latency.edge import VERSION, Record, Run

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
