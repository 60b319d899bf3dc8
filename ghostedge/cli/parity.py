"""``ghostedge parity``: judge ledgers against the reference's, or plan how many images that takes."""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import EXIT_CODES, LABELS, Arguments, argument, options_given
from ghostedge.console import ProgressWriter, aligned

if TYPE_CHECKING:
    from ghostedge.reports.parity import ParityReport

HELP = "judge ledgers against the reference's, image by image: PASS, FAIL or INCONCLUSIVE"

EPILOG = """\
examples:
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html
  ghostedge parity --reference ref.parquet --ledger fp16.parquet --ledger int8.parquet --max-drop 1 --json
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html --data imagenet/val
  ghostedge parity --reference ref.parquet --ledger ledgers/*.parquet --report all.html --export build --latency latency
  ghostedge parity --reference ref.parquet --ledger int8.parquet --report parity.html \\
      --attribute float=fp32.parquet --attribute weights=dynamic.parquet --attribute activations=int8.parquet
  ghostedge parity --reference ref.parquet --noise-floor ref.repeat2.parquet --ledger int8.parquet --report parity.html
  ghostedge parity --plan --max-drop 0.5 --discordance 2

A ledger passes when the upper 95% bound of its drop of top-1 accuracy is within the margin, fails when the lower one is
beyond it, and is inconclusive otherwise. --plan says, before any image is run, how many images a margin needs.

exit codes: 0 pass, 2 parity failed, 3 inconclusive; of several ledgers the worst (2 before 3 before 0)
"""

#: Share of images that exactly one of the two models gets right, percent: what to expect before it is known.
_TYPICAL_DISCORDANCE = (0.05, 0.2, 1.0, 2.0, 5.0)

_IMAGENET_VALIDATION = 50_000

#: Options that are shown in the report alone.
_BESIDE = ("export", "latency", "instructions")
_REPORT = ("data", "labels", *_BESIDE)

#: Options that a plan knows nothing of, and options of a plan alone.
_COMPARED = ("reference", "ledger", "noise_floor", "attribute", "report", *_REPORT, "published")
_PLANNED = ("discordance", "expected_drop", "power")


ARGUMENTS: Arguments = {
    "what is compared": [
        argument("--reference R", "the reference's ledger (.parquet)", Path),
        argument(
            "--ledger L...", "a ledger to judge (.parquet, or .jsonl of the Android demo); several are allowed", Path
        ),
        argument(
            "--noise-floor L", "a second run of the reference's checkpoint: how much the reference itself moves", Path
        ),
        argument("--max-drop P", "margin of top-1 accuracy in points (default: 0.5)", float, default=0.5),
        argument(
            "--attribute STEP=L",
            "split the drop: preprocessing, float, weights or activations with the ledger after it; in order",
            action="append",
        ),
    ],
    "report": [
        argument("--report F.html", "HTML report; Markdown and JSON are put beside it", Path),
        argument("--data D", "the images, to show flips as pictures", Path),
        argument("--export DIR", "--output of export: show sizes and differences at export too", Path),
        argument("--latency DIR", "--output of benchmark: show latencies too", Path),
        argument("--instructions F", "counts of benchmarks/arm64/cost.py --json: what to ship without a board", Path),
        LABELS,
        argument("--published MODEL", "quote a published accuracy, e.g. ghostnetv2_1x"),
    ],
    "planning": [
        argument("--plan", "say how many images --max-drop needs, and compare nothing"),
        argument("--discordance P", "expected %% of images that exactly one model gets right", float),
        argument("--expected-drop P", "expected drop in points (default: 0)", float),
        argument("--power X", "chance of a decision (default: 0.8)", float),
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0 pass (or a plan), 2 failed, 3 inconclusive."""
    if args.plan:
        return _plan(args)
    from ghostedge.errors import UsageError
    from ghostedge.reports import check_report_path
    from ghostedge.reports.artifact_table import read_beside
    from ghostedge.reports.parity import parity
    from ghostedge.reports.parity_page import write_parity

    if args.reference is None or not args.ledger:
        raise UsageError("give --reference and at least one --ledger, or --plan; see 'ghostedge parity --help'")
    if planned := options_given(args, _PLANNED):
        raise UsageError(f"{planned}: for --plan alone; leave it out, or give --plan")
    beside = None
    if args.report is not None:
        check_report_path(args.report)
        if any(getattr(args, name) is not None for name in _BESIDE):
            beside = read_beside(args.export, args.latency, args.instructions)
    elif shown := options_given(args, _REPORT):
        raise UsageError(f"{shown}: for the report alone; add --report F.html")
    progress = ProgressWriter(quiet=args.quiet)
    report = parity(
        args.reference,
        args.ledger,
        max_drop=args.max_drop,
        attribution=[_step(text) for text in args.attribute or ()],
        quote=args.published,
        noise=args.noise_floor,
        on_progress=progress.line,
    )
    if args.report is not None:
        write_parity(
            report,
            args.report,
            data=args.data,
            labels=args.labels,
            beside=beside,
            on_progress=progress.line,
            warn=lambda text: progress.warn(f"ghostedge: {text}"),
        )
    if args.json:
        print(report.to_json(), end="")
    else:
        print(summary(report))
    return EXIT_CODES[report.verdict]


def _step(text: str) -> tuple[str, Path]:
    from ghostedge.accuracy.attribution import STEPS
    from ghostedge.errors import UsageError
    from ghostedge.lazy import choose

    name, equals, path = text.partition("=")
    if not equals or not path:
        raise UsageError(f"--attribute {text}: write STEP=LEDGER, with STEP one of {', '.join(STEPS)}")
    return choose("attribution step", name, STEPS), Path(path)


def summary(report: ParityReport) -> str:
    """One line a ledger, after the reference's; below it why each verdict is what it is."""
    from ghostedge.accuracy.attribution import STEPS
    from ghostedge.reports.format import computed_in, plural, signed
    from ghostedge.reports.parity import explain, noise_runs, noise_text, step_rows, summary_rows

    rows = [[*row[:3], *row[4:]] for row in summary_rows(report)]  # the page has top-5 too
    if report.published is not None:
        rows[2][2] = f"{report.published.top1_percent:.1f}%"
    lines = aligned(rows)
    lines.append(f"arithmetic of the reference: {computed_in(report.reference.metadata)}")
    if report.noise_floor is not None:
        noise = report.noise_floor
        lines.append(
            f"noise floor: {noise_runs(report)}: {plural(noise.flips, 'flip')}, drops within "
            f"{signed(noise.low_points)} to {signed(noise.high_points)} points are not the artifact's fault"
        )
    for comparison in report.comparisons:
        lines.append(
            f"{comparison.source.name}: {explain(comparison.result)} {noise_text(report, comparison.result)}".rstrip()
        )
        lines += [f"{comparison.source.name}: note: {warning}" for warning in comparison.result.warnings]
    if report.published is not None:
        lines.append(f"published: {report.published.source}; {report.published.note}")
    if report.attribution is not None:
        header, *steps, _ = ([step, *numbers] for step, _, *numbers, _ in step_rows(report.attribution))
        header[1] = "Top-1 after it"
        charged = report.attribution.charged
        verdict = "no step has a drop that is distinguishable from chance" if charged is None else STEPS[charged]
        lines += ["", *aligned([header, *steps]), f"charged: {verdict}"]
    return "\n".join(lines)


def _plan(args: argparse.Namespace) -> int:
    """Print how many images a margin needs. Returns: 0."""
    from ghostedge.accuracy.statistics import plan, plan_margin
    from ghostedge.errors import UsageError

    if compared := options_given(args, _COMPARED):
        raise UsageError(f"--plan comes before any ledger, and compares nothing: leave {compared} out")
    expected = args.expected_drop or 0.0
    power = 0.8 if args.power is None else args.power
    discordances = [value for value in _TYPICAL_DISCORDANCE if value >= abs(expected)]
    if args.discordance is not None:
        discordances = [args.discordance]
    if not discordances:
        raise UsageError(f"give --discordance: it is at least the expected drop, {abs(expected):g}%")
    plans = [plan(args.max_drop, value, expected, power) for value in discordances]
    margins = [plan_margin(_IMAGENET_VALIDATION, value, expected, power) for value in discordances]
    if args.json:
        entries = [
            {**dataclasses.asdict(p), "smallest_margin_of_50000_images_points": margin}
            for p, margin in zip(plans, margins, strict=True)
        ]
        print(json.dumps({"schema_version": 1, "plans": entries}, indent=2))
        return 0
    rows = [("Discordance", "Images needed", "Verdict then", "Smallest margin of 50,000 images")]
    rows += [
        (f"{p.discordance_percent:g}%", f"{p.images:,}", p.verdict, f"{margin:.2f} points")
        for p, margin in zip(plans, margins, strict=True)
    ]
    print(
        f"Margin {args.max_drop:g} points, expected drop {expected:g} points, {power:.0%} chance of a decision "
        f"with one-sided bounds of {plans[0].confidence:.0%}.\n"
        "Discordance: share of images that exactly one of the two models gets right.\n"
    )
    print("\n".join(aligned(rows)))
    return 0
