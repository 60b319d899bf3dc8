"""``ghostedge benchmark``: time artifacts on this machine and on devices reached by ssh or adb."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

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

HELP = "time artifacts on this machine, a Raspberry Pi, a phone or any device with an ssh server"

EPILOG = """\
examples:
  ghostedge benchmark --artifact build/model_fp32.tflite --quick
  ghostedge benchmark --artifact build/*.tflite --device ssh:pi@raspberrypi --threads 1,2,4
  ghostedge benchmark --artifact build/model_fp32.tflite --device local --device ssh:pi@pi4 --device ssh:pi@pi5:2222
  ghostedge benchmark --artifact build/model_fp32.tflite --device ssh:pi@pi5 --sustained 30 --report latency.html
  ghostedge benchmark --artifact build/*.tflite --device adb:R58M12ABCDE --threads 1,2,4
  ghostedge benchmark --records latency/ --accuracy parity.json --report latency.html

A phone (adb:SERIAL, as `adb devices` lists it) needs the demo app of android_demo/; unplugged it measures on. Any other
device needs Python 3.9 or newer, NumPy and one runtime; --python names another Python there than python3, such as that
of a virtual environment. A valid result takes at least 60 s a run; --quick gives a first look that is marked as one. A
lost connection is made again; when it stays lost, the same command continues later. Records are JSON, one a run, in a
folder of OUTPUT for each device.

Where golden vectors lie beside an artifact (NAME.golden.npz, which export writes), the device is asked them first: a
latency whose answers are wrong is not valid, and the command ends with 2.
"""


ARGUMENTS: Arguments = {
    "what to time": [
        argument("--artifact A...", ".tflite, .xml or .onnx", Path, default=[]),
        *SETTINGS,
        argument("--cpus 0-3|big", "run on these CPUs of the device only"),
        GOLDEN,
        argument("--no-golden", "do not check the answers"),
        argument("--image PHOTO", "time decoding and preprocessing of this photo too", Path),
    ],
    "how": [
        argument("--quick", "a few seconds a run; the records are marked as not valid"),
        argument("--sustained MIN", "go on for so many minutes and record the curve", float),
        argument("--resume", "leave out runs whose record is already in OUTPUT (local)"),
        argument("--output DIR", "folder (default: latency)", Path, default=Path("latency")),
    ],
    "report": [
        argument("--report HTML", "write the records as a page too", Path),
        argument(
            "--accuracy F...",
            "draw accuracy against latency: parity reports (.json) or ledgers (.parquet) of these artifacts",
            Path,
        ),
        argument(
            "--records R...",
            "records of earlier runs, files or folders, for the page; without --artifact nothing is measured",
            Path,
        ),
    ],
    "where": [*DEVICES, argument("--fixed-performance", "adb: at fixed clocks (Android 11 or newer)")],
}


def run(args: argparse.Namespace) -> int:
    """Run the command.

    Returns:
        0; 1 when a device or a run failed, the records of the others are kept; 2 when answers are wrong.
    """
    from ghostedge.errors import UsageError
    from ghostedge.latency.api import DeviceRecord, Measured, benchmark
    from ghostedge.latency.records import read_record
    from ghostedge.reports import check_report_path, write_page
    from ghostedge.reports.latency import latency_html, read_accuracies

    if not args.artifact and not args.records:
        raise UsageError("give --artifact to measure, or --records with --report for a page of earlier runs")
    if args.no_golden and args.golden:
        raise UsageError("--golden and --no-golden: the answers are checked or they are not; give one of them")
    for option in ("accuracy", "records"):
        if getattr(args, option) and not args.report:
            raise UsageError(f"--{option} is for the page; give --report latency.html too")
    if args.report:
        check_report_path(args.report)  # before anything is measured
    accuracies = read_accuracies(args.accuracy or ())
    measured = Measured(
        tuple(
            DeviceRecord(path.parent.name, path, read_record(path, "latency_record"))
            for path in _record_files(args.records or ())
        )
    )
    if args.artifact:
        warn_of_changed(args.artifact)
        new = benchmark(
            args.artifact,
            args.output,
            settings_of(args),
            golden=None if args.no_golden else args.golden or "beside",
            image=args.image,
            cpus=args.cpus,
            quick=args.quick,
            sustained=args.sustained,
            resume=args.resume,
            on_progress=device_progress(args),
        )
        files = {record.path.resolve() for record in new.records}
        earlier = (record for record in measured.records if record.path.resolve() not in files)
        measured = Measured((*earlier, *new.records), new.errors)
    if args.report and measured.records:
        pairs = [(record.device, record.content) for record in measured.records]
        write_page(args.report, latency_html(pairs, accuracies))
    return tell(measured, args, _summary, table)


def _record_files(paths: Sequence[Path]) -> list[Path]:
    """The records that are named, and those in the folders that are; a folder of records has its device's name."""
    from ghostedge.errors import UsageError

    found: list[Path] = []
    for path in paths:
        inside = sorted(file for file in path.rglob("*.json") if not file.name.startswith(".")) if path.is_dir() else []
        if not inside and not path.is_file():
            raise UsageError(f"--records {path} holds no record")
        found += inside or [path]
    return list(dict.fromkeys(found))


def _summary(record: DeviceRecord) -> dict[str, Any]:
    """What the table shows of a record, for --json; the file holds the rest."""
    content = record.content
    return {
        "device": record.device,
        "file": str(record.path),
        "artifact": content["artifact"]["file"],
        "runtime": content["runtime"]["name"],
        "threads": content["settings"]["threads"],
        "xnnpack": content["settings"]["xnnpack"],
        **{name: content[name] for name in ("latency_ms", "verification", "valid", "invalid_reasons", "warnings")},
    }


def table(records: Sequence[DeviceRecord]) -> str:
    """One row a record, then why a number is not valid and what should be known beside it, each once."""
    from ghostedge.reports.format import answers_text, backend_of

    times = ("p50 (ms)", "p90 (ms)", "p99 (ms)", "Load (ms)")
    rows: list[tuple[str, ...]] = [("Device", "Artifact", "Runtime", "Threads", *times, "Answers", "Valid")]
    notes: list[str] = []
    for record in records:
        content = record.content
        latency, settings, backend = content["latency_ms"], content["settings"], backend_of(content)
        reasons = ", ".join(reason["code"] for reason in content["invalid_reasons"])
        rows.append(
            (
                record.device,
                content["artifact"]["file"],
                content["runtime"]["name"] + (f" ({backend})" if backend else ""),
                str(settings["threads"]),
                *(f"{number:.2f}" for number in (latency["p50"], latency["p90"], latency["p99"], content["load_ms"])),
                answers_text(content["verification"]),
                "yes" if content["valid"] else f"no: {reasons}",
            )
        )
        told = [*content["invalid_reasons"], *content["warnings"]]
        notes += [f"{record.device} {record.path.stem}: {item['text']}" for item in told]
    return "\n".join(aligned(rows) + notes)
