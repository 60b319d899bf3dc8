"""Judge ledgers against the reference's: what a parity report holds and says, whatever its form."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import ghostedge
from ghostedge.accuracy.attribution import STEPS, Attribution, attribute
from ghostedge.accuracy.fit import arithmetic_warning
from ghostedge.accuracy.noise import NoiseFloor, noise_floor
from ghostedge.accuracy.parity import ParityResult, compare_ledgers
from ghostedge.accuracy.statistics import Proportion, Verdict, worst_verdict
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import Ledger, LedgerMetadata, read_ledger
from ghostedge.files import paths_of, sha256_file
from ghostedge.reports.format import (
    Stacked,
    arithmetic_of,
    computed_in,
    drop_text,
    named,
    p_text,
    points_text,
    share_text,
    signed,
    snr_text,
)
from ghostedge.reports.published import Published, published
from ghostedge.stored import plain

SCHEMA_VERSION = 1

Result = TypeVar("Result", ParityResult, NoiseFloor)

#: The JSON Schema (draft 2020-12) of the JSON report.
SCHEMA_PATH = Path(__file__).with_name("parity.schema.json")

_IMAGENET_VALIDATION = 50_000


@dataclass(frozen=True)
class LedgerSource:
    """A ledger file and what it says about itself.

    Attributes:
        name: what the report calls it.
        file: its file name.
        sha256: of the file.
        metadata: the model, the runtime, the host and the images behind its numbers.
    """

    name: str
    file: str
    sha256: str
    metadata: LedgerMetadata

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {**vars(self), "metadata": json.loads(self.metadata.to_json())}


@dataclass(frozen=True)
class Comparison:
    """One candidate ledger and its result beside the reference."""

    source: LedgerSource
    result: ParityResult


@dataclass(frozen=True)
class ParityReport:
    """Everything a parity report says.

    Attributes:
        reference: the ledger that the others are held to.
        comparisons: one a candidate, in the order given; at least one.
        max_drop_points: the margin.
        attribution: the drop split by steps, where asked for.
        attribution_sources: the ledgers of those steps, in order.
        published: a published accuracy to quote beside the reference, where asked for.
        noise_floor: what lies between two runs of the reference, where a second one is given.
        noise_source: the second run's ledger.
    """

    reference: LedgerSource
    comparisons: tuple[Comparison, ...]
    max_drop_points: float
    attribution: Attribution | None = None
    attribution_sources: tuple[LedgerSource, ...] = ()
    published: Published | None = None
    noise_floor: NoiseFloor | None = None
    noise_source: LedgerSource | None = None

    @property
    def verdict(self) -> Verdict:
        """The worst verdict of all comparisons."""
        return worst_verdict(comparison.result.verdict for comparison in self.comparisons)

    @property
    def sources(self) -> tuple[LedgerSource, ...]:
        """Every ledger behind the report, each once."""
        noise = () if self.noise_source is None else (self.noise_source,)
        every = (self.reference, *noise, *(c.source for c in self.comparisons), *self.attribution_sources)
        return tuple({source.sha256 + source.file: source for source in every}.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, as `SCHEMA_PATH` describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            "ghostedge_version": ghostedge.__version__,
            "verdict": self.verdict,
            "max_drop_points": self.max_drop_points,
            "reference": self.reference.to_dict(),
            "published": None if self.published is None else asdict(self.published),
            "noise_floor": None
            if self.noise_floor is None or self.noise_source is None
            else {**plain(self.noise_floor), "ledger": self.noise_source.to_dict()},
            "comparisons": [
                {"ledger": comparison.source.to_dict(), "result": plain(comparison.result)}
                for comparison in self.comparisons
            ],
            "attribution": None
            if self.attribution is None
            else {
                **plain(self.attribution),
                "ledgers": [source.to_dict() for source in self.attribution_sources],
            },
        }

    def to_json(self) -> str:
        """Indented JSON without NaN or infinity."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def parity(
    reference: Path | str,
    ledgers: Path | str | Iterable[Path | str],
    *,
    max_drop: float = 0.5,
    attribution: Iterable[tuple[str, Path | str]] = (),
    quote: str | None = None,
    noise: Path | str | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ParityReport:
    """Judge ledgers against the reference's, paired image by image.

    A ledger passes when the upper 95% bound of its drop of top-1 accuracy is within the margin, fails when the lower
    one is beyond it, and is inconclusive otherwise.

    >>> import ghostedge
    >>> [result] = ghostedge.evaluate("model_fp32.tflite", "photos", "ledgers")
    >>> report = ghostedge.parity("reference.parquet", result.ledger, max_drop=10)
    >>> report.verdict, report.comparisons[0].result.drop.drop_points
    ('PASS', 0.0)

    Args:
        reference: the reference's ledger (``.parquet``).
        ledgers: one or several to judge: ``.parquet``, or ``.jsonl`` of the Android demo.
        max_drop: the margin, percentage points of top-1 accuracy, above 0.
        attribution: (step, ledger after it), in order, to split the drop: ``"preprocessing"``, ``"float"``,
            ``"weights"`` or ``"activations"``.
        quote: a published accuracy to quote beside the reference, e.g. ``"ghostnetv2_1x"``.
        noise: the ledger of the reference's checkpoint run again: its own noise, shown as a band behind every artifact.
        on_progress: called with a line of text.

    Raises:
        LedgerError: a ledger is missing or damaged, or does not fit the reference.
        UsageError: no ledger to judge, an impossible margin or step, or an unknown published accuracy.
        MissingExtraError: pyarrow is not installed.
    """
    reference = Path(reference)
    candidates = paths_of(ledgers)
    if not candidates:
        raise UsageError("there is no ledger to judge, so nothing would be compared; name at least one")
    base, source = _read(reference)
    quoted = None if quote is None else published(quote, base.metadata)
    beside = partial(_beside, reference, base, max_drop)
    floor, again = (None, None) if noise is None else beside(Path(noise), noise_floor)
    comparisons = []
    for path in candidates:
        on_progress(f"comparing {path}")
        result, candidate = beside(path, compare_ledgers)
        if floor is None and (warning := arithmetic_warning(base.metadata, candidate.metadata)):
            result = replace(result, warnings=(*result.warnings, warning))
        comparisons.append(Comparison(candidate, result))
    split, sources = None, []
    if steps := [(step, Path(path)) for step, path in attribution]:
        on_progress("splitting the drop")
        stages = []
        for step, path in steps:
            ledger, candidate = _read(path)
            stages.append((step, ledger))
            sources.append(candidate)
        split = attribute(base, stages)
    return _with_unique_names(
        ParityReport(source, tuple(comparisons), max_drop, split, tuple(sources), quoted, floor, again)
    )


def _beside(
    reference: Path, base: Ledger, max_drop: float, path: Path, compare: Callable[[Ledger, Ledger, float], Result]
) -> tuple[Result, LedgerSource]:
    """What `compare` says of one ledger; one at a time, for with whole logits a ledger of ImageNet is 100 MB."""
    ledger, found = _read(path)
    try:
        return compare(base, ledger, max_drop), found
    except LedgerError as exc:
        raise LedgerError(f"{path} beside {reference}: {exc}") from exc


def _read(path: Path) -> tuple[Ledger, LedgerSource]:
    ledger = read_json_lines(path) if path.suffix == ".jsonl" else read_ledger(path)
    name = named(str(ledger.metadata.model.get("file", path.name)), arithmetic_of(ledger.metadata.runtime))
    return ledger, LedgerSource(name, path.name, sha256_file(path), ledger.metadata)


def _with_unique_names(report: ParityReport) -> ParityReport:
    """Models of one file name are told apart by their ledgers' names."""
    names = [source.name for source in report.sources]

    def rename(source: LedgerSource) -> LedgerSource:
        if names.count(source.name) == 1:
            return source
        return replace(source, name=f"{source.name} ({source.file})")

    return replace(
        report,
        reference=rename(report.reference),
        comparisons=tuple(replace(c, source=rename(c.source)) for c in report.comparisons),
        attribution_sources=tuple(map(rename, report.attribution_sources)),
        noise_source=report.noise_source and rename(report.noise_source),
    )


# -- In words -----------------------------------------------------------------------------------------------


def headline(report: ParityReport) -> str:
    """The outcome in one line, e.g. ``"1 of 3 artifacts drops by more than 0.5 points"``."""
    total, margin = len(report.comparisons), points_text(report.max_drop_points)
    found = [comparison.result.verdict for comparison in report.comparisons]
    if total == 1:
        name = report.comparisons[0].source.name
        return {
            "PASS": f"{name} is within {margin} of the reference",
            "FAIL": f"{name} drops by more than {margin}",
            "INCONCLUSIVE": f"{name} needs more images to be judged",
        }[found[0]]
    if failed := found.count("FAIL"):
        return f"{failed} of {total} artifacts {'drops' if failed == 1 else 'drop'} by more than {margin}"
    if undecided := found.count("INCONCLUSIVE"):
        return f"{undecided} of {total} artifacts {'needs' if undecided == 1 else 'need'} more images to be judged"
    return f"All {total} artifacts are within {margin} of the reference"


def explain(result: ParityResult) -> str:
    """Why the verdict is what it is, in one or two sentences."""
    drop, margin = result.drop, result.max_drop_points
    if result.verdict != "INCONCLUSIVE":
        passed = result.verdict == "PASS"
        bound = f"at most {signed(drop.upper_points)}" if passed else f"at least {signed(drop.lower_points)}"
        side = "within" if passed else "beyond"
        return f"With 95% confidence the true drop is {bound} points, {side} the margin of {margin:g}."
    text = (
        f"The true drop lies between {signed(drop.lower_points)} and {signed(drop.upper_points)} points "
        f"(90% interval), and the margin of {margin:g} is inside."
    )
    if result.images_to_decide is None:
        return f"{text} The observed drop is the margin itself: more images alone would not decide."
    beyond = ", more than ImageNet's validation set has" if result.images_to_decide > _IMAGENET_VALIDATION else ""
    return (
        f"{text} About {result.images_to_decide:,} images would decide it{beyond} (80% power, at the rates seen here)."
    )


def noise_text(report: ParityReport, result: ParityResult) -> str:
    """Whether an artifact's drop is within the reference's own noise; empty where that is not known."""
    noise = report.noise_floor
    if noise is None:
        return ""
    if noise.identical:
        return "Two runs of the reference are the same to the last bit: none of the drop is its noise."
    within = f"the noise floor of ±{noise.high_points:.2f} points"
    if noise.covers(result.drop):
        return f"The observed drop is within {within}: two runs of the reference differ as much."
    return f"The observed drop is beyond {within}, which two runs of the reference show."


def noise_runs(report: ParityReport) -> str:
    """What the two runs of the noise floor are, e.g. ``"float32 on CPU, and default on Ascend"``."""
    if report.noise_source is None:
        return ""
    runs = []
    for metadata in (report.reference.metadata, report.noise_source.metadata):
        said = computed_in(metadata)
        runs.append(f"{'arithmetic ' if said == 'not recorded' else ''}{said} on {metadata.device}")
    return f"{runs[0]}, twice" if runs[0] == runs[1] else f"{runs[0]}, and {runs[1]}"


#: A row of texts; those of two parts are `Stacked`, which a page sets in two lines.
TextRow = Sequence[str]


def summary_rows(report: ParityReport) -> list[TextRow]:
    """A row of texts for each model, after one that names the columns.

    The reference, the published accuracy, the reference's second run, the candidates: page, Markdown and terminal show
    these. In place of a verdict the first three have ``"reference"``, ``"published"`` and ``"noise floor"``; a text
    that does not apply is empty.
    """
    reference, quoted = report.comparisons[0].result.reference, report.published
    top1, drop, top5 = Stacked("Top-1", "95% interval"), Stacked("Drop, points", "90%"), reference.top5.percent
    rows: list[TextRow] = [
        ("Model", "Verdict", top1, "Top-5", drop, "McNemar p", "Agreement", "Logit SNR"),
        (report.reference.name, "reference", share_text(reference.top1), f"{top5:.2f}%", *[""] * 4),
    ]
    if quoted is not None:
        rows.append((quoted.model, "published", Stacked(f"{quoted.top1_percent:.1f}%", "as published"), *[""] * 5))
    if report.noise_floor is not None and report.noise_source is not None:
        noise = report.noise_floor
        rows.append((report.noise_source.name, "noise floor", *_judged(noise, noise.top1, noise.top5)))
    for comparison in report.comparisons:
        result = comparison.result
        accuracy = result.candidate
        rows.append((comparison.source.name, result.verdict, *_judged(result, accuracy.top1, accuracy.top5)))
    return rows


def _judged(found: ParityResult | NoiseFloor, top1: Proportion, top5: Proportion) -> TextRow:
    """The cells of one model beside the reference."""
    return (
        share_text(top1),
        f"{top5.percent:.2f}%",
        drop_text(found.drop),
        p_text(found.drop.p_value),
        f"{found.agreement.percent:.2f}%",
        snr_text(found.logits[0].snr_db) if found.logits else "",
    )


def step_rows(attribution: Attribution) -> list[TextRow]:
    """A row of texts for each step, after one that names the columns, and a last row for all steps."""
    rows: list[TextRow] = [("Step", "Model after it", "Top-1", "Drop, points (90%)", "p (Holm)", "Logit SNR")]
    for step in attribution.steps:
        numbers = f"{step.top1_percent:.2f}%", str(drop_text(step.drop)), p_text(step.p_adjusted), snr_text(step.snr_db)
        rows.append((STEPS[step.step], step.model, *numbers))
    _, model, top1, *_ = rows[-1]
    return [*rows, ("All steps", model, top1, str(drop_text(attribution.total)), "", "")]
