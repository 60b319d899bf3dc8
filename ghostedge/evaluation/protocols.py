"""What published evaluations would have said of the images of a ledger: the model zoo's, and MindCV's.

**The model zoo's GhostNetV2** (``research/cv/ghostnetv2`` of mindspore-ai/models: ``eval.py``, ``src/dataset.py``):
``ImageFolderDataset(shuffle=True)``, batches of 128 with ``drop_remainder=True``, metrics ``top_1_accuracy`` and
``top_5_accuracy``. It sets no seed, so that 80 of ImageNet's 50,000 images are left out by chance, each time others.
``RANK_SIZE`` and ``RANK_ID`` are read for ``infer_910=True`` alone, which ``eval.py`` does not give. Its README shows
``result: {'acc': 0.740}``, which a Model with these two metrics cannot print: the number is another script's.

**MindCV's** ``validate.py``: shorter side ``floor(size / crop_pct)`` by `interpolation`, centre crop, ``mean`` and
``std``; the batch is made a divisor of the number of images, so that none is left out. Its ``amp_level`` casts the
network: with ``O3``, as in the configurations of its GhostNets, it evaluates in float16.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import UsageError
from ghostedge.evaluation.ledger import Ledger
from ghostedge.ghostnet.shuffle import shuffled
from ghostedge.model import InputSpec, ResizeRule

#: The batch of the model zoo's evaluation of GhostNetV2: 390 batches of 128 out of 50,000 images are 49,920.
PUBLISHED_BATCH = 128


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
    counted = _in_whole_batches(images, batch)
    dropped = images - counted
    return ProtocolCount(
        images=counted,
        dropped=dropped,
        top1_low=(correct - min(dropped, correct)) / counted,
        top1_high=min(correct, counted) / counted,
        top1_expected=correct / images,
    )


def modelzoo_result(
    ledger: Ledger, folders: NDArray[np.integer[Any]], seed: int, *, shard: int = 0, shards: int = 1
) -> dict[str, float]:
    """What the model zoo's ``eval.py`` would print for one shuffle: ``top_1_accuracy`` and ``top_5_accuracy``.

    Which images are dropped is what MindSpore's own sampler says after ``mindspore.dataset.config.set_seed(seed)``.

    Args:
        ledger: of every image.
        folders: int (n,): the place of each row's class folder in alphabetical order, as ImageFolderDataset reads them.
        seed: of the shuffle, 0 to 2**32 - 1.
        shard: ``RANK_ID``: which part of the images.
        shards: ``RANK_SIZE``: of how many parts.

    Raises:
        UsageError: there is no whole batch, no such shard, or an impossible seed.
        MissingExtraError: MindSpore is not installed.
    """
    if not 0 <= shard < shards:
        raise UsageError(f"--shard {shard}/{shards}: the first number is below the second, and not below 0")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--shuffle-seed {seed}: 0 to {2**32 - 1}")
    images = len(ledger)
    order = np.lexsort((np.arange(images), folders))[shuffled(images, seed, shard, shards)]
    counted = order[: _in_whole_batches(len(order), PUBLISHED_BATCH)]
    return {f"top_{top}_accuracy": float(ledger.correct(top)[counted].mean()) for top in (1, 5)}


def _in_whole_batches(images: int, batch: int) -> int:
    """How many of `images` fill whole batches. Raises: UsageError where none does."""
    if images < batch:
        raise UsageError(f"the published protocol takes whole batches of {batch}; {images} images make none")
    return images - images % batch


#: MindCV's names of resize filters (those of ``mindspore.dataset.vision.Inter``) that there is a rule for.
_INTERPOLATIONS: Mapping[str, ResizeRule] = {"bilinear": "opencv_linear"}


def mindcv_input(
    spec: InputSpec,
    *,
    crop_pct: float = 0.875,
    interpolation: str = "bilinear",
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> InputSpec:
    """The input of a model as MindCV's ``validate.py`` makes it; the arguments are those of its configurations.

    Args:
        spec: the model's own; its height and width stay.
        crop_pct: the centre crop's share of the shorter side, above 0, at most 1.
        interpolation: ``"bilinear"``; MindCV's others have no rule here that was checked against MindSpore.
        mean: per channel R, G, B, on the scale 0..255 as MindCV has it, or 0..1; None for the model's own.
        std: likewise.

    Raises:
        UsageError: an impossible number, or an interpolation without a rule.
        ArtifactError: the numbers make no input.
    """
    if not 0 < crop_pct <= 1:
        raise UsageError(f"--crop-pct {crop_pct:g}: above 0, at most 1")
    if interpolation not in _INTERPOLATIONS:
        raise UsageError(
            f"--interpolation {interpolation}: of MindCV's, {', '.join(_INTERPOLATIONS)} is what can be computed here "
            "bit for bit as MindSpore does"
        )
    resize = math.floor(min(spec.height, spec.width) / crop_pct)
    return replace(
        spec,
        resize=resize,
        resize_rule=_INTERPOLATIONS[interpolation],
        mean=_channels(mean, spec.mean),
        std=_channels(std, spec.std),
    )


def _channels(values: Sequence[float] | None, own: tuple[float, float, float]) -> tuple[float, float, float]:
    if values is None:
        return own
    if len(values) != 3:
        raise UsageError(f"--mean and --std take three numbers, R,G,B; these are {len(values)}")
    red, green, blue = (round(value / 255, 6) for value in values) if max(values) > 1 else values
    return red, green, blue


def mindcv_result(ledger: Ledger) -> dict[str, float]:
    """What MindCV's ``validate.py`` would print: over all images, by its own names."""
    return {f"Top_{top}_Accuracy": float(ledger.correct(top).mean()) for top in (1, 5)}
