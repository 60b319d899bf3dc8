"""What a reference in fewer bits would cost, emulated on a CPU: HF32, TF32 or float16 at every convolution.

    python benchmarks/reduced_mantissa.py --checkpoint C.ckpt --data IMAGES --reference ref.parquet --output LEDGERS

Runs the checkpoint in MindSpore on the CPU with weights and inputs of every convolution rounded to what the format
keeps, writes a ledger each, and prints a Markdown table: how far it is from the reference, as of an artifact.

What is rounded: ``hf32`` 11 bits after the point (Ascend; CANN's manual of ``--allow_hf32``), ``tf32`` 10 (NVIDIA),
both with float32's range, convolutions alone, as these devices do by default; ``float16`` 10 bits with float16's
range, convolutions and the dense layer. What is not: sums stay in float32, in another order than a device's; with
``float16`` all between the convolutions stays float32, where ``force_fp16`` keeps it in float16 too. Rounding is to
nearest; how a device rounds is not published. So this is a first figure of the size of the effect, no device's numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.accuracy.noise import noise_floor
from ghostedge.data.datasets import open_dataset
from ghostedge.evaluation.ledger import Ledger, read_ledger
from ghostedge.evaluation.run import Options, Progress, Subject, evaluate
from ghostedge.evaluation.worker import ModelSetup
from ghostedge.formats import open_model
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.lazy import require
from ghostedge.networks import Network
from ghostedge.reports.format import drop_text, snr_text
from ghostedge.runtimes.mindspore import MindSporeRuntime

#: Format -> bits after the point that it keeps.
BITS: Mapping[str, int] = {"hf32": 11, "tf32": 10, "float16": 10}

_FLOAT32_BITS = 23


def rounded(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    """`values`, each the nearest number that the format holds."""
    if name == "float16":
        with np.errstate(over="ignore"):  # beyond float16's range is infinite, as on a device
            return values.astype(np.float16).astype(np.float32)
    # Dekker's splitting: of x = high + low, high has the bits that are left when x is added to a number so much larger.
    large = values * np.float32(2.0 ** (_FLOAT32_BITS - BITS[name]) + 1)
    high: NDArray[np.float32] = large - (large - values)
    return high


class RoundedRuntime(MindSporeRuntime):
    """A checkpoint whose convolutions see rounded numbers; `rounding` is a key of `BITS`."""

    def __init__(self, artifact: Any, threads: int = 1, *, rounding: str, **options: Any) -> None:
        self._rounding = rounding
        super().__init__(artifact, threads, **options)
        self.arithmetic = Arithmetic(
            f"{rounding} emulated", {"bits_after_the_point": str(BITS[rounding]), "sums": "float32"}
        )

    def _network(self, network: Network) -> Any:
        whole = network.cell()
        for _, cell in whole.cells_and_names():
            round_layer(cell, self._rounding)
        return whole


def round_layer(cell: Any, name: str) -> None:
    """Have a convolution, with ``float16`` also a dense layer, see rounded weights and inputs; others stay."""
    ms = require("mindspore", "mindspore")
    factor = 2.0 ** (_FLOAT32_BITS - BITS[name]) + 1

    class CastConv2d(ms.nn.Conv2d):  # type: ignore[misc, name-defined]
        def construct(self, x):  # type: ignore[no-untyped-def]
            return super().construct(ms.ops.cast(ms.ops.cast(x, ms.float16), ms.float32))

    class CastDense(ms.nn.Dense):  # type: ignore[misc, name-defined]
        def construct(self, x):  # type: ignore[no-untyped-def]
            return super().construct(ms.ops.cast(ms.ops.cast(x, ms.float16), ms.float32))

    class SplitConv2d(ms.nn.Conv2d):  # type: ignore[misc, name-defined]
        def construct(self, x):  # type: ignore[no-untyped-def]
            large = x * factor
            return super().construct(large - (large - x))

    split = {ms.nn.Conv2d: SplitConv2d}
    kinds = {ms.nn.Conv2d: CastConv2d, ms.nn.Dense: CastDense} if name == "float16" else split
    if type(cell) in kinds:
        cell.weight.set_data(ms.Tensor(rounded(cell.weight.asnumpy(), name)))
        cell.__class__ = kinds[type(cell)]


def of_the_same_images(reference: Ledger, ledger: Ledger) -> Ledger:
    """Those rows of `reference` whose images `ledger` has."""
    rows = np.flatnonzero(np.isin(reference.image_ids, ledger.image_ids))
    return Ledger(reference.table.take(rows), replace(reference.metadata, dataset=ledger.metadata.dataset))


def main() -> int:
    """Parse the arguments, run, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reference", type=Path, required=True, help="the float32 ledger of the same images")
    parser.add_argument("--output", type=Path, required=True, help="folder for the ledgers")
    parser.add_argument("--format", choices=sorted(BITS), nargs="+", default=list(BITS))
    parser.add_argument("--limit", type=int, help="images, spread evenly (default: all)")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-drop", type=float, default=0.5)
    args = parser.parse_args()
    checkpoint, dataset = open_model(args.checkpoint), open_dataset(args.data)
    reference = read_ledger(args.reference)
    rows = [("Format", "Flips", "Top-1", "Drop, points (90%)", "Logit SNR", "A perfect copy"), ("---",) * 6]

    def show(progress: Progress) -> None:
        if progress.done % 320 == 0 or progress.done == progress.total:
            print(f"{name}: {progress.done} of {progress.total}, {progress.images_per_s:.1f}/s", file=sys.stderr)

    for name in args.format:
        options = {"batch_size": 32, "rounding": name}
        setup = ModelSetup(
            checkpoint, "benchmarks.reduced_mantissa:RoundedRuntime", checkpoint.input, args.threads, 32, options
        )
        subject = Subject(setup, args.output / f"{checkpoint.path.stem}.{name}.parquet", is_reference=True)
        evaluate((subject,), dataset, Options(args.limit, workers=1, decode_threads=args.threads), show)
        ledger = read_ledger(subject.ledger)
        floor = noise_floor(of_the_same_images(reference, ledger), ledger, args.max_drop)
        snr = snr_text(floor.logits[0].snr_db)
        cells = (name, f"{floor.flips} of {floor.images:,}", f"{floor.top1.percent:.2f}%", drop_text(floor.drop), snr)
        rows.append((*cells, floor.verdict))
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
