"""Make the reference ledger: MindSpore's own network on MindSpore, every image exactly once.

No image is dropped to fill batches and none is shuffled: a batch that is not full is filled up and the extra answers
are thrown away. The published protocol is different; `modelzoo_protocol` says what it would have counted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ghostedge.data.datasets import Dataset
from ghostedge.errors import UsageError
from ghostedge.evaluation.run import Evaluation, Options, Progress, Subject, evaluate
from ghostedge.evaluation.worker import ModelSetup
from ghostedge.lazy import choose
from ghostedge.model import Model
from ghostedge.runtimes import RUNTIMES

#: MindSpore's device targets.
DEVICES = ("CPU", "GPU", "Ascend")

#: The batch of the model zoo's evaluation of GhostNetV2: 390 batches of 128 out of 50,000 images are 49,920.
PUBLISHED_BATCH = 128


def reference(
    checkpoint: Model,
    dataset: Dataset,
    ledger: Path,
    options: Options,
    *,
    device_target: str = "CPU",
    batch_size: int = 32,
    threads: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> Evaluation:
    """Run a checkpoint on MindSpore and write the reference ledger.

    Args:
        checkpoint: of format ``"checkpoint"``.
        ledger: the file to write.
        options: as for `evaluate`; one process runs the network, whatever `workers` says.
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``.
        batch_size: images of one inference; as many as fit the device's memory.
        threads: kernel threads on the CPU.

    Raises:
        UsageError: not a checkpoint, an unknown device target, a batch size below 1.
        GhostedgeError: see `evaluate`.
    """
    if checkpoint.format != "checkpoint":
        raise UsageError(f"{checkpoint.path} is a {checkpoint.format}; the reference is made from a checkpoint (.ckpt)")
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1 is needed")
    setup = ModelSetup(
        artifact=checkpoint,
        runtime=RUNTIMES["checkpoint"],
        input=checkpoint.input,
        threads=threads,
        batch=batch_size,
        options={"device_target": choose("device target", device_target, DEVICES), "batch_size": batch_size},
    )
    subject = Subject(setup, ledger, device=device_target, is_reference=True)
    return evaluate((subject,), dataset, replace(options, workers=1), on_progress)[0]


@dataclass(frozen=True)
class ProtocolCount:
    """What an evaluation that drops the last partial batch of a shuffled data set could have counted.

    Attributes:
        images: how many images it counts: whole batches only.
        dropped: how many it leaves out; which ones depends on the shuffle.
        top1_low: the lowest accuracy that a shuffle can give: the dropped images were right ones.
        top1_high: the highest: the dropped images were wrong ones.
        top1_expected: the mean over all shuffles, which is the accuracy over all images.
    """

    images: int
    dropped: int
    top1_low: float
    top1_high: float
    top1_expected: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return dict(vars(self))

    def __str__(self) -> str:
        if not self.dropped:
            return f"the published protocol counts the same {self.images:,} images: top-1 {self.top1_expected:.4f}"
        return (
            f"the published protocol counts {self.images:,} images and drops {self.dropped} by chance: top-1 between "
            f"{self.top1_low:.4f} and {self.top1_high:.4f}, {self.top1_expected:.4f} on average"
        )


def modelzoo_protocol(images: int, correct: int, batch: int = PUBLISHED_BATCH) -> ProtocolCount:
    """What the model zoo's evaluation would have counted of a ledger's images, `correct` of which are right.

    It shuffles, forms batches of `batch` and drops the last one if it is not full.

    Raises:
        UsageError: there are fewer images than one batch, so that it would have counted none.
    """
    dropped = images % batch
    counted = images - dropped
    if not counted:
        raise UsageError(f"the published protocol takes whole batches of {batch}; {images} images make none")
    return ProtocolCount(
        images=counted,
        dropped=dropped,
        top1_low=(correct - min(dropped, correct)) / counted,
        top1_high=min(correct, counted) / counted,
        top1_expected=correct / images,
    )
