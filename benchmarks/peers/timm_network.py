"""timm's ghostnetv2_100 in PyTorch, and the official variant of it, whose gates grow otherwise."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import timm
import timm.models.ghostnet
import torch
from safetensors.torch import load_file

#: What the gates' upsampling is called -> what it is. Weights do not tell them apart; the file's name does.
VARIANTS = {"timm": "nearest", "official": "bilinear_align_corners"}


def network(weights: Path, slices: bool = False) -> torch.nn.Module:
    """The network with these weights, ready to infer.

    Args:
        weights: ``timm.safetensors`` or ``official.safetensors``, by timm's names of parameters.
        slices: whether nearest upsampling is written as slices that are concatenated: for converters that compute
            ``nearest`` otherwise, or leave it to slow operators. The values are the same.
    """
    mode = VARIANTS[weights.stem]

    def interpolate(features: torch.Tensor, size: tuple[int, int], mode: str = mode) -> torch.Tensor:
        if VARIANTS[weights.stem] == "bilinear_align_corners":
            return torch.nn.functional.interpolate(features, size=size, mode="bilinear", align_corners=True)
        if slices:
            return _grow(_grow(features, 2, size[0]), 3, size[1])
        return torch.nn.functional.interpolate(features, size=size, mode="nearest")

    timm.models.ghostnet.F = _Functional(interpolate)
    model = timm.create_model("ghostnetv2_100", pretrained=False)
    model.load_state_dict(load_file(weights))
    return model.eval()


class _Functional(SimpleNamespace):
    """torch.nn.functional but for `interpolate`."""

    def __init__(self, interpolate: Any) -> None:
        super().__init__(interpolate=interpolate)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.nn.functional, name)


def _grow(features: torch.Tensor, axis: int, size: int) -> torch.Tensor:
    """Nearest upsampling of one axis: output i is input floor(i * old / size)."""
    old = features.shape[axis]
    return torch.cat([features.narrow(axis, place * old // size, 1) for place in range(size)], axis)
