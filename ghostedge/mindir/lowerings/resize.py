"""Lower resizing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value


def _scale(length: int, out: int) -> np.float32:
    """The least float32 that is at least ``out / length`` and gives `out` as ``floor(length * scale)``.

    It does so in float32 and in double, since ONNX does not say in which a runtime computes the size. ONNX Runtime took
    float32 up to 1.27 and takes double since 1.28, as onnx does since 1.21; the float32 nearest to 7 / 3 is a little
    less than it, so that 3 * 7 / 3 is 7 in float32 and 6 in double.

    Resize gets scales and not sizes: in opset 17 sizes would have to hold the batch, which is not fixed.
    (From opset 18 on sizes can be of two axes alone, but onnx2tf 1.29 drops align_corners there and says nothing.)
    """
    scale = np.float32(out / length)
    while np.floor(np.float32(length) * scale) < out or np.floor(length * float(scale)) < out:
        scale = np.nextafter(scale, np.float32(np.inf))
    return scale


def _resize(g: Emitter, x: Value, out: tuple[int, ...], coordinates: str, mode: str, **attributes: Any) -> Value:
    if out == x.shape:
        return x
    scales = [1.0, 1.0, *(float(_scale(a, b)) for a, b in zip(x.shape[2:], out[2:], strict=True))]
    attributes |= {"mode": mode, "coordinate_transformation_mode": coordinates}
    return g.emit("Resize", x, None, g.constant(scales, np.float32), shape=out, **attributes)


def _coordinates(align_corners: bool, half_pixel_centers: bool) -> str:
    return "align_corners" if align_corners else "half_pixel" if half_pixel_centers else "asymmetric"


def _bilinear(g: Emitter, x: Value, align_corners: bool, half_pixel_centers: bool) -> Value:
    """Where output pixel i reads, for sizes `a` -> `b`:

    1. align_corners: ``i * (a - 1) / (b - 1)``, ONNX ``align_corners``.
    2. half_pixel_centers: ``(i + 0.5) * a / b - 0.5``, ONNX ``half_pixel``; both clamp at the border.
    3. neither: ``i * a / b``, ONNX ``asymmetric``.
    """
    return _resize(g, x, g.out.shape, _coordinates(align_corners, half_pixel_centers), "linear")


@lowers("ResizeBilinearV2", "ResizeBilinear")
def resize_bilinear_v2(
    g: Emitter, image: Value, size: Any, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """No antialiasing. To the size that MindSpore declares."""
    return _bilinear(g, image, align_corners, half_pixel_centers)


@lowers("UpsampleBilinear2D")
def upsample_bilinear_2d(g: Emitter, x: Value, output_size: Any, scales: Any, align_corners: bool) -> Value:
    """The resize of ``mindspore.mint``: half-pixel centres unless corners are aligned."""
    _check_scales(g, x, scales)
    return _bilinear(g, x, align_corners, not align_corners)


def _check_scales(g: Emitter, x: Value, scales: Sequence[float] | None) -> None:
    """Raise ConvertError for scales, where they are given, that do not lead to whole pixels."""
    if scales is None:
        return
    if any(a * scale != b for a, scale, b in zip(x.shape[2:], scales, g.out.shape[2:], strict=True)):
        raise g.error(f"scales {tuple(scales)} do not give whole pixels; give a size")


def _nearest(g: Emitter, x: Value, align_corners: bool, half_pixel_centers: bool) -> Value:
    """Which input pixel output pixel i is, for sizes `a` -> `b`:

    1. align_corners: ``round(i * (a - 1) / (b - 1))``, halves up; ONNX ``align_corners``, ``round_prefer_ceil``.
    2. half_pixel_centers: ``floor((i + 0.5) * a / b)``; ONNX ``half_pixel``, ``round_prefer_ceil``.
    3. neither: ``floor(i * a / b)``; ONNX ``asymmetric``, ``floor``.

    MindSpore multiplies by a rounded ``a / b``, ONNX divides by a rounded ``b / a``. Where that lands some pixel on
    the other side of a whole number, the rows and columns are gathered instead.
    """
    coordinates, out = _coordinates(align_corners, half_pixel_centers), g.out.shape
    rounding = "floor" if coordinates == "asymmetric" else "round_prefer_ceil"
    pixels = {axis: _nearest_in_mindspore(x.shape[axis], out[axis], coordinates) for axis in (2, 3)}
    if all(
        np.array_equal(pixels[axis], _nearest_in_onnx(x.shape[axis], out[axis], coordinates, dtype))
        for axis in (2, 3)
        for dtype in (np.float32, np.float64)  # the specification leaves the precision open
    ):
        return _resize(g, x, out, coordinates, "nearest", nearest_mode=rounding)
    for axis in (2, 3):
        shape = (*x.shape[:axis], out[axis], *x.shape[axis + 1 :])
        x = g.emit("Gather", x, g.constant(pixels[axis], np.int64), shape=shape, axis=axis)
    return x


def _nearest_in_mindspore(a: int, b: int, coordinates: str) -> NDArray[np.int64]:
    """The input pixel of each output pixel, in the float32 steps of MindSpore's CPU kernel."""
    i = np.arange(b, dtype=np.float32)
    if coordinates == "align_corners" and b > 1:
        pixel = np.floor(i * (np.float32(a - 1) / np.float32(b - 1)) + np.float32(0.5))
    else:
        centre = np.float32(0.5 if coordinates == "half_pixel" else 0)
        pixel = np.floor((i + centre) * (np.float32(a) / np.float32(b)))
    pixels: NDArray[np.int64] = np.minimum(pixel, a - 1).astype(np.int64)
    return pixels


def _nearest_in_onnx(a: int, b: int, coordinates: str, dtype: Any) -> NDArray[np.int64]:
    """The same by ONNX's formula, computed in `dtype`."""
    i = np.arange(b).astype(dtype)
    scale = dtype(_scale(a, b))
    if coordinates == "align_corners":
        pixel = np.floor(i * dtype(a - 1) / dtype(max(b - 1, 1)) + dtype(0.5))
    elif coordinates == "half_pixel":
        pixel = np.floor((i + dtype(0.5)) / scale - dtype(0.5) + dtype(0.5))
    else:
        pixel = np.floor(i / scale)
    pixels: NDArray[np.int64] = np.clip(pixel, 0, a - 1).astype(np.int64)
    return pixels


@lowers("ResizeNearestNeighborV2", "ResizeNearestNeighbor")
def resize_nearest_neighbor_v2(
    g: Emitter, image: Value, size: Any, align_corners: bool = False, half_pixel_centers: bool = False
) -> Value:
    """To the size that MindSpore declares."""
    return _nearest(g, image, align_corners, half_pixel_centers)


@lowers("UpsampleNearest2D")
def upsample_nearest_2d(g: Emitter, x: Value, output_size: Any, scales: Any) -> Value:
    """The resize of ``mindspore.mint``: ``floor(i * a / b)``."""
    _check_scales(g, x, scales)
    return _nearest(g, x, False, False)
