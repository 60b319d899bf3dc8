"""``ghostedge export``: from a checkpoint or a MindIR to verified artifacts and their manifest."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import EXIT_CODES, LABELS, NETWORK, Arguments, argument, options_given
from ghostedge.console import ProgressWriter, aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostedge.manifest import ArtifactRecord, Manifest
    from ghostedge.pipeline.build import Event

HELP = "make MindIR, ONNX, OpenVINO IR and TFLite from a checkpoint, each verified against its source"

EPILOG = """\
examples:
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target all --output build/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --for pi5 --output build/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision fp16 --images photos/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision int8 --calibration imagenet/train/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision int8 --input raw --calibration photos/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --precision int8 --calibration train/ --max-drop 0.5 --tuning tuning/
  ghostedge export --network mindcv:mobilenet_v3_small_100 --checkpoint mobilenet.ckpt --target all --output build/
  ghostedge export --mindir model.mindir --target onnx
  ghostedge export --checkpoint flowers.ckpt --labels flowers.txt --recipe my_recipes/openvino_fp16.toml

With --max-drop and --tuning the settings of int8 are searched until it loses no more than that: cheap remedies first,
then the fewest operators in float. Every trial is kept in OUTPUT/repair/; the command ends with 2 when the bound cannot
be met and with 3 when the tuning images are too few to show it.

Every stage is run on real photos beside the stage before; an artifact that is over its recipe's bounds is kept in
OUTPUT/rejected/ and the command exits with 2. Running it again does only what is missing or changed.
"""


#: Option -> options that say something of it.
_OF = {"calibration": ("calibration_count", "calibration_seed"), "tuning": ("ground_truth", "limit")}

ARGUMENTS: Arguments = {
    "source (one of)": [
        argument("--checkpoint C", "MindSpore checkpoint of GhostNetV2, or of --network (.ckpt)", Path),
        argument("--mindir M", "MindIR of any feed-forward vision network", Path),
    ],
    "what to make": [
        argument("--target T", "mindir, onnx, openvino, tflite or all (default)", action="append"),
        argument(
            "--precision P",
            "fp32, fp16, dynamic, int8, int16x8 or mixed; repeat for several (default: all that can be made)",
            action="append",
        ),
        argument(
            "--input {normalised,raw}",
            "what tflite and openvino take: normalised float32 (default) or raw uint8 pixels, NHWC",
            default="normalised",
        ),
        argument("--recipe R", "a recipe by name or .toml file, instead of these", action="append"),
        argument(
            "--for DEVICE",
            "pi4, pi5, phone or pc, instead of these: what costs least there, as measured on the demo, of all that "
            "keeps its accuracy; repeat for several",
            action="append",
        ),
        argument("--output DIR", "folder (default: build)", Path, default=Path("build")),
        argument("--name NAME", "the files' names begin with it (default: the source's name)"),
        argument("--force", "make again what is already there and unchanged"),
    ],
    "the model": [
        NETWORK,
        LABELS,
        argument("--input-size N", "rows and columns of the input (default: 224)", int),
    ],
    "calibration of int8, int16x8 and mixed": [
        argument("--calibration D", "images: a folder, tar, Parquet shards, or a .txt list of paths", Path),
        argument("--calibration-count N", "how many to draw (default: 200)", int),
        argument("--calibration-seed S", "of the draw (default: 0)", int),
    ],
    "accuracy of int8, kept by search": [
        argument("--max-drop P", "percentage points of top-1 that int8 may lose on the tuning images", float),
        argument("--tuning D", "labelled images, as `evaluate --data` takes them", Path),
        argument("--ground-truth F", "their label file, where it is not found beside them", Path),
        argument("--limit N", "tune on N of them, spread evenly", int),
    ],
    "verification": [
        argument("--images DIR", "photos to run (default: those of the package)", Path),
        argument("--threads N", "threads of the runtimes (default: all cores)", int),
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0, or of a search 2 (bound missed) or 3 (not decided); failures are raised."""
    from ghostedge.data.calibration import DEFAULT_COUNT, choose_calibration
    from ghostedge.data.datasets import open_dataset
    from ghostedge.errors import UsageError
    from ghostedge.pipeline.export import export

    started = time.monotonic()

    progress = ProgressWriter(quiet=args.quiet)

    def show(event: Event) -> None:
        if event.kind in ("skipped", "unmet", "unnamed"):  # that something is left out is no warning
            tell = progress.line if event.kind == "skipped" else progress.warn
            tell(f"ghostedge export: {event.message}")
        else:
            progress.line(f"[{time.monotonic() - started:5.1f} s] {event.recipe or event.kind:14}  {event.message}")

    for option, names in _OF.items():
        if getattr(args, option) is None and (given := options_given(args, names)):
            raise UsageError(f"{given}: for --{option} alone; add it, or leave that out")
    calibration = args.calibration
    if calibration:
        count = DEFAULT_COUNT if args.calibration_count is None else args.calibration_count
        calibration = choose_calibration(calibration, count, args.calibration_seed or 0)
    exported = export(
        checkpoint=args.checkpoint,
        mindir=args.mindir,
        network=args.network,
        output=args.output,
        target=args.target or "all",
        precision=args.precision or (),
        input=args.input,
        recipes=args.recipe or (),
        device=getattr(args, "for") or (),  # a keyword of Python
        name=args.name or "",
        labels=args.labels or (),
        input_size=args.input_size,
        calibration=calibration,
        images=args.images or (),
        max_drop=args.max_drop,
        tuning=args.tuning and open_dataset(args.tuning, args.ground_truth),
        limit=args.limit,
        threads=args.threads,
        force=args.force,
        on_event=show,
    )
    if args.json:
        print(exported.manifest.to_json(), end="")
    else:
        print(summary(exported.manifest))
        print(f"{args.output / 'manifest.json'} written in {time.monotonic() - started:.0f} s")
    return EXIT_CODES[exported.verdict]


def summary(manifest: Manifest) -> str:
    """The table of an export: one row an artifact, differences against MindSpore's own run."""
    header = ("Artifact", "Precision", "Size (MB)", "SNR (dB)", "Max abs", "Top-1 agreement")
    lines = aligned([header, *(row for record in manifest.artifacts.values() for row in _rows(record))])
    reference = manifest.source["file"]
    lines.append(f"SNR, max abs and agreement: against {reference} on {len(manifest.images)} photos")
    if manifest.golden is not None:
        lines.append(f"{manifest.golden.name}: these photos and their answers, for ghostedge verify on a device")
    return "\n".join(lines)


def _rows(record: ArtifactRecord) -> Iterator[tuple[str, ...]]:
    from ghostedge.reports.format import named

    name, size = record.files[0].name, f"{record.size_bytes / 1e6:.1f}"
    of_cpus = {f"{name} {kind}": found for kind, found in record.cpu_differences.items()}
    ways = {name: record.reference_difference, named(name, "float16"): record.float16_difference, **of_cpus}
    for way, found in ways.items():
        if found is not None:
            what = (record.precision, size) if way == name else ("", "")
            snr = "identical" if math.isinf(found.snr_db) else f"{found.snr_db:.1f}"
            yield (way, *what, snr, f"{found.max_abs:.1e}", f"{found.top1_agreement:.1%}")
