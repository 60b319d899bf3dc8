"""Lower normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Choice, per_channel, require_nchw, reshape_to

__all__: list[str] = []


def _batch_norm(
    g: Emitter, x: Value, scale: Value | None, bias: Value | None, mean: Value, variance: Value, epsilon: float
) -> tuple[Value, ...]:
    scale = g.constant(np.ones(mean.shape, mean.dtype)) if scale is None else scale
    bias = g.constant(np.zeros(mean.shape, mean.dtype)) if bias is None else bias
    return (g.emit("BatchNormalization", x, scale, bias, mean, variance, shape=x.shape, epsilon=float(epsilon)),)


def _not_training(g: Emitter, training: bool) -> None:
    if training:
        raise g.error("normalises by the statistics of the batch; export after set_train(False), and without "
                      "use_batch_statistics=True")  # fmt: skip


@lowers("BatchNorm")
def batch_norm(
    g: Emitter,
    input_x: Value,
    scale: Value,
    bias: Value,
    mean: Value,
    variance: Value,
    is_training: bool = False,
    epsilon: float = 1e-5,
    momentum: float = 0.1,
    data_format: Choice = "NCHW",
) -> tuple[Value, ...]:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` along axis 1, with the stored statistics."""
    require_nchw(g, data_format)
    _not_training(g, is_training)
    return _batch_norm(g, input_x, scale, bias, mean, variance, epsilon)


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
    _not_training(g, training)
    return _batch_norm(g, input, weight, bias, running_mean, running_var, epsilon)


@lowers("LayerNorm")
def layer_norm(
    g: Emitter,
    input_x: Value,
    gamma: Value,
    beta: Value,
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
    shape = tuple(normalized_shape)
    scale = g.constant(np.ones(shape, input.dtype)) if weight is None else weight
    axis = len(input.shape) - len(shape)
    return (g.emit("LayerNormalization", input, scale, bias, shape=input.shape, axis=axis, epsilon=float(eps)),)


@lowers("GroupNorm")
def group_norm(
    g: Emitter, input: Value, num_groups: int, weight: Value | None, bias: Value | None, eps: float
) -> tuple[Value, ...]:
    """Each image's channels in `num_groups` groups, each group by its own mean and variance."""
    shape, dtype = input.shape, input.dtype
    grouped = reshape_to(g, input, (shape[0], num_groups, math.prod(shape[1:]) // num_groups))
    ones, zeros = g.constant(np.ones(num_groups, dtype)), g.constant(np.zeros(num_groups, dtype))
    normal = g.emit("InstanceNormalization", grouped, ones, zeros, shape=grouped.shape, epsilon=float(eps))
    x = reshape_to(g, normal, shape)
    if weight is not None:
        x = g.emit("Mul", x, per_channel(g, weight, len(shape)))
    if bias is not None:
        x = g.emit("Add", x, per_channel(g, bias, len(shape)))
    return (x,)
