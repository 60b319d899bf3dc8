"""Time `ghostedge export --target all` against litert-torch converting timm's ghostnetv2_100 to one TFLite.

Both are whole processes, imports included, run in turn (ours, theirs, ours, theirs, ...), so that a machine that
slows down slows both. Ours makes MindIR, ONNX, OpenVINO IR fp32 and fp16, TFLite fp32 and fp16 and the manifest, each
verified on real photos; theirs makes one fp32 file and verifies nothing.

    python benchmarks/export_time.py --checkpoint C.ckpt [--images DIR] [--rounds 3]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from peers.artifacts import peers_python

ROOT = Path(__file__).parents[1]

LITERT_TORCH = """
import sys, timm, torch, litert_torch
model = timm.create_model("ghostnetv2_100", pretrained=False).eval()
litert_torch.convert(model, (torch.randn(1, 3, 224, 224),)).export(sys.argv[1])
"""


def timed(command: list[str | Path]) -> tuple[float, float]:
    """Wall seconds of a command, and the peak memory in MiB of the largest process in it."""
    with tempfile.TemporaryFile() as log:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status:
            log.seek(0)
            sys.exit(f"{' '.join(map(str, command))} failed:\n{log.read().decode()[-3000:]}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Run the rounds and print one JSON document."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--images", type=Path, help="photos for the verification (default: those of the package)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peers", type=Path, default=ROOT / "build" / "peers", help="the peers' environment")
    args = parser.parse_args()
    python = peers_python(args.peers)
    ours, theirs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in range(args.rounds):
            output = Path(folder) / f"export{index}"
            command = [sys.executable, "-m", "ghostedge", "export", "--checkpoint", args.checkpoint, "--target", "all"]
            command += ["--output", output] + (["--images", args.images] if args.images else [])
            ours.append(timed(command))
            theirs.append(timed([python, "-c", LITERT_TORCH, Path(folder) / "peer.tflite"]))
            print(
                f"round {index + 1}: ghostedge {ours[-1][0]:.1f} s, litert-torch {theirs[-1][0]:.1f} s", file=sys.stderr
            )
    ratios = [a[0] / b[0] for a, b in zip(ours, theirs, strict=True)]
    result = {
        "ratio_median": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "ghostedge_seconds": [round(a[0], 1) for a in ours],
        "litert_torch_seconds": [round(b[0], 1) for b in theirs],
        "ghostedge_peak_mib": round(max(a[1] for a in ours)),
        "litert_torch_peak_mib": round(max(b[1] for b in theirs)),
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
