"""Set each artifact's size, difference at export and latency beside its accuracy, for the parity page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ghostedge.errors import DeviceError
from ghostedge.latency.instructions import Count, read_counts
from ghostedge.latency.records import read_record
from ghostedge.manifest import ArtifactRecord, Manifest
from ghostedge.reports.format import (
    ModelKey,
    Stacked,
    answers_wrong,
    arithmetic_of,
    backend_of,
    drop_text,
    model_key,
    named,
    plural,
    snr_text,
)
from ghostedge.reports.parity import Comparison, ParityReport
from ghostedge.reports.plots import TradeOff, tradeoff_plot
from ghostedge.reports.svg import Markup, responsive

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Beside:
    """What is known of the compared artifacts apart from their ledgers.

    Attributes:
        manifest: of their export; None where it is not asked for.
        latencies: the device's name and a latency record, in the order to show them in.
        counts: ARM64 instructions.
    """

    manifest: Manifest | None = None
    latencies: tuple[tuple[str, Record], ...] = ()
    counts: tuple[Count, ...] = ()

    def runs(self, key: ModelKey) -> dict[tuple[str, int], Record]:
        """(device, threads) -> latency record of an artifact; on the CPU, XNNPACK on where it is a choice.

        Latencies with wrong answers are left out.
        """
        return {
            (device, record["settings"]["threads"]): record
            for device, record in self.latencies
            if record["artifact"] and model_key(record["artifact"], record["runtime"]) == key
            if not backend_of(record) and not answers_wrong(record)
        }


def read_beside(export: Path | None, latency: Path | None, instructions: Path | None = None) -> Beside:
    """Read the folders that ``ghostedge export`` and ``ghostedge benchmark`` left.

    Args:
        export: holds ``manifest.json``; None for none.
        latency: holds a folder of records for each device; None for none.
        instructions: counts, as ``benchmarks/arm64/cost.py --json`` prints them; None for none.

    Raises:
        ManifestError: there is no manifest, or a damaged one.
        DeviceError: there is no record, or a damaged one.
        UsageError: there are no counts, or damaged ones.
    """
    manifest = None if export is None else Manifest.of_export(export)
    found: list[tuple[str, Record]] = []
    if latency is not None:
        files = sorted(path for path in latency.glob("*/*.json") if not path.name.startswith("."))
        if not files:
            raise DeviceError(f"--latency {latency} holds no latency record; give the --output of ghostedge benchmark")
        found = [(path.parent.name, read_record(path, "latency_record")) for path in files]
    return Beside(manifest, tuple(found), () if instructions is None else read_counts(instructions))


@dataclass(frozen=True)
class Row:
    """One artifact in one arithmetic; `runs` as `Beside.runs` gives them."""

    name: str
    key: ModelKey
    comparison: Comparison | None
    exported: ArtifactRecord | None
    runs: Mapping[tuple[str, int], Record]

    @property
    def times(self) -> dict[tuple[str, int], float]:
        """(device, threads) -> median latency, ms."""
        return {place: record["latency_ms"]["p50"] for place, record in self.runs.items()}


def artifact_table(report: ParityReport, beside: Beside) -> dict[str, Any]:
    """One table of all that is known of each artifact, and a plot of time against accuracy for each device.

    Returns:
        What the template shows: ``header``, ``rows``, ``caption``, ``notes`` (what the table leaves out, and why) and
        ``plots`` (a device with its threads, and the drawing).
    """
    rows = list(rows_of(report, beside))
    places = list(dict.fromkeys(place for row in rows for place in row.times))
    titles = {place: f"{place[0]}, {plural(place[1], 'thread')}" for place in places}
    manifest = beside.manifest
    caption = "Drop of top-1 with its 90% interval, against the reference ledger"
    of_export: tuple[str, ...] = ()
    if manifest is not None:
        of_export = ("Size (MB)", "SNR at export", "XNNPACK parts")
        caption += (
            f"; SNR of the logits against {manifest.source['file']} on the {len(manifest.images)} images of the export"
        )
    cells = [
        (
            f"{number} {row.name}",
            row.comparison.result.verdict if row.comparison else "not evaluated",
            *(_export_cells(row) if of_export else ()),
            f"{row.comparison.result.candidate.top1.percent:.2f}%" if row.comparison else "–",
            drop_text(row.comparison.result.drop) if row.comparison else "–",
            *(f"{row.times[place]:.2f} ms" if place in row.times else "–" for place in places),
        )
        for number, row in enumerate(rows, start=1)
    ]
    drawings = [(titles[place], _plot(rows, place)) for place in places]
    return {
        "header": ("Artifact", "Verdict", *of_export, "Top-1", "Drop, points", *titles.values()),
        "rows": cells,
        "caption": caption,
        "notes": list(_notes({row.key[0] for row in rows}, beside)),
        "plots": [(title, drawing) for title, drawing in drawings if drawing is not None],
    }


def rows_of(report: ParityReport, beside: Beside) -> Iterator[Row]:
    """The export's artifacts in its order, then what else was compared."""
    comparisons = {model_key(c.source.metadata.model, c.source.metadata.runtime): c for c in report.comparisons}
    for exported in () if beside.manifest is None else beside.manifest.artifacts.values():
        file = exported.files[0]
        for arithmetic in ("", "float16", "bfloat16"):
            key = (file.sha256, arithmetic)
            runs, comparison = beside.runs(key), comparisons.pop(key, None)
            if comparison or runs or not arithmetic:
                yield Row(named(file.name, arithmetic), key, comparison, exported, runs)
    for key, comparison in comparisons.items():
        yield Row(comparison.source.name, key, comparison, None, beside.runs(key))


def _export_cells(row: Row) -> tuple[str, str, str]:
    record = row.exported
    if record is None:
        return "–", "–", "–"
    difference = {"": record.reference_difference, "float16": record.float16_difference}.get(row.key[1])
    parts = str(record.runtime.get("delegate_partitions", "–"))
    if outside := sum(record.runtime.get("operators_outside_delegate", {}).values()):
        parts += f", {outside} outside"
    snr = "–" if difference is None else snr_text(difference.to_dict()["snr_db"])
    of_cpus = [f"{snr_text(found.to_dict()['snr_db'])} {kind}" for kind, found in record.cpu_differences.items()]
    return f"{record.size_bytes / 1e6:.1f}", Stacked(snr, *of_cpus), parts


def _plot(rows: Sequence[Row], place: tuple[str, int]) -> Markup | None:
    """Draw time against accuracy on one device; None where fewer than two artifacts have both."""
    points = [
        TradeOff(number, row.name, row.times[place], -drop.drop_points, -drop.upper_points, -drop.lower_points)
        for number, row in enumerate(rows, start=1)
        if row.comparison is not None and place in row.times
        for drop in [row.comparison.result.drop]
    ]
    return responsive(partial(tradeoff_plot, points, "change of top-1, points")) if len(points) > 1 else None


def _notes(known: set[str], beside: Beside) -> Iterator[str]:
    """What the table leaves out, and why; `known` are the sha256 of what it has."""
    timed = [(device, record) for device, record in beside.latencies if record["artifact"]]
    if wrong := [
        f"{named(record['artifact']['file'], arithmetic_of(record['runtime']))} on {device}"
        for device, record in timed
        if answers_wrong(record)
    ]:
        yield f"Latencies with wrong answers are left out: {', '.join(dict.fromkeys(wrong))}."
    if other := [record["artifact"]["file"] for _, record in timed if record["artifact"]["sha256"] not in known]:
        yield f"Latency records of other files than these are not in the table: {', '.join(dict.fromkeys(other))}."
    if any(not record["valid"] for _, record in beside.latencies):
        yield "Some latencies are not valid measurements, see below why."
