"""Lower pooling."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Choice, Sizes, pad_mode_of, require_nchw, reshape_to, spatial

__all__: list[str] = []


def _pool_pads(
    x: Value, out: Sequence[int], kernel: list[int], strides: list[int], begin: list[int], dilations: list[int]
) -> list[int]:
    """Pads at the end of each axis that make the output `out` long without rounding up.

    Runtimes differ in how far the last window of ``ceil_mode`` may reach; the size of the output, which MindSpore
    declares, settles it.
    """
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)]
    return [max(r - size - b, 0) for r, size, b in zip(reach, x.shape[2:], begin, strict=True)]


def _max_pool(
    g: Emitter,
    x: Value,
    out: tuple[int, ...],
    kernel: list[int],
    strides: list[int],
    begin: list[int],
    dilations: list[int],
) -> Value:
    end = _pool_pads(x, out[2:], kernel, strides, begin, dilations)
    pads: dict[str, Any] = {"pads": [*begin, *end]} if any([*begin, *end]) else {}
    return g.emit("MaxPool", x, shape=out, kernel_shape=kernel, strides=strides, dilations=dilations, **pads)


def _average_pool(
    g: Emitter,
    x: Value,
    out: tuple[int, ...],
    kernel: list[int],
    strides: list[int],
    pads: list[int],
    count_include_pad: bool,
    divisor: int | None,
) -> Value:
    """Means over windows.

    Args:
        pads: of MindSpore, at the beginning of each spatial axis and as much at its end.
        count_include_pad: whether the zeros of `pads` count as elements. Those that ``ceil_mode`` adds never do.
        divisor: divide by this, not by the number of elements.
    """
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    end = _pool_pads(x, out[2:], kernel, strides, pads, [1] * len(kernel))
    if divisor:
        window = g.emit("AveragePool", x, shape=out, pads=[*pads, *end], count_include_pad=1, **attributes)
        return g.emit("Mul", window, g.constant(math.prod(kernel) / divisor, x.dtype))
    if count_include_pad and any(pads) and any(e > p for e, p in zip(end, pads, strict=True)):
        amounts = [0, 0, *pads, 0, 0, *pads]
        shape = (*x.shape[:2], *(size + 2 * p for size, p in zip(x.shape[2:], pads, strict=True)))
        x = g.emit("Pad", x, g.constant(amounts, np.int64), shape=shape, mode="constant")
        pads, count_include_pad = [0] * len(pads), False
        end = _pool_pads(x, out[2:], kernel, strides, pads, [1] * len(kernel))
    if any([*pads, *end]):
        attributes["pads"] = [*pads, *end]
        attributes["count_include_pad"] = int(count_include_pad and any(pads))
    return g.emit("AveragePool", x, shape=out, **attributes)


def _windows(
    g: Emitter, op: str, x: Value, kernel_size: Sizes, strides: Sizes, pad_mode: Choice, data_format: Choice
) -> Value:
    """An older primitive: `pad_mode` is ``same`` or ``valid``; ``same`` puts the odd pixel at the bottom and right."""
    require_nchw(g, data_format)
    pads = {"auto_pad": "SAME_UPPER"} if pad_mode_of(g, pad_mode) == "same" else {}
    return g.emit(op, x, shape=g.out.shape, kernel_shape=spatial(kernel_size), strides=spatial(strides), **pads)


@lowers("MaxPool")
def max_pool(
    g: Emitter, input: Value, kernel_size: Sizes, strides: Sizes, pad_mode: Choice, format: Choice = "NCHW"
) -> Value:
    """The maximum of each window; the padding of ``same`` is never it."""
    return _windows(g, "MaxPool", input, kernel_size, strides, pad_mode, format)


@lowers("AvgPool")
def avg_pool(
    g: Emitter, x: Value, kernel_size: Sizes, strides: Sizes, pad_mode: Choice, data_format: Choice = "NCHW"
) -> Value:
    """The mean of each window; the padding of ``same`` does not count as elements."""
    return _windows(g, "AveragePool", x, kernel_size, strides, pad_mode, data_format)


@lowers("MaxPoolWithArgmaxV2")
def max_pool_with_argmax_v2(
    g: Emitter, x: Value, kernel_size: Sizes, strides: Sizes, pads: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Value | None, ...]:
    """``ops.max_pool2d``. Outputs the maxima and their places; the places are not lowered."""
    return (_max_pool(g, x, g.out.shape, *map(spatial, (kernel_size, strides, pads, dilation))), None)


@lowers("MaxPoolWithMask", "MaxPoolWithIndices")
def max_pool_with_mask(
    g: Emitter,
    input: Value,
    kernel_size: Sizes,
    strides: Sizes | None,
    pads: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    argmax_type: int,
) -> tuple[Value | None, ...]:
    """The pool of ``mindspore.mint``. Outputs the maxima and their places; the places are not lowered."""
    strides = kernel_size if strides is None else strides
    return max_pool_with_argmax_v2(g, input, kernel_size, strides, pads, dilation, ceil_mode)


@lowers("AvgPool2D")
def avg_pool_2d(
    g: Emitter,
    input: Value,
    kernel_size: Sizes,
    stride: Sizes,
    padding: Sizes,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Value:
    """The pool of ``mindspore.mint``."""
    kernel, strides, pads = map(spatial, (kernel_size, stride or kernel_size, padding))
    return _average_pool(g, input, g.out.shape, kernel, strides, pads, count_include_pad, divisor_override)


def _pool_3d(
    g: Emitter,
    x: Value,
    sizes: Sequence[list[int]],
    pool: Callable[[Value, tuple[int, ...], Sequence[list[int]]], Value],
) -> Value:
    """What ``nn.MaxPool2d`` and ``nn.AvgPool2d`` with ``pad_mode="pad"`` become, on (n, c, 1, h, w): a pool of h and w.

    Args:
        sizes: kernel, strides, pads at the beginning and whatever else `pool` takes, each (depth, height, width).
        pool: writes the pool of a value, given the shape of its output and its sizes.
    """
    kernel, strides, pads = (size[0] for size in sizes[:3])
    if x.shape[2] == 1 and (kernel, strides, pads) == (1, 1, 0):
        flat = reshape_to(g, x, (*x.shape[:2], *x.shape[3:]))
        pooled = pool(flat, (*g.out.shape[:2], *g.out.shape[3:]), [size[1:] for size in sizes])
        return reshape_to(g, pooled, g.out.shape)
    return pool(x, g.out.shape, sizes)


@lowers("MaxPool3DWithArgmax")
def max_pool_3d_with_argmax(
    g: Emitter, x: Value, ksize: Sizes, strides: Sizes, pads: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Value | None, ...]:
    """Outputs the maxima and their places; the places are not lowered."""

    def pool(x: Value, out: tuple[int, ...], sizes: Sequence[list[int]]) -> Value:
        return _max_pool(g, x, out, *sizes)

    return (_pool_3d(g, x, [spatial(size, 3) for size in (ksize, strides, pads, dilation)], pool), None)


@lowers("AvgPool3D")
def avg_pool_3d(
    g: Emitter,
    x: Value,
    kernel_size: Sizes,
    strides: Sizes,
    pad_list: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int,
) -> Value:
    """`pad_list` is (front, back, top, bottom, left, right)."""
    begin, end = list(pad_list[::2]), list(pad_list[1::2])
    if begin != end:
        raise g.error(f"padding {tuple(pad_list)} differs between the two ends, which is not supported")

    def pool(x: Value, out: tuple[int, ...], sizes: Sequence[list[int]]) -> Value:
        kernel, strides, pads = sizes
        return _average_pool(g, x, out, kernel, strides, pads, count_include_pad, divisor_override)

    return _pool_3d(g, x, [spatial(kernel_size, 3), spatial(strides, 3), begin], pool)


def _adaptive(g: Emitter, x: Value, out: tuple[int, ...], pool: str) -> Value:
    """The mean or maximum of equal parts of each image; ONNX has no operator for windows of unequal size."""
    if out[2:] == x.shape[2:]:
        return x
    if out[2:] == (1, 1):
        return g.emit(f"Global{pool}", x, shape=out)
    if any(size % parts for size, parts in zip(x.shape[2:], out[2:], strict=True)):
        raise g.error(f"cannot pool {x.shape[2:]} into {out[2:]} parts of equal size, which is not supported")
    kernel = [size // parts for size, parts in zip(x.shape[2:], out[2:], strict=True)]
    return g.emit(pool, x, shape=out, kernel_shape=kernel, strides=kernel)


@lowers("AdaptiveAvgPool2D", "AdaptiveAvgPool2DExt")
def adaptive_avg_pool_2d(g: Emitter, input: Value, output_size: Any) -> Value:
    """The mean of each of `output_size` parts; the declared shape says what None there came to."""
    return _adaptive(g, input, g.out.shape, "AveragePool")


@lowers("AdaptiveMaxPool2D")
def adaptive_max_pool_2d(g: Emitter, input: Value, output_size: Any) -> tuple[Value | None, ...]:
    """The maximum of each part. Outputs the maxima and their places; the places are not lowered."""
    return (_adaptive(g, input, g.out.shape, "MaxPool"), None)
