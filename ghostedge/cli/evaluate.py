"""``ghostedge evaluate``: artifacts over labelled images, one ledger each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostedge.cli import ENGINE, IMAGES, INPUT_SPEC, NETWORK, Arguments, argument, warn_of_changed
from ghostedge.console import ProgressWriter, aligned, time_left

if TYPE_CHECKING:
    from ghostedge.evaluation.run import Evaluation, Progress
    from ghostedge.model import Model

HELP = "run artifacts over ImageNet or other labelled images: accuracy, and a ledger with a row an image"

EPILOG = """\
examples:
  ghostedge evaluate --artifact build/*.tflite build/*.xml --data imagenet/val --output ledgers/
  ghostedge evaluate --artifact build/model.onnx --data ILSVRC2012_img_val.tar --output ledgers/ --limit 5000
  ghostedge evaluate --artifact build/model.onnx --data D --output ledgers/ --preprocessing pillow_bilinear
  ghostedge evaluate --artifact build/model_fp16.tflite --data D --output ledgers/ --inference-precision f16
  ghostedge evaluate --artifact build/*.tflite --data /shared/val --output ledgers/ --engine ray --address head:6379

--data takes class folders, a flat folder or the original tar with val.txt, labels.csv or the development kit beside it,
or Parquet shards as Hugging Face has them. Every image is decoded once for all artifacts. A run that was killed goes on
where it stopped when the same command is given again; until it is done, its rows are in OUTPUT/.parts-*.
An artifact that its runtime refuses is named, the others are evaluated, and the command ends with 1.
"""


ARGUMENTS: Arguments = {
    "": [
        argument("--artifact A...", ".tflite, .onnx, .xml, .mindir or .ckpt files", Path, required=True),
        argument("--output DIR", "folder for the ledgers", Path, required=True),
    ],
    "images": [
        *IMAGES["images"],
        argument(
            "--allow-calibration-images", "evaluate a quantised artifact on images that it was calibrated on as well"
        ),
    ],
    "how": [
        argument("--workers N", "processes (default: one a core, divided by --threads)", int),
        argument("--threads N", "threads of one inference (default: 1)", int, default=1),
        argument(
            "--preprocessing RULE",
            "resize as opencv_linear, pillow_bilinear or tensorflow_bilinear, not by the artifact's own rule",
        ),
        argument(
            "--inference-precision {f16}",
            "f16: compute .tflite files that allow it in float16 here too, as CPUs with float16 arithmetic do",
        ),
        INPUT_SPEC,
        NETWORK,
    ],
    **ENGINE,
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0, or 1 if some artifacts cannot be run here; other failures are raised."""
    from ghostedge.errors import RefusedError, UsageError
    from ghostedge.evaluation.api import engine_of, evaluate, workers_for
    from ghostedge.evaluation.run import Options
    from ghostedge.formats import load_input_spec, open_model

    if args.threads < 1:
        raise UsageError(f"--threads {args.threads}: at least 1 is needed")
    spec = load_input_spec(args.input_spec) if args.input_spec else None
    warn_of_changed(args.artifact)
    # What is made from a checkpoint says itself what it is.
    networks = [args.network if path.suffix.lower() == ".ckpt" else "" for path in args.artifact]
    if args.network and not any(networks):
        raise UsageError(f"--network {args.network} is for checkpoints, of which none is given; leave it out")
    models = [open_model(path, input_spec=spec, network=n) for path, n in zip(args.artifact, networks, strict=True)]
    options = Options(
        limit=args.limit,
        workers=workers_for(args.threads) if args.workers is None else args.workers,
        keep_logits=args.logits,
        on_error=args.on_error,
        allow_calibration_images=args.allow_calibration_images,
        engine=engine_of(args.engine, args.address),
    )

    def results_of(models: Sequence[Model]) -> tuple[Evaluation, ...]:
        with EvaluationProgress([model.path.name for model in models], quiet=args.quiet) as progress:
            return evaluate(
                models,
                args.data,
                args.output,
                ground_truth=args.ground_truth,
                preprocessing=args.preprocessing,
                float16=args.inference_precision == "f16",
                threads=args.threads,
                options=options,
                on_progress=progress,
            )

    refused: Mapping[Path, str] = {}
    try:
        results = results_of(models)
    except RefusedError as exc:
        refused = exc.reasons
        ProgressWriter(quiet=args.quiet).line(f"ghostedge: {exc}; the others are evaluated")
        results = results_of([model for model in models if model.path not in refused])
    if args.json:
        errors = [{"artifact": str(path), "error": reason} for path, reason in refused.items()]
        document = {"ledgers": [to_json(result) for result in results], "errors": errors}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print(table(results))
    for path, reason in refused.items():
        print(f"ghostedge: error: {path} has no ledger: {reason}", file=sys.stderr)
    return 1 if refused else 0


class EvaluationProgress(ProgressWriter):
    """The progress of an evaluation; an image that fails is named at once, even where progress is not wanted."""

    def __init__(self, names: Sequence[str], *, quiet: bool) -> None:
        super().__init__(quiet=quiet)
        self._names = names
        self._named: set[str] = set()

    def __call__(self, done: Progress) -> None:
        """Show what an evaluation reports."""
        for model, image, reason in done.failures:
            about = f"{image} has no answer: {reason}"
            if about not in self._named:
                self._named.add(about)
                self.warn(f"ghostedge: {about} ({self._names[model]})")
        self.status(progress_text(done, self._names), last=done.done == done.total)


def progress_text(progress: Progress, names: Sequence[str]) -> str:
    """E.g. ``12,032 of 50,000 images  84.1/s  7 min 31 s left  top-1 74.1% a.tflite, 74.0% b.onnx``."""
    text = f"{progress.done:,} of {progress.total:,} images"
    if progress.resumed:
        text += f" ({progress.resumed:,} from before)"
    text += f"  {progress.images_per_s:.1f}/s"
    if progress.seconds_left is not None:
        text += f"  {time_left(progress.seconds_left)}"
    accuracies = [f"{top1:.1%} {name}" for top1, name in zip(progress.top1, names, strict=True) if top1 is not None]
    return text + (f"  top-1 {', '.join(accuracies)}" if accuracies else "")


def to_json(result: Evaluation) -> dict[str, Any]:
    """One ledger of the ``--json`` document."""
    return {
        "ledger": str(result.ledger),
        "images": result.images,
        "top1": result.top1,
        "top5": result.top5,
        "failures": dict(result.failures),
        "unchanged": result.unchanged,
        "notes": list(result.notes),
        "metadata": json.loads(result.metadata.to_json()),
    }


def table(results: Sequence[Evaluation]) -> str:
    """One row a ledger; accuracies in per cent of all images, those without an answer counted as wrong."""
    header = ("Artifact", "Images", "Top-1 (%)", "Top-5 (%)", "No answer", "Ledger")
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return "\n".join([*aligned([header, *map(_row, results)]), *(f"note: {note}" for note in notes)])


def _row(result: Evaluation) -> tuple[str, ...]:
    return (
        result.metadata.model["file"],
        f"{result.images:,}",
        "unknown" if result.top1 is None else f"{100 * result.top1:.2f}",
        "unknown" if result.top5 is None else f"{100 * result.top5:.2f}",
        str(len(result.failures)),
        f"{result.ledger}{' (unchanged)' if result.unchanged else ''}",
    )
