"""Write latency records as one self-contained HTML page: devices, artifacts, threads, and what spoils a number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from ghostedge.accuracy.statistics import Proportion
from ghostedge.files import atomic_write
from ghostedge.reports.format import ModelKey, answers_text, answers_wrong, arithmetic_of, model_key, named
from ghostedge.reports.latency_plots import Curve, LatencyRow, curve_plot, latency_plot
from ghostedge.reports.page import Markup, check_report_path, element, figure, join, page, table
from ghostedge.reports.plots import responsive
from ghostedge.reports.tradeoff_plot import TradeOff, front, tradeoff_plot

__all__ = ["device_section", "latency_html", "write_latency_report"]

Record = Mapping[str, Any]

_HEADER = (
    "Artifact",
    "Runtime",
    "Threads",
    "p50 (ms)",
    "p90 (ms)",
    "p99 (ms)",
    "Load (ms)",
    "First (ms)",
    "Peak (MiB)",
    "Answers",
    "Valid",
)
_NUMERIC = range(2, 9)


def write_latency_report(
    records: Sequence[tuple[str, Record]], path: Path, accuracies: Mapping[ModelKey, Proportion] | None = None
) -> Path:
    """Write the page, whole or not at all.

    Args:
        records: the device as it was named, and a latency record of it.
        path: the HTML file.
        accuracies: top-1 accuracies, see `ghostedge.reports.accuracy.read_accuracies`.

    Raises:
        UsageError: `path` does not end in ``.html``.
        OutputError: it cannot be written.
    """
    atomic_write(check_report_path(path), latency_html(records, accuracies or {}))
    return path


def latency_html(records: Sequence[tuple[str, Record]], accuracies: Mapping[ModelKey, Proportion] | None = None) -> str:
    """The whole page; devices in the order of their first record, records in theirs."""
    devices = list(dict.fromkeys(device for device, _ in records))
    valid = sum(bool(record["valid"]) for _, record in records)
    runs = "1 run" if len(records) == 1 else f"{len(records)} runs"
    places = "1 device" if len(devices) == 1 else f"{len(devices)} devices"
    lead = f"{runs} on {places}, one picture at a time; {valid} valid."
    if wrong := sum(answers_wrong(record) for _, record in records):
        lead += (
            f" {wrong} of them gave wrong answers to golden pictures: such a latency is of no use, and never a best."
        )
    if valid < len(records):
        lead += " A number that is not valid is shown with its reasons and is not one to quote."
    top = join(
        [
            element("p", "ghostedge latency report", class_="eyebrow"),
            element("h1", "How long one picture takes"),
            element("p", lead, class_="lead"),
        ]
    )
    sections = [
        device_section(name, [record for device, record in records if device == name], accuracies or {})
        for name in devices
    ]
    return page("Latency report", join([top, *sections]))


def device_section(
    name: str, records: Sequence[Record], accuracies: Mapping[ModelKey, Proportion] = MappingProxyType({})
) -> Markup:
    """Everything about one device, under the heading `name`: its facts, every run, the plots, what spoils a number."""
    short = _short_names([record["artifact"]["file"] for record in records if record["artifact"]])
    rows = [
        LatencyRow(_label(record, short), latency["p50"], latency["p90"], latency["p99"], record["valid"])
        for record in records
        for latency in [record["latency_ms"]]
    ]
    drawing = responsive(partial(latency_plot, rows))
    legend = "Dot: median. Thick bar: to the 90th percentile, thin: to the 99th. Hollow: not valid."
    return element(
        "section",
        element("h2", name),
        _facts(records[0]),
        table(_HEADER, [_row(record) for record in records], caption="Every run", numeric=_NUMERIC),
        figure(drawing, legend),
        *_trade_off(records, accuracies),
        *(_notes(record) for record in records),
        *(_split(record) for record in records if record["split_ms"]),
        *_sustained(records),
    )


def _trade_off(records: Sequence[Record], accuracies: Mapping[ModelKey, Proportion]) -> list[Markup]:
    """Accuracy against latency of the models whose accuracy is known: each with its fastest setting.

    A setting with wrong answers is none of them: the accuracy is not its own.
    """
    if not accuracies:
        return []
    fastest: dict[ModelKey, Record] = {}
    wrong = sorted({_label(record) for record in records if answers_wrong(record)})
    of_models = [(model_key(r["artifact"], r["runtime"]), r) for r in records if r["artifact"] and not answers_wrong(r)]
    for key, record in of_models:
        best = fastest.get(key)
        if key in accuracies and (best is None or _rank(record) < _rank(best)):
            fastest[key] = record
    heading = element("h3", "Accuracy against latency")
    unknown = sorted({_name(record) for key, record in of_models if key not in accuracies})
    left_out = [element("p", f"No accuracy was given of: {', '.join(unknown)}.", class_="note")] if unknown else []
    if wrong:
        left_out.append(element("p", f"Left out for wrong answers: {', '.join(wrong)}.", class_="note"))
    if not fastest:
        return [heading, *left_out]
    short = _short_names([record["artifact"]["file"] for record in records if record["artifact"]])
    points = [
        TradeOff(number, _label(r, short), r["latency_ms"]["p50"], a.percent, a.low_percent, a.high_percent, r["valid"])
        for number, (key, r) in enumerate(sorted(fastest.items(), key=lambda item: item[1]["latency_ms"]["p50"]), 1)
        for a in [accuracies[key]]
    ]
    unbeaten = front(points)
    rows = [
        [
            f"{point.number}. {point.label}",
            f"{point.latency_ms:.2f}",
            f"{point.score:.2f}",
            f"{point.low:.2f}–{point.high:.2f}",
            "yes" if point in unbeaten else "no: another one is as fast and more accurate, or as accurate and faster",
        ]
        for point in points
    ]
    images = next(iter(accuracies.values())).images
    head = ("Model, at its fastest setting", "p50 (ms)", "Top-1 (%)", "95% interval", "On the front")
    return [
        heading,
        figure(
            responsive(partial(tradeoff_plot, points, "top-1 accuracy, % (the axis does not begin at 0)")),
            f"Up is more accurate ({images:,} images; bars: 95% intervals), left is faster. Dashed: the best that can "
            "be had at each latency. Hollow: the latency is not valid.",
        ),
        table(head, rows, caption="Accuracy and latency", numeric=(1, 2, 3)),
        *left_out,
    ]


def _rank(record: Record) -> tuple[bool, float]:
    """Valid numbers before others, then by the median."""
    return not record["valid"], record["latency_ms"]["p50"]


def _facts(record: Record) -> Markup:
    device, before, after = record["device"], record["context"]["before"], record["context"]["after"]
    governors = ", ".join(sorted({each for each in before["governor"] or () if each}))
    temperature = (before["temperature_c"], after["temperature_c"])
    facts = [
        ("Model", device["model"]),
        ("Processor", " · ".join(filter(None, (device["soc"], device["cpu"], device["architecture"])))),
        ("Cores", str(device["cores"])),
        ("System", f"{device['system']}, kernel {device['kernel']}"),
        ("Governor", governors),
        (
            "Temperature",
            None if None in temperature else f"{temperature[0]:.0f} °C before, {temperature[1]:.0f} °C after",
        ),
        ("Measured", record["created_utc"]),
    ]
    return element("dl", *(part for term, text in facts if text for part in (element("dt", term), element("dd", text))))


def _short_names(files: Sequence[str]) -> dict[str, str]:
    """File name -> what tells it apart from the others: a plot has no room for what all of them share."""
    names = sorted(set(files))
    if len(names) < 2:
        return {}
    parts = [re.split(r"(?<=[_-])", PurePosixPath(name).stem) for name in names]
    same = takewhile(lambda column: len(set(column)) == 1, zip(*(each[:-1] for each in parts), strict=False))
    cut = sum(len(column[0]) for column in same)
    suffixes = {PurePosixPath(name).suffix for name in names}
    return {name: (PurePosixPath(name).stem if len(suffixes) == 1 else name)[cut:] for name in names}


def _name(record: Record, short: Mapping[str, str] | None = None) -> str:
    artifact = record["artifact"]
    if not artifact:
        return "null"
    name = (short or {}).get(artifact["file"], artifact["file"])
    return named(name, arithmetic_of(record["runtime"]))


def _label(record: Record, short: Mapping[str, str] | None = None) -> str:
    settings = record["settings"]
    name = _name(record, short)
    threads = "1 thread" if settings["threads"] == 1 else f"{settings['threads']} threads"
    return f"{name}, {threads}" + (", no XNNPACK" if settings["xnnpack"] is False else "")


def _row(record: Record) -> list[str]:
    latency, peak = record["latency_ms"], record["memory"]["rss_peak_mib"]
    numbers = (latency["p50"], latency["p90"], latency["p99"], record["load_ms"], record["first_ms"])
    reasons = ", ".join(reason["code"].replace("_", " ") for reason in record["invalid_reasons"])
    return [
        _name(record),
        f"{record['runtime']['name']} {record['runtime']['version']}"
        + (" (no XNNPACK)" if record["settings"]["xnnpack"] is False else ""),
        str(record["settings"]["threads"]),
        *(f"{number:.2f}" for number in numbers),
        "–" if peak is None else f"{peak:.0f}",
        answers_text(record["verification"]),
        element("span", "valid", class_="verdict pass") if record["valid"] else f"no: {reasons}",
    ]


def _notes(record: Record) -> Markup:
    texts = [item["text"] for item in (*record["invalid_reasons"], *record["warnings"])]
    return join([element("p", f"{_label(record)}: {text}.", class_="note") for text in texts])


def _split(record: Record) -> Markup:
    parts = record["split_ms"]
    rows = [[name, *(f"{parts[name][key]:.2f}" for key in ("p50", "p90"))] for name in parts]
    caption = f"{_label(record)}: from the file {record['input']['source']} to the logits"
    return table(("Step", "p50 (ms)", "p90 (ms)"), rows, caption=caption, numeric=(1, 2))


def _sustained(records: Sequence[Record]) -> list[Markup]:
    curves = [
        Curve(_label(record), tuple((point["t_s"] / 60, point["p50_ms"]) for point in record["sustained"]["curve"]))
        for record in records
        if record["sustained"]
    ]
    if not curves:
        return []
    ratios = "; ".join(
        f"{_label(record)}: the last tenth takes {record['sustained']['last_to_first']:.2f} of the first's time"
        for record in records
        if record["sustained"]
    )
    return [
        element("h3", "Under lasting load"),
        *(figure(responsive(partial(curve_plot, curve)), curve.label) for curve in curves),
        element("p", f"{ratios}."),
    ]
