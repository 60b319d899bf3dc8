"""``ghostedge export``: from a checkpoint or a MindIR to verified artifacts and their manifest."""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.console import ProgressWriter, aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostedge.manifest import ArtifactRecord, Manifest
    from ghostedge.pipeline.build import Event

HELP = "make MindIR, ONNX, OpenVINO IR and TFLite from a checkpoint, each verified against its source"

EPILOG = """\
examples:
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target all --output build/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision fp16 --images photos/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision int8 --calibration imagenet/train/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --target tflite --precision int8 --input raw --calibration photos/
  ghostedge export --checkpoint ghostnetv2_1x.ckpt --precision int8 --calibration train/ --max-drop 0.5 --tuning tuning/
  ghostedge export --mindir model.mindir --target onnx
  ghostedge export --checkpoint flowers.ckpt --labels flowers.txt --recipe my_recipes/openvino_fp16.toml

With --max-drop and --tuning the settings of int8 are searched until it loses no more than that: cheap remedies first,
then the fewest operators in float. Every trial is kept in OUTPUT/repair/; the command ends with 2 when the bound cannot
be met and with 3 when the tuning images are too few to show it.

Every stage is run on real photos beside the stage before; an artifact that is over its recipe's bounds is kept in
OUTPUT/rejected/ and the command exits with 2. Running it again does only what is missing or changed.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    source = parser.add_argument_group("source (one of)").add_mutually_exclusive_group(required=True)
    source.add_argument("--checkpoint", type=Path, metavar="C", help="MindSpore checkpoint of GhostNetV2 (.ckpt)")
    source.add_argument("--mindir", type=Path, metavar="M", help="MindIR of any feed-forward vision network")
    what = parser.add_argument_group("what to make")
    what.add_argument("--target", action="append", metavar="T", help="mindir, onnx, openvino, tflite or all (default)")
    what.add_argument(
        "--precision",
        action="append",
        metavar="P",
        help="fp32, fp16, dynamic, int8 or int16x8; repeat for several (default: all that can be made)",
    )
    what.add_argument(
        "--input",
        choices=("normalised", "raw"),
        default="normalised",
        help="what tflite and openvino take: normalised float32 (default) or raw uint8 pixels, NHWC",
    )
    what.add_argument("--recipe", action="append", metavar="R", help="a recipe by name or .toml file, instead of these")
    what.add_argument("--output", type=Path, default=Path("build"), metavar="DIR", help="folder (default: build)")
    what.add_argument("--name", help="the files' names begin with it (default: the source's name)")
    what.add_argument("--force", action="store_true", help="make again what is already there and unchanged")
    model = parser.add_argument_group("the model")
    model.add_argument("--labels", type=Path, metavar="F", help="class names, one a line (default for 1,000: ImageNet)")
    model.add_argument("--input-size", type=int, metavar="N", help="rows and columns of the input (default: 224)")
    calibration = parser.add_argument_group("calibration of int8 and int16x8")
    calibration.add_argument(
        "--calibration", type=Path, metavar="D", help="images: a folder, tar, Parquet shards, or a .txt list of paths"
    )
    calibration.add_argument("--calibration-count", type=int, metavar="N", help="how many to draw (default: 200)")
    calibration.add_argument("--calibration-seed", type=int, default=0, metavar="S", help="of the draw (default: 0)")
    repair = parser.add_argument_group("accuracy of int8, kept by search")
    repair.add_argument(
        "--max-drop", type=float, metavar="P", help="percentage points of top-1 that int8 may lose on the tuning images"
    )
    repair.add_argument("--tuning", type=Path, metavar="D", help="labelled images, as `evaluate --data` takes them")
    repair.add_argument(
        "--ground-truth", type=Path, metavar="F", help="their label file, where it is not found beside them"
    )
    repair.add_argument("--limit", type=int, metavar="N", help="tune on N of them, spread evenly")
    check = parser.add_argument_group("verification")
    check.add_argument("--images", type=Path, metavar="DIR", help="photos to run (default: those of the package)")
    check.add_argument("--threads", type=int, metavar="N", help="threads of the runtimes (default: all cores)")


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0, or of a search 2 (bound missed) or 3 (not decided); failures are raised."""
    from ghostedge.data.calibration import DEFAULT_COUNT, choose_calibration
    from ghostedge.data.datasets import open_dataset
    from ghostedge.pipeline.export import export

    started = time.monotonic()

    progress = ProgressWriter(quiet=args.quiet)

    def show(event: Event) -> None:
        if event.kind in ("skipped", "unmet"):
            progress.warn(f"ghostedge export: {event.message}")
        else:
            progress.line(f"[{time.monotonic() - started:5.1f} s] {event.recipe or event.kind:14}  {event.message}")

    calibration = args.calibration
    if calibration:
        calibration = choose_calibration(calibration, args.calibration_count or DEFAULT_COUNT, args.calibration_seed)
    exported = export(
        checkpoint=args.checkpoint,
        mindir=args.mindir,
        output=args.output,
        target=args.target or "all",
        precision=args.precision or (),
        input=args.input,
        recipes=args.recipe or (),
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
    return {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}[exported.verdict]


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

    name, size = record.files[0].name, f"{sum(file.size_bytes for file in record.files) / 1e6:.1f}"
    of_cpus = {f"{name} {kind}": found for kind, found in record.cpu_differences.items()}
    ways = {name: record.reference_difference, named(name, "float16"): record.float16_difference, **of_cpus}
    for way, found in ways.items():
        if found is not None:
            what = (record.precision, size) if way == name else ("", "")
            snr = "identical" if math.isinf(found.snr_db) else f"{found.snr_db:.1f}"
            yield (way, *what, snr, f"{found.max_abs:.1e}", f"{found.top1_agreement:.1%}")
