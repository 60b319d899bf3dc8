"""``ghostedge evaluate``: artifacts over labelled images, one ledger each."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ghostedge.evaluation.run import Engine, Evaluation, Progress
    from ghostedge.evaluation.worker import Job

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
"""


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments that say which images to run; `reference` has them too."""
    data = parser.add_argument_group("images")
    data.add_argument("--data", type=Path, required=True, metavar="D", help="folder, .tar or .parquet of images")
    data.add_argument(
        "--ground-truth", type=Path, metavar="F", help="label file (default: looked for beside D), or none"
    )
    data.add_argument("--limit", type=int, metavar="N", help="N images spread evenly over all (default: all)")
    data.add_argument(
        "--allow-calibration-images",
        action="store_true",
        help="evaluate a quantised artifact on images that it was calibrated on as well",
    )
    data.add_argument(
        "--on-error",
        choices=("fail", "skip"),
        default="fail",
        help="images that cannot be read: fail after naming them (default), or skip: count them as wrong",
    )
    data.add_argument("--logits", action="store_true", help="keep every logit in the ledger, as float16")


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments that say on which machines to run; `reference` has them too."""
    where = parser.add_argument_group("where")
    where.add_argument("--engine", choices=("local", "ray"), default="local", help="this machine (default), or Ray")
    where.add_argument("--address", metavar="HOST:PORT", help="head of the Ray cluster (default: that of this machine)")


def engine_of(args: argparse.Namespace, device_target: str = "CPU") -> Callable[[Job], Engine] | None:
    """The engine that --engine names; None for processes on this machine. Raises: UsageError."""
    from ghostedge.errors import UsageError
    from ghostedge.evaluation.engines.ray import RayEngine

    if args.engine == "local":
        if args.address:
            raise UsageError("--address names a Ray cluster; add --engine ray")
        return None
    needs: dict[str, dict[str, Any]] = {"GPU": {"num_gpus": 1}, "Ascend": {"resources": {"NPU": 1}}}
    return lambda job: RayEngine(job, args.address or "auto", needs.get(device_target))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "--artifact",
        type=Path,
        required=True,
        nargs="+",
        action="extend",
        metavar="A",
        help=".tflite, .onnx, .xml, .mindir or .ckpt files",
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the ledgers")
    add_data_arguments(parser)
    how = parser.add_argument_group("how")
    how.add_argument("--workers", type=int, metavar="N", help="processes (default: one a core, divided by --threads)")
    how.add_argument("--threads", type=int, default=1, metavar="N", help="threads of one inference (default: 1)")
    how.add_argument(
        "--preprocessing",
        metavar="RULE",
        help="resize as opencv_linear, pillow_bilinear or tensorflow_bilinear, not by the artifact's own rule",
    )
    how.add_argument(
        "--inference-precision",
        choices=("f16",),
        help="f16: compute .tflite files that allow it in float16 here too, as CPUs with float16 arithmetic do",
    )
    how.add_argument("--input-spec", type=Path, metavar="F", help="JSON that says what the models' input holds")
    add_engine_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised."""
    from ghostedge.data.datasets import open_dataset
    from ghostedge.errors import UsageError
    from ghostedge.evaluation.run import Options, evaluate, subjects_of
    from ghostedge.formats import load_input_spec, open_model

    if args.threads < 1:
        raise UsageError(f"--threads {args.threads}: at least 1 is needed")
    spec = load_input_spec(args.input_spec) if args.input_spec else None
    artifacts = [open_model(path, input_spec=spec) for path in args.artifact]
    subjects = subjects_of(
        artifacts,
        args.output,
        preprocessing=args.preprocessing,
        threads=args.threads,
        float16=args.inference_precision == "f16",
    )
    dataset = open_dataset(args.data, args.ground_truth)
    options = Options(
        limit=args.limit,
        workers=max((os.cpu_count() or 1) // args.threads, 1) if args.workers is None else args.workers,
        keep_logits=args.logits,
        on_error=args.on_error,
        allow_calibration_images=args.allow_calibration_images,
        engine=engine_of(args),
    )
    names = [artifact.path.name for artifact in artifacts]
    with ProgressLine(names, quiet=args.quiet) as progress:
        results = evaluate(subjects, dataset, options, progress)
    if args.json:
        print(json.dumps({"ledgers": [to_json(result) for result in results]}, indent=2, ensure_ascii=False))
    else:
        print(table(results))
    return 0


class ProgressLine:
    """Progress on stderr: one line that is rewritten on a terminal, a line every ten seconds elsewhere.

    Images that fail are named at once, each on a line of its own, even where progress is not wanted.
    """

    def __init__(self, names: Sequence[str], *, quiet: bool) -> None:
        self._names = names
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = time.monotonic()
        self._named: set[str] = set()
        self._open = False

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *_: object) -> None:
        self._break()

    def __call__(self, progress: Progress) -> None:
        """Show `progress`."""
        for model, image, reason in progress.failures:
            about = f"{image} has no answer: {reason}"
            if about not in self._named:
                self._named.add(about)
                self._break()
                print(f"ghostedge: {about} ({self._names[model]})", file=sys.stderr)
        wait = 0.2 if self._terminal else 10.0
        if self._quiet or (time.monotonic() - self._last < wait and progress.done < progress.total):
            return
        self._last = time.monotonic()
        line = progress_text(progress, self._names)
        if self._terminal:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(line, file=sys.stderr, flush=True)

    def _break(self) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False


def progress_text(progress: Progress, names: Sequence[str]) -> str:
    """E.g. ``12,032 of 50,000 images  84.1/s  7 min 31 s left  top-1 74.1% a.tflite, 74.0% b.onnx``."""
    text = f"{progress.done:,} of {progress.total:,} images"
    if progress.resumed:
        text += f" ({progress.resumed:,} from before)"
    text += f"  {progress.images_per_s:.1f}/s"
    if progress.seconds_left is not None:
        hours, rest = divmod(round(progress.seconds_left), 3600)
        minutes, seconds = divmod(rest, 60)
        text += f"  {hours} h {minutes} min left" if hours else f"  {minutes} min {seconds} s left"
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
    rows = [header, *(_row(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    lines += [f"note: {note}" for note in dict.fromkeys(note for result in results for note in result.notes)]
    return "\n".join(lines)


def _row(result: Evaluation) -> tuple[str, ...]:
    return (
        result.metadata.model["file"],
        f"{result.images:,}",
        "unknown" if result.top1 is None else f"{100 * result.top1:.2f}",
        "unknown" if result.top5 is None else f"{100 * result.top5:.2f}",
        str(len(result.failures)),
        f"{result.ledger}{' (unchanged)' if result.unchanged else ''}",
    )
