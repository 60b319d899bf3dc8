"""What an evaluation's process holds hardly grows with the number of images."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

pytest.importorskip("pyarrow")

#: Evaluate a tar with an engine that answers without decoding; prints the peak of the resident memory, bytes.
PROGRAM = """
import sys
from pathlib import Path

import numpy as np

from ghostedge.data.datasets import open_dataset
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.evaluation.columns import rows_of_logits
from ghostedge.evaluation.worker import About, Result
from ghostedge.model import Model, InputSpec


class Answers:
    about = About(({"name": "none"},), (10,), {})

    def __init__(self, job):
        pass

    def results(self, tasks):
        for task in tasks:
            logits = np.zeros((len(task.labels), 10), np.float32)
            rows = rows_of_logits(
                np.array(task.image_ids), task.labels, logits, [None] * len(logits), keep_logits=False
            )
            yield Result(task, (rows,), ())

    def close(self):
        pass


tar, folder = map(Path, sys.argv[1:])
model = folder / "a.onnx"
model.write_text("a model")
subjects = subjects_of([Model(model, "onnx", InputSpec())], folder)
(result,) = evaluate(subjects, open_dataset(tar), Options(engine=Answers))
peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
print(result.images, 1024 * int(peak))
"""


def peak_memory(folder: Path, images: int) -> int:
    """Of an evaluation of `images` images with ImageNet's file names, bytes."""
    folder.mkdir()
    with tarfile.open(folder / "val.tar", "w") as tar:
        for number in range(1, images + 1):
            tar.addfile(tarfile.TarInfo(f"ILSVRC2012_val_{number:08d}.JPEG"))
    lines = (f"ILSVRC2012_val_{number:08d}.JPEG {number % 10}\n" for number in range(1, images + 1))
    (folder / "val.txt").write_text("".join(lines))
    command = [sys.executable, "-c", PROGRAM, str(folder / "val.tar"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    counted, peak = map(int, done.stdout.split())
    assert counted == images
    return peak


def test_fifty_times_the_images_take_hardly_more_memory(tmp_path: Path) -> None:
    """0.15 kB an image: its id, its places in the tar, the ledger and the parts, its label. A `str` takes 0.08."""
    small, large = (peak_memory(tmp_path / str(images), images) for images in (1_000, 50_000))
    assert (large - small) / 49_000 < 200
