"""Resizing: each rule for where a pixel comes from converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.lowerings import resize
from tests.mindir.lowerings.agree import agree

#: Bilinear weights are differences of coordinates near 20, which float32 rounds to 2e-6; values are near 3.
TOLERANCE = 3e-5

#: From 6 x 8: up by whole numbers and not, down, to one pixel, and one axis kept.
SIZES = ["(12, 24)", "(9, 20)", "(14, 17)", "(4, 3)", "(1, 1)", "(6, 16)"]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("rule", ["True, False", "False, True", "False, False"])
@pytest.mark.parametrize("primitive", ["ResizeBilinearV2", "ResizeNearestNeighborV2"])
def test_rule(golden: Any, images: Any, primitive: str, rule: str, size: str) -> None:
    """`rule`: align_corners, half_pixel_centers."""
    golden(f"ops.{primitive}({rule})(x, {size})", images(4, 6, 8), tolerance=TOLERANCE)


OTHER_WAYS = [
    "ops.interpolate(x, size=(12, 24), mode='bilinear', align_corners=True)",
    "ops.interpolate(x, scale_factor=(2.0, 2.0), mode='bilinear', recompute_scale_factor=True)",
    "ops.interpolate(x, size=(9, 20), mode='nearest-exact')",
    "ops.interpolate(x, size=(3, 4), mode='area')",
    "ops.ResizeNearestNeighbor((12, 24))(x)",
    "ops.ResizeNearestNeighbor((9, 20), align_corners=True)(x)",
    "mint.nn.functional.interpolate(x, size=(12, 24), mode='nearest')",
    "mint.nn.functional.interpolate(x, scale_factor=2.0, mode='nearest')",
]

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    f"mint.nn.functional.interpolate{how}": f"ops.interpolate{how}"
    for how in (f"(x, size=(9, 20), mode='bilinear', align_corners={corners})" for corners in (True, False))
}

test_other_ways_to_ask_for_it = agree(OTHER_WAYS, 4, 6, 8, tolerance=TOLERANCE)
test_bilinear_of_mint = agree(EQUIVALENT, 4, 6, 8, tolerance=TOLERANCE)


LENGTHS = range(1, 225)


@pytest.fixture(scope="module")
def scales() -> list[tuple[int, int, np.float32]]:
    """Every size up to 224 made of every other, and the scale that the ONNX says for it."""
    return [(length, out, resize._scale(length, out)) for length in LENGTHS for out in LENGTHS]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_size_comes_out_in_either_precision(scales: Any, dtype: Any) -> None:
    """ONNX does not say in which a runtime multiplies; all at once, an array a row."""
    length, out, scale = (np.array(column) for column in zip(*scales, strict=True))
    made = np.floor(length.astype(dtype) * scale.astype(dtype))
    assert made.dtype == dtype
    np.testing.assert_array_equal(made, out)


def test_no_scale_is_larger_than_it_must_be(scales: Any) -> None:
    """The float32 below is under the ratio or gives a smaller size somewhere."""
    for length, out, scale in scales:
        below = np.nextafter(scale, np.float32(0))
        too_small = np.floor(np.float32(length) * below) < out or np.floor(length * float(below)) < out
        assert too_small or float(below) < out / length, (length, out)


def test_7_from_3_is_one_float_above_the_nearest() -> None:
    """The gates of the last blocks: a scale of 2.33333325 gives 6 rows in double."""
    assert resize._scale(3, 7) == np.nextafter(np.float32(7 / 3), np.float32(3))
