"""Measure what a gate looks at: artifacts, ledgers, counts of instructions and latencies, all of the same bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ghostedge.accuracy.fit import preprocessing_differences
from ghostedge.errors import UsageError
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import LedgerMetadata, read_metadata
from ghostedge.files import sha256_file
from ghostedge.formats import FORMATS, read_description
from ghostedge.latency.instructions import read_counts
from ghostedge.model import InputSpec, Model
from ghostedge.regression.baseline import Accuracy, Artifact, Cost, Measured, Reference
from ghostedge.reports.artifact_table import Record, read_beside
from ghostedge.reports.format import answers_wrong
from ghostedge.reports.parity import parity

#: What a number is of: accuracy, size, instructions or latency; the artifact's file name; where.
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Inputs:
    """The files that a gate reads.

    Attributes:
        artifacts: model files: ``.tflite``, ``.onnx``, ``.xml`` with its ``.bin`` or ``.mindir``.
        reference: the ledger that `ledgers` are held to; both or none.
        ledgers: of the artifacts: ``.parquet``, or ``.jsonl`` of the Android demo.
        instructions: JSON that ``benchmarks/arm64/cost.py --json`` printed.
        latency: the ``--output`` of ``ghostedge benchmark``.
    """

    artifacts: tuple[Path, ...]
    reference: Path | None = None
    ledgers: tuple[Path, ...] = ()
    instructions: Path | None = None
    latency: Path | None = None


@dataclass(frozen=True)
class Problem:
    """Why a number is not there: what is wrong, and whether that blocks or leaves the gate undecided."""

    kind: Literal["preprocessing", "stale", "latency"]
    verdict: Literal["FAIL", "INCONCLUSIVE"]
    text: str


@dataclass
class Reading:
    """What was measured, and why some of it is not there."""

    artifacts: list[Artifact] = field(default_factory=list)
    reference: Reference | None = None
    accuracies: list[Accuracy] = field(default_factory=list)
    costs: list[Cost] = field(default_factory=list)
    problems: dict[Key, Problem] = field(default_factory=dict)

    @property
    def measured(self) -> Measured:
        """What is there, in an order that does not depend on that of the arguments."""
        return Measured(
            tuple(sorted(self.artifacts, key=lambda each: each.file)),
            self.reference,
            tuple(sorted(self.accuracies, key=lambda each: (each.artifact, each.ledger))),
            tuple(sorted(self.costs, key=lambda each: (each.artifact, each.kind, each.where))),
        )


def measure(inputs: Inputs, expected: Collection[str] = ()) -> Reading:
    """Read everything.

    Args:
        inputs: the files.
        expected: file names of the baseline's artifacts: one of these that is not there is left out.

    Raises:
        UsageError: arguments that do not go together, two artifacts or two ledgers of one name, damaged counts.
        ArtifactError: an artifact that `expected` does not have is missing; one is damaged.
        LedgerError: a ledger is damaged, or is of other images than the reference.
        DeviceError: no latency record, or a damaged one.
    """
    if bool(inputs.ledgers) != (inputs.reference is not None):
        raise UsageError("--reference and --ledger go together: accuracy is the drop from the one to the other")
    for option, paths in (("--artifact", inputs.artifacts), ("--ledger", inputs.ledgers)):
        twice = [name for name, count in Counter(path.name for path in paths).items() if count > 1]
        if twice:
            raise UsageError(f"{option}: two files are named {twice[0]}; a baseline tells them apart by their names")
    found = Reading()
    for path in inputs.artifacts:
        if path.is_file() or path.name not in expected:
            _read_artifact(path, found)
    artifacts = {each.file: each for each in found.artifacts}
    if inputs.reference is not None:
        _read_accuracies(inputs.reference, inputs.ledgers, artifacts, found)
    if inputs.instructions is not None:
        _read_counts(inputs.instructions, artifacts, found)
    if inputs.latency is not None:
        for device, record in read_beside(None, inputs.latency).latencies:
            _read_latency(device, record, artifacts, found)
    return found


def _read_artifact(path: Path, found: Reading) -> None:
    described = read_description(path)
    model = described or Model(path, FORMATS[path.suffix.lower()], InputSpec())
    source, spec = ("", None) if described is None else (described.source_sha256, described.input)
    weights = "".join(map(sha256_file, model.files[1:]))
    found.artifacts.append(Artifact(path.name, model.sha256, source, spec, weights))
    size = sum(file.stat().st_size for file in model.files)
    found.costs.append(Cost(path.name, "size", "", size, "bytes"))


def _read_accuracies(
    reference: Path, ledgers: Sequence[Path], artifacts: Mapping[str, Artifact], found: Reading
) -> None:
    base = read_metadata(reference)[0]
    found.reference = Reference(reference.name, sha256_file(reference), int(base.dataset.get("images", 0)))
    fitting: dict[Path, str] = {}
    renamed = {each.sha256: name for name, each in artifacts.items()}
    for path in ledgers:
        metadata = _metadata(path)
        model = metadata.model
        name = str(model.get("file"))
        if name not in artifacts or artifacts[name].sha256 != model.get("sha256"):
            name = renamed.get(str(model.get("sha256")), name)
        if name not in artifacts:
            continue  # a folder of ledgers may have more than is gated
        weights = artifacts[name].weights_sha256
        if (model.get("sha256"), model.get("weights_sha256", weights)) != (artifacts[name].sha256, weights):
            text = f"the ledger {path.name} was made with other bytes of it; evaluate it again"
            found.problems["accuracy", name, path.name] = Problem("stale", "FAIL", text)
        elif differing := preprocessing_differences(base, metadata):
            text = f"the ledger {path.name} saw other pictures than the reference: {', '.join(differing)}"
            found.problems["accuracy", name, path.name] = Problem("preprocessing", "FAIL", text)
        else:
            fitting[path] = name
    if not fitting:
        return
    report = parity(reference, fitting)
    for (path, name), comparison in zip(fitting.items(), report.comparisons, strict=True):
        drop, top1 = comparison.result.drop, comparison.result.candidate.top1.percent
        found.accuracies.append(Accuracy(name, path.name, drop.images, drop.losses, drop.gains, round(top1, 4)))


def _metadata(path: Path) -> LedgerMetadata:
    return read_json_lines(path).metadata if path.suffix == ".jsonl" else read_metadata(path)[0]


def _read_counts(path: Path, artifacts: Mapping[str, Artifact], found: Reading) -> None:
    for count in read_counts(path):
        if count.model not in artifacts:
            continue
        if count.sha256 and count.sha256 != artifacts[count.model].sha256:
            text = f"the instructions in {path.name} are those of other bytes of it; count them again"
            found.problems["instructions", count.model, count.where] = Problem("stale", "FAIL", text)
            continue
        by = f"LiteRT {count.litert}" if count.litert else ""
        found.costs.append(Cost(count.model, "instructions", count.where, count.instructions, "instructions", by))


def _read_latency(device: str, record: Record, artifacts: Mapping[str, Artifact], found: Reading) -> None:
    if not record["artifact"] or record["artifact"]["file"] not in artifacts:
        return
    name, where, runtime = record["artifact"]["file"], f"{device}, {record['name']}", record["runtime"]
    if problem := next(_latency_problems(record, artifacts[name]), None):
        found.problems["latency", name, where] = problem
        return
    by = f"{runtime['name']} {runtime['version']}"
    found.costs.append(Cost(name, "latency", where, record["latency_ms"]["p50"], "ms", by))


def _latency_problems(record: Record, artifact: Artifact) -> Iterator[Problem]:
    files = {file["sha256"] for file in record["artifact"]["files"]}
    if files != {artifact.sha256, artifact.weights_sha256} - {""}:
        yield Problem("stale", "FAIL", "its latency was measured with other bytes of it; measure it again")
    if answers_wrong(record):
        yield Problem("latency", "FAIL", f"its answers were wrong there: {record['verification']['reason']}")
    if not record["valid"]:
        reasons = "; ".join(reason["text"] for reason in record["invalid_reasons"])
        yield Problem("latency", "INCONCLUSIVE", f"its latency is not a valid measurement: {reasons}")
