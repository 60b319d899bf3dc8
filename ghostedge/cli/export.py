"""``ghostedge export``: from a checkpoint or a MindIR to verified artifacts and their manifest."""

from __future__ import annotations

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ghostedge.compare import Difference
    from ghostedge.manifest import ArtifactRecord, Manifest
    from ghostedge.model import CalibrationSet, Model
    from ghostedge.pipeline.build import Event, ExportRequest
    from ghostedge.pipeline.recipe import Recipe
    from ghostedge.pipeline.tuning import Trial

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
    """Run the command. Returns: 0; failures are raised."""
    from ghostedge.pipeline.build import ExportRequest, export

    wanted = tuple(
        _with_input(r, args.input) for r in _choose_recipes(args, "checkpoint" if args.checkpoint else "mindir")
    )
    source, info = _open_source(args)
    request = ExportRequest(
        source=source,
        recipes=wanted,
        output=args.output,
        images=_images(args.images),
        name=args.name or source.path.stem,
        source_info=info,
        force=args.force,
        calibration=_calibration(args),
        **({"threads": args.threads} if args.threads else {}),
    )
    started = time.monotonic()
    progress = _silent if args.quiet else _Progress()
    code = 0
    if args.max_drop is not None:
        repaired, code = _repair(args, request, progress)
        request = dataclasses.replace(request, recipes=repaired)
    manifest = export(request, progress)
    if args.json:
        print(manifest.to_json(), end="")
    else:
        print(summary(manifest))
        print(f"{args.output / 'manifest.json'} written in {time.monotonic() - started:.0f} s")
    return code


def _repair(
    args: argparse.Namespace, request: ExportRequest, progress: Callable[[Event], None]
) -> tuple[tuple[Recipe, ...], int]:
    """Search the settings of every int8 recipe. Returns: the recipes with them, and the worst exit code."""
    from ghostedge.data.datasets import open_dataset
    from ghostedge.errors import UsageError
    from ghostedge.formats import open_model
    from ghostedge.pipeline.build import export
    from ghostedge.pipeline.recipe import find_recipe
    from ghostedge.pipeline.stages import source_precision
    from ghostedge.pipeline.tuning import REMEDIES, Search

    searched = [recipe for recipe in request.recipes if recipe.precision == "int8" and recipe.target in REMEDIES]
    if not searched:
        raise UsageError("--max-drop is for int8; there is none among the recipes asked for")
    if args.tuning is None or request.calibration is None:
        raise UsageError("--max-drop needs --tuning DIR and --calibration DIR, with different images")
    tuning = open_dataset(args.tuning, args.ground_truth)
    # The float artifacts first: they are verified, and what every trial is measured against.
    sources = {r.name: f"{r.target}_{source_precision(r.target, r.precision)}" for r in searched}
    floats = tuple(find_recipe(name) for name in dict.fromkeys(sources.values()))
    manifest = export(dataclasses.replace(request, recipes=floats), progress)
    worst, found = 0, {}
    for recipe in searched:
        base = {k: v for k, v in recipe.options.items() if k not in REMEDIES[recipe.target][0]}

        def tell(trial: Trial, name: str = recipe.name) -> None:
            if not args.quiet:
                print(f"{name}: {_described(trial)}", file=sys.stderr, flush=True)

        repair = Search(
            source=open_model(args.output / manifest.artifacts[sources[recipe.name]].files[0].name),
            precision=recipe.precision,
            spec=recipe.input_spec(request.source.input),
            calibration=request.calibration,
            tuning=tuning,
            folder=args.output / "repair" / recipe.name,
            max_drop=args.max_drop,
            limit=args.limit,
            base=base,
            on_trial=tell,
        ).run()
        found[recipe.name] = dataclasses.replace(recipe, options={**base, **repair.chosen.options})
        verdict = repair.chosen.decision
        worst = {"PASS": worst, "FAIL": 2, "INCONCLUSIVE": worst if worst == 2 else 3}[verdict.verdict]
        if verdict.verdict != "PASS":
            more = f"; about {verdict.images_to_decide} tuning images would decide" if verdict.images_to_decide else ""
            print(
                f"ghostedge export: {recipe.name} is not shown to lose at most {args.max_drop:g} points of top-1: the "
                f"best of {len(repair.trials)} trials is {_described(repair.chosen)}{more}",
                file=sys.stderr,
            )
    return tuple(found.get(recipe.name, recipe) for recipe in request.recipes), worst


def _described(trial: Trial) -> str:
    settings = ", ".join(f"{key} {value}" for key, value in trial.options.items() if key != "keep_float")
    kept = len(trial.options.get("keep_float", ()))
    floats = f", {kept} operators in float ({trial.float_macs_percent:.1f}% of the MACs)" if kept else ""
    return (
        f"{settings}{floats}: drop {trial.drop.drop_points:+.2f} points, at most {trial.drop.upper_points:.2f} "
        f"({trial.drop.losses} lost, {trial.drop.gains} won of {trial.drop.images}): {trial.decision.verdict}"
    )


def _open_source(args: argparse.Namespace) -> tuple[Model, dict[str, Any]]:
    """The checkpoint or MindIR to begin with, and what was recognised in it."""
    from ghostedge.data.imagenet import imagenet_labels, load_labels
    from ghostedge.errors import UsageError
    from ghostedge.formats import open_model
    from ghostedge.ghostnet.checkpoint import load_checkpoint

    info: dict[str, Any] = {}
    if args.checkpoint:
        info = load_checkpoint(args.checkpoint).describe()
    artifact = open_model(args.checkpoint or args.mindir)
    labels = load_labels(args.labels) if args.labels else artifact.labels
    if args.checkpoint:
        if not labels and info["classes"] == len(imagenet_labels()):
            labels = imagenet_labels()
        if labels and len(labels) != info["classes"]:
            raise UsageError(f"{args.labels} names {len(labels)} classes, but {args.checkpoint} has {info['classes']}")
    spec = artifact.input
    if args.input_size:
        resize = round(args.input_size * spec.resize / spec.height)  # the same share is cropped away
        spec = dataclasses.replace(spec, height=args.input_size, width=args.input_size, resize=resize)
    return dataclasses.replace(artifact, input=spec, labels=labels), info


def _images(folder: Path | None) -> tuple[Path, ...]:
    from ghostedge.data.images import list_images, sample_images

    return sample_images() if folder is None else list_images(folder)


def _calibration(args: argparse.Namespace) -> CalibrationSet | None:
    from ghostedge.data.calibration import DEFAULT_COUNT, choose_calibration

    if args.calibration is None:
        return None
    count = args.calibration_count or DEFAULT_COUNT
    return choose_calibration(args.calibration, count, args.calibration_seed)


def _with_input(recipe: Recipe, kind: str) -> Recipe:
    """`recipe`, its name ending in ``_raw`` and its input raw uint8 where that is asked for and the format has it."""
    if kind != "raw" or recipe.target not in ("openvino", "tflite") or recipe.precision == "equalised":
        return recipe
    raw = {**recipe.input, "layout": "NHWC", "dtype": "uint8", "range": "raw"}
    return dataclasses.replace(recipe, name=f"{recipe.name}_raw", input=raw)


def _choose_recipes(args: argparse.Namespace, source_format: str) -> tuple[Recipe, ...]:
    """The recipes that --recipe names, or all that fit --target and --precision."""
    from ghostedge.errors import UsageError
    from ghostedge.lazy import choose
    from ghostedge.pipeline.build import needs_calibration
    from ghostedge.pipeline.recipe import find_recipe, recipes
    from ghostedge.pipeline.stages import STAGES

    if args.recipe:
        if args.target or args.precision:
            raise UsageError("--recipe says target and precision itself; leave --target and --precision out")
        return tuple(find_recipe(name) for name in args.recipe)
    targets = {choose("target", target, [*STAGES, "all"]) for target in args.target or ["all"]}
    known = [recipe for recipe in recipes().values() if recipe.target != source_format]
    candidates = [recipe for recipe in known if "all" in targets or recipe.target in targets]
    if not args.precision:
        if not candidates:
            raise UsageError(f"the source is {source_format} already; choose another --target")
        if args.calibration is None and (skipped := [r.name for r in candidates if needs_calibration(r)]):
            candidates = [recipe for recipe in candidates if recipe.name not in skipped]
            print(f"ghostedge export: without --calibration not made: {', '.join(skipped)}", file=sys.stderr)
        return tuple(candidates)
    precisions = {choose("precision", p, {recipe.precision for recipe in recipes().values()}) for p in args.precision}
    chosen = tuple(recipe for recipe in candidates if recipe.precision in precisions)
    for target in targets - {"all"}:
        have = {recipe.precision for recipe in candidates if recipe.target == target}
        if have and (lacking := sorted(precisions - have)):
            raise UsageError(
                f"target {target} has no precision '{lacking[0]}'; it is supported by: "
                + ", ".join(sorted({r.target for r in known if r.precision == lacking[0]}))
                + f" ({target} has {', '.join(sorted(have))})"
            )
    return chosen


def _silent(event: Event) -> None:
    """Show nothing."""


class _Progress:
    """One line an event on stderr, with the seconds since the start."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def __call__(self, event: Event) -> None:
        seconds = time.monotonic() - self.started
        print(f"[{seconds:5.1f} s] {event.recipe or event.kind:14}  {event.message}", file=sys.stderr, flush=True)


def summary(manifest: Manifest) -> str:
    """The table of an export: one row an artifact, differences against MindSpore's own run."""
    header = ("Artifact", "Precision", "Size (MB)", "SNR (dB)", "Max abs", "Top-1 agreement")
    rows = [header, *(row for record in manifest.artifacts.values() for row in _rows(record))]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    reference = manifest.source["file"]
    lines.append(f"SNR, max abs and agreement: against {reference} on {len(manifest.images)} photos")
    if manifest.golden is not None:
        lines.append(f"{manifest.golden.name}: these photos and their answers, for ghostedge verify on a device")
    return "\n".join(lines)


def _rows(record: ArtifactRecord) -> Iterator[tuple[str, ...]]:
    size = f"{sum(file.size_bytes for file in record.files) / 1e6:.1f}"
    yield (record.files[0].name, record.precision, size, *_numbers(record.reference_difference))
    if record.float16_difference is not None:
        yield (f"{record.files[0].name} in float16", "", "", *_numbers(record.float16_difference))
    for kind, found in record.cpu_differences.items():
        yield (f"{record.files[0].name} {kind}", "", "", *_numbers(found))


def _numbers(difference: Difference) -> tuple[str, str, str]:
    snr = "identical" if math.isinf(difference.snr_db) else f"{difference.snr_db:.1f}"
    return snr, f"{difference.max_abs:.1e}", f"{difference.top1_agreement:.1%}"
