"""A small artwork drawn here, so that generator and recipe are tested without the artwork packages."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

TRAINING = Path(__file__).resolve().parents[2] / "training"
sys.path.insert(0, str(TRAINING))  # its files are scripts beside each other, not a package

import artwork  # noqa: E402


@pytest.fixture(scope="session")
def art() -> artwork.Artwork:
    """Four classes (discs in four colours; the fourth is never mirrored) and three grey distractors, in every style."""
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (255, 255, 0), (90, 90, 90), (128, 128, 128), (170, 170, 170)]
    levels = []
    for side in artwork.SIZES:
        y, x = np.mgrid[:side, :side] - (side - 1) / 2
        disc = x**2 + y**2 <= (side / 2) ** 2
        level = np.zeros((len(colours), len(artwork.STYLES), side, side, 4), np.uint8)
        for name, colour in enumerate(colours):
            for style in range(len(artwork.STYLES)):
                level[name, style, disc] = (*np.clip(np.array(colour) - 5 * style, 0, 255), 255)
        levels.append(level)
    return artwork.Artwork(("blue", "green", "red", "yellow"), (False, False, False, True), tuple(levels))
