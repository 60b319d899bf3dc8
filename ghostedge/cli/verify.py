"""``ghostedge verify``: ask artifacts the golden vectors of their export, on this machine or on the device itself."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ghostedge.cli.devices import (
    add_device_arguments,
    add_setting_arguments,
    aligned,
    as_json,
    choose_goldens,
    measure,
    setting_options,
    tell,
)

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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    what = parser.add_argument_group("what to verify")
    what.add_argument(
        "--artifact", action="extend", nargs="+", type=Path, required=True, metavar="A", help=".tflite, .xml or .onnx"
    )
    what.add_argument("--golden", type=Path, metavar="F", help="golden vectors (default: those beside the artifact)")
    what.add_argument("--min-snr-db", type=float, metavar="DB", help="instead of the artifact's own bound")
    what.add_argument("--min-top1-agreement", type=float, metavar="0..1", help="likewise")
    add_setting_arguments(what)
    what.add_argument("--output", type=Path, metavar="DIR", help="keep the records here (default: they are not kept)")
    add_device_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0; 1 when a device or a run failed, the others are shown; 2 when answers are wrong.
    """
    from ghostedge.data.golden import SUFFIX
    from ghostedge.errors import UsageError
    from ghostedge.latency.devices.base import read_record

    goldens = choose_goldens(args.artifact, args.golden)
    for artifact, golden in zip(args.artifact, goldens, strict=True):
        if golden is None and artifact.exists():
            raise UsageError(
                f"no golden vectors lie beside {artifact} (NAME{SUFFIX}, which ghostedge export writes); name the file "
                "with --golden"
            )
    options = ["--verify-only", *setting_options(args)]
    for name in ("min_snr_db", "min_top1_agreement"):
        value = getattr(args, name)
        options += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    with tempfile.TemporaryDirectory(prefix="ghostedge-verify-") as scratch:
        found, errors = measure(args, goldens, options, args.output or Path(scratch))
        records = [(device, path, read_record(path)) for device, path in found]
    if args.json:
        listed = [{"device": device, **record} for device, _, record in records]
        print(as_json(listed, errors))
    elif records:
        print(table(records))
    return tell(records, errors)


def table(records: list[tuple[str, Path, dict[str, Any]]]) -> str:
    """One row a record."""
    from ghostedge.reports.format import snr_text

    rows = [("Device", "Artifact", "Runtime", "Threads", "SNR", "Top-1", "Pictures", "Repeats", "Answers")]
    for device, _, record in records:
        found, repeats = record["verification"], record["verification"]["repeats"]
        precision = record["runtime"].get("inference_precision")
        arithmetic = f" in {precision}" if precision in ("f16", "bf16") else ""
        rows.append(
            (
                device,
                record["artifact"]["file"],
                f"{record['runtime']['name']} {record['runtime']['version']}{arithmetic}",
                str(record["settings"]["threads"]),
                snr_text(found["snr_db"]) if found["finite"] else "not finite",
                f"{found['top1_agreement']:.0%}",
                str(found["golden"]["images"]),
                f"{repeats['inferences']} {'identical' if repeats['identical'] else 'NOT identical'}",
                "right" if found["correct"] else "WRONG",
            )
        )
    return "\n".join(aligned(rows))
