"""Set each artifact's size, difference at export and latency beside its accuracy, for the parity page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ghostedge.errors import DeviceError, ManifestError
from ghostedge.latency.devices.base import read_record
from ghostedge.manifest import ArtifactRecord, Manifest
from ghostedge.reports.format import ModelKey, answers_wrong, arithmetic_of, model_key, named, snr_text
from ghostedge.reports.latency import device_section
from ghostedge.reports.page import Markup, element, figure, join, table
from ghostedge.reports.parity import Comparison, ParityReport
from ghostedge.reports.plots import responsive, signed
from ghostedge.reports.tradeoff_plot import TradeOff, tradeoff_plot

__all__ = ["Beside", "artifacts_section", "latency_sections", "read_beside"]

Record = Mapping[str, Any]

_Row = tuple[str, ModelKey, Comparison | None, ArtifactRecord | None]


@dataclass(frozen=True)
class Beside:
    """What is known of the compared artifacts apart from their ledgers.

    Attributes:
        manifest: of their export; None where it is not asked for.
        latencies: the device's name and a latency record, in the order to show them in.
    """

    manifest: Manifest | None = None
    latencies: tuple[tuple[str, Record], ...] = ()

    def times(self, key: ModelKey) -> dict[tuple[str, int], float]:
        """(device, threads) -> median latency, ms, of an artifact; XNNPACK on where it is a choice.

        A latency whose answers were wrong is none of this artifact.
        """
        return {
            (device, record["settings"]["threads"]): record["latency_ms"]["p50"]
            for device, record in self.latencies
            if record["artifact"] and model_key(record["artifact"], record["runtime"]) == key
            if record["settings"]["xnnpack"] is not False and not answers_wrong(record)
        }


def read_beside(export: Path | None, latency: Path | None) -> Beside:
    """Read the folders that ``ghostedge export`` and ``ghostedge benchmark`` left.

    Args:
        export: holds ``manifest.json``; None for none.
        latency: holds a folder of records for each device; None for none.

    Raises:
        ManifestError: there is no manifest, or a damaged one.
        DeviceError: there is no record, or a damaged one.
    """
    manifest = None
    if export is not None and (manifest := Manifest.read(export)) is None:
        raise ManifestError(f"--export {export} holds no manifest.json; give the --output of ghostedge export")
    found: list[tuple[str, Record]] = []
    if latency is not None:
        files = sorted(path for path in latency.glob("*/*.json") if not path.name.startswith("."))
        if not files:
            raise DeviceError(f"--latency {latency} holds no latency record; give the --output of ghostedge benchmark")
        found = [(path.parent.name, read_record(path)) for path in files]
    return Beside(manifest, tuple(found))


def artifacts_section(report: ParityReport, beside: Beside) -> Markup:
    """One table of all that is known of each artifact, and a plot of time against accuracy for each device."""
    comparisons = {model_key(c.source.metadata.model, c.source.metadata.runtime): c for c in report.comparisons}
    # The export's artifacts in its order, then what else was compared.
    rows: list[_Row] = []
    if beside.manifest is not None:
        for exported in beside.manifest.artifacts.values():
            file = exported.files[0]
            rows.append((file.name, (file.sha256, ""), comparisons.pop((file.sha256, ""), None), exported))
            for arithmetic in ("float16", "bfloat16"):
                key = (file.sha256, arithmetic)
                if key in comparisons or beside.times(key):
                    rows.append((named(file.name, arithmetic), key, comparisons.pop(key, None), exported))
    rows += [(comparison.source.name, key, comparison, None) for key, comparison in comparisons.items()]
    columns = list(dict.fromkeys(place for _, key, _, _ in rows for place in beside.times(key)))
    of_export = ("Size (MB)", "SNR at export", "XNNPACK parts") if beside.manifest is not None else ()
    header = ("Artifact", "Verdict", *of_export, "Top-1", "Drop, points", *map(_place, columns))
    cells = []
    for number, (name, key, comparison, record) in enumerate(rows, start=1):
        times = beside.times(key)
        cells.append(
            [
                f"{number} {name}",
                _verdict(comparison),
                *(_export_cells(record, key[1]) if of_export else ()),
                *_accuracy_cells(comparison),
                *(f"{times[place]:.2f} ms" if place in times else "–" for place in columns),
            ]
        )
    drawn = table(
        header,
        cells,
        caption=_caption(beside.manifest),
        numeric=range(2, len(header)),
    )
    figures = []
    for place in columns:
        points = [
            _trade_off(number, name, comparison, beside.times(key)[place])
            for number, (name, key, comparison, _) in enumerate(rows, start=1)
            if comparison is not None and place in beside.times(key)
        ]
        if len(points) > 1:
            figures.append(
                figure(
                    responsive(partial(tradeoff_plot, points, "change of top-1, points")),
                    f"{_place(place)}. Numbers are those of the table; bars are 90% intervals. Up is more accurate, "
                    "left is faster; dashed: the best that can be had at each latency.",
                )
            )
    notes = [element("p", f"{note[:1].upper()}{note[1:]}.", class_="note") for note in _notes(rows, beside)]
    return element("section", element("h2", "Every artifact", id="artifacts"), drawn, *notes, *figures)


def latency_sections(beside: Beside) -> list[Markup]:
    """Every latency record, by device; those of the latency page."""
    devices = dict.fromkeys(device for device, _ in beside.latencies)
    sections = []
    for place, name in enumerate(devices):
        records = [record for device, record in beside.latencies if device == name]
        anchor = element("span", id="latency") if place == 0 else None
        sections.append(join([anchor, device_section(f"Latency: {name}", records)]))
    return sections


def _place(place: tuple[str, int]) -> str:
    device, threads = place
    return f"{device}, {'1 thread' if threads == 1 else f'{threads} threads'}"


def _export_cells(record: ArtifactRecord | None, arithmetic: str) -> tuple[str, str, str]:
    if record is None:
        return "–", "–", "–"
    differences = {"": record.reference_difference, "float16": record.float16_difference}
    difference = differences.get(arithmetic)
    size = sum(file.size_bytes for file in record.files) / 1e6
    parts = str(record.runtime.get("delegate_partitions", "–"))
    if outside := sum(record.runtime.get("operators_outside_delegate", {}).values()):
        parts += f", {outside} outside"
    snr = "–" if difference is None else snr_text(difference.to_dict()["snr_db"])
    of_cpus = [f"{snr_text(found.to_dict()['snr_db'])} {kind}" for kind, found in record.cpu_differences.items()]
    return f"{size:.1f}", join([snr, *(element("small", text) for text in of_cpus)]) if of_cpus else snr, parts


def _verdict(comparison: Comparison | None) -> str:
    if comparison is None:
        return element("span", "not evaluated", class_="soft")
    verdict = comparison.result.verdict
    return element("span", verdict, class_=f"verdict {verdict.lower()}")


def _accuracy_cells(comparison: Comparison | None) -> tuple[str, str]:
    if comparison is None:
        return "–", "–"
    result = comparison.result
    interval = f"{signed(result.drop.lower_points)} to {signed(result.drop.upper_points)}"
    return (
        f"{result.candidate.top1.percent:.2f}%",
        join([signed(result.drop.drop_points), element("small", interval)]),
    )


def _caption(manifest: Manifest | None) -> str:
    parts = ["Drop of top-1 with its 90% interval, against the reference ledger"]
    if manifest is not None:
        parts.append(
            f"SNR of the logits against {manifest.source['file']} on the {len(manifest.images)} images of the export"
        )
    return "; ".join(parts)


def _notes(rows: Sequence[_Row], beside: Beside) -> list[str]:
    """What the table leaves out, and why."""
    known = {key[0] for _, key, _, _ in rows}
    other = [
        r["artifact"]["file"] for _, r in beside.latencies if r["artifact"] and r["artifact"]["sha256"] not in known
    ]
    notes = []
    if wrong := [(device, r) for device, r in beside.latencies if answers_wrong(r)]:
        listed = (f"{named(r['artifact']['file'], arithmetic_of(r['runtime']))} on {device}" for device, r in wrong)
        notes.append(f"latencies with wrong answers are left out: {', '.join(dict.fromkeys(listed))}")
    if other:
        notes.append(
            f"latency records of other files than these are not in the table: {', '.join(dict.fromkeys(other))}"
        )
    if any(not record["valid"] for _, record in beside.latencies):
        notes.append("some latencies are not valid measurements, see below why")
    return notes


def _trade_off(number: int, name: str, comparison: Comparison, latency_ms: float) -> TradeOff:
    drop = comparison.result.drop
    return TradeOff(number, name, latency_ms, -drop.drop_points, -drop.upper_points, -drop.lower_points)
