"""Turn a finished training run into the demo files that ghostedge ships.

    python training/publish.py --run DIR --try-difficulties 0.4,0.6,0.8 --validation 400
    python training/publish.py --run DIR --difficulty 0.6

The first prints the accuracy on validation pictures of each difficulty and writes nothing. The second draws the
validation and calibration images, writes the weights as a MindSpore checkpoint, evaluates them on the images
with PyTorch and, for ``reference.parquet`` and ``reference_hf32.parquet``, with MindSpore, and records it:
``training.json``, ``training.jsonl``, ``labels.txt``, ``ATTRIBUTION.md``, ``SHA256SUMS``. How difficult the pictures
are is given, never searched for.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
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

from ghostedge.data.preprocess import decode, normalise, resize_and_crop
from ghostedge.demo import FILES, NOISE_FLOOR
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.files import atomic_write, sha256_file
from ghostedge.ghostnet.checkpoint import save_checkpoint
from ghostedge.ghostnet.import_weights import PYTORCH_NAMES
from ghostedge.ghostnet.variants import get_variant, parameter_shapes

CHECKPOINT = "artwork_1x.ckpt"
REFERENCE = "reference.parquet"
#: Pictures on which the BatchNorm statistics are measured.
RECALIBRATION = 512
#: Top-1 accuracy, percent, between which damage by a conversion or by quantisation shows.
RANGE = (70.0, 92.0)
#: Least share of images, percent, that PyTorch and MindSpore give the same class. Both compute in float32; another
#: order of summation turns the closest calls only, anything else is a fault of the checkpoint.
MIN_AGREEMENT = 99.5


@dataclass(frozen=True)
class Drawing:
    """Which pictures are saved.

    Attributes:
        counts: how many of each split.
        seed: of the pictures, not of the training.
        quality: of the JPEGs.
        difficulty: see `pictures.compose`.
    """

    counts: dict[str, int]
    seed: int
    quality: int
    difficulty: float


def rounded(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """`array` with 11 significant bits a number, float16's precision in float32's range: it packs to half the size."""
    bits = array.astype(np.float32).view(np.uint32)
    return ((bits + np.uint32(1 << 12)) & np.uint32(0xFFFFE000)).view(np.float32)


def read_run(run: Path, art: artwork.Artwork) -> dict[str, Any]:
    """The state that `train.py` left in `run`. Raises: SystemExit when there is none, or one of other classes."""
    if not (run / "state.pt").exists():
        raise SystemExit(f"publish: {run / 'state.pt'} is missing; run: python training/train.py --output {run}")
    state: dict[str, Any] = torch.load(run / "state.pt", map_location="cpu")
    if state["classes"] != list(art.classes):
        raise SystemExit(f"publish: {run} was trained on another list of classes than training/classes.txt")
    return state


def recalibrated(state: dict[str, Any], art: artwork.Artwork, weights: str) -> nn.Module:
    """A network in inference mode with BatchNorm statistics measured anew on pictures of 224 pixels.

    Most of the run sees smaller pictures, whose statistics differ (Touvron et al., Fixing the train-test resolution
    discrepancy, 2019). The pictures are the next ones of the training stream.

    Args:
        state: see `train.Trainer.keep`.
        art: what the pictures are composed of.
        weights: ``"average"``, or ``"model"`` for those of the last step, which are ahead where the run was so short
            that the average still holds weights of smaller pictures.
    """
    model = train.build(len(art.classes)).train()
    model.load_state_dict(state[weights])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain average over the batches
    with torch.inference_mode():
        for first in range(0, RECALIBRATION, 64):
            index, count = state["done"]["pictures"] + first, min(64, RECALIBRATION - first)
            x, _ = train.training_batch(art, state["seed"], index, count, chain.SPEC.width, pictures.DIFFICULTY)
            model(x)
    return model.eval()


def accuracy(logits: NDArray[np.float32], labels: NDArray[np.int32]) -> dict[str, Any]:
    """Top-1 and top-5 accuracy, percent."""
    top5 = np.argsort(-logits, axis=1)[:, :5]
    return {
        "images": len(labels),
        "top1_percent": round(float((top5[:, 0] == labels).mean() * 100), 2),
        "top5_percent": round(float((top5 == labels[:, None]).any(axis=1).mean() * 100), 2),
    }


def by_style(art: artwork.Artwork, numbers: list[int]) -> dict[str, NDArray[np.bool_]]:
    """Name -> which of the validation pictures `numbers` belong to it: all, the styles seen, the one held out."""
    styles = np.array([pictures.saved_subject(art, "validation", number)[1] for number in numbers])
    held_out = styles == artwork.HELD_OUT_STYLE
    return {
        "all": np.ones(len(numbers), bool),
        "styles seen in training": ~held_out,
        f"held-out style {artwork.STYLES[artwork.HELD_OUT_STYLE]}": held_out,
    }


def accuracies(
    art: artwork.Artwork, numbers: list[int], logits: NDArray[np.float32], labels: NDArray[np.int32]
) -> dict[str, Any]:
    """`accuracy` of each part of the validation pictures `numbers` that holds any."""
    parts = by_style(art, numbers)
    return {name: accuracy(logits[part], labels[part]) for name, part in parts.items() if part.any()}


def accuracies_drawn(art: artwork.Artwork, model: nn.Module, drawing: Drawing) -> dict[str, Any]:
    """`accuracies` on the first validation pictures, drawn, encoded and decoded like the saved ones; writes nothing."""
    numbers = list(range(drawing.counts["validation"]))
    drawn = [pictures.saved_picture(art, drawing.seed, "validation", n, drawing.difficulty) for n in numbers]
    encoded = (pictures.jpeg_bytes(picture, drawing.quality) for picture in drawn)
    pixels = np.stack([resize_and_crop(decode(data), chain.SPEC) for data in encoded])
    logits = chain.logits_of(model, normalise(pixels, chain.SPEC))
    return accuracies(art, numbers, logits, np.array([picture.label for picture in drawn], np.int32))


def draw(art: artwork.Artwork, output: Path, drawing: Drawing) -> None:
    """Write both splits of images."""
    for split, count in drawing.counts.items():
        pictures.write_split(
            art, output / split, split, count, drawing.seed, drawing.quality, drawing.difficulty, progress=True
        )
        for name in ("labels.txt", "pictures.json"):  # the demo has one of each for all
            (output / split / name).unlink()


def publish(
    run: Path, output: Path, art: artwork.Artwork, drawing: Drawing, weights: str
) -> tuple[dict[str, Any], dict[str, int]]:
    """Write images, checkpoint, labels, log and attribution into `output`.

    Returns:
        The record for ``training.json``, and validation image -> the class that PyTorch gives it.
    """
    state = read_run(run, art)
    draw(art, output, drawing)
    variant = get_variant("1x", "bilinear_align_corners")
    trained = recalibrated(state, art, weights).state_dict()
    exact = {name: trained[PYTORCH_NAMES[name]].numpy() for name in parameter_shapes(variant, len(art.classes))}
    images = chain.Images.of(output / "validation", art.classes)
    batch, labels = normalise(images.pixels(), chain.SPEC), images.labels
    logits = {}
    # The rounded weights last: they are what stays in the file.
    for name, values in (("exact", exact), ("rounded", {key: rounded(array) for key, array in exact.items()})):
        save_checkpoint(output / CHECKPOINT, values, variant, recipe="training/train.py")
        logits[name] = chain.logits_of(chain.load_network(output / CHECKPOINT), batch)

    numbers = [int(Path(name).stem.rpartition("_")[2]) for name in images.ids]
    record = {
        "training": {
            "seed": state["seed"],
            "steps": state["done"]["step"],
            "pictures": state["done"]["pictures"],
            "minutes": round(state["done"]["seconds"] / 60, 1),
            "weights": weights,
            "machine": f"{platform.machine()}, {os.cpu_count()} cores shared with other work",
            "packages": {"torch": torch.__version__, "timm": timm.__version__},
        },
        "images": {
            "seed": drawing.seed,
            "jpeg_quality": drawing.quality,
            "difficulty": drawing.difficulty,
            "counts": drawing.counts,
            "versions": pictures.versions(),
        },
        "checkpoint_sha256": sha256_file(output / CHECKPOINT),
        "validation": accuracies(art, numbers, logits["rounded"], labels),
        "rounding_to_11_bits": {
            "top1_percent_before": accuracy(logits["exact"], labels)["top1_percent"],
            "top1_agreement_percent": round(
                float((logits["exact"].argmax(1) == logits["rounded"].argmax(1)).mean() * 100), 2
            ),
            "max_abs_logit_difference": round(float(np.abs(logits["exact"] - logits["rounded"]).max()), 5),
        },
    }
    atomic_write(output / "labels.txt", "".join(f"{name}\n" for name in art.classes))
    shutil.copy(run / "log.jsonl", output / "training.jsonl")
    shutil.copy(artwork.HERE / "ATTRIBUTION.md", output / "ATTRIBUTION.md")
    return record, dict(zip(images.ids, logits["rounded"].argmax(1).tolist(), strict=True))


def add_reference(output: Path, answers: dict[str, int]) -> dict[str, Any]:
    """Run MindSpore over the validation images, for ``reference.parquet``: three minutes for 2,000 on two cores.

    Args:
        output: holds the checkpoint and the images.
        answers: image -> the class that PyTorch gives it.

    Returns:
        What the record says about it.

    Raises:
        SystemExit: MindSpore could not run, or its answers are not those of PyTorch.
    """
    command = ["reference", "--checkpoint", output / CHECKPOINT, "--data", output / "validation"]
    command += ["--output", output / REFERENCE]
    # A process of its own: MindSpore and PyTorch each bring their thread pools.
    if subprocess.run([sys.executable, "-m", "ghostedge", *map(str, command)], stdout=2).returncode:
        raise SystemExit("publish: ghostedge reference failed, see above")
    ledger = read_ledger(output / REFERENCE)
    theirs = dict(zip(ledger.image_ids.tolist(), ledger.top5_class[:, 0].tolist(), strict=True))
    agreement = 100 * sum(theirs.get(name) == label for name, label in answers.items()) / len(answers)
    if agreement < MIN_AGREEMENT:
        raise SystemExit(
            f"publish: MindSpore gives {agreement:.2f}% of the images the class that PyTorch gives them, less than "
            f"{MIN_AGREEMENT}%: the checkpoint in {output} is not the network that was trained"
        )
    return {
        "mindspore": ledger.metadata.runtime["version"],
        "top1_percent": round(float(ledger.correct().mean() * 100), 2),
        "agreement_with_pytorch_percent": round(agreement, 2),
    }


def add_noise_floor(output: Path) -> None:
    """Run MindSpore once more with every convolution in HF32, emulated: three minutes for 2,000 images on two cores.

    Args:
        output: holds the checkpoint, the images and the reference ledger.

    Raises:
        SystemExit: it could not run.
    """
    script = Path(__file__).parents[1] / "benchmarks" / "reduced_mantissa.py"
    command = ["--checkpoint", output / CHECKPOINT, "--data", output / "validation", "--reference", output / REFERENCE]
    command += ["--output", output / "noise", "--format", "hf32"]
    if subprocess.run([sys.executable, str(script), *map(str, command)], stdout=2).returncode:
        raise SystemExit("publish: benchmarks/reduced_mantissa.py failed, see above")
    (made,) = (output / "noise").glob("*.parquet")
    made.replace(output / NOISE_FLOOR)
    (output / "noise").rmdir()


def seal(output: Path, record: dict[str, Any]) -> None:
    """Write the record, and the hash of every file."""
    atomic_write(output / "training.json", json.dumps(record, indent=1) + "\n")
    listed = sorted(path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    atomic_write(output / "SHA256SUMS", "".join(f"{sha256_file(output / name)}  {name}\n" for name in listed))


def difficulties(text: str) -> list[float]:
    """``"0.4,0.6"`` -> [0.4, 0.6]."""
    values = [float(part) for part in text.split(",")]
    if not all(0 <= value <= 1 for value in values):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of difficulties from 0 to 1")
    return values


def print_accuracies(run: Path, art: artwork.Artwork, drawing: Drawing, tried: list[float], weights: str) -> None:
    """One line a difficulty: top-1 and top-5 of all pictures, top-1 of the styles seen and of the one held out."""
    state = read_run(run, art)
    model = recalibrated(state, art, weights)
    count, minutes = drawing.counts["validation"], state["done"]["seconds"] / 60
    print(f"after {state['done']['pictures']:,} pictures and {minutes:.0f} minutes, on {count} validation pictures:")
    for difficulty in tried:
        found = accuracies_drawn(art, model, replace(drawing, difficulty=difficulty))
        parts = ", ".join(f"{name} {part['top1_percent']}%" for name, part in found.items())
        print(f"difficulty {difficulty:g}: top-1 {parts}; top-5 {found['all']['top5_percent']}%", flush=True)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, publish, print the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="the --output of train.py")
    parser.add_argument("--output", type=Path, default=FILES, help="replaced as a whole (%(default)s)")
    parser.add_argument("--validation", type=int, default=2000, help="how many images (%(default)s)")
    parser.add_argument("--calibration", type=int, default=200, help="how many images (%(default)s)")
    parser.add_argument("--image-seed", type=int, default=0)
    parser.add_argument("--quality", type=int, default=60, help="of the JPEGs (%(default)s)")
    parser.add_argument(
        "--difficulty", type=float, default=pictures.DIFFICULTY, help="of the images, 0 to 1 (%(default)s)"
    )
    parser.add_argument(
        "--weights", choices=("average", "model"), default="average", help="averaged, or of the last step (%(default)s)"
    )
    parser.add_argument("--cache", type=Path, default=artwork.CACHE)
    parser.add_argument("--any-accuracy", action="store_true", help="publish outside of 70 to 92%% top-1 too")
    parser.add_argument("--no-noise-floor", action="store_true", help=f"leave {NOISE_FLOOR} out")
    parser.add_argument(
        "--try-difficulties", type=difficulties, metavar="D,D", help="print the accuracy at each, and write nothing"
    )
    args = parser.parse_args(argv)
    torch.set_num_threads(os.cpu_count() or 1)
    counts = {"validation": args.validation, "calibration": args.calibration}
    drawing = Drawing(counts, args.image_seed, args.quality, args.difficulty)
    try:
        art = artwork.load_artwork(args.cache)
    except artwork.ArtworkError as exc:
        print(f"publish: {exc}", file=sys.stderr)
        return 1
    if args.try_difficulties:
        print_accuracies(args.run, art, drawing, args.try_difficulties, args.weights)
        return 0
    draft = args.output.with_name(f".partial-{args.output.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    record, answers = publish(args.run, draft, art, drawing, args.weights)
    print(json.dumps(record, indent=1), flush=True)
    top1 = record["validation"]["all"]["top1_percent"]
    if not args.any_accuracy and not RANGE[0] <= top1 <= RANGE[1]:
        print(
            f"publish: top-1 is {top1}%, outside of {RANGE[0]:.0f} to {RANGE[1]:.0f}%: {args.output} is left "
            f"as it was, the draft is in {draft}; train longer or give another --difficulty (see --try-difficulties)",
            file=sys.stderr,
        )
        return 1
    record["reference"] = add_reference(draft, answers)
    print(json.dumps({"reference": record["reference"]}, indent=1))
    if not args.no_noise_floor:
        add_noise_floor(draft)
    seal(draft, record)
    shutil.rmtree(args.output, ignore_errors=True)
    draft.replace(args.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
