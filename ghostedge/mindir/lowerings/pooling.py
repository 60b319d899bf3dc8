"""Lower what makes one number of many: pools over windows, reductions along axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostedge.mindir.emitter import Choice, Emitter, Sizes, axes_of, lowers, lowers_table, spatial
from ghostedge.mindir.graph import Value


def _pool_pads(
    x: Value, out: Sequence[int], kernel: list[int], strides: list[int], begin: list[int], dilations: list[int]
) -> list[int]:
    """Pads at the end of each axis that make the output `out` long without rounding up.

    Runtimes differ in how far the last window of ``ceil_mode`` may reach; the size of the output, which MindSpore
    declares, settles it.
    """
    reach = [(o - 1) * s + (k - 1) * d + 1 for o, s, k, d in zip(out, strides, kernel, dilations, strict=True)]
    return [max(r - size - b, 0) for r, size, b in zip(reach, x.shape[2:], begin, strict=True)]


def _flat(g: Emitter, x: Value, sizes: Sequence[list[int]]) -> tuple[Value, tuple[int, ...], Sequence[list[int]]]:
    """What is to be pooled, the shape of its pool, and the sizes: kernel, strides, pads at the beginning, others.

    ``nn.MaxPool2d`` and ``nn.AvgPool2d`` with ``pad_mode="pad"`` become pools of (n, c, 1, h, w); here they lose the
    depth again.
    """
    out = g.out.shape
    if len(sizes[0]) != 3 or [x.shape[2], *(size[0] for size in sizes[:3])] != [1, 1, 1, 0]:
        return x, out, sizes
    return g.reshape(x, (*x.shape[:2], *x.shape[3:])), (*out[:2], *out[3:]), [size[1:] for size in sizes]


def _max_pool(g: Emitter, x: Value, *sizes: list[int]) -> tuple[Value | None, ...]:
    """`sizes`: kernel, strides, pads at the beginning, dilations. Outputs the maxima; their places are not lowered."""
    x, out, (kernel, strides, begin, dilations) = _flat(g, x, sizes)
    end = _pool_pads(x, out[2:], kernel, strides, begin, dilations)
    pads: dict[str, Any] = {"pads": [*begin, *end]} if any([*begin, *end]) else {}
    pooled = g.emit("MaxPool", x, shape=out, kernel_shape=kernel, strides=strides, dilations=dilations, **pads)
    return (g.reshape(pooled, g.out.shape), None)


def _average_pool(
    g: Emitter,
    x: Value,
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
    x, out, (kernel, strides, pads) = _flat(g, x, (kernel, strides, pads))
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides}
    whole = [1] * len(kernel)
    end = _pool_pads(x, out[2:], kernel, strides, pads, whole)
    if divisor:
        window = g.emit("AveragePool", x, shape=out, pads=[*pads, *end], count_include_pad=1, **attributes)
        mean = g.emit("Mul", window, g.constant(math.prod(kernel) / divisor, x.dtype))
        return g.reshape(mean, g.out.shape)
    if count_include_pad and any(pads) and any(e > p for e, p in zip(end, pads, strict=True)):
        amounts = [0, 0, *pads, 0, 0, *pads]
        shape = (*x.shape[:2], *(size + 2 * p for size, p in zip(x.shape[2:], pads, strict=True)))
        x = g.emit("Pad", x, g.constant(amounts, np.int64), shape=shape, mode="constant")
        pads, count_include_pad = [0] * len(pads), False
        end = _pool_pads(x, out[2:], kernel, strides, pads, whole)
    if any([*pads, *end]):
        attributes["pads"] = [*pads, *end]
        attributes["count_include_pad"] = int(count_include_pad and any(pads))
    return g.reshape(g.emit("AveragePool", x, shape=out, **attributes), g.out.shape)


def _windows(
    g: Emitter,
    x: Value,
    kernel_size: Sizes,
    strides: Sizes,
    pad_mode: Choice,
    format: Choice = "NCHW",
    data_format: Choice = "NCHW",
    *,
    operator: str,
) -> Value:
    """`pad_mode` is ``same`` or ``valid``; ``same`` puts the odd pixel at the bottom and right.

    Its padding is never the maximum and does not count as elements of a mean.
    """
    g.require_nchw(format)
    g.require_nchw(data_format)
    pads = {"auto_pad": "SAME_UPPER"} if g.pad_mode(pad_mode) == "same" else {}
    return g.emit(operator, x, shape=g.out.shape, kernel_shape=spatial(kernel_size), strides=spatial(strides), **pads)


lowers_table(_windows, {"MaxPool": "MaxPool", "AveragePool": "AvgPool"})


@lowers("MaxPoolWithArgmaxV2", "MaxPoolWithMask", "MaxPoolWithIndices")
def max_pool_with_argmax_v2(
    g: Emitter,
    x: Value,
    kernel_size: Sizes,
    strides: Sizes | None,
    pads: Sizes,
    dilation: Sizes,
    ceil_mode: bool,
    argmax_type: int = 0,
) -> tuple[Value | None, ...]:
    """``ops.max_pool2d`` and the pools of ``mindspore.mint``, whose `strides` may be None: `kernel_size`."""
    strides = kernel_size if strides is None else strides
    return _max_pool(g, x, *map(spatial, (kernel_size, strides, pads, dilation)))


@lowers("MaxPool3DWithArgmax")
def max_pool_3d_with_argmax(
    g: Emitter, x: Value, ksize: Sizes, strides: Sizes, pads: Sizes, dilation: Sizes, ceil_mode: bool
) -> tuple[Value | None, ...]:
    """Sizes are (depth, height, width)."""
    return _max_pool(g, x, *(spatial(size, 3) for size in (ksize, strides, pads, dilation)))


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
    return _average_pool(g, input, kernel, strides, pads, count_include_pad, divisor_override)


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
    return _average_pool(g, x, spatial(kernel_size, 3), spatial(strides, 3), begin, count_include_pad, divisor_override)


def _adaptive(g: Emitter, input: Value, output_size: Any, *, operator: str) -> tuple[Value | None, ...]:
    """The mean or maximum of each of `output_size` equal parts; the declared shape says what None there came to.

    ONNX has no operator for windows of unequal size. The places of the maxima, a second output, are not lowered.
    """
    size, parts = input.shape[2:], g.out.shape[2:]
    if parts == size:
        return (input, None)
    if parts == (1, 1):
        return (g.emit(f"Global{operator}", input, shape=g.out.shape), None)
    if any(length % count for length, count in zip(size, parts, strict=True)):
        raise g.error(f"cannot pool {size} into {parts} parts of equal size, which is not supported")
    kernel = [length // count for length, count in zip(size, parts, strict=True)]
    return (g.emit(operator, input, shape=g.out.shape, kernel_shape=kernel, strides=kernel), None)


lowers_table(_adaptive, {"AveragePool": "AdaptiveAvgPool2D AdaptiveAvgPool2DExt", "MaxPool": "AdaptiveMaxPool2D"})


def _reduce(g: Emitter, op: str, x: Value, axis: int | Sequence[int] | None, keep: bool, out: Value) -> Value:
    axes = axes_of(axis, len(x.shape))
    x = g.cast(x, out.dtype)
    if not axes:
        return x
    if op == "ReduceMean" and len(x.shape) == 4 and axes == [2, 3]:
        # ONNX's own operator for the mean of an image, which runtimes and converters know best.
        return g.reshape(g.emit("GlobalAveragePool", x, shape=(*x.shape[:2], 1, 1)), out.shape)
    if op == "ReduceSum":  # the one reduction whose axes are an input in opset 17
        return g.emit(op, x, g.constant(axes, np.int64), shape=out.shape, keepdims=int(keep))
    return g.emit(op, x, shape=out.shape, axes=axes, keepdims=int(keep))


def _reduction(
    g: Emitter, x: Value, axis: Any = None, keep_dims: bool = False, dtype: int | None = None, *, operator: str
) -> Value:
    """Over `axis`, over all axes where it is None or ``()``; the input is cast to `dtype` first."""
    return _reduce(g, operator, x, axis, keep_dims, g.out)


lowers_table(
    _reduction,
    {
        "ReduceMax": "ReduceMax Max",
        "ReduceMean": "ReduceMean MeanExt",
        "ReduceMin": "ReduceMin Min",
        "ReduceProd": "ReduceProd ProdExt",
        "ReduceSum": "SumExt",
    },
)


@lowers("ReduceSum")
def reduce_sum(g: Emitter, x: Value, axis: Any = (), keep_dims: bool = False, skip_mode: bool = False) -> Value:
    """Over `axis`; for ``()``, over all axes, or with `skip_mode` over none."""
    if skip_mode and axis in (None, ()):
        return x
    return _reduce(g, "ReduceSum", x, axis, keep_dims, g.out)


def _extreme(g: Emitter, x: Value, axis: int, keep_dims: bool, *, operator: str) -> tuple[Value | None, ...]:
    """Outputs the extremes along `axis` and their first places, whichever are read; ``Arg...`` the places first."""
    index_first = g.node.op.startswith("Arg")
    index, value = g.outputs if index_first else reversed(g.outputs)
    places = extremes = None
    if index is not None:
        axis = axis % len(x.shape)
        found = g.emit(f"Arg{operator}", x, shape=index.shape, dtype=np.int64, axis=axis, keepdims=int(keep_dims))
        places = g.cast(found, index.dtype)
    if value is not None:
        extremes = _reduce(g, f"Reduce{operator}", x, axis, keep_dims, value)
    return (places, extremes) if index_first else (extremes, places)


lowers_table(_extreme, {"Max": "ArgMaxWithValue MaxDim", "Min": "ArgMinWithValue MinDim"})


@lowers("Argmax")
def argmax(g: Emitter, input: Value, axis: int, output_type: int) -> Value:
    """The first place of the maximum along `axis`, int32 or int64; ONNX's is int64."""
    found = g.emit("ArgMax", input, shape=g.out.shape, dtype=np.int64, axis=axis % len(input.shape), keepdims=0)
    return g.cast(found, g.out.dtype)
