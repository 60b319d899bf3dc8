"""Accuracies that others published, to quote beside a reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ghostedge.errors import UsageError
from ghostedge.evaluation.ledger import LedgerMetadata
from ghostedge.lazy import choose


@dataclass(frozen=True)
class Published:
    """An accuracy that somebody else published: quoted, never compared.

    Attributes:
        model: the published model.
        top1_percent: as published.
        source: where.
        note: what is known about how it was measured.
        gate_upsampling: how its network's gates grow back to full size, as of `ghostedge.ghostnet.variants.Variant`.
    """

    model: str
    top1_percent: float
    source: str
    note: str
    gate_upsampling: str


#: What was published of GhostNetV2 1.0x. A checkpoint should meet the number of its own rule of upsampling.
PUBLISHED: Mapping[str, Published] = {
    entry.model: entry
    for entry in (
        Published(
            model="ghostnetv2_1x",
            top1_percent=74.0,
            source="MindSpore model zoo, GhostNetV2",
            note="published as {'acc': 0.740}, which is not what its eval.py prints (top_1_accuracy, top_5_accuracy); "
            "the evaluation drops the last partial batch: 49,920 of 50,000 images",
            gate_upsampling="bilinear_align_corners",
        ),
        Published(
            model="ghostnetv2_1x_paper",
            top1_percent=75.3,
            source="Tang et al., GhostNetV2, NeurIPS 2022, 1.0x",
            note="the paper's own network in PyTorch",
            gate_upsampling="nearest",
        ),
        Published(
            model="ghostnetv2_100_timm",
            top1_percent=75.186,
            source="timm, results-imagenet.csv, ghostnetv2_100.in1k",
            note="the paper's weights in timm; the shorter side is 256 by Pillow's antialiased bicubic filter",
            gate_upsampling="nearest",
        ),
    )
}


def published(name: str, metadata: LedgerMetadata) -> Published:
    """The published accuracy of `name`. Raises: UsageError for an unknown name or a model of other classes."""
    entry = PUBLISHED[choose("published model", name, PUBLISHED)]
    if metadata.classes != 1000:
        raise UsageError(
            f"--published {name} is an accuracy on ImageNet's 1,000 classes; this model has {metadata.classes}"
        )
    return entry
