"""``ghostedge predict``: what an artifact sees in images."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostedge.cli import NETWORK, Arguments, argument, warn_of_changed

if TYPE_CHECKING:
    from ghostedge.prediction import Prediction

HELP = "classify images with any artifact: the best classes with their names"

EPILOG = """\
examples:
  ghostedge predict cat.jpg --artifact build/ghostnetv2_1x_fp16.tflite
  ghostedge predict photos/ more/dog.png --artifact build/ghostnetv2_1x_fp32.xml --top 1 --json
  ghostedge predict cat.jpg --artifact other.onnx --input-spec spec.json --labels names.txt

An artifact of ghostedge knows its input and its class names; for a file of another origin they are given.
A bad image is reported and the others are still classified; the command then exits with 1.
"""


ARGUMENTS: Arguments = {
    "": [
        argument("images IMAGE...", "JPEG or PNG files, or folders of them (not their subfolders)", Path),
        argument("--artifact A", "a .tflite, .onnx, .xml, .mindir or .ckpt file", Path, required=True),
        argument("--top K", "how many classes an image (default: 5)", int, default=5),
        argument("--threads N", "threads of the runtime (default: 1)", int, default=1),
        argument("--input-spec F", "JSON that says what the model's input holds", Path),
        argument("--labels F", "class names, one a line", Path),
        NETWORK,
    ]
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0, or 1 if an image could not be classified."""
    from ghostedge.data.imagenet import load_labels
    from ghostedge.formats import load_input_spec, open_model
    from ghostedge.prediction import classify
    from ghostedge.runtimes import open_runtime

    warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF, which is not read here
    warn_of_changed([args.artifact])
    model = open_model(
        args.artifact,
        input_spec=load_input_spec(args.input_spec) if args.input_spec else None,
        labels=load_labels(args.labels) if args.labels else None,
        network=args.network,
    )
    found = []
    with open_runtime(model, threads=args.threads) as runtime:
        info = dict(runtime.info)
        for prediction in classify(runtime, args.images, top=args.top):
            found.append(prediction)
            if prediction.error is not None:
                print(f"ghostedge: error: {prediction.error}", file=sys.stderr)
            elif not args.json:
                print(_table(prediction), flush=True)
    if args.json:
        results = [_to_json(prediction) for prediction in found]
        document = {"artifact": str(model.path), "format": model.format, "runtime": info, "results": results}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    return int(any(prediction.error is not None for prediction in found))


def _to_json(prediction: Prediction) -> dict[str, Any]:
    if prediction.error is not None:
        return {"image": prediction.image, "error": prediction.error}
    names = prediction.names or [None] * len(prediction.classes)
    columns = zip(prediction.classes, names, prediction.probabilities, prediction.logits, strict=True)
    keys = ("index", "label", "probability", "logit")
    return {"image": prediction.image, "top": [dict(zip(keys, row, strict=True)) for row in columns]}


def _table(prediction: Prediction) -> str:
    """One image's lines, e.g. `` 47.9%  tabby, tabby cat``."""
    names = prediction.names or [f"class {index}" for index in prediction.classes]
    rows = zip(prediction.probabilities, names, strict=True)
    return "\n".join([prediction.image, *(f"  {probability:6.1%}  {name}" for probability, name in rows)])
