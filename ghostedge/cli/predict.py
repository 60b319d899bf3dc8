"""``ghostedge predict``: what an artifact sees in images."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ghostedge.model import Model, Runtime

HELP = "classify images with any artifact: the best classes with their names"

EPILOG = """\
examples:
  ghostedge predict cat.jpg --artifact build/ghostnetv2_1x_fp16.tflite
  ghostedge predict photos/ more/dog.png --artifact build/ghostnetv2_1x_fp32.xml --top 1 --json
  ghostedge predict cat.jpg --artifact other.onnx --input-spec spec.json --labels names.txt

An artifact of ghostedge knows its input and its class names; for a file of another origin they are given.
A bad image is reported and the others are still classified; the command then exits with 1.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("images", nargs="+", type=Path, metavar="IMAGE", help="JPEG or PNG files, or folders of them")
    parser.add_argument(
        "--artifact", type=Path, required=True, metavar="A", help="a .tflite, .onnx, .xml, .mindir or .ckpt file"
    )
    parser.add_argument("--top", type=int, default=5, metavar="K", help="how many classes an image (default: 5)")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="threads of the runtime (default: 1)")
    parser.add_argument("--input-spec", type=Path, metavar="F", help="JSON that says what the model's input holds")
    parser.add_argument("--labels", type=Path, metavar="F", help="class names, one a line")


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0, or 1 if an image could not be classified."""
    from ghostedge.data.imagenet import load_labels
    from ghostedge.errors import UsageError
    from ghostedge.formats import load_input_spec, open_model
    from ghostedge.runtimes import open_runtime

    if args.top < 1:
        raise UsageError(f"--top is {args.top}; it must be at least 1")
    warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF, which is not read here
    artifact = open_model(
        args.artifact,
        input_spec=load_input_spec(args.input_spec) if args.input_spec else None,
        labels=load_labels(args.labels) if args.labels else None,
    )
    results = []
    with open_runtime(artifact, threads=args.threads) as runtime:
        info = dict(runtime.info)
        for result in _classify(args.images, artifact, runtime, args.top):
            results.append(result)
            if "error" in result:
                print(f"ghostedge: error: {result['error']}", file=sys.stderr)
            elif not args.json:
                print(_table(result), flush=True)
    if args.json:
        document = {"artifact": str(artifact.path), "format": artifact.format, "runtime": info, "results": results}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    return int(any("error" in result for result in results))


def _classify(paths: list[Path], artifact: Model, runtime: Runtime, top: int) -> Iterator[dict[str, Any]]:
    """One result an image: `image`, and either `top` (a list of index, label, probability, logit) or `error`."""
    from ghostedge.data.images import list_images
    from ghostedge.data.preprocess import preprocess
    from ghostedge.errors import ArtifactError, ImageError

    for path in paths:
        try:
            images = list_images(path) if path.is_dir() else (path,)
        except ImageError as exc:
            yield {"image": str(path), "error": str(exc)}
            continue
        for image in images:
            try:
                batch = preprocess(image, runtime.input)
            except ImageError as exc:
                yield {"image": str(image), "error": str(exc)}
                continue
            (logits,) = runtime.run(batch)
            labels = artifact.labels
            if labels and len(labels) != len(logits):
                raise ArtifactError(
                    f"{artifact.path} tells {len(logits)} classes apart, but there are {len(labels)} labels"
                )
            chances = _probabilities(logits, artifact.path)
            yield {
                "image": str(image),
                "top": [
                    {
                        "index": int(index),
                        "label": labels[index] if labels else None,
                        "probability": float(chances[index]),
                        "logit": float(logits[index]),
                    }
                    for index in (-chances).argsort(kind="stable")[:top]
                ],
            }


def _probabilities(logits: NDArray[np.float32], path: Path) -> NDArray[np.float64]:
    """The softmax of `logits`; `logits` themselves where the model ends with a softmax of its own."""
    import numpy as np

    from ghostedge.errors import ArtifactError

    values = logits.astype(np.float64)
    if not np.isfinite(values).all():
        raise ArtifactError(f"{path} gives NaN or infinity as a logit; verify how it was made")
    if values.min() >= 0 and abs(values.sum() - 1) < 0.02:  # 8-bit probabilities do not sum to 1 exactly
        return values
    exponentials = np.exp(values - values.max())
    return np.asarray(exponentials / exponentials.sum())


def _table(result: dict[str, Any]) -> str:
    """One image's lines, e.g. `` 47.9 %  tabby, tabby cat``."""
    lines = []
    for entry in result["top"]:
        name = f"class {entry['index']}" if entry["label"] is None else entry["label"]
        lines.append(f"  {entry['probability']:6.1%}  {name}")
    return "\n".join([result["image"], *lines])
