"""Show that a gate blocks: plant a regression of each kind in copies of what it is given, and run it on them.

Each regression is the smallest that must be blocked: one step beyond the baseline's own bounds, on the user's images.
"""

from __future__ import annotations

import bisect
import json
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from ghostedge.accuracy.statistics import decide, paired_drop
from ghostedge.errors import UsageError
from ghostedge.evaluation.columns import Rows
from ghostedge.evaluation.ledger import Ledger, read_ledger, write_ledger
from ghostedge.latency.instructions import read_counts
from ghostedge.model import RESIZE_RULES
from ghostedge.regression.baseline import Baseline, Cost, CostKind
from ghostedge.regression.gate import Kind, run_gate
from ghostedge.regression.measure import Inputs
from ghostedge.reports import render
from ghostedge.wire import field

#: Of a ledger's rows, all but the classes that are spoilt.
_COLUMNS = [each.name for each in fields(Rows) if each.name != "top5_class"]


@dataclass(frozen=True)
class Planted:
    """One regression and what the gate made of it.

    Attributes:
        kind: of the regression.
        what: was planted; where nothing was, why not.
        blocked: whether the gate failed for this reason; None where nothing was planted.
        said: the gate's own words.
    """

    kind: str
    what: str
    blocked: bool | None
    said: str = ""


class _NotPlantedError(Exception):
    """The baseline has nothing to plant this regression in; the message says what it lacks."""


@dataclass(frozen=True)
class _Case:
    """A gate that passes: the part of the baseline, and of the files, that one artifact needs; a folder to change."""

    folder: Path
    baseline: Baseline
    inputs: Inputs

    @property
    def artifact(self) -> Path:
        """The model file."""
        return self.inputs.artifacts[0]

    def copy_of_artifact(self) -> Path:
        """A copy of all its files. Returns: the one to open."""
        for file in self.artifact.parent.glob(f"{self.artifact.stem}.*"):
            if file == self.artifact or (self.artifact.suffix == ".xml" and file.suffix == ".bin"):
                shutil.copy(file, self.folder)
        return self.folder / self.artifact.name

    def failures(self) -> list[tuple[Kind, str]]:
        """Run the gate. Returns: the kind and the words of what it does not let pass."""
        path = self.folder / "baseline.json"
        self.baseline.write(path)
        return [(check.kind, check.text) for check in run_gate(path, self.inputs).checks if check.verdict == "FAIL"]


def self_test(path: Path, inputs: Inputs) -> list[Planted]:
    """Plant each kind of regression.

    Args:
        path: the baseline.
        inputs: what passes it.

    Raises:
        UsageError: the gate blocks `inputs` already.
        GhostedgeError: as of `run_gate`.
    """
    baseline = Baseline.read(path)
    found = []
    for kind, (expected, plant) in _PLANTS.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                case = _case(Path(folder), kind, baseline, inputs)
                if said := case.failures():
                    raise UsageError(
                        f"the gate blocks before anything is planted: {said[0][1]}; mend or --update first"
                    )
                what, planted = plant(case)
                said = planted.failures()
                words = [text for failed, text in said if failed == expected]
                found.append(Planted(kind, what, bool(words), "; ".join(words) or "nothing"))
            except _NotPlantedError as exc:
                found.append(Planted(kind, str(exc), None))
    return found


def self_test_markdown(found: list[Planted]) -> str:
    """What the self-test says, as Markdown."""
    planted = [each for each in found if each.blocked is not None]
    return render("gate_selftest.md", found=found, planted=len(planted), blocked=sum(bool(p.blocked) for p in planted))


def _case(folder: Path, kind: str, baseline: Baseline, inputs: Inputs) -> _Case:
    """What is left of the baseline and the files for one artifact that has what `kind` spoils."""
    measured = baseline.measured
    if kind in ("accuracy", "preprocessing"):
        names = [each.artifact for each in measured.accuracies if each.ledger.endswith(".parquet")]
        lacking = "the baseline has no accuracy (give --reference and --ledger to --update)"
    elif kind in ("instructions", "latency"):
        names = [each.artifact for each in measured.costs if each.kind == kind]
        lacking = f"the baseline has no {kind} (give --{kind} to --update)"
    else:
        names, lacking = [each.file for each in measured.artifacts], "the baseline has no artifact"
    if kind == "stale baseline" and measured.reference is not None:
        names = [each.artifact for each in measured.accuracies]
    given = {each.name: each for each in inputs.artifacts}
    if not (names := [name for name in names if name in given]):
        raise _NotPlantedError(lacking)
    part = measured.only(names[0])
    ledgers = {each.ledger for each in part.accuracies}
    kept = tuple(each for each in inputs.ledgers if each.name in ledgers)
    if not kept:
        part = replace(part, reference=None)
    costs = {each.kind for each in part.costs}
    left = Inputs(
        (given[names[0]],),
        inputs.reference if kept else None,
        kept,
        inputs.instructions if "instructions" in costs else None,
        inputs.latency if "latency" in costs else None,
    )
    return _Case(folder, replace(baseline, measured=part), left)


# -- What is planted: each returns what it did, and the gate to run -----------------------------------------


def _less_accurate(case: _Case) -> tuple[str, _Case]:
    """The fewest images more that the artifact gets wrong with which the drop is beyond the margin for certain."""
    ledger, number = _ledger_to_spoil(case)
    spoilt = case.inputs.ledgers[number]
    assert case.inputs.reference is not None
    reference = read_ledger(case.inputs.reference)
    both = np.flatnonzero(reference.correct() & ledger.correct())
    before = next(each for each in case.baseline.measured.accuracies if each.ledger == spoilt.name)
    margin = case.baseline.bounds.max_drop_points

    def fails(more: int) -> bool:
        return decide(paired_drop(before.losses + more, before.gains, before.images), margin).verdict == "FAIL"

    if not fails(len(both)):
        raise _NotPlantedError(
            f"{before.images} images are too few for any drop to be beyond {margin:g} points for certain"
        )
    fewest = bisect.bisect_left(range(len(both) + 1), True, key=fails)
    classes = ledger.top5_class.copy()
    spoilt_rows = both[:fewest]
    classes[spoilt_rows, :2] = classes[spoilt_rows, 1::-1]  # the second best class takes the first's place
    rows = Rows(**{name: getattr(ledger, name) for name in _COLUMNS}, top5_class=classes)
    points = 100 * fewest / before.images
    what = f"{fewest:,} of {before.images:,} images answered wrongly in the ledger ({points:.2f} points)"
    return what, _with_ledger(case, number, Ledger.of(ledger.metadata, rows))


def _other_preprocessing(case: _Case) -> tuple[str, _Case]:
    ledger, number = _ledger_to_spoil(case)
    other = next(rule for rule in RESIZE_RULES if rule != ledger.metadata.preprocessing)
    metadata = replace(ledger.metadata, preprocessing=other)
    return f"the ledger is of pictures resized by {other}", _with_ledger(case, number, Ledger(ledger.table, metadata))


def _ledger_to_spoil(case: _Case) -> tuple[Ledger, int]:
    number = next(i for i, path in enumerate(case.inputs.ledgers) if path.suffix == ".parquet")
    return read_ledger(case.inputs.ledgers[number]), number


def _with_ledger(case: _Case, number: int, ledger: Ledger) -> _Case:
    ledgers = list(case.inputs.ledgers)
    ledgers[number] = case.folder / ledgers[number].name
    write_ledger(ledgers[number], ledger)
    return replace(case, inputs=replace(case.inputs, ledgers=tuple(ledgers)))


def _larger(case: _Case) -> tuple[str, _Case]:
    """Bytes that a reader of the format passes over."""
    bound, cost = case.baseline.bounds.growth_percent("size"), _cost(case, "size")
    grown = case.copy_of_artifact()
    size = sum(file.stat().st_size for file in case.folder.iterdir() if file.stem == grown.stem)
    more = max(math.floor(cost.value * (1 + bound / 100)) + 2 - size, 1)
    if grown.suffix == ".tflite":
        with zipfile.ZipFile(grown, "a") as archive:  # where TFLite keeps associated files: at the end
            archive.writestr("padding", bytes(more))
    else:
        padded = grown.with_suffix(".bin") if grown.suffix == ".xml" else grown
        with open(padded, "ab") as file:
            file.write(bytes(more) if padded.suffix == ".bin" else field(1000, bytes(more)))
    return f"{more:,} bytes more in the artifact", replace(case, inputs=replace(case.inputs, artifacts=(grown,)))


def _more_instructions(case: _Case) -> tuple[str, _Case]:
    bound = case.baseline.bounds.growth_percent("instructions")
    assert case.inputs.instructions is not None
    counts = json.loads(case.inputs.instructions.read_bytes())
    most = {each.where: each.value * (1 + bound / 100) for each in case.baseline.measured.costs}
    for count, read in zip(counts, read_counts(case.inputs.instructions), strict=True):
        if read.model == case.artifact.name and read.where in most:
            count["instructions"] = math.floor(most[read.where]) + 2
    path = case.folder / "counts.json"
    path.write_text(json.dumps(counts))
    return f"{bound:g}% more instructions, and a few", replace(case, inputs=replace(case.inputs, instructions=path))


def _slower(case: _Case) -> tuple[str, _Case]:
    bound, cost = case.baseline.bounds.growth_percent("latency"), _cost(case, "latency")
    assert case.inputs.latency is not None
    device, _, name = cost.where.partition(", ")
    shutil.copytree(case.inputs.latency / device, case.folder / "latency" / device)
    path = case.folder / "latency" / device / f"{name}.json"
    record = json.loads(path.read_bytes())
    record["latency_ms"]["p50"] = cost.value * (1 + (bound + 0.1) / 100)
    path.write_text(json.dumps(record))
    return f"a median {bound:g}% longer, and a bit", replace(
        case, inputs=replace(case.inputs, latency=case.folder / "latency")
    )


def _cost(case: _Case, kind: CostKind) -> Cost:
    return next(each for each in case.baseline.measured.costs if each.kind == kind)


def _stale(case: _Case) -> tuple[str, _Case]:
    """A baseline from before the reference, or the checkpoint, was another one."""
    measured, other = case.baseline.measured, "0" * 64
    if measured.reference is not None:
        changed = replace(measured, reference=replace(measured.reference, sha256=other))
        what = "a baseline that was made with another reference ledger"
    else:
        changed = replace(measured, artifacts=(replace(measured.artifacts[0], source_sha256=other),))
        what = "a baseline whose artifact was made from another checkpoint"
    return what, replace(case, baseline=replace(case.baseline, measured=changed))


def _missing(case: _Case) -> tuple[str, _Case]:
    gone = (case.folder / case.artifact.name,)
    return f"{case.artifact.name} is not there", replace(case, inputs=replace(case.inputs, artifacts=gone))


#: Regression -> the check that must fail, and what plants it.
_PLANTS: Mapping[str, tuple[Kind, Callable[[_Case], tuple[str, _Case]]]] = {
    "accuracy": ("accuracy", _less_accurate),
    "size": ("size", _larger),
    "instructions": ("instructions", _more_instructions),
    "latency": ("latency", _slower),
    "preprocessing": ("preprocessing", _other_preprocessing),
    "stale baseline": ("baseline", _stale),
    "missing artifact": ("missing", _missing),
}
