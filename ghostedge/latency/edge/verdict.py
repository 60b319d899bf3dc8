"""Judge whether a latency is valid, and why it is not."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

from ghostedge.latency.edge.common import Record
from ghostedge.latency.edge.timing import FULL_SAMPLES, FULL_SECONDS

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
    elif len(samples) < FULL_SAMPLES or seconds < FULL_SECONDS:
        yield "too_short", f"{len(samples)} samples in {seconds:.0f} s, not {FULL_SAMPLES} and {FULL_SECONDS:.0f} s"
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
    ran, limit = (
        highest_frequencies(record),
        max(filter(None, record["device"]["max_frequency_mhz"] or ()), default=0.0),
    )
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
