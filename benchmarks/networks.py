"""Take networks of MindCV through every format, and write down how each did.

    python benchmarks/networks.py --page docs/networks.md    (make networks)
    python benchmarks/networks.py --only mobilenet_v2_100 shufflenet_v2_x1_0

Weights are made by a rule from the parameters' names, and BatchNorm's statistics are those of 24 images, so that
every layer says something of its image; accuracy is not looked at. Each network has a process and a folder of its own
under build/networks, where ``result.json`` is kept: what is there is not made again.

Exit codes: 0 done, 1 a network could not be built at all.
"""

from __future__ import annotations

import argparse
import json
import math
import re
import subprocess
import sys
import time
import zlib
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ghostedge.data.calibration import calibration_batch, choose_calibration
from ghostedge.data.images import sample_images
from ghostedge.data.preprocess import preprocess
from ghostedge.errors import GhostedgeError
from ghostedge.files import atomic_write
from ghostedge.formats import open_model
from ghostedge.inspection import inspect
from ghostedge.lazy import require
from ghostedge.manifest import Manifest
from ghostedge.model import InputSpec
from ghostedge.networks import build, input_size
from ghostedge.pipeline.export import export

ROOT = Path(__file__).resolve().parents[1]
CALIBRATION = ROOT / "ghostedge" / "demo" / "files" / "calibration"

NETWORKS = (
    *("mobilenet_v1_100", "mobilenet_v2_100", "mobilenet_v3_small_100", "mobilenet_v3_large_100", "mnasnet_100"),
    *("ghostnet_100", "shufflenet_v1_g3_10", "shufflenet_v2_x1_0", "squeezenet1_0", "squeezenet1_1", "efficientnet_b0"),
    *("rexnet_10", "regnet_x_400mf", "regnet_y_400mf", "resnet18", "resnet50", "resnext50_32x4d", "seresnet18"),
    *("densenet121", "googlenet", "mixnet_s", "repvgg_a0"),
)

#: Recipe -> the heading of its column.
RECIPES = {
    "mindir_fp32": "MindIR",
    "onnx_fp32": "ONNX",
    "openvino_fp32": "IR fp32",
    "openvino_int8": "IR int8",
    "tflite_fp32": "TFLite fp32",
    "tflite_fp16": "TFLite fp16",
    "tflite_dynamic": "TFLite dynamic",
    "tflite_int8": "TFLite int8",
}

_CALIBRATION_IMAGES, _STATISTICS_IMAGES = 32, 16


def rule(name: str, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A parameter's values, by its name: kernels keep the size of a signal that ReLU halves."""
    draw = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("moving_variance"):
        values = draw.uniform(0.6, 1.4, shape)
    elif len(shape) >= 2:
        values = draw.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
    elif name.endswith("gamma"):
        values = draw.uniform(0.7, 1.3, shape)
    else:
        values = draw.standard_normal(shape) * 0.2
    return np.asarray(values, np.float32)


def write_checkpoint(name: str, path: Path) -> None:
    """A checkpoint of a network, its weights by `rule`, BatchNorm's statistics those of photos and calibration images.

    Of one kind alone, the activations of the other would go far beyond all that was seen.
    """
    ms = require("mindspore", "mindspore")

    def measure(part: Any, inputs: Any) -> None:
        values = inputs[0].asnumpy().astype(np.float64)
        part.moving_mean.set_data(ms.Tensor(values.mean(axis=(0, 2, 3)).astype(np.float32)))
        part.moving_variance.set_data(ms.Tensor(values.var(axis=(0, 2, 3)).astype(np.float32)))

    cell = build(name)
    for key, parameter in cell.parameters_dict().items():
        parameter.set_data(ms.Tensor(rule(key, tuple(parameter.shape))))
    cell.set_train(False)
    for _, part in cell.cells_and_names():
        if isinstance(part, ms.nn.BatchNorm2d):
            part.register_forward_pre_hook(measure)
    size = input_size(name)
    spec = InputSpec(height=size, width=size, resize=size * 256 // 224)
    calibration = calibration_batch(choose_calibration(CALIBRATION, _STATISTICS_IMAGES), spec)
    images = [*(preprocess(photo, spec) for photo in sample_images()), *(image[None] for image in calibration)]
    cell(ms.Tensor(np.concatenate(images)))
    ms.save_checkpoint(cell, str(path))


def make(name: str, folder: Path, recipes: Sequence[str]) -> dict[str, Any]:
    """Export one network and say what came of each recipe; those that were made before stay."""
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint, failed = folder / f"{name}.ckpt", dict[str, str]()
    if not checkpoint.exists():
        write_checkpoint(name, checkpoint)

    def note(event: Any) -> None:
        print(
            f"{name}: {time.monotonic() - started:6.1f} s  {event.kind:8}  {event.recipe}  {event.message}", flush=True
        )
        if event.kind == "failed":
            failed[event.recipe] = event.message

    try:
        export(
            checkpoint=checkpoint,
            network=f"mindcv:{name}",
            recipes=_lenient(recipes, folder / "recipes"),
            output=folder,
            calibration=choose_calibration(CALIBRATION, _CALIBRATION_IMAGES),
            on_event=note,
        )
    except GhostedgeError as exc:
        print(f"{name}: {exc}", flush=True)
    manifest = Manifest.read(folder)
    found = (
        {}
        if manifest is None
        else {recipe: _row(folder / record.files[0].name, record) for recipe, record in manifest.artifacts.items()}
    )
    parameters = None if manifest is None else manifest.source.get("parameters")
    return {
        "network": name,
        "parameters": parameters,
        "artifacts": found,
        "failed": failed,
        "seconds": round(time.monotonic() - started),
    }


def _lenient(names: Sequence[str], folder: Path) -> list[str]:
    """Recipes without bounds, and those of what they are made from: the table shows what each would be held to."""
    folder.mkdir(exist_ok=True)
    paths = []
    quantised = [name.removesuffix("int8") for name in names if name.endswith("int8")]
    sources = [f"{target}equalised" for target in ("onnx_", *quantised) if quantised]
    for name in (*names, *sources):
        recipe = (ROOT / "export" / f"{name}.toml").read_text(encoding="utf-8")
        recipe = re.sub(r"(?m)^min_snr_db = .*", "min_snr_db = 0.0", recipe)
        recipe = re.sub(r"(?m)^min_top1_agreement = .*", "min_top1_agreement = 0.0", recipe)
        paths.append(folder / f"{name}.toml")
        atomic_write(paths[-1], recipe)
    return list(map(str, paths))


def _row(path: Path, record: Any) -> dict[str, Any]:
    snr = record.reference_difference.snr_db
    row = {"bytes": record.size_bytes, "snr_db": None if math.isinf(snr) else round(snr, 1)}
    if open_model(path).format == "tflite":
        covered = inspect(path).xnnpack
        assert covered is not None
        row |= {"partitions": covered.partitions, "outside": sorted(set(covered.outside))}
    return row


def page(results: Sequence[Mapping[str, Any]], versions: Mapping[str, str]) -> str:
    """The Markdown page of all results; a column for each recipe that was tried."""
    columns = [name for name in RECIPES if any(name in {*r["artifacts"], *r["failed"]} for r in results)]
    lines = [
        _HEAD.format(versions=", ".join(f"{name} {found}" for name, found in sorted(versions.items()))),
        "| network | parameters, M | " + " | ".join(RECIPES[name] for name in columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for result in results:
        parameters = f"{result['parameters'] / 1e6:.1f}" if result["parameters"] else ""
        cells = [_cell(result, name) for name in columns]
        lines.append(f"| `{result['network']}` | {parameters} | " + " | ".join(cells) + " |")
    through = [r for r in results if all(name in r["artifacts"] for name in columns)]
    whole = [r for r in results if "tflite_int8" in r["artifacts"] and _whole(r["artifacts"]["tflite_int8"])]
    lines += [
        "",
        f"{len(through)} of {len(results)} networks go through all of these. XNNPACK runs the int8 TFLite of "
        f"{len(whole)} whole, in one partition.",
    ]
    refused = [f"`{r['network']}`, `{recipe}`: {said}" for r in results for recipe, said in r["failed"].items()]
    slow = [
        f"`{r['network']}`, `{recipe}`: {row['partitions']} partitions; left to LiteRT's own kernels: "
        + ", ".join(row["outside"])
        for r in results
        for recipe, row in r["artifacts"].items()
        if "partitions" in row and not _whole(row)
    ]
    for heading, found in (("What is refused", refused), ("What is not wholly on XNNPACK", slow)):
        lines += ["", f"## {heading}", "", *([f"- {line}" for line in found] or ["Nothing."])]
    return "\n".join(lines) + "\n"


_HEAD = """\
# Networks of MindCV

`ghostedge export --network mindcv:NAME --checkpoint NAME.ckpt --target all` takes a checkpoint of any network below
through every format; `make networks` writes this page anew (`benchmarks/networks.py`). Weights are made by a rule and
BatchNorm's statistics are those of 24 images: the table says how close each artifact is to MindSpore, not how
accurate a trained network is. Such weights carry every rounding error on (the demo's trained GhostNetV2 has 130 dB in
float32 and 31 in int8, export/README.md), so that the recipes' bounds are not applied here.

A cell: SNR of the logits against MindSpore on the package's photos, dB; size, MB; of a TFLite that XNNPACK does not run
in one piece, the partitions. Made with {versions}.
"""


def _whole(row: Mapping[str, Any]) -> bool:
    return bool(row["partitions"] == 1 and not row["outside"])


def _cell(result: Mapping[str, Any], recipe: str) -> str:
    row = result["artifacts"].get(recipe)
    if row is None:
        return "refused" if recipe in result["failed"] else "not made"
    snr = "identical" if row["snr_db"] is None else f"{row['snr_db']:.0f}"
    parts = "" if "partitions" not in row or _whole(row) else f", {row['partitions']} partitions"
    return f"{snr}, {row['bytes'] / 1e6:.1f}{parts}"


def main() -> int:
    """Run the networks that are asked for. Returns: the exit code."""
    parser = argparse.ArgumentParser(description="networks of MindCV through every format")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=NETWORKS, help="these networks (default: all)")
    parser.add_argument("--page", type=Path, help="write the table here")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "networks", help="folder for the artifacts")
    parser.add_argument("--recipe", nargs="+", choices=RECIPES, default=list(RECIPES), help="these (default: all)")
    parser.add_argument("--one", metavar="NAME", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        folder = args.work / args.one
        atomic_write(folder / "result.json", json.dumps(make(args.one, folder, args.recipe), indent=2))
        return 0
    results = []
    for name in args.only:
        path = args.work / name / "result.json"
        if not _tried(path, args.recipe):  # a process each: what one compiles, another's names would depend on
            command = [sys.executable, __file__, "--work", str(args.work), "--one", name, "--recipe", *args.recipe]
            subprocess.run(command, check=False)
        if path.exists():
            results.append(json.loads(path.read_text()))
    if args.page:
        atomic_write(args.page, page(results, _versions()))
    return int(len(results) < len(args.only))


def _tried(path: Path, recipes: Sequence[str]) -> bool:
    """Whether a result says what came of all recipes."""
    found = json.loads(path.read_text()) if path.exists() else {"artifacts": {}, "failed": {}}
    return set(recipes) <= {*found["artifacts"], *found["failed"]}


def _versions() -> dict[str, str]:
    names = ("mindspore", "mindcv", "onnxruntime", "openvino", "ai-edge-litert", "ai-edge-quantizer", "nncf")
    return {name: version(name) for name in names}


if __name__ == "__main__":
    sys.exit(main())
