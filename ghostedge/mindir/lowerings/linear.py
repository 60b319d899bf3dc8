"""Lower what has weights: convolutions, matrix products and normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostedge.mindir.emitter import Choice, Emitter, Sizes, lowers, spatial
from ghostedge.mindir.graph import Value


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
    g.require_nchw(format)
    attributes = _conv_attributes(g, g.pad_mode(pad_mode), pad_list, spatial(stride), spatial(dilation), group)
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
    g.require_nchw(format)
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
    g.require_nchw(data_format)
    return g.emit("Add", input_x, g.per_channel(bias, len(input_x.shape)), shape=input_x.shape)


def _swap_last(g: Emitter, x: Value) -> Value:
    rank = len(x.shape)
    return g.transpose(x, [*range(rank - 2), rank - 1, rank - 2])


@lowers("MatMul", "BatchMatMul", "MatMulExt", "BatchMatMulExt", "Mm")
def matmul(g: Emitter, input: Value, mat2: Value, transpose_a: bool = False, transpose_b: bool = False) -> Value:
    """A product of matrices or batches of them; the flags swap the last two axes of either side first.

    Gemm for two matrices, because it takes the flags and later a bias.
    """
    if len(input.shape) == len(mat2.shape) == 2:
        return g.emit("Gemm", input, mat2, shape=g.out.shape, transA=int(transpose_a), transB=int(transpose_b))
    input = _swap_last(g, input) if transpose_a else input
    mat2 = _swap_last(g, mat2) if transpose_b else mat2
    return g.emit("MatMul", input, mat2, shape=g.out.shape)


@lowers("Dense")
def dense(g: Emitter, input: Value, weight: Value, bias: Value | None = None) -> Value:
    """``input @ weight.T + bias`` over the last axis; `weight` is (out, in)."""
    if len(input.shape) == 2:
        return g.emit("Gemm", input, weight, bias, shape=g.out.shape, transB=1)
    product = g.emit("MatMul", input, _swap_last(g, weight), shape=g.out.shape)
    return product if bias is None else g.emit("Add", product, bias)


@lowers("BatchNorm")
def batch_norm(
    g: Emitter,
    input_x: Value,
    scale: Value | None,
    bias: Value | None,
    mean: Value,
    variance: Value,
    is_training: bool = False,
    epsilon: float = 1e-5,
    momentum: float = 0.1,
    data_format: Choice = "NCHW",
) -> tuple[Value, ...]:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` along axis 1, with the stored statistics."""
    g.require_nchw(data_format)
    if is_training:
        raise g.error(
            "normalises by the statistics of the batch; export after set_train(False), and without "
            "use_batch_statistics=True"
        )
    scale = g.constant(np.ones(mean.shape, mean.dtype)) if scale is None else scale
    bias = g.constant(np.zeros(mean.shape, mean.dtype)) if bias is None else bias
    statistics = (scale, bias, mean, variance)
    return (g.emit("BatchNormalization", input_x, *statistics, shape=input_x.shape, epsilon=float(epsilon)),)


@lowers("BatchNormExt")
def batch_norm_ext(
    g: Emitter,
    input: Value,
    weight: Value | None,
    bias: Value | None,
    running_mean: Value,
    running_var: Value,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Value, ...]:
    """The BatchNorm of ``mindspore.mint``; `weight` and `bias` are None without ``affine``."""
    return batch_norm(g, input, weight, bias, running_mean, running_var, training, epsilon)


@lowers("LayerNorm")
def layer_norm(
    g: Emitter,
    input_x: Value,
    gamma: Value,
    beta: Value | None,
    begin_norm_axis: int,
    begin_params_axis: int,
    epsilon: float,
) -> tuple[Value, ...]:
    """Over the axes from `begin_norm_axis` on; `gamma` and `beta` have their shape."""
    rank = len(input_x.shape)
    axis = begin_norm_axis % rank
    if begin_params_axis % rank != axis:
        raise g.error(f"begin_params_axis {begin_params_axis} differs from begin_norm_axis {begin_norm_axis}")
    return (g.emit("LayerNormalization", input_x, gamma, beta, shape=input_x.shape, axis=axis, epsilon=float(epsilon)),)


@lowers("LayerNormExt")
def layer_norm_ext(
    g: Emitter, input: Value, normalized_shape: Sequence[int], weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, ...]:
    """The LayerNorm of ``mindspore.mint``: over the last ``len(normalized_shape)`` axes."""
    scale = g.constant(np.ones(tuple(normalized_shape), input.dtype)) if weight is None else weight
    axis = len(input.shape) - len(normalized_shape)
    return layer_norm(g, input, scale, bias, axis, axis, eps)


@lowers("GroupNorm")
def group_norm(
    g: Emitter, input: Value, num_groups: int, weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, ...]:
    """Each image's channels in `num_groups` groups, each group by its own mean and variance."""
    shape, dtype = input.shape, input.dtype
    grouped = g.reshape(input, (shape[0], num_groups, math.prod(shape[1:]) // num_groups))
    ones, zeros = g.constant(np.ones(num_groups, dtype)), g.constant(np.zeros(num_groups, dtype))
    normal = g.emit("InstanceNormalization", grouped, ones, zeros, shape=grouped.shape, epsilon=float(eps))
    x = g.reshape(normal, shape)
    if weight is not None:
        x = g.emit("Mul", x, g.per_channel(weight, len(shape)))
    if bias is not None:
        x = g.emit("Add", x, g.per_channel(bias, len(shape)))
    return (x,)
