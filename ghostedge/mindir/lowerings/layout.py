"""Lower what moves elements without changing them: shapes, joins, slices, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostedge.mindir.emitter import Emitter, Number, axes_of, lowers, lowers_table
from ghostedge.mindir.graph import Value


@lowers("Reshape", "View", "Flatten", "FlattenExt")
def reshape(g: Emitter, input: Value, shape_or_start: Any = None, end_dim: int = -1) -> Value:
    """To the shape that MindSpore declares for the output, which has no -1 left in it, whatever led to that."""
    return g.reshape(input, g.out.shape)


@lowers("ExpandDims", "ExpandDimsView")
def expand_dims(g: Emitter, input_x: Value, axis: int) -> Value:
    """A new axis of length 1 at `axis`."""
    if input_x.data is not None:
        return g.reshape(input_x, g.out.shape)
    axes = g.constant([axis % len(g.out.shape)], np.int64)
    return g.emit("Unsqueeze", input_x, axes, shape=g.out.shape)


@lowers("Squeeze")
def squeeze(g: Emitter, input: Value, axis: int | Sequence[int] = ()) -> Value:
    """Drops the given axes of length 1, or all of them for ``()``."""
    axes = [a for a in axes_of(axis, len(input.shape)) if input.shape[a] == 1]
    if not axes or input.data is not None:
        return g.reshape(input, g.out.shape)
    return g.emit("Squeeze", input, g.constant(axes, np.int64), shape=g.out.shape)


@lowers("Transpose", "TransposeView")
def transpose(g: Emitter, input: Value, input_perm: Sequence[int]) -> Value:
    """Axis i of the output is axis ``input_perm[i]`` of the input."""
    return g.transpose(input, [p % len(input.shape) for p in input_perm])


@lowers("TransposeExtView")
def transpose_ext_view(g: Emitter, input: Value, dim0: int, dim1: int) -> Value:
    """Swaps two axes."""
    perm = list(range(len(input.shape)))
    perm[dim0], perm[dim1] = perm[dim1], perm[dim0]
    return g.transpose(input, perm)


@lowers("ChannelShuffle")
def channel_shuffle(g: Emitter, x: Value, group: int) -> Value:
    """Writes the channels as a table of `group` rows and reads it column by column."""
    n, c, *size = x.shape
    table = g.reshape(x, (n, group, c // group, *size))
    return g.reshape(g.transpose(table, [0, 2, 1, *range(3, 3 + len(size))]), x.shape)


@lowers("BroadcastTo", "BroadcastToView")
def broadcast_to(g: Emitter, input: Value, shape: Any) -> Value:
    """Repeats axes of length 1, and new ones in front, up to the shape that MindSpore declares."""
    if input.shape == g.out.shape:
        return input
    return g.emit("Expand", input, g.constant(g.out.shape, np.int64), shape=g.out.shape)


@lowers("Tile")
def tile(g: Emitter, input: Value, dims: Sequence[int]) -> Value:
    """Repeats the tensor ``dims[i]`` times along axis i, counted from the last."""
    rank = len(g.out.shape)
    input = g.reshape(input, (1,) * (rank - len(input.shape)) + input.shape)
    repeats = [1] * (rank - len(dims)) + list(dims)
    return g.emit("Tile", input, g.constant(repeats, np.int64), shape=g.out.shape)


@lowers("Concat")
def concat(g: Emitter, tensors: tuple[Value, ...], axis: int = 0) -> Value:
    """Along `axis`, constants at once."""
    dtype, shape = g.out.dtype, g.out.shape
    arrays = [x.data for x in tensors if x.data is not None]
    if len(arrays) == len(tensors):
        return g.constant(np.concatenate(arrays, axis), dtype)
    return g.emit("Concat", *(g.cast(x, dtype) for x in tensors), shape=shape, axis=axis % len(shape))


@lowers("Stack", "StackExt")
def stack(g: Emitter, tensors: tuple[Value, ...], axis: int = 0) -> Value:
    """Along a new axis at `axis`."""
    shape = g.out.shape
    axis %= len(shape)
    axes = g.constant([axis], np.int64)
    part = (*shape[:axis], 1, *shape[axis + 1 :])
    parts = [g.emit("Unsqueeze", g.cast(x, g.out.dtype), axes, shape=part) for x in tensors]
    return g.emit("Concat", *parts, shape=shape, axis=axis)


def _split(g: Emitter, x: Value, sizes: Sequence[int], axis: int) -> tuple[Value, ...]:
    axis %= len(x.shape)
    shapes = [(*x.shape[:axis], size, *x.shape[axis + 1 :]) for size in sizes]
    if len(shapes) == 1:
        return (x,)
    return g.emit_many("Split", x, g.constant(list(sizes), np.int64), shapes=shapes, axis=axis)


@lowers("Split")
def split(g: Emitter, input_x: Value, axis: int, output_num: int) -> tuple[Value, ...]:
    """Into `output_num` equal parts."""
    return _split(g, input_x, [input_x.shape[axis] // output_num] * output_num, axis)


@lowers("SplitTensor", "SplitTensorView", "SplitWithSize", "SplitWithSizeView", "Chunk", "ChunkView")
def split_along(g: Emitter, input: Value, parts: Any, dim: int = 0) -> tuple[Value, ...]:
    """Into parts of a size, of several sizes, or so many parts; the sizes are those that MindSpore declares."""
    return _split(g, input, [part.shape[dim] for part in g.declared], dim)


@lowers("Unstack", "UnstackExtView")
def unstack(g: Emitter, input_x: Value, axis: int = 0) -> tuple[Value, ...]:
    """Into the slices along `axis`, without it."""
    axis %= len(input_x.shape)
    shape = (*input_x.shape[:axis], *input_x.shape[axis + 1 :])
    axes = g.constant([axis], np.int64)
    return tuple(
        g.emit("Squeeze", part, axes, shape=shape) for part in _split(g, input_x, [1] * input_x.shape[axis], axis)
    )


def _slice(g: Emitter, x: Value, slices: Sequence[slice]) -> Value:
    """Basic slicing, a slice for each axis from the first; axes that are kept whole take no part in it."""
    cuts: list[tuple[int, int, int, int]] = []
    shape = list(x.shape)
    for axis, (cut, length) in enumerate(zip(slices, x.shape, strict=False)):
        start, stop, step = cut.indices(length)
        if (start, stop, step) == (0, length, 1):
            continue
        shape[axis] = len(range(start, stop, step))
        # An end below zero: on to the first element.
        cuts.append((start, stop if stop >= 0 else np.iinfo(np.int64).min + 1, axis, step))
    if not cuts:
        return x
    constants = [g.constant(numbers, np.int64) for numbers in zip(*cuts, strict=True)]
    return g.emit("Slice", x, *constants, shape=tuple(shape))


@lowers("StridedSlice")
def strided_slice(
    g: Emitter,
    input_x: Value,
    begin: Sequence[int],
    end: Sequence[int],
    strides: Sequence[int],
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
) -> Value:
    """Numpy's basic slicing. Bit i of a mask is about axis i: no begin, no end, or one element and the axis dropped."""
    if ellipsis_mask or new_axis_mask:
        raise g.error("ellipsis_mask and new_axis_mask are not supported")
    slices = [slice(None)] * len(input_x.shape)
    for axis, (first, last, step) in enumerate(zip(begin, end, strides, strict=True)):
        if shrink_axis_mask >> axis & 1:
            first %= input_x.shape[axis]
            slices[axis] = slice(first, first + 1)
        else:
            slices[axis] = slice(
                None if begin_mask >> axis & 1 else first, None if end_mask >> axis & 1 else last, step
            )
    x = _slice(g, input_x, slices)
    dropped = [axis for axis in range(len(x.shape)) if shrink_axis_mask >> axis & 1]
    return g.emit("Squeeze", x, g.constant(dropped, np.int64), shape=g.out.shape) if dropped else x


@lowers("Slice")
def slice_(g: Emitter, input_x: Value, begin: Sequence[int], size: Sequence[int]) -> Value:
    """``size[i]`` elements from ``begin[i]`` on along axis i, all of them for -1."""
    return _slice(g, input_x, [slice(b, None if s == -1 else b + s) for b, s in zip(begin, size, strict=True)])


@lowers("Narrow", "NarrowView")
def narrow(g: Emitter, input: Value, dim: int, start: int, length: int) -> Value:
    """`length` elements from `start` on along `dim`."""
    slices = [slice(None)] * len(input.shape)
    slices[dim] = slice(start, start + length)
    return _slice(g, input, slices)


@lowers("ReverseV2")
def reverse_v2(g: Emitter, input: Value, axis: Sequence[int]) -> Value:
    """Reverses the order along the given axes."""
    turned = axes_of(tuple(axis), len(input.shape))
    return _slice(g, input, [slice(None, None, -1 if a in turned else 1) for a in range(len(input.shape))])


@lowers("Gather")
def gather(g: Emitter, input_params: Value, input_indices: Value, axis: int, batch_dims: int = 0) -> Value:
    """Slices along `axis` at the indices."""
    if batch_dims != 0:
        raise g.error(f"batch_dims={batch_dims} is not supported, only 0 is")
    return g.emit("Gather", input_params, input_indices, shape=g.out.shape, axis=axis % len(input_params.shape))


@lowers("IndexSelect")
def index_select(g: Emitter, input: Value, axis: int, index: Value) -> Value:
    """Slices along `axis` at the indices."""
    return gather(g, input, index, axis)


@lowers("TensorScatterUpdate")
def tensor_scatter_update(g: Emitter, input_x: Value, indices: Value, updates: Value) -> Value:
    """``x[:, a:b] = updates``, which MindSpore writes with the pair (image, channel) of each channel that is replaced.

    ONNX's ScatterND would hold the images' numbers as constants; joined again from three parts, the batch stays free.
    """
    channels, places = input_x.shape[1], indices.data
    count = updates.shape[1] if len(updates.shape) > 1 else 0
    fits = places is not None and places.shape == (input_x.shape[0], count, 2) and count > 0
    if places is not None and fits:
        first = int(places[0, 0, 1])
        run = np.stack(np.meshgrid(range(len(places)), range(first, first + count), indexing="ij"), axis=-1)
        if np.array_equal(places, run):
            ends = (slice(first), slice(first + count, channels))
            before, after = (_slice(g, input_x, [slice(None), end]) for end in ends)
            parts = [part for part in (before, updates, after) if part.shape[1]]
            return parts[0] if len(parts) == 1 else g.emit("Concat", *parts, shape=g.out.shape, axis=1)
    raise g.error("replaces other elements than neighbouring channels of every image, which is not supported")


def _pad(g: Emitter, x: Value, pairs: Sequence[Sequence[int]], mode: str, value: Value | Number | None = None) -> Value:
    """`pairs`: (before, after) for each axis from the first; negative ones cut off."""
    before, after = ([pair[end] for pair in pairs] for end in (0, 1))
    fill = None if value is None else g.cast(value, x.dtype)
    if fill is not None:
        fill = None if fill.data is not None and not fill.data.any() else g.reshape(fill, ())
    amounts = g.constant([*before, *after], np.int64)
    return g.emit("Pad", x, amounts, fill, shape=g.out.shape, mode=mode)


def _pairs_from_last(g: Emitter, padding: Sequence[int] | Value, rank: int) -> list[tuple[int, int]]:
    """PyTorch's order, (before, after) of the last axis first, as pairs for each axis from the first."""
    if isinstance(padding, Value) and padding.data is None:
        raise g.error("the padding is computed while the network runs, which is not supported")
    numbers: list[int] = np.array(padding.data if isinstance(padding, Value) else padding).tolist()
    pairs = list(zip(numbers[::2], numbers[1::2], strict=True))[::-1]
    return [(0, 0)] * (rank - len(pairs)) + pairs


@lowers("Pad")
def pad(g: Emitter, input_x: Value, paddings: Sequence[Sequence[int]]) -> Value:
    """Zeros; `paddings` is (before, after) for each axis from the first."""
    return _pad(g, input_x, paddings, "constant")


@lowers("PadV3")
def pad_v3(
    g: Emitter,
    input_x: Value,
    paddings: Sequence[int] | Value,
    constant_value: Value | Number | None,
    mode: str,
    paddings_contiguous: bool,
) -> Value:
    """`paddings`: (before, after) of the last axis first. The modes are ONNX's: constant, reflect, edge."""
    if mode not in ("constant", "reflect", "edge") or not paddings_contiguous:
        raise g.error(f"mode {mode!r}, paddings_contiguous={paddings_contiguous} is not supported")
    pairs = _pairs_from_last(g, paddings, len(input_x.shape))
    return _pad(g, input_x, pairs, mode, constant_value if mode == "constant" else None)


@lowers("ConstantPadND")
def constant_pad_nd(g: Emitter, input: Value, padding: Sequence[int], value: Number) -> Value:
    """`padding`: (before, after) of the last axis first."""
    return _pad(g, input, _pairs_from_last(g, padding, len(input.shape)), "constant", value)


def _pad_border(g: Emitter, input: Value, padding: Sequence[int], *, operator: str) -> Value:
    """``reflect``: mirrored at the border pixel, which ``edge`` repeats; `padding`: (left, right, top, bottom)."""
    return _pad(g, input, _pairs_from_last(g, padding, len(input.shape)), operator)


lowers_table(_pad_border, {"reflect": "ReflectionPad2D", "edge": "ReplicationPad2D"})


@lowers("MirrorPad")
def mirror_pad(g: Emitter, input_x: Value, paddings: Value, mode: str) -> Value:
    """Mirrored at the border pixel; ``SYMMETRIC`` would repeat it, which ONNX has no mode for."""
    if mode != "REFLECT" or paddings.data is None:
        raise g.error(f"mode {mode!r} or a padding that is computed while the network runs is not supported")
    return _pad(g, input_x, paddings.data.tolist(), "reflect")
