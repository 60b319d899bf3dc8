"""Write the model card of an export: the Markdown page that is published beside the files, with Hugging Face's header.

Everything in it is taken from the manifest, the ledgers and the records; what they do not hold, it says is missing.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostedge.errors import ManifestError, UsageError
from ghostedge.latency.instructions import Count, read_counts
from ghostedge.manifest import ArtifactRecord, Manifest
from ghostedge.model import InputSpec
from ghostedge.pipeline.stages import QUANTISED
from ghostedge.reports import render
from ghostedge.reports.artifact_table import Record, read_beside
from ghostedge.reports.format import arithmetic_of, named, plural, snr_text, spec_text
from ghostedge.reports.latency import run_row
from ghostedge.reports.parity import ParityReport, explain, parity, summary_rows

#: The licence of a card that is given none: Hugging Face's word for a licence that is not known.
UNKNOWN_LICENSE = "unknown"

#: Tags of a format, as Hugging Face spells them.
_TAGS = {"tflite": "tflite", "openvino": "openvino", "onnx": "onnx", "mindir": "mindspore"}


@dataclass(frozen=True)
class Measurements:
    """What is known of an export's files apart from their manifest.

    Attributes:
        report: accuracies beside the reference; None where they were not measured.
        latencies: the device's name and a latency record.
        counts: ARM64 instructions.
    """

    report: ParityReport | None = None
    latencies: Sequence[tuple[str, Record]] = ()
    counts: Sequence[Count] = ()

    def missing(self) -> dict[str, str]:
        """What was not measured -> the options that bring it."""
        found = {
            "accuracy": (self.report, "--reference R --ledger L..."),
            "latency": (self.latencies, "--latency DIR"),
            "count of ARM64 instructions": (self.counts, "--instructions F"),
        }
        return {name: options for name, (value, options) in found.items() if not value}


def read_measurements(
    folder: Path,
    *,
    reference: Path | None = None,
    ledgers: Sequence[Path] = (),
    max_drop: float = 0.5,
    latency: Path | None = None,
    instructions: Path | None = None,
) -> Measurements:
    """Read the measurements of the files in `folder`; those of files that are not there any more are left out.

    Args:
        folder: of the export.
        reference: the reference's ledger; it goes with `ledgers`.
        ledgers: of files of the export.
        max_drop: the margin, percentage points.
        latency: the ``--output`` of ``ghostedge benchmark``.
        instructions: counts.

    Raises:
        ManifestError: there is no manifest, a damaged one, or a file of other bytes than it records.
        UsageError: a ledger without a reference, or one of another file.
        GhostedgeError: a file cannot be read.
    """
    manifest = Manifest.of_export(folder)
    exported = {file.sha256 for record in manifest.artifacts.values() for file in record.files}
    there = _published(folder, manifest).values()
    known = {file.sha256 for record in there for file in record.files}
    names = {record.files[0].name: record.files[0].sha256 for record in there}
    if bool(ledgers) != (reference is not None):
        raise UsageError("--reference and --ledger go together: accuracy is judged against the reference")
    report = None if reference is None else parity(reference, ledgers, max_drop=max_drop)
    for comparison in () if report is None else report.comparisons:
        if comparison.source.metadata.model.get("sha256") not in exported:
            raise UsageError(f"--ledger {comparison.source.file} is of another file than those of {folder}")
    if report is not None:
        kept = tuple(c for c in report.comparisons if c.source.metadata.model.get("sha256") in known)
        report = dataclasses.replace(report, comparisons=kept) if kept else None
    records = () if latency is None else read_beside(None, latency).latencies
    counts = () if instructions is None else read_counts(instructions)
    return Measurements(
        report,
        [
            (device, record)
            for device, record in records
            if record["artifact"] and record["artifact"]["sha256"] in known
        ],
        [count for count in counts if count.sha256 in ("", names.get(count.model)) and count.model in names],
    )


def model_card(folder: Path, measured: Measurements, license_id: str = UNKNOWN_LICENSE) -> str:
    """The card.

    Args:
        folder: of the export.
        measured: of its files, see `read_measurements`.
        license_id: as Hugging Face names licences, e.g. ``"apache-2.0"``.

    Raises:
        ManifestError: there is no manifest, a damaged one, or a file of other bytes than it records.
    """
    manifest = Manifest.of_export(folder)
    there = _published(folder, manifest)
    if not there:
        raise ManifestError(f"{folder} has none of the files that its manifest.json records")
    title = Path(str(manifest.source.get("file", folder.name))).stem
    return render(
        "card.md",
        header_lines=front_matter(title, there, measured, license_id),
        title=title,
        source=manifest.source,
        manifest=manifest,
        golden=manifest.golden if manifest.golden and manifest.golden.matches(folder) else None,
        files=_files(there),
        inputs=_inputs(there),
        example=min(there.values(), key=lambda record: record.size_bytes).files[0].name,
        report=measured.report,
        summary=None if measured.report is None else summary_rows(measured.report),
        explained=[]
        if measured.report is None
        else [(c.source.name, explain(c.result)) for c in measured.report.comparisons],
        runs=[(device, *run_row(record)) for device, record in measured.latencies],
        devices=_devices(measured.latencies),
        counts=measured.counts,
        calibrated=[(record.files[0].name, record.calibration) for record in there.values() if record.calibration],
        packages=sorted({item for record in there.values() for item in record.packages.items()}),
        limits=list(_limits(manifest, there, measured, license_id)),
    )


def _published(folder: Path, manifest: Manifest) -> dict[str, ArtifactRecord]:
    """What of an export is in `folder`, by recipe. Raises: ManifestError for a file of other bytes than recorded."""
    there: dict[str, ArtifactRecord] = {}
    for name, record in manifest.artifacts.items():
        if record.intact(folder):
            there[name] = record
        elif any((folder / file.name).exists() for file in record.files):
            raise ManifestError(
                f"{folder / record.files[0].name} is not the file that manifest.json records; export it again"
            )
    return there


# -- The parts ----------------------------------------------------------------------------------------------


def front_matter(title: str, there: Mapping[str, ArtifactRecord], measured: Measurements, license_id: str) -> list[str]:
    """The lines of the YAML header."""
    formats = dict.fromkeys(record.target for record in there.values())
    tags = ["image-classification", *(_TAGS.get(each, each) for each in formats)]
    if any(record.precision in QUANTISED for record in there.values()):
        tags.append("quantized")
    header: dict[str, Any] = {
        "license": license_id,
        "library_name": "ghostedge",
        "pipeline_tag": "image-classification",
        "tags": tags,
    }
    if measured.report is not None:
        header |= {"metrics": ["accuracy"], "model-index": [{"name": title, "results": _results(measured.report)}]}
    return list(yaml_lines(header))


def _results(report: ParityReport) -> list[dict[str, Any]]:
    """One result of Hugging Face's model index a ledger."""
    return [
        {
            "task": {"type": "image-classification"},
            "dataset": {
                "type": "imagefolder",
                "name": f"{plural(comparison.result.labelled, 'labelled image')}, ids sha256 "
                f"{str(comparison.source.metadata.dataset.get('ids_sha256'))[:12]}",
            },
            "metrics": [
                {
                    "type": "accuracy",
                    "name": f"Top-1 of {comparison.source.name}",
                    "value": round(comparison.result.candidate.top1.percent / 100, 6),
                }
            ],
        }
        for comparison in report.comparisons
    ]


def yaml_lines(value: Any, indent: str = "") -> Iterator[str]:
    """A mapping or a list as block YAML; texts are quoted as in JSON, of which YAML is a superset."""
    entries = value.items() if isinstance(value, Mapping) else (("-", entry) for entry in value)
    for key, entry in entries:
        start = f"{indent}-" if key == "-" and not isinstance(value, Mapping) else f"{indent}{key}:"
        if not isinstance(entry, Mapping | list):
            yield f"{start} {_scalar(entry)}"
        elif start.endswith("-"):
            first, *rest = yaml_lines(entry, f"{indent}  ")
            yield f"{start} {first.lstrip()}"
            yield from rest
        else:
            yield start
            yield from yaml_lines(entry, indent if isinstance(entry, list) else f"{indent}  ")


#: Words that YAML takes for something else than a text.
_RESERVED = frozenset({"null", "true", "false", "yes", "no", "on", "off", "y", "n"})


def _scalar(value: Any) -> str:
    """A plain word as it is, anything else as JSON."""
    is_word = isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_.-]*", value) and value not in _RESERVED
    return value if is_word else json.dumps(value, ensure_ascii=False)


def _files(there: Mapping[str, ArtifactRecord]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for record in there.values():
        snr = snr_text(record.reference_difference.to_dict()["snr_db"])
        for file in record.files:
            rows.append((file.name, record.target, record.precision, f"{file.size_bytes / 1e6:.2f}", snr, file.sha256))
    return rows


def _devices(latencies: Sequence[tuple[str, Record]]) -> dict[str, str]:
    """Device -> what it is, by its first record."""
    found: dict[str, str] = {}
    for name, record in latencies:
        device = record["device"]
        facts = (device["model"], device["soc"], device["cpu"], device["architecture"], device["system"])
        found.setdefault(name, ", ".join(str(fact) for fact in facts if fact))
    return found


def _inputs(there: Mapping[str, ArtifactRecord]) -> list[tuple[str, list[str]]]:
    """What a file wants as input, and the files that want it."""
    found: dict[InputSpec, list[str]] = {}
    for record in there.values():
        found.setdefault(record.input, []).append(record.files[0].name)
    return [(spec_text(spec, spec.resize_rule), names) for spec, names in found.items()]


def _limits(
    manifest: Manifest, there: Mapping[str, ArtifactRecord], measured: Measurements, license_id: str
) -> Iterator[str]:
    """What a user should know, one sentence each, without the full stop."""
    if license_id == UNKNOWN_LICENSE:
        yield "the licence of the weights is not recorded: ask who trained them"
    yield "training data, intended use and biases are not recorded in an export: ask who trained the weights"
    yield from manifest.warnings
    for name in measured.missing():
        yield f"there is no {name} on this card"
    if measured.report is not None:
        yield from _limits_of_accuracy(there, measured.report)
    if measured.latencies:
        yield from _limits_of_latency(there, measured.latencies)
    if gone := [record.files[0].name for name, record in manifest.artifacts.items() if name not in there]:
        yield f"the manifest records files that are not published here: {', '.join(gone)}"


def _limits_of_accuracy(there: Mapping[str, ArtifactRecord], report: ParityReport) -> Iterator[str]:
    said = [(c.source.name, warning) for c in report.comparisons for warning in c.result.warnings]
    for warning in dict.fromkeys(text for _, text in said):
        names = [name for name, text in said if text == warning]
        yield warning if len(names) == len(report.comparisons) else f"{', '.join(names)}: {warning}"
    evaluated = {comparison.source.metadata.model.get("sha256") for comparison in report.comparisons}
    if unknown := [record.files[0].name for record in there.values() if record.files[0].sha256 not in evaluated]:
        yield f"accuracy was not measured of {', '.join(unknown)}"


def _limits_of_latency(there: Mapping[str, ArtifactRecord], latencies: Sequence[tuple[str, Record]]) -> Iterator[str]:
    if invalid := [
        f"{named(record['artifact']['file'], arithmetic_of(record['runtime']))} on {device} "
        f"({', '.join(reason['code'].replace('_', ' ') for reason in record['invalid_reasons'])})"
        for device, record in latencies
        if not record["valid"]
    ]:
        yield f"not valid measurements of latency: {', '.join(invalid)}"
    if emulated := sorted({device for device, record in latencies if record["device"]["emulated"]}):
        yield f"an emulator and no board: {', '.join(emulated)}"
    timed = {record["artifact"]["sha256"] for _, record in latencies}
    if unknown := [record.files[0].name for record in there.values() if record.files[0].sha256 not in timed]:
        yield f"latency was not measured of {', '.join(unknown)}"
