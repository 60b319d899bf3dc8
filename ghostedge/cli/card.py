"""``ghostedge card``: write the model card of an export."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ghostedge.cli import Arguments, argument

HELP = "write the page that is published beside an export's files: a model card for Hugging Face"

EPILOG = """\
examples:
  ghostedge card build
  ghostedge card build --reference ref.parquet --ledger ledgers/*.parquet --latency latency --output build/README.md
  ghostedge card build --license apache-2.0 --instructions counts.json --output build/README.md

Everything on the card comes from the manifest, the ledgers and the records; it says what they do not hold. Files that
the manifest records and that are not in the folder are left out, files of other bytes are refused.
"""

ARGUMENTS: Arguments = {
    "": [
        argument("folder DIR", "the --output of ghostedge export, or what is left of it to publish", Path),
        argument("--output F", "the card (default: print it)", Path),
        argument("--license ID", "as Hugging Face names it, e.g. apache-2.0 (default: unknown)", default="unknown"),
    ],
    "what was measured": [
        argument("--reference R", "the reference's ledger (.parquet)", Path),
        argument("--ledger L...", "ledgers of the files (.parquet, or .jsonl of the Android demo)", Path),
        argument("--max-drop P", "margin of top-1 accuracy in points (default: 0.5)", float, default=0.5),
        argument("--latency DIR", "the --output of ghostedge benchmark", Path),
        argument("--instructions F", "ARM64 instructions, as benchmarks/arm64/cost.py --json prints them", Path),
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0."""
    from ghostedge.console import ProgressWriter
    from ghostedge.files import atomic_write
    from ghostedge.reports.card import model_card, read_measurements

    measured = read_measurements(
        args.folder,
        reference=args.reference,
        ledgers=args.ledger or (),
        max_drop=args.max_drop,
        latency=args.latency,
        instructions=args.instructions,
    )
    card = model_card(args.folder, measured, args.license)
    progress = ProgressWriter(quiet=args.quiet)
    for name, options in measured.missing().items():
        progress.line(f"ghostedge: the card has no {name}; {options} brings it")
    if args.output is not None:
        atomic_write(args.output, card)
        progress.line(f"wrote {args.output}")
    if args.json:
        print(json.dumps({"schema_version": 1, "card": card, "missing": list(measured.missing())}, ensure_ascii=False))
    elif args.output is None:
        print(card, end="")
    return 0
