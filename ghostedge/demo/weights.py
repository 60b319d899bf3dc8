"""GhostNetV2-1x weights made from the parameters' names: untrained, but every fault of a conversion shows on them."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.models.checkpoint import save_checkpoint
from ghostedge.models.variants import VARIANTS, parameter_shapes

__all__ = ["demo_weight", "write_demo_checkpoint"]


def demo_weight(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The weight of one parameter: float32 of `shape`, always the same for a name.

    Variances and scales are about 1, means and biases about 0, convolutions keep the power of what comes in. So the
    gates open differently for different images, other than in a freshly initialised network, where all are about 0.5
    and a wrong upsampling rule moves the logits by no more than 4e-7.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if name.endswith("moving_variance"):
        values = rng.uniform(0.6, 1.4, shape)
    elif name.endswith("moving_mean"):
        values = rng.standard_normal(shape) * 0.2
    elif len(shape) >= 2:
        values = rng.standard_normal(shape) * np.sqrt(0.9 / math.prod(shape[1:]))
    elif name.endswith("gamma"):
        values = rng.uniform(0.7, 1.3, shape)
    else:
        values = rng.standard_normal(shape) * 0.2
    return values.astype(np.float32)


def write_demo_checkpoint(path: Path, classes: int = 1000) -> None:
    """Write a 1x checkpoint of `demo_weight`, gates upsampled like the official network's. Raises: OutputError."""
    variant = VARIANTS["1x"]
    shapes = parameter_shapes(variant, classes)
    weights = {name: demo_weight(name, shape) for name, shape in shapes.items()}
    save_checkpoint(path, weights, variant, made_by="ghostedge.demo.weights")
