"""Write a parity report as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ghostedge.accuracy.attribution import STEPS, Attribution
from ghostedge.accuracy.statistics import PairedDrop
from ghostedge.reports.format import (
    class_name,
    drop_text,
    flips_text,
    kl_text,
    p_text,
    provenance,
    severity_text,
    share_text,
    snr_text,
)
from ghostedge.reports.parity import Comparison, ParityReport, explain, headline

__all__ = ["parity_markdown"]

_MOST_FLIPS = 10
_MOST_CLASSES = 10


def parity_markdown(report: ParityReport, class_names: Sequence[str] = ()) -> str:
    """The report as GitHub-flavoured Markdown; `class_names` in the order of the logits."""
    lines = [
        f"# Parity report: {report.verdict}",
        "",
        f"**{_plain(headline(report))}.** Reference: {_plain(report.reference.name)}, "
        f"{report.comparisons[0].result.images:,} images, margin {report.max_drop_points:g} points of top-1 accuracy.",
        "",
        *_summary(report),
    ]
    if report.attribution is not None:
        lines += ["", "## Where the drop comes from", "", *_attribution(report.attribution)]
    for comparison in report.comparisons:
        lines += ["", f"## {_plain(comparison.source.name)}", "", *_comparison(comparison, class_names)]
    lines += ["", "## Provenance"]
    for source in report.sources:
        lines += [
            "",
            f"### {_plain(source.name)}",
            "",
            f"- ledger: `{source.file}`",
            f"- ledger sha256: `{source.sha256}`",
        ]
        lines += [
            f"- {name}: {f'`{value}`' if code else _plain(value)}" for name, value, code in provenance(source.metadata)
        ]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown leaves as it is, also inside a table."""
    for character in "\\`*_<>[]|":
        text = text.replace(character, "\\" + character)
    return " ".join(text.split())


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], numeric: int) -> list[str]:
    """A table whose columns from `numeric` on are flush right."""
    rule = [":--" if i < numeric else "--:" for i in range(len(header))]
    return ["| " + " | ".join(cells) + " |" for cells in (header, rule, *rows)]


def _summary(report: ParityReport) -> list[str]:
    reference = report.comparisons[0].result.reference
    rows = [
        (
            f"{_plain(report.reference.name)} (reference)",
            "",
            share_text(reference.top1),
            f"{reference.top5.percent:.2f}%",
            "", "", "", "",
        )
    ]  # fmt: skip
    if report.published is not None:
        quoted = report.published
        rows.append((f"{_plain(quoted.model)} (published)", "", f"{quoted.top1_percent:.1f}%", "", "", "", "", ""))
    for comparison in report.comparisons:
        result = comparison.result
        rows.append(
            (
                _plain(comparison.source.name),
                result.verdict,
                share_text(result.candidate.top1),
                f"{result.candidate.top5.percent:.2f}%",
                drop_text(result.drop),
                p_text(result.drop.p_value),
                f"{result.agreement.percent:.2f}%",
                snr_text(result.logits[0].snr_db) if result.logits else "",
            )
        )
    header = (
        "Model",
        "Verdict",
        "Top-1 (95% interval)",
        "Top-5",
        "Drop, points (90%)",
        "McNemar p",
        "Agreement",
        "SNR",
    )
    lines = _table(header, rows, 2)
    if report.published is not None:
        lines += ["", f"Published: {_plain(report.published.source)}; {_plain(report.published.note)}."]
    return lines


def _attribution(attribution: Attribution) -> list[str]:
    charged = "No step has a drop that is distinguishable from chance."
    if attribution.charged is not None:
        charged = f"Charged: **{STEPS[attribution.charged]}**."
    rows = [
        (
            STEPS[step.step],
            _plain(step.model),
            f"{step.top1_percent:.2f}%",
            drop_text(step.drop),
            p_text(step.p_adjusted),
            snr_text(step.snr_db),
        )
        for step in attribution.steps
    ]
    total: PairedDrop = attribution.total
    rows.append(("All steps", "", f"{attribution.steps[-1].top1_percent:.2f}%", drop_text(total), "", ""))
    return [charged, "", *_table(("Step", "Model after it", "Top-1", "Drop, points (90%)", "p (Holm)", "SNR"), rows, 2)]


def _comparison(comparison: Comparison, names: Sequence[str]) -> list[str]:
    result = comparison.result
    lines = [f"**{result.verdict}.** {explain(result)}"]
    lines += [f"- Note: {_plain(warning)}." for warning in result.warnings]
    lines += [
        "",
        f"- {flips_text(result)}",
        f"- top-5 drop: {drop_text(result.top5_drop)} points",
        f"- calibration error: {result.reference.calibration.error_percent:.2f}% (reference) to "
        f"{result.candidate.calibration.error_percent:.2f}%",
    ]
    lines += [
        f"- logits ({difference.basis}): SNR {snr_text(difference.snr_db)}, max abs {difference.max_abs:.2g}, "
        f"KL {kl_text(difference)}"
        for difference in result.logits
    ]
    if result.flips:
        flips = [
            (
                _plain(flip.image_id),
                flip.kind,
                _plain(class_name(flip.label, names)),
                f"{_plain(class_name(flip.reference_class, names))} {flip.reference_confidence_percent:.0f}%",
                f"{_plain(class_name(flip.candidate_class, names))} {flip.candidate_confidence_percent:.0f}%",
                severity_text(flip),
            )
            for flip in result.flips[:_MOST_FLIPS]
        ]
        lines += ["", *_table(("Worst flips", "Kind", "Label", "Reference", "Candidate", "Logits moved"), flips, 5)]
    worse = [change for change in result.classes if change.losses > change.gains][:_MOST_CLASSES]
    if worse:
        rows = [
            (
                _plain(class_name(change.index, names)),
                f"{change.images}",
                f"{change.reference_correct}",
                f"{change.candidate_correct}",
                p_text(change.p_adjusted),
            )
            for change in worse
        ]
        lines += ["", *_table(("Class", "Images", "Right before", "Right now", "p (Holm)"), rows, 1)]
    return lines
