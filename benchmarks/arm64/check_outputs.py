"""Check that .tflite models compute on ARM64 what they compute on this machine, with the real aarch64 LiteRT.

Each model runs here and under QEMU on the same inputs, and the outputs are compared: on one reproducible input of
noise, or on photos, preprocessed here as the model says (a second each and more under QEMU).

    python benchmarks/arm64/sysroot.py          # once
    python benchmarks/arm64/check_outputs.py model.tflite [--images PHOTOS [--limit 20]] [--min-snr-db 50]

--litert VERSION, given to both, emulates another LiteRT than this machine's.

Exit codes: 0 all agree, 1 something could not run, 2 an output differs by more.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sysroot import PROFILES, add_arguments, chosen, python_command

Logits = NDArray[np.float32]

#: Kernels of different instruction sets sum in different orders: fp32 reaches 120 dB, dynamic 54 dB. Where the model
#: allows float16, which the Cortex-A76 has, fp16 reaches 57 dB and dynamic 50 dB. A wrong pad leaves 20 to 30 dB.
MIN_SNR_DB, FLOAT16_MIN_SNR_DB = 50.0, 45.0


def run_all(model: str, inputs: str, outputs: str) -> None:
    """Run a model on each row of a .npy file and save its outputs, dequantised; also what runs on the other side."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=model, num_threads=1)
    interpreter.allocate_tensors()
    (taken,), given = interpreter.get_input_details(), interpreter.get_output_details()[0]
    scale, zero = taken["quantization"]
    limits = np.iinfo(taken["dtype"]) if np.dtype(taken["dtype"]).kind in "iu" else None
    rows = []
    for image in np.load(inputs, mmap_mode="r"):
        if image.dtype != taken["dtype"] and limits is not None:
            image = np.clip(np.rint(image / scale) + zero, limits.min, limits.max)
        interpreter.set_tensor(taken["index"], image[None].astype(taken["dtype"]))
        interpreter.invoke()
        values = interpreter.get_tensor(given["index"]).reshape(-1).astype(np.float32)
        scale_out, zero_out = given["quantization"]
        rows.append((values - zero_out) * scale_out if scale_out else values)
    np.save(outputs, np.stack(rows))


def outputs_of(python: Path | str, model: Path, inputs: Path) -> Logits:
    """The model's outputs under `python`: float32 (n, outputs)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "outputs.npy"
        command = [python, __file__, "--guest", model, inputs, file]
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SystemExit(f"{model} under {Path(python).name}: {reason}")
        logits: Logits = np.load(file)
        return logits


def inputs_of(model: Path, folder: Path | None, limit: int) -> NDArray[Any]:
    """What the model is run on: (n, height, width, channels); noise, n = 1, without photos."""
    from ghostedge.data.datasets import NO_LABELS, open_dataset, spread
    from ghostedge.data.preprocess import preprocess_batch
    from ghostedge.errors import GhostedgeError
    from ghostedge.formats import open_model
    from ghostedge.tflite.flatbuffer import check_tflite

    try:
        check_tflite(model)
        if folder is None:
            return _noise(model)
        photos = open_dataset(folder, NO_LABELS)
        chosen = [photos.source(index).read() for index in spread(photos.image_ids, limit)]
        return preprocess_batch(chosen, open_model(model).input)
    except GhostedgeError as exc:
        raise SystemExit(str(exc)) from exc


def _noise(model: Path) -> NDArray[Any]:
    from ai_edge_litert.interpreter import Interpreter

    (taken,) = Interpreter(model_path=str(model)).get_input_details()
    generator = np.random.default_rng(0)
    if taken["dtype"] == np.uint8:
        return generator.integers(0, 256, taken["shape"], dtype=np.uint8)
    return generator.standard_normal(taken["shape"], dtype=np.float32)


def main() -> int:
    """Parse the command line, check, print a table. Returns: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument(
        "--images", type=Path, metavar="PHOTOS", help="a folder, as evaluate's --data (default: one input of noise)"
    )
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="N of the photos (default: 20)")
    parser.add_argument(
        "--min-snr-db",
        type=float,
        metavar="DB",
        help=f"default: {MIN_SNR_DB:g}, of models that allow float16 {FLOAT16_MIN_SNR_DB:g}",
    )
    add_arguments(parser)
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.guest:
        run_all(*map(str, args.models))
        return 0
    if args.limit < 1:
        parser.error(f"--limit {args.limit}: at least 1 photo is needed")
    from ghostedge.compare import snr_db
    from ghostedge.tflite.float16 import allows_float16

    code = 0
    print(f"{'Model':40}  {'CPU':12}  {'SNR (dB)':>9}  {'Max abs':>9}  {'Top-1':>9}  Agrees")
    with tempfile.TemporaryDirectory() as folder:
        inputs = Path(folder) / "inputs.npy"
        for model in args.models:
            np.save(inputs, inputs_of(model, args.images, args.limit))
            least = args.min_snr_db
            if least is None:
                least = FLOAT16_MIN_SNR_DB if allows_float16(model) else MIN_SNR_DB
            here = outputs_of(sys.executable, model, inputs)
            for cpu in PROFILES:
                there = outputs_of(python_command(cpu, chosen(args)), model, inputs)
                wanted, error = np.float64(here), np.float64(there) - here
                snr, largest = snr_db(float((wanted**2).sum()), float((error**2).sum())), float(np.abs(error).max())
                same = int((here.argmax(axis=1) == there.argmax(axis=1)).sum())
                # One answer in twenty may be a close one.
                agrees = same >= 0.95 * len(here) and snr >= least
                code = code if agrees else 2
                columns = f"{snr:9.1f}  {largest:9.1e}  {f'{same} of {len(here)}':>9}  {'yes' if agrees else 'NO'}"
                print(f"{model.name:40}  {cpu:12}  {columns}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
