"""Judge a change against a baseline: the checks, their verdicts, and what a pull request shows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ghostedge.accuracy.statistics import PairedDrop, Verdict, decide, paired_drop, worst_verdict
from ghostedge.errors import ParityError, UsageError
from ghostedge.files import paths_of
from ghostedge.model import InputSpec
from ghostedge.regression.baseline import Accuracy, Artifact, Baseline, Bounds, Cost, Measured
from ghostedge.regression.measure import Inputs, Key, Problem, Reading, measure
from ghostedge.reports import render
from ghostedge.reports.format import drop_text, points_text, signed
from ghostedge.stored import plain

#: What a check is about. ``"baseline"``: it does not fit what is judged, and says nothing about it; ``"missing"``: what
#: the baseline has is not there.
Kind = Literal["accuracy", "size", "instructions", "latency", "preprocessing", "baseline", "missing"]

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Check:
    """One thing that was judged.

    Attributes:
        kind: what it is about.
        artifact: the artifact's file name; empty where it is about none.
        where: the ledger, the CPU, or the device and its run; empty where there is none.
        verdict: ``"PASS"``, ``"FAIL"`` or ``"INCONCLUSIVE"``.
        before: the baseline's number, with its unit; empty where there is none.
        now: the number of now.
        bound: by how much it may be worse.
        text: what is wrong and what to do, for what does not pass.
    """

    kind: Kind
    artifact: str
    where: str
    verdict: Verdict
    before: str = ""
    now: str = ""
    bound: str = ""
    text: str = ""


@dataclass(frozen=True)
class GateReport:
    """What a gate says of a change.

    Attributes:
        checks: everything that was judged: failures first, then what is undecided, each by artifact.
    """

    checks: tuple[Check, ...]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all checks."""
        return worst_verdict(check.verdict for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {"schema_version": _SCHEMA_VERSION, "verdict": self.verdict, "checks": plain(self.checks)}

    def to_markdown(self) -> str:
        """The summary for a pull request, GitHub-flavoured."""
        counts = [(verdict, [c for c in self.checks if c.verdict == verdict]) for verdict in ("FAIL", "INCONCLUSIVE")]
        return render("gate.md", report=self, problems=[check for _, checks in counts for check in checks])


def gate(
    baseline: Path | str,
    artifacts: Path | str | Iterable[Path | str],
    *,
    reference: Path | str | None = None,
    ledgers: Path | str | Iterable[Path | str] = (),
    instructions: Path | str | None = None,
    latency: Path | str | None = None,
) -> GateReport:
    """Judge artifacts against a baseline that `update` wrote: is anything worse by more than its bound?

    What the baseline has must be there again: a number that is no longer measured fails, as does one that the baseline
    does not have.

    >>> import ghostedge
    >>> report = ghostedge.gate("gate.json", ["model_fp32.tflite"])
    >>> report.verdict, [check.kind for check in report.checks]
    ('PASS', ['size'])

    Args:
        baseline: the file.
        artifacts: one or several model files.
        reference: the ledger that `ledgers` are held to; both or none.
        ledgers: one or several, of the artifacts.
        instructions: counts, as ``benchmarks/arm64/cost.py --json`` prints them.
        latency: the folder that `benchmark` wrote.

    Raises:
        BaselineError: the baseline is missing or damaged.
        GhostedgeError: an input cannot be read, or two do not go together.
    """
    inputs = Inputs(
        paths_of(artifacts),
        None if reference is None else Path(reference),
        paths_of(ledgers),
        None if instructions is None else Path(instructions),
        None if latency is None else Path(latency),
    )
    return run_gate(Path(baseline), inputs)


def run_gate(baseline: Path, inputs: Inputs) -> GateReport:
    """As `gate`, of files that are named already."""
    held_to = Baseline.read(baseline)
    return judge(held_to, measure(inputs, [each.file for each in held_to.measured.artifacts]))


def update(path: Path, inputs: Inputs, **bounds: float | None) -> GateReport:
    """Write the baseline `path` of what is there now, whole or not at all; its report is that of the new baseline.

    Args:
        path: the file.
        inputs: what to measure.
        bounds: those of `Bounds` to set; the others keep what the file says, or their defaults where there is none.

    Raises:
        BaselineError: an impossible bound; the file that is there is damaged.
        ParityError: an artifact is beyond its margin already, a ledger or a record is of other bytes, a latency is not
            valid: nothing would pass such a baseline.
        UsageError: no artifact, or ledgers, counts or latencies of none of them.
        GhostedgeError: an input cannot be read.
    """
    kept = Baseline.read(path).bounds if path.exists() else Bounds()
    given = {name: value for name, value in bounds.items() if value is not None}
    reading = measure(inputs)
    if not reading.artifacts:
        raise UsageError("give at least one --artifact")
    found = {kind for kind, *_ in (*_numbers(reading.measured), *reading.problems)}
    kinds = {"accuracy": inputs.ledgers, "instructions": inputs.instructions, "latency": inputs.latency}
    for kind, files in kinds.items():
        if files and kind not in found:
            option = "ledger" if kind == "accuracy" else kind
            raise UsageError(f"--{option}: nothing in it is of an --artifact, so that nothing would be held to it")
    baseline = Baseline(dataclasses.replace(kept, **given), reading.measured)
    report = judge(baseline, reading)
    for check in report.checks:
        if check.verdict == "FAIL" or (check.kind, check.artifact, check.where) in reading.problems:
            raise ParityError(f"{path} is not written: {check.artifact}: {check.text}")
    baseline.write(path)
    return report


# -- The checks ---------------------------------------------------------------------------------------------


def judge(baseline: Baseline, reading: Reading) -> GateReport:
    """Every check of what was read against the baseline."""
    checks = [*_of_artifacts(baseline.measured, reading.measured), *_of_numbers(baseline, reading)]
    order = ("FAIL", "INCONCLUSIVE", "PASS")
    return GateReport(tuple(sorted(checks, key=lambda each: (order.index(each.verdict), each.artifact))))


def _of_artifacts(before: Measured, now: Measured) -> Iterator[Check]:
    """Is each artifact there, made from the same source, with the same input? Are ledgers held to the same one?"""
    old, new = ({each.file: each for each in measured.artifacts} for measured in (before, now))
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield Check("missing", name, "", "FAIL", text="the baseline has it, and it is not there")
        elif name not in old:
            yield Check("baseline", name, "", "FAIL", text="it is new; 'ghostedge gate --update' takes it in")
        else:
            yield from _of_artifact(old[name], new[name])
    if before.reference is not None and now.reference is not None and before.reference.sha256 != now.reference.sha256:
        text = (
            f"the baseline was made with another reference ledger ({before.reference.file}, "
            f"{before.reference.sha256[:12]}) than {now.reference.file}, {now.reference.sha256[:12]}; "
            "if that is meant, 'ghostedge gate --update' takes it in"
        )
        yield Check("baseline", "", "", "FAIL", text=text)


def _of_artifact(before: Artifact, now: Artifact) -> Iterator[Check]:
    if before.source_sha256 != now.source_sha256:
        old, new = (sha256[:12] or "an unnamed source" for sha256 in (before.source_sha256, now.source_sha256))
        text = f"the baseline's was made from {old}, this one from {new}; if that is meant, 'ghostedge gate --update'"
        yield Check("baseline", now.file, "", "FAIL", text=text)
    if before.input != now.input:
        differing = ", ".join(_differences(before.input, now.input))
        text = f"its input changed ({differing}): what feeds it must change too; if that is meant, --update"
        yield Check("preprocessing", now.file, "", "FAIL", text=text)


def _differences(before: InputSpec | None, now: InputSpec | None) -> Iterator[str]:
    old, new = ({} if spec is None else spec.to_dict() for spec in (before, now))
    for name in dict.fromkeys([*old, *new]):
        if old.get(name) != new.get(name):
            yield f"{name} {old.get(name, 'not said')} to {new.get(name, 'not said')}"


def _of_numbers(baseline: Baseline, reading: Reading) -> Iterator[Check]:
    """Is each number of the baseline there again, and no worse than its bound?"""
    old, new = _numbers(baseline.measured), _numbers(reading.measured)
    known = {each.file for each in baseline.measured.artifacts} & {each.file for each in reading.artifacts}
    for key in sorted(old.keys() | new.keys() | reading.problems.keys()):
        kind, name, where = key
        if name not in known:
            continue  # one line says already that it is new or missing
        problem, before, now = reading.problems.get(key), old.get(key), new.get(key)
        if problem is not None:
            yield _of_problem(problem, key)
        elif now is None:
            text = f"the baseline has its {kind}{f' ({where})' if where else ''}, and it was not given again"
            yield Check("missing", name, where, "FAIL", text=text)
        elif before is None:
            what = f"{kind}{f' ({where})' if where else ''}"
            text = f"its {what} is not in the baseline; 'ghostedge gate --update' takes it in"
            yield Check("baseline", name, where, "FAIL", text=text)
        elif isinstance(now, Accuracy):
            yield _of_accuracy(before, now, baseline.bounds.max_drop_points)
        else:
            yield _of_cost(before, now, baseline.bounds.growth_percent(now.kind))


def _numbers(measured: Measured) -> dict[Key, Any]:
    """Every accuracy and cost by what it is of."""
    accuracies = {("accuracy", each.artifact, each.ledger): each for each in measured.accuracies}
    return {**accuracies, **{(each.kind, each.artifact, each.where): each for each in measured.costs}}


def _of_problem(problem: Problem, key: Key) -> Check:
    kind: Kind = "missing" if problem.kind == "stale" else problem.kind
    return Check(kind, key[1], key[2], problem.verdict, text=problem.text)


def _of_accuracy(before: Accuracy, now: Accuracy, margin: float) -> Check:
    """As ``ghostedge parity`` judges: by the 95% bounds of the paired drop from the reference."""
    drop = _drop(now)
    decision = decide(drop, margin)
    text = ""
    if decision.verdict == "FAIL":
        text = f"top-1 drops by at least {signed(drop.lower_points)} points (95% bound), more than {margin:g}"
    elif decision.verdict == "INCONCLUSIVE":
        images = decision.images_to_decide
        how_many = "" if images is None else f"; about {images:,} images would decide it"
        between = f"{signed(drop.lower_points)} to {signed(drop.upper_points)}"
        text = f"top-1 drops by {between} points (90% interval), with the margin of {margin:g} inside{how_many}"
    before_text = f"{drop_text(_drop(before)).value} points"
    bound = f"at most {points_text(margin)}"
    return Check(
        "accuracy", now.artifact, now.ledger, decision.verdict, before_text, f"{drop_text(drop)} points", bound, text
    )


def _drop(accuracy: Accuracy) -> PairedDrop:
    return paired_drop(accuracy.losses, accuracy.gains, accuracy.images)


def _of_cost(before: Cost, now: Cost, bound: float) -> Check:
    old, new, growth = _amount(before), _amount(now), _growth_percent(before.value, now.value)
    verdict: Verdict = "PASS" if growth <= bound else "FAIL"
    changed = f" ({before.by} then, {now.by} now)" if before.by != now.by else ""
    by = f"{growth:.1f}%" if round(growth, 1) > bound else f"just over {bound:g}%"
    text = f"its {now.kind} grew by {by}, from {old} to {new}{changed}; {bound:g}% is the bound"
    change = f"{'+' if growth >= 0.05 else ''}{signed(growth, 1)}%"
    return Check(
        now.kind,
        now.artifact,
        now.where,
        verdict,
        old,
        f"{new} ({change}){changed}",
        f"at most +{bound:g}%",
        "" if verdict == "PASS" else text,
    )


def _growth_percent(before: float, now: float) -> float:
    if before <= 0:
        return 0.0 if now <= 0 else 100.0
    return 100 * (now - before) / before


def _amount(cost: Cost) -> str:
    if cost.unit == "bytes":
        return f"{cost.value / 1e6:.3f} MB"
    if cost.unit == "instructions":
        return f"{cost.value / 1e6:.2f} M"
    return f"{cost.value:.2f} ms"
