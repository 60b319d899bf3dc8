"""``ghostedge parity``: judge ledgers against the reference's, or plan how many images that takes."""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ghostedge.accuracy.statistics import Verdict
    from ghostedge.evaluation.ledger import Ledger
    from ghostedge.reports.artifact_table import Beside
    from ghostedge.reports.parity import LedgerSource, ParityReport

HELP = "judge ledgers against the reference's, image by image: PASS, FAIL or INCONCLUSIVE"

EPILOG = """\
examples:
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html
  ghostedge parity --reference ref.parquet --ledger fp16.parquet --ledger int8.parquet --max-drop 1 --json
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html --data imagenet/val
  ghostedge parity --reference ref.parquet --ledger ledgers/*.parquet --report all.html --export build --latency latency
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html \\
      --attribute float=fp32.parquet --attribute weights=dynamic.parquet --attribute activations=int8.parquet
  ghostedge parity --plan --max-drop 0.5 --discordance 2

A ledger passes when the upper 95% bound of its drop of top-1 accuracy is within the margin, fails when the lower one is
beyond it, and is inconclusive otherwise. --plan says, before any image is run, how many images a margin needs.

exit codes: 0 pass, 2 parity failed, 3 inconclusive; of several ledgers the worst (2 before 3 before 0)
"""

_EXIT_CODES: dict[Verdict, int] = {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}

#: Share of images that exactly one of the two models gets right, percent: what to expect before it is known.
_TYPICAL_DISCORDANCE = (0.05, 0.2, 1.0, 2.0, 5.0)

_IMAGENET_VALIDATION = 50_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    compare = parser.add_argument_group("what is compared")
    compare.add_argument("--reference", type=Path, metavar="R", help="the reference's ledger (.parquet)")
    compare.add_argument(
        "--ledger",
        type=Path,
        metavar="L",
        action="append",
        nargs="+",
        help="a ledger to judge (.parquet, or .jsonl of the Android demo); several are allowed",
    )
    compare.add_argument(
        "--max-drop", type=float, default=0.5, metavar="P", help="margin of top-1 accuracy in points (default: 0.5)"
    )
    compare.add_argument(
        "--attribute",
        action="append",
        metavar="STEP=L",
        help="split the drop: preprocessing, float, weights or activations with the ledger after it; in order",
    )
    report = parser.add_argument_group("report")
    report.add_argument(
        "--report", type=Path, metavar="F.html", help="HTML report; Markdown and JSON are put beside it"
    )
    report.add_argument("--data", type=Path, metavar="D", help="the images, to show flips as pictures")
    report.add_argument(
        "--export", type=Path, metavar="DIR", help="--output of export: show sizes and differences at export too"
    )
    report.add_argument("--latency", type=Path, metavar="DIR", help="--output of benchmark: show latencies too")
    report.add_argument(
        "--labels", type=Path, metavar="F", help="class names, one a line (default for 1,000: ImageNet)"
    )
    report.add_argument("--published", metavar="MODEL", help="quote a published accuracy, e.g. ghostnetv2_1x")
    planning = parser.add_argument_group("planning")
    planning.add_argument(
        "--plan", action="store_true", help="say how many images --max-drop needs, and compare nothing"
    )
    planning.add_argument(
        "--discordance", type=float, metavar="P", help="expected %% of images that exactly one model gets right"
    )
    planning.add_argument(
        "--expected-drop", type=float, default=0.0, metavar="P", help="expected drop in points (default: 0)"
    )
    planning.add_argument("--power", type=float, default=0.8, metavar="X", help="chance of a decision (default: 0.8)")


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0 pass (or a plan), 2 failed, 3 inconclusive."""
    from ghostedge.errors import UsageError

    if args.plan:
        return _plan(args)
    if args.reference is None or not args.ledger:
        raise UsageError("give --reference and at least one --ledger, or --plan; see 'ghostedge parity --help'")
    beside = None
    if args.report is not None:
        from ghostedge.reports.artifact_table import read_beside
        from ghostedge.reports.write import check_report_path

        check_report_path(args.report)
        if args.export is not None or args.latency is not None:
            beside = read_beside(args.export, args.latency)
    elif given := [f"--{name}" for name in ("export", "latency") if getattr(args, name) is not None]:
        raise UsageError(f"{' and '.join(given)}: they are shown in the report; add --report F.html")
    report = _compare(args)
    if args.report is not None:
        _write(args, report, beside)
    if args.json:
        print(report.to_json(), end="")
    else:
        print(summary(report))
    return _EXIT_CODES[report.verdict]


def _compare(args: argparse.Namespace) -> ParityReport:
    from ghostedge.accuracy.attribution import attribute
    from ghostedge.accuracy.parity import compare_ledgers
    from ghostedge.errors import LedgerError
    from ghostedge.reports.parity import Comparison, ParityReport, published

    paths = [path for group in args.ledger for path in group]
    steps = [_step(text) for text in args.attribute or ()]
    reference, source = _read(args.reference)
    quoted = None if args.published is None else published(args.published, reference.metadata)
    comparisons = []
    for path in paths:
        _progress(args, f"comparing {path}")
        ledger, candidate = _read(path)  # one at a time: with whole logits a ledger of ImageNet is 100 MB
        try:
            comparisons.append(Comparison(candidate, compare_ledgers(reference, ledger, args.max_drop)))
        except LedgerError as exc:
            raise LedgerError(f"{path} beside {args.reference}: {exc}") from exc
        del ledger
    attribution, sources = None, []
    if steps:
        _progress(args, "splitting the drop")
        stages = []
        for step, path in steps:
            ledger, candidate = _read(path)
            stages.append((step, ledger))
            sources.append(candidate)
        attribution = attribute(reference, stages)
    return _with_unique_names(
        ParityReport(source, tuple(comparisons), args.max_drop, attribution, tuple(sources), quoted)
    )


def _read(path: Path) -> tuple[Ledger, LedgerSource]:
    from ghostedge.evaluation.jsonl import read_json_lines
    from ghostedge.evaluation.ledger import read_ledger
    from ghostedge.files import sha256_file
    from ghostedge.reports.format import arithmetic_of, named
    from ghostedge.reports.parity import LedgerSource

    ledger = read_json_lines(path) if path.suffix == ".jsonl" else read_ledger(path)
    name = named(str(ledger.metadata.model.get("file", path.name)), arithmetic_of(ledger.metadata.runtime))
    return ledger, LedgerSource(name, path.name, sha256_file(path), ledger.metadata)


def _with_unique_names(report: ParityReport) -> ParityReport:
    """Models of one file name are told apart by their ledgers' names."""
    names = [source.name for source in report.sources]

    def rename(source: LedgerSource) -> LedgerSource:
        if names.count(source.name) == 1:
            return source
        return dataclasses.replace(source, name=f"{source.name} ({source.file})")

    return dataclasses.replace(
        report,
        reference=rename(report.reference),
        comparisons=tuple(dataclasses.replace(c, source=rename(c.source)) for c in report.comparisons),
        attribution_sources=tuple(map(rename, report.attribution_sources)),
    )


def _step(text: str) -> tuple[str, Path]:
    from ghostedge.accuracy.attribution import STEPS
    from ghostedge.errors import UsageError
    from ghostedge.lazy import choose

    name, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--attribute {text}: write STEP=LEDGER, with STEP one of {', '.join(STEPS)}")
    return choose("attribution step", name, STEPS), Path(path)


def _write(args: argparse.Namespace, report: ParityReport, beside: Beside | None) -> None:
    from ghostedge.reports.write import write_report

    pictures = {}
    if args.data is not None:
        from ghostedge.data.datasets import NO_LABELS, open_dataset
        from ghostedge.reports.parity_html import MOST_FLIPS
        from ghostedge.reports.thumbnails import thumbnails

        _progress(args, f"reading pictures from {args.data}")
        wanted = [flip.image_id for c in report.comparisons for flip in c.result.flips[:MOST_FLIPS]]
        pictures = thumbnails(open_dataset(args.data, NO_LABELS), wanted)
        if wanted and not pictures:
            print(f"ghostedge: {args.data} has none of the {len(set(wanted))} images to show", file=sys.stderr)
    paths = write_report(
        report, args.report, class_names=_class_names(args, report), thumbnails=pictures, beside=beside
    )
    _progress(args, "wrote " + ", ".join(map(str, paths)))


def _class_names(args: argparse.Namespace, report: ParityReport) -> Sequence[str]:
    from ghostedge.data.imagenet import imagenet_labels, load_labels
    from ghostedge.errors import UsageError

    classes = report.reference.metadata.classes
    if args.labels is None:
        return imagenet_labels() if classes == 1000 else ()
    names = load_labels(args.labels)
    if len(names) != classes:
        raise UsageError(f"{args.labels} names {len(names)} classes, the ledgers have {classes}")
    return names


def _progress(args: argparse.Namespace, message: str) -> None:
    if not args.quiet:
        print(message, file=sys.stderr, flush=True)


# -- Output -------------------------------------------------------------------------------------------------


def summary(report: ParityReport) -> str:
    """One line a ledger, after the reference's; below it why each verdict is what it is."""
    from ghostedge.reports.format import drop_text, p_text, share_text, snr_text
    from ghostedge.reports.parity import explain

    reference = report.comparisons[0].result.reference
    rows = [
        ("Model", "Verdict", "Top-1 (95% interval)", "Drop, points (90%)", "McNemar p", "Agreement", "Logit SNR"),
        (report.reference.name, "reference", share_text(reference.top1), "", "", "", ""),
    ]
    if report.published is not None:
        quoted = report.published
        rows.append((quoted.model, "published", f"{quoted.top1_percent:.1f}%", "", "", "", ""))
    for comparison in report.comparisons:
        result = comparison.result
        rows.append(
            (
                comparison.source.name,
                result.verdict,
                share_text(result.candidate.top1),
                drop_text(result.drop),
                p_text(result.drop.p_value),
                f"{result.agreement.percent:.2f}%",
                snr_text(result.logits[0].snr_db) if result.logits else "",
            )
        )
    lines = _aligned(rows)
    for comparison in report.comparisons:
        lines.append(f"{comparison.source.name}: {explain(comparison.result)}")
        lines += [f"{comparison.source.name}: note: {warning}" for warning in comparison.result.warnings]
    if report.published is not None:
        lines.append(f"published: {report.published.source}; {report.published.note}")
    if report.attribution is not None:
        lines += ["", *_attribution_lines(report)]
    return "\n".join(lines)


def _attribution_lines(report: ParityReport) -> list[str]:
    from ghostedge.accuracy.attribution import STEPS
    from ghostedge.reports.format import drop_text, p_text

    assert report.attribution is not None
    steps = report.attribution.steps
    rows = [("Step", "Top-1 after it", "Drop, points (90%)", "p (Holm)")]
    rows += [
        (STEPS[step.step], f"{step.top1_percent:.2f}%", drop_text(step.drop), p_text(step.p_adjusted)) for step in steps
    ]
    charged = report.attribution.charged
    verdict = "no step has a drop that is distinguishable from chance" if charged is None else STEPS[charged]
    return [*_aligned(rows), f"charged: {verdict}"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows in columns, a rule below the first."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def _plan(args: argparse.Namespace) -> int:
    """Print how many images a margin needs. Returns: 0."""
    from ghostedge.accuracy.statistics import plan, plan_margin
    from ghostedge.errors import UsageError

    if args.reference is not None or args.ledger or args.report is not None:
        raise UsageError("--plan comes before any ledger: leave --reference, --ledger and --report out")
    expected = args.expected_drop
    discordance = [args.discordance] if args.discordance is not None else list(_TYPICAL_DISCORDANCE)
    if args.discordance is None:
        discordance = [value for value in discordance if value >= abs(expected)]
        if not discordance:
            raise UsageError(f"give --discordance: it is at least the expected drop, {abs(expected):g}%")
    plans = [plan(args.max_drop, value, expected, args.power) for value in discordance]
    reachable = [plan_margin(_IMAGENET_VALIDATION, p.discordance_percent, expected, args.power) for p in plans]
    if args.json:
        entries = [
            {**dataclasses.asdict(p), "smallest_margin_of_50000_images_points": margin}
            for p, margin in zip(plans, reachable, strict=True)
        ]
        print(json.dumps({"schema_version": 1, "plans": entries}, indent=2))
        return 0
    rows = [("Discordance", "Images needed", "Verdict then", "Smallest margin of 50,000 images")]
    rows += [
        (f"{p.discordance_percent:g}%", f"{p.images:,}", p.verdict, f"{margin:.2f} points")
        for p, margin in zip(plans, reachable, strict=True)
    ]
    print(
        f"Margin {args.max_drop:g} points, expected drop {expected:g} points, {args.power:.0%} chance of a decision "
        f"with one-sided bounds of {plans[0].confidence:.0%}.\n"
        "Discordance: share of images that exactly one of the two models gets right.\n"
    )
    print("\n".join(_aligned(rows)))
    return 0
