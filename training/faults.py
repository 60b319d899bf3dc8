"""Measure what each fault of a conversion or of an app costs, on the demo's validation images.

    python training/faults.py

prints a Markdown table: top-1, how many images change their top-1 class, and the signal-to-noise ratio of the logits
against the sound chain.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chain
import numpy as np
import torch
from numpy.typing import NDArray
from publish import CHECKPOINT

from ghostedge.data.imagenet import load_labels
from ghostedge.data.preprocess import normalise
from ghostedge.demo import FILES, verify_demo_files
from ghostedge.errors import GhostedgeError


def compared(
    name: str, logits: NDArray[np.float32], sound: NDArray[np.float32], labels: NDArray[np.int32]
) -> dict[str, Any]:
    """One row of the table."""
    right, was_right = logits.argmax(1) == labels, sound.argmax(1) == labels
    noise = float(((logits - sound) ** 2).sum())
    return {
        "fault": name,
        "top1_percent": round(float(right.mean() * 100), 2),
        "top1_changed_images": int((logits.argmax(1) != sound.argmax(1)).sum()),
        "lost_images": int((was_right & ~right).sum()),
        "won_images": int((right & ~was_right).sum()),
        "snr_db": round(10 * float(np.log10((sound**2).sum() / noise)), 1) if noise else None,
    }


def measure(checkpoint: Path, images: chain.Images) -> Iterator[dict[str, Any]]:
    """Rows: the sound chain first, then each fault alone."""
    model = chain.load_network(checkpoint)
    pixels = images.pixels()
    batch = normalise(pixels, chain.SPEC)
    sound = chain.logits_of(model, batch)
    yield compared("none", sound, sound, images.labels)
    for name, plant in chain.NETWORK_FAULTS.items():
        yield compared(name, chain.logits_of(plant(model), batch), sound, images.labels)
    chain.set_gates(model)
    for name, (spec, to_input) in chain.INPUT_FAULTS.items():
        resized = pixels if spec == chain.SPEC else images.pixels(spec)
        yield compared(name, chain.logits_of(model, to_input(resized)), sound, images.labels)


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--demo", type=Path, default=FILES, help="what publish.py wrote (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    args = parser.parse_args(argv)
    torch.set_num_threads(os.cpu_count() or 1)
    try:
        verify_demo_files(args.demo)
    except GhostedgeError as exc:
        print(f"faults: {exc}", file=sys.stderr)
        return exc.exit_code
    rows = []
    images = chain.Images.of(args.demo / "validation", load_labels(args.demo / "labels.txt"))
    for row in measure(args.demo / CHECKPOINT, images):
        rows.append(row)
        print(f"faults: {row['fault']}", file=sys.stderr)
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    print("| fault | top-1 % | images with another top-1 | lost / won | SNR dB |\n|---|---|---|---|---|")
    for row in rows:
        snr = "" if row["snr_db"] is None else row["snr_db"]
        print(
            f"| {row['fault']} | {row['top1_percent']:.2f} | {row['top1_changed_images']} | "
            f"{row['lost_images']} / {row['won_images']} | {snr} |"
        )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
