"""``ghostedge verify``: ask artifacts the golden vectors of their export, on this machine or on the device itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import (
    DEVICES,
    GOLDEN,
    SETTINGS,
    Arguments,
    argument,
    device_progress,
    settings_of,
    tell,
    warn_of_changed,
)
from ghostedge.console import aligned

if TYPE_CHECKING:
    from ghostedge.latency.api import DeviceRecord

HELP = "check on a device that artifacts give MindSpore's answers to golden vectors"

EPILOG = """\
examples:
  ghostedge verify --artifact build/*.tflite
  ghostedge verify --artifact build/*.tflite build/*.xml --device ssh:pi@raspberrypi --python '~/benchmark/bin/python'
  ghostedge verify --artifact build/model_fp16.tflite --device adb:R58M12ABCDE
  ghostedge verify --artifact model.onnx --golden model.golden.npz --min-snr-db 60

Golden vectors (NAME.golden.npz, which export writes beside the artifacts) are pictures and MindSpore's logits. The
runtime that would be timed is asked them, the first picture a hundred times: some drivers are right only once. Answers
are held to the bounds of the artifact's recipe, which it carries; 16-bit arithmetic to 40 dB at most. Ends with 2 where
they are not kept, and with 1 where an artifact could not be asked.
"""


ARGUMENTS: Arguments = {
    "what to verify": [
        argument("--artifact A...", ".tflite, .xml or .onnx", Path, required=True),
        GOLDEN,
        argument("--min-snr-db DB", "instead of the artifact's own bound", float),
        argument("--min-top1-agreement 0..1", "likewise", float),
        *SETTINGS,
        argument("--output DIR", "keep the records here (default: they are not kept)", Path),
    ],
    "where": DEVICES,
}


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0; 1 when a device or a run failed, the others are shown; 2 when answers are wrong.
    """
    from ghostedge.latency.api import verify

    warn_of_changed(args.artifact)
    measured = verify(
        args.artifact,
        settings_of(args),
        golden=args.golden,
        min_snr_db=args.min_snr_db,
        min_top1_agreement=args.min_top1_agreement,
        output=args.output,
        on_progress=device_progress(args),
    )
    return tell(measured, args, lambda record: {"device": record.device, **record.content}, table)


def table(records: Sequence[DeviceRecord]) -> str:
    """One row a record."""
    from ghostedge.reports.format import arithmetic_of, named, snr_text

    rows = [("Device", "Artifact", "Runtime", "Threads", "SNR", "Top-1", "Pictures", "Repeats", "Answers")]
    for record in records:
        content, runtime = record.content, record.content["runtime"]
        found, repeats = content["verification"], content["verification"]["repeats"]
        rows.append(
            (
                record.device,
                content["artifact"]["file"],
                named(f"{runtime['name']} {runtime['version']}", arithmetic_of(runtime)),
                str(content["settings"]["threads"]),
                snr_text(found["snr_db"]) if found["finite"] else "not finite",
                f"{found['top1_agreement']:.0%}",
                str(found["golden"]["images"]),
                f"{repeats['inferences']} {'identical' if repeats['identical'] else 'NOT identical'}",
                "right" if found["correct"] else "WRONG",
            )
        )
    return "\n".join(aligned(rows))
