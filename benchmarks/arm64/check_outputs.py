"""Check that .tflite models compute on ARM64 what they compute on this machine, with the real aarch64 LiteRT.

edge_benchmark.py runs each model here and under QEMU on the same input, and the two outputs are compared.

    python benchmarks/arm64/sysroot.py          # once
    python benchmarks/arm64/check_outputs.py model.tflite [--image photo.jpg] [--min-snr-db 60]

Exit codes: 0 all agree, 1 something could not run, 2 an output differs by more.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sysroot import CPUS, OUTPUT, python_command

Logits = NDArray[np.float32]

SCRIPT = Path(__file__).resolve().parents[1] / "edge_benchmark.py"

#: Kernels of different instruction sets sum in different orders: fp32 reaches 120 dB, and two orders of fp16
#: arithmetic (which the Cortex-A76 has) about 60.
MIN_SNR_DB = 50.0


def output_of(python: Path | str, model: Path, image: Path | None) -> Logits:
    """The model's output under `python`: float32."""
    with tempfile.TemporaryDirectory() as folder:
        command: list[object] = [
            python,
            SCRIPT,
            model,
            "--quick",
            "--min-samples",
            "1",
            "--min-seconds",
            "0",
            "--warmup-limit",
            "0",
        ]
        command += ["--output", folder, "--save-output", *(["--image", image] if image else [])]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr.strip().splitlines()[-1])
        (file,) = Path(folder).glob("*.npy")
        logits: Logits = np.load(file)
        return logits


def snr_db(reference: Logits, other: Logits) -> float:
    """Signal to noise ratio of `other` against `reference`, dB; infinite where they are equal."""
    noise = float(np.square(np.float64(other) - reference).sum())
    return math.inf if noise == 0 else 10 * math.log10(float(np.square(np.float64(reference)).sum()) / noise)


def main() -> int:
    """Parse the command line, check, print a table. Returns: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--image", type=Path, help="a photo (default: reproducible noise)")
    parser.add_argument("--min-snr-db", type=float, default=MIN_SNR_DB)
    parser.add_argument("--sysroot", type=Path, default=OUTPUT, metavar="DIR")
    args = parser.parse_args()
    code = 0
    print(f"{'Model':40}  {'CPU':12}  {'SNR (dB)':>9}  {'Max abs':>9}  Top-1  Agrees")
    for model in args.models:
        here = output_of(sys.executable, model, args.image)
        for cpu in CPUS:
            there = output_of(python_command(cpu, args.sysroot), model, args.image)
            snr, largest = snr_db(here, there), float(np.abs(here - there).max())
            same = bool(here.argmax() == there.argmax())
            agrees = same and snr >= args.min_snr_db
            code = code if agrees else 2
            columns = f"{snr:9.1f}  {largest:9.1e}  {'same' if same else 'other':5}  {'yes' if agrees else 'NO'}"
            print(f"{model.name:40}  {cpu:12}  {columns}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
