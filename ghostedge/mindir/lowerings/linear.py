"""Lower convolutions and matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Choice, Sizes, pad_mode_of, per_channel, permute, require_nchw, spatial

__all__: list[str] = []


def _conv_attributes(
    g: Emitter, pad_mode: str, pads: Sequence[int], strides: list[int], dilations: list[int], group: int
) -> dict[str, Any]:
    """`pads` in MindSpore's order: (top, bottom, left, right); ONNX wants (top, left, bottom, right)."""
    top, bottom, left, right = pads
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": group}
    if pad_mode == "same" and any(pads) and set(dilations) == {1}:
        # What ONNX calls "same", and the same as explicit pads, which the shapes fix. ONNX Runtime takes it without
        # dilation only.
        attributes["auto_pad"] = "SAME_UPPER"
    elif any(pads):
        attributes["pads"] = [top, left, bottom, right]
    return attributes


@lowers("Conv2D")
def conv2d(
    g: Emitter,
    x: Value,
    weight: Value,
    stride: Sizes,
    dilation: Sizes,
    group: int,
    pad_mode: Choice,
    pad_list: Sequence[int],
    format: Choice = "NCHW",
) -> Value:
    """Cross-correlation; `weight` is (out, in / group, kh, kw) in both specifications.

    MindSpore works the pads of ``same`` out itself and stores them in `pad_list`, the odd pixel at the bottom and
    right.
    """
    require_nchw(g, format)
    attributes = _conv_attributes(g, pad_mode_of(g, pad_mode), pad_list, spatial(stride), spatial(dilation), group)
    return g.emit("Conv", x, weight, shape=g.out.shape, kernel_shape=list(weight.shape[2:]), **attributes)


@lowers("Conv2DExt")
def conv2d_ext(
    g: Emitter,
    input: Value,
    weight: Value,
    bias: Value | None,
    stride: Sequence[int],
    padding: Sizes,
    dilation: Sequence[int],
    groups: int,
) -> Value:
    """The convolution of ``mindspore.mint``: symmetric (vertical, horizontal) padding, the bias inside."""
    vertical, horizontal = spatial(padding)
    pads = (vertical, vertical, horizontal, horizontal)
    attributes = _conv_attributes(g, "pad", pads, spatial(stride), spatial(dilation), groups)
    return g.emit("Conv", input, weight, bias, shape=g.out.shape, kernel_shape=list(weight.shape[2:]), **attributes)


@lowers("Conv2DTranspose", "Conv2DBackpropInput")
def conv2d_transpose(
    g: Emitter,
    out_backprop: Value,
    filter: Value,
    input_sizes: Sequence[int],
    pad_list: Sequence[int],
    stride: Sizes,
    dilation: Sizes,
    group: int,
    format: Choice = "NCHW",
) -> Value:
    """The gradient of a convolution for its input; `filter` is (in, out / group, kh, kw) in both specifications.

    The output's size is an input of the primitive. ONNX works the size out from the padding at the end, so here the
    size decides that padding.
    """
    require_nchw(g, format)
    strides, dilations = spatial(stride), spatial(dilation)
    begin, end, extra = [pad_list[0], pad_list[2]], [], []
    for axis in range(2):
        span = (out_backprop.shape[2 + axis] - 1) * strides[axis] + (filter.shape[2 + axis] - 1) * dilations[axis] + 1
        missing = input_sizes[2 + axis] - (span - begin[axis])
        end.append(max(-missing, 0))
        extra.append(max(missing, 0))
    return g.emit(
        "ConvTranspose",
        out_backprop,
        filter,
        shape=g.out.shape,
        kernel_shape=list(filter.shape[2:]),
        strides=strides,
        dilations=dilations,
        group=group,
        pads=[*begin, *end],
        output_padding=extra,
    )


@lowers("BiasAdd")
def bias_add(g: Emitter, input_x: Value, bias: Value, data_format: Choice = "NCHW") -> Value:
    """Adds `bias` (c,) along axis 1."""
    require_nchw(g, data_format)
    return g.emit("Add", input_x, per_channel(g, bias, len(input_x.shape)), shape=input_x.shape)


def _swap_last(g: Emitter, x: Value) -> Value:
    rank = len(x.shape)
    return permute(g, x, [*range(rank - 2), rank - 1, rank - 2])


def _matmul(g: Emitter, x: Value, y: Value, transpose_x: bool, transpose_y: bool) -> Value:
    """A product of matrices or batches of them; Gemm for two matrices, because it takes the flags and later a bias."""
    if len(x.shape) == len(y.shape) == 2:
        return g.emit("Gemm", x, y, shape=g.out.shape, transA=int(transpose_x), transB=int(transpose_y))
    x = _swap_last(g, x) if transpose_x else x
    y = _swap_last(g, y) if transpose_y else y
    return g.emit("MatMul", x, y, shape=g.out.shape)


@lowers("MatMul", "BatchMatMul")
def matmul(g: Emitter, input: Value, mat2: Value, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """The flags swap the last two axes of either side first."""
    return _matmul(g, input, mat2, transpose_a, transpose_b)


@lowers("MatMulExt", "BatchMatMulExt", "Mm")
def matmul_ext(g: Emitter, input: Value, mat2: Value) -> Value:
    """As numpy's matmul."""
    return _matmul(g, input, mat2, False, False)


@lowers("Dense")
def dense(g: Emitter, input: Value, weight: Value, bias: Value | None = None) -> Value:
    """``input @ weight.T + bias`` over the last axis; `weight` is (out, in)."""
    if len(input.shape) == 2:
        return g.emit("Gemm", input, weight, bias, shape=g.out.shape, transB=1)
    product = g.emit("MatMul", input, _swap_last(g, weight), shape=g.out.shape)
    return product if bias is None else g.emit("Add", product, bias)
