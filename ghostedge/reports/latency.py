"""Show latency records on one self-contained HTML page: devices, artifacts, threads, and what spoils a number."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

from ghostedge.accuracy.statistics import Proportion
from ghostedge.errors import UsageError
from ghostedge.reports import render
from ghostedge.reports.format import (
    ModelKey,
    Stacked,
    answers_text,
    answers_wrong,
    arithmetic_of,
    backend_of,
    model_key,
    named,
    plural,
)
from ghostedge.reports.plots import TradeOff, curve_plot, front, latency_plot, tradeoff_plot
from ghostedge.reports.svg import Markup, responsive
from ghostedge.stored import as_type, parse_json

Record = Mapping[str, Any]

Accuracies = Mapping[ModelKey, Proportion]

_NONE: Accuracies = MappingProxyType({})


def latency_html(records: Sequence[tuple[str, Record]], accuracies: Accuracies | None = None) -> str:
    """The whole page; devices in the order of their first record, records in theirs.

    Args:
        records: the device as it was named, and a latency record of it.
        accuracies: top-1 accuracies, see `read_accuracies`.
    """
    return render(
        "latency.html",
        runs=plural(len(records), "run"),
        places=plural(len({device for device, _ in records}), "device"),
        fastest=_fastest(records, accuracies or {}),
        devices=device_parts(records, accuracies=accuracies or {}),
        valid=sum(bool(record["valid"]) for _, record in records),
        invalid=sum(not record["valid"] for _, record in records),
        wrong=sum(answers_wrong(record) for _, record in records),
    )


def _fastest(records: Sequence[tuple[str, Record]], accuracies: Accuracies) -> list[tuple[str, ...]]:
    """A row of texts a device: the run to take there, with its accuracy where that is known."""
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(device for device, _ in records):
        runs = [r for device, r in records if device == name and r["artifact"] and not answers_wrong(r)]
        if not runs:
            rows.append((name, "none with right answers", *["–"] * 5))
            continue
        best = min(runs, key=rank)
        artifact, runtime, latency = best["artifact"], best["runtime"], f"{best['latency_ms']['p50']:.2f}"
        known = accuracies.get(model_key(artifact, runtime))
        rows.append(
            (
                name,
                _name(best),
                f"{runtime['name']} {runtime['version']}",
                str(best["settings"]["threads"]),
                latency if best["valid"] else Stacked(latency, "not valid"),
                f"{artifact['size_bytes'] / 1e6:.1f}" if "size_bytes" in artifact else "–",
                "–" if known is None else f"{known.percent:.2f}%",
            )
        )
    return rows


def device_parts(
    records: Sequence[tuple[str, Record]], heading: str = "", accuracies: Accuracies = _NONE
) -> list[dict[str, Any]]:
    """What the template shows of each device: its facts, every run, the plots, and what spoils a number.

    Args:
        records: the device as it was named, and a latency record of it.
        heading: what stands before the device's name.
        accuracies: top-1 accuracies.
    """
    names = dict.fromkeys(device for device, _ in records)
    return [
        _device(f"{heading}{name}", [record for device, record in records if device == name], accuracies)
        for name in names
    ]


def _device(name: str, records: Sequence[Record], accuracies: Accuracies) -> dict[str, Any]:
    short = _short_names([record["artifact"]["file"] for record in records if record["artifact"]])
    runs = [(_label(record, short), record["latency_ms"], record["valid"]) for record in records]
    return {
        "name": name,
        "records": records,
        "label": _label,
        "rows": [run_row(record) for record in records],
        "plot": responsive(partial(latency_plot, runs)),
        "trade_off": _trade_off(records, accuracies, short) if accuracies else None,
        "notes": [
            f"{_label(record)}: {item['text']}."
            for record in records
            for item in (*record["invalid_reasons"], *record["warnings"])
        ],
        "curve": _curve,
    }


def _trade_off(records: Sequence[Record], accuracies: Accuracies, short: Mapping[str, str]) -> dict[str, Any]:
    """Accuracy against latency of the models whose accuracy is known: each with its fastest setting.

    A setting with wrong answers is none of them: the accuracy is not its own.
    """
    fastest: dict[ModelKey, Record] = {}
    of_models = [(model_key(r["artifact"], r["runtime"]), r) for r in records if r["artifact"] and not answers_wrong(r)]
    for key, record in of_models:
        best = fastest.get(key)
        if key in accuracies and (best is None or rank(record) < rank(best)):
            fastest[key] = record
    points = [
        TradeOff(number, _label(r, short), r["latency_ms"]["p50"], a.percent, a.low_percent, a.high_percent, r["valid"])
        for number, (key, r) in enumerate(sorted(fastest.items(), key=lambda item: item[1]["latency_ms"]["p50"]), 1)
        for a in [accuracies[key]]
    ]
    draw = partial(tradeoff_plot, points, "top-1 accuracy, % (the axis does not begin at 0)")
    return {
        "images": next(iter(accuracies.values())).images,
        "plot": responsive(draw) if points else None,
        "points": points,
        "front": front(points),
        "unknown": sorted({_name(record) for key, record in of_models if key not in accuracies}),
        "wrong": sorted({_label(record) for record in records if answers_wrong(record)}),
    }


def rank(record: Record) -> tuple[bool, float]:
    """What to sort records by: valid numbers before others, then by the median."""
    return not record["valid"], record["latency_ms"]["p50"]


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


def _name(record: Record, short: Mapping[str, str] = MappingProxyType({})) -> str:
    if not record["artifact"]:
        return "null"
    file = record["artifact"]["file"]
    return named(short.get(file, file), arithmetic_of(record["runtime"]))


def _label(record: Record, short: Mapping[str, str] = MappingProxyType({})) -> str:
    settings = record["settings"]
    label = f"{_name(record, short)}, {plural(settings['threads'], 'thread')}"
    return ", ".join(filter(None, (label, backend_of(record))))


def run_row(record: Record) -> list[str]:
    """One run: model, runtime, threads, p50, p90, p99, load and first in ms, peak in MiB, answers, validity."""
    latency, peak, runtime = record["latency_ms"], record["memory"]["rss_peak_mib"], record["runtime"]
    numbers = (latency["p50"], latency["p90"], latency["p99"], record["load_ms"], record["first_ms"])
    reasons = ", ".join(reason["code"].replace("_", " ") for reason in record["invalid_reasons"])
    backend = backend_of(record)
    return [
        _name(record),
        f"{runtime['name']} {runtime['version']}" + (f" ({backend})" if backend else ""),
        str(record["settings"]["threads"]),
        *(f"{number:.2f}" for number in numbers),
        "–" if peak is None else f"{peak:.0f}",
        answers_text(record["verification"]),
        "valid" if record["valid"] else f"no: {reasons}",
    ]


def _curve(record: Record) -> Markup:
    points = [(point["t_s"] / 60, point["p50_ms"]) for point in record["sustained"]["curve"]]
    return responsive(partial(curve_plot, _label(record), points))


# -- Accuracies to stand beside latencies -------------------------------------------------------------------


# Of a parity report what is read here.


@dataclass(frozen=True)
class _Candidate:
    top1: Proportion


@dataclass(frozen=True)
class _Result:
    candidate: _Candidate


@dataclass(frozen=True)
class _Metadata:
    model: Mapping[str, Any]
    runtime: Mapping[str, Any]


@dataclass(frozen=True)
class _Source:
    metadata: _Metadata


@dataclass(frozen=True)
class _Comparison:
    ledger: _Source
    result: _Result


@dataclass(frozen=True)
class _Report:
    comparisons: tuple[_Comparison, ...]


def read_accuracies(files: Sequence[Path]) -> dict[ModelKey, Proportion]:
    """Read top-1 accuracies by the model file's sha256, and the arithmetic it was computed in.

    Args:
        files: parity reports (``.json``, as ``ghostedge parity --report`` puts beside its page) and ledgers
            (``.parquet``); where two know a model, the later one counts.

    Raises:
        UsageError: a file is neither, or the models of two files were run on different numbers of images: accuracies
            on other images do not belong on one axis.
        LedgerError: a ledger is damaged.
    """
    found: dict[ModelKey, Proportion] = {}
    for file in files:
        found |= _of_ledger(file) if file.suffix == ".parquet" else _of_parity_report(file)
    counts = {accuracy.images for accuracy in found.values()}
    if len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in sorted(counts))
        raise UsageError(f"--accuracy: the models were run on {numbers} images; give accuracies on the same images")
    return found


def _of_ledger(file: Path) -> dict[ModelKey, Proportion]:
    from ghostedge.accuracy.parity import accuracy_of
    from ghostedge.evaluation.ledger import read_ledger

    ledger = read_ledger(file)
    return {model_key(ledger.metadata.model, ledger.metadata.runtime): accuracy_of(ledger).top1}


def _of_parity_report(file: Path) -> dict[ModelKey, Proportion]:
    what = f"--accuracy {file}"
    try:
        report = as_type(parse_json(file.read_bytes(), what, UsageError), _Report, what, UsageError)
    except OSError as exc:
        raise UsageError(f"{what} cannot be read: {exc.strerror}") from exc
    except UsageError as exc:
        raise UsageError(
            f"{exc}: it is neither a parity report (.json) nor a ledger (.parquet); "
            "ghostedge parity --report writes the one, ghostedge evaluate the other"
        ) from exc
    return {
        model_key(one.ledger.metadata.model, one.ledger.metadata.runtime): one.result.candidate.top1
        for one in report.comparisons
    }
