"""Turn a finished training run into the demo files that ghostedge ships.

    python training/publish.py --run DIR

draws the validation and calibration images, writes the averaged weights as a MindSpore checkpoint, evaluates them on
the images, and records it: ``training.json``, ``training.jsonl``, ``labels.txt``, ``ATTRIBUTION.md``, ``SHA256SUMS``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import artwork
import chain
import numpy as np
import pictures
import timm
import torch
import train
from numpy.typing import NDArray
from torch import nn

from ghostedge.data.preprocess import normalise
from ghostedge.demo import FILES
from ghostedge.files import atomic_write, sha256_file
from ghostedge.models.checkpoint import save_checkpoint
from ghostedge.models.import_weights import PYTORCH_NAMES
from ghostedge.models.variants import get_variant, parameter_shapes

CHECKPOINT = "artwork_1x.ckpt"
#: Pictures on which the BatchNorm statistics are measured.
RECALIBRATION = 512
#: Top-1 accuracy, percent, between which damage by a conversion or by quantisation shows.
RANGE = (70.0, 92.0)


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """`array` with 11 significant bits a number, float16's precision in float32's range: it packs to half the size."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


def recalibrated(state: dict[str, Any], art: artwork.Artwork) -> dict[str, torch.Tensor]:
    """The averaged weights with BatchNorm statistics measured anew on training pictures of 224 pixels.

    Most of the run sees smaller pictures, whose statistics differ (Touvron et al., Fixing the train-test resolution
    discrepancy, 2019). The pictures are the next ones of the training stream.
    """
    model = train.build(len(art.classes)).train()
    model.load_state_dict(state["average"])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    with torch.inference_mode():
        for first in range(0, RECALIBRATION, 64):
            index = state["done"]["pictures"] + first
            x, _ = train.training_batch(art, state["seed"], index, 64, chain.SPEC.width, pictures.DIFFICULTY)
            model(x)
    return dict(model.state_dict())


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> dict[str, Any]:
    """Top-1 and top-5 accuracy, percent."""
    top5 = np.argsort(-logits, axis=1)[:, :5]
    return {
        "images": len(labels),
        "top1_percent": round(float((top5[:, 0] == labels).mean() * 100), 2),
        "top5_percent": round(float((top5 == labels[:, None]).any(axis=1).mean() * 100), 2),
    }


def draw(art: artwork.Artwork, output: Path, counts: dict[str, int], seed: int, quality: int) -> None:
    """Write both splits of images."""
    for split, count in counts.items():
        pictures.write_split(art, output / split, split, count, seed, quality, progress=True)
        for name in ("labels.txt", "pictures.json"):  # the demo has one of each for all
            (output / split / name).unlink()


def publish(
    run: Path, output: Path, cache: Path, counts: dict[str, int], image_seed: int, quality: int
) -> dict[str, Any]:
    """Write every demo file into `output`. Returns: the record that is also in ``training.json``."""
    torch.set_num_threads(os.cpu_count() or 1)
    art = artwork.load_artwork(cache)
    if not (run / "state.pt").exists():
        raise SystemExit(f"publish: {run / 'state.pt'} is missing; run: python training/train.py --output {run}")
    state = torch.load(run / "state.pt", map_location="cpu")
    if state["classes"] != list(art.classes):
        raise SystemExit(f"publish: {run} was trained on another list of classes than training/classes.txt")
    draw(art, output, counts, image_seed, quality)
    variant = get_variant("1x", "bilinear_align_corners")
    trained = recalibrated(state, art)
    exact = {name: trained[PYTORCH_NAMES[name]].numpy() for name in parameter_shapes(variant, len(art.classes))}
    images = chain.Images.of(output / "validation", art.classes)
    batch, labels = normalise(images.pixels(), chain.SPEC), images.labels
    logits = {}
    # The rounded weights last: they are what stays in the file.
    for name, weights in (("exact", exact), ("rounded", {key: rounded(array) for key, array in exact.items()})):
        save_checkpoint(output / CHECKPOINT, weights, variant, recipe="training/train.py")
        logits[name] = chain.logits_of(chain.load_network(output / CHECKPOINT), batch)

    numbers = [int(Path(name).stem.rpartition("_")[2]) for name in images.ids]
    styles = np.array([pictures.saved_subject(art, "validation", number)[1] for number in numbers])
    held_out = styles == artwork.HELD_OUT_STYLE
    parts = {
        "all": np.ones(len(labels), bool),
        "styles seen in training": ~held_out,
        f"held-out style {artwork.STYLES[artwork.HELD_OUT_STYLE]}": held_out,
    }
    record = {
        "training": {
            "seed": state["seed"],
            "steps": state["done"]["step"],
            "pictures": state["done"]["pictures"],
            "minutes": round(state["done"]["seconds"] / 60, 1),
            "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work",
            "packages": {"torch": torch.__version__, "timm": timm.__version__},
        },
        "images": {"seed": image_seed, "jpeg_quality": quality, "counts": counts, "versions": pictures.versions()},
        "checkpoint_sha256": sha256_file(output / CHECKPOINT),
        "validation": {
            name: accuracy(logits["rounded"][part], labels[part]) for name, part in parts.items() if part.any()
        },
        "rounding_to_11_bits": {
            "top1_percent_before": accuracy(logits["exact"], labels)["top1_percent"],
            "top1_agreement_percent": round(
                float((logits["exact"].argmax(1) == logits["rounded"].argmax(1)).mean() * 100), 2
            ),
            "max_abs_logit_difference": round(float(np.abs(logits["exact"] - logits["rounded"]).max()), 5),
        },
    }
    atomic_write(output / "training.json", json.dumps(record, indent=1) + "\n")
    atomic_write(output / "labels.txt", "".join(f"{name}\n" for name in art.classes))
    shutil.copy(run / "log.jsonl", output / "training.jsonl")
    shutil.copy(artwork.HERE / "ATTRIBUTION.md", output / "ATTRIBUTION.md")
    listed = [CHECKPOINT, "labels.txt", "training.json", "training.jsonl", "ATTRIBUTION.md"]
    listed += sorted(p.relative_to(output).as_posix() for split in counts for p in (output / split).glob("*/*.jpg"))
    atomic_write(output / "SHA256SUMS", "".join(f"{sha256_file(output / name)}  {name}\n" for name in listed))
    return record


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, publish, print the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the --output of train.py")
    parser.add_argument("--output", type=Path, default=FILES, help="replaced as a whole (%(default)s)")
    parser.add_argument("--validation", type=int, default=2000, help="how many images (%(default)s)")
    parser.add_argument("--calibration", type=int, default=200, help="how many images (%(default)s)")
    parser.add_argument("--image-seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=60, help="of the JPEGs (%(default)s)")
    parser.add_argument("--cache", type=Path, default=artwork.CACHE)
    parser.add_argument("--any-accuracy", action="store_true", help="publish outside of 70 to 92% top-1 too")
    args = parser.parse_args(argv)
    counts = {"validation": args.validation, "calibration": args.calibration}
    draft = args.output.with_name(f".partial-{args.output.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        record = publish(args.run, draft, args.cache, counts, args.image_seed, args.quality)
    except artwork.ArtworkError as exc:
        print(f"publish: {exc}", file=sys.stderr)
        return 1
    print(json.dumps(record, indent=1))
    top1 = record["validation"]["all"]["top1_percent"]
    if not args.any_accuracy and not RANGE[0] <= top1 <= RANGE[1]:
        print(
            f"publish: top-1 is {top1}%, outside of {RANGE[0]:.0f} to {RANGE[1]:.0f}%: {args.output} is left "
            f"as it was, the draft is in {draft}; train longer or change DIFFICULTY in training/pictures.py",
            file=sys.stderr,
        )
        return 1
    shutil.rmtree(args.output, ignore_errors=True)
    draft.replace(args.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
