"""``ghostedge gate``: hold a change to a committed baseline; for a user's CI."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import EXIT_CODES, Arguments, argument

if TYPE_CHECKING:
    from ghostedge.regression.measure import Inputs

HELP = "block what is less accurate, larger or slower than a committed baseline: for your CI"

EPILOG = """\
examples:
  ghostedge gate --update --artifact build/*.tflite --reference ref.parquet --ledger ledgers/*.parquet --max-drop 0.5
  ghostedge gate --artifact build/*.tflite --reference ref.parquet --ledger ledgers/*.parquet >> "$GITHUB_STEP_SUMMARY"
  ghostedge gate --artifact build/*.tflite --instructions counts.json --baseline cost.json
  ghostedge gate --self-test --artifact build/*.tflite --reference ref.parquet --ledger ledgers/*.parquet

--update writes what is there now to the baseline, with its bounds; commit that file. Later runs print a summary in
Markdown. What the baseline has must be there again: an artifact or a number that is missing fails. Accuracy is judged
as 'ghostedge parity' does, by the 95% bounds of the paired drop from the reference; size, instructions and latency by
their growth against the baseline. --self-test plants a regression of each kind in copies and shows that it is blocked.

exit codes: 0 pass, 2 something is beyond its bound, 3 more images are needed to judge the accuracy, or a latency is
no valid measurement
"""

#: Option -> field of Bounds.
_BOUNDS = {
    "max_drop": "max_drop_points",
    "max_size_growth": "max_size_growth_percent",
    "max_instructions_growth": "max_instructions_growth_percent",
    "max_latency_growth": "max_latency_growth_percent",
}

ARGUMENTS: Arguments = {
    "": [
        argument("--baseline F", "the committed baseline (default: gate.json)", Path, default=Path("gate.json")),
        argument("--update", "write the baseline: what is there now becomes what is held to"),
        argument("--self-test", "plant a regression of each kind in copies, and show that each is blocked"),
    ],
    "what is judged": [
        argument("--artifact A...", "model files; names tell them apart", Path, required=True),
        argument("--reference R", "the reference's ledger (.parquet)", Path),
        argument("--ledger L...", "ledgers of the artifacts (.parquet, or .jsonl of the Android demo)", Path),
        argument("--instructions F", "ARM64 instructions, as benchmarks/arm64/cost.py --json prints them", Path),
        argument("--latency DIR", "the --output of ghostedge benchmark", Path),
    ],
    "bounds, with --update (default: those of the baseline that is there)": [
        argument("--max-drop P", "of top-1 accuracy, in points (default: 0.5)", float),
        argument("--max-size-growth P", "in percent (default: 1)", float),
        argument("--max-instructions-growth P", "in percent (default: 1)", float),
        argument("--max-latency-growth P", "in percent (default: 10)", float),
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0 pass, 2 failed, 3 inconclusive; 0 where the baseline was written."""
    from ghostedge.console import ProgressWriter
    from ghostedge.errors import UsageError
    from ghostedge.regression.gate import run_gate, update

    inputs = _inputs(args)
    bounds = {field: getattr(args, name) for name, field in _BOUNDS.items()}
    if args.update and args.self_test:
        raise UsageError("--update writes the baseline and --self-test tries it: one after the other")
    if not args.update and (given := [name for name in _BOUNDS if getattr(args, name) is not None]):
        raise UsageError(f"--{given[0].replace('_', '-')}: bounds are in the baseline; change them with --update")
    if args.self_test:
        return _self_test(args, inputs)
    report = update(args.baseline, inputs, **bounds) if args.update else run_gate(args.baseline, inputs)
    if args.update:
        ProgressWriter(quiet=args.quiet).line(f"wrote {args.baseline}; commit it")
    print(json.dumps(report.to_dict(), indent=2, ensure_ascii=False) if args.json else report.to_markdown())
    return 0 if args.update else EXIT_CODES[report.verdict]


def _inputs(args: argparse.Namespace) -> Inputs:
    from ghostedge.regression.measure import Inputs

    return Inputs(tuple(args.artifact), args.reference, tuple(args.ledger or ()), args.instructions, args.latency)


def _self_test(args: argparse.Namespace, inputs: Inputs) -> int:
    from ghostedge.regression.selftest import self_test, self_test_markdown
    from ghostedge.stored import plain

    found = self_test(args.baseline, inputs)
    if args.json:
        print(json.dumps({"schema_version": 1, "planted": plain(found)}, indent=2, ensure_ascii=False))
    else:
        print(self_test_markdown(found))
    return 2 if any(each.blocked is False for each in found) else 0
