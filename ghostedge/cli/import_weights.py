"""``ghostedge import-weights``: from timm or PyTorch weights to a MindSpore checkpoint."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ghostedge.cli import Arguments, argument

HELP = "turn GhostNetV2 weights of timm or PyTorch into a MindSpore checkpoint"

EPILOG = """\
examples:
  ghostedge import-weights ghostnetv2_130.safetensors --output ghostnetv2_130.ckpt
  ghostedge import-weights ck_ghostnetv2_16.pth.tar --output ghostnetv2_160.ckpt
  ghostedge import-weights trained_on_2.9.ckpt --gate-upsampling nearest --output mine.ckpt

Width and number of classes are recognised. Pickles are read as weights only: code in them is refused, not run.
The checkpoint records how its gates upsample, which the weights alone do not tell.
"""


ARGUMENTS: Arguments = {
    "": [
        argument("weights WEIGHTS", ".safetensors, .pth, .pt, .pth.tar or .ckpt", Path),
        argument("--output C.ckpt", "the checkpoint to write", Path, required=True),
        argument(
            "--gate-upsampling RULE",
            "nearest (default for PyTorch weights) or bilinear_align_corners; for a .ckpt it must be said",
        ),
    ]
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised."""
    from ghostedge.ghostnet.import_weights import import_weights

    done = import_weights(args.weights, args.output, args.gate_upsampling)
    if args.json:
        print(
            json.dumps(
                {
                    "output": str(done.path),
                    "variant": done.variant.name,
                    "gate_upsampling": done.variant.gate_upsampling,
                    "classes": done.num_classes,
                    "source_entry": done.entry,
                    "ignored_entries": len(done.ignored),
                }
            )
        )
        return 0
    origin = f" (entry '{done.entry}')" if done.entry else ""
    print(
        f"{done.path}: GhostNetV2 {done.variant.name}, {done.num_classes} classes, "
        f"{done.variant.gate_upsampling} gates, from {args.weights}{origin}"
    )
    if done.ignored:
        print(f"left out {len(done.ignored)} entries that are not weights, such as '{done.ignored[0]}'")
    return 0
