"""The steps that lowerings share: casts, shapes, and MindSpore's enumerations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from ghostedge.mindir.emitter import Emitter
from ghostedge.mindir.graph import Value

__all__ = [
    "Choice",
    "Number",
    "Sizes",
    "as_tensor",
    "axes_of",
    "cast_to",
    "clip_to",
    "elementwise",
    "pad_mode_of",
    "per_channel",
    "permute",
    "require_nchw",
    "reshape_to",
    "spatial",
]

Number: TypeAlias = bool | int | float

#: One number for all spatial axes, one a spatial axis, or one an axis.
Sizes: TypeAlias = "int | Sequence[int]"

#: One of MindSpore's enumerations: a number, or in older primitives the word.
Choice: TypeAlias = "int | str"

#: What MindSpore's enumerations mean where an argument is a number.
_FORMATS = {0: "NCHW", 1: "NHWC", "NCHW": "NCHW", "NHWC": "NHWC", "NCDHW": "NCHW", 4: "NCHW"}
_PAD_MODES = {0: "pad", 1: "same", 2: "valid"}


def require_nchw(g: Emitter, data_format: Choice) -> None:
    """Raise ConvertError for any other layout than (n, c, ...)."""
    if _FORMATS.get(data_format) != "NCHW":
        raise g.error(f"data format {data_format!r} is not supported, only NCHW is")


def pad_mode_of(g: Emitter, mode: Choice) -> str:
    """``"pad"``, ``"same"`` or ``"valid"``."""
    name = mode.lower() if isinstance(mode, str) else _PAD_MODES.get(mode)
    if name not in ("pad", "same", "valid"):
        raise g.error(f"pad_mode {mode!r} is not supported; known: pad, same, valid")
    return name


def spatial(sizes: Sizes, rank: int = 2) -> list[int]:
    """A size for each of the `rank` spatial axes."""
    if isinstance(sizes, int):
        return [sizes] * rank
    return list(sizes[-rank:]) if len(sizes) >= rank else [sizes[0]] * rank


def axes_of(axis: int | Sequence[int] | None, rank: int) -> list[int]:
    """Axes counted from the front, sorted; all of them for None and ``()``."""
    if axis is None or axis == ():
        return list(range(rank))
    return sorted(a % rank for a in ((axis,) if isinstance(axis, int) else axis))


def cast_to(g: Emitter, x: Value, dtype: Any) -> Value:
    """`x` in another dtype, constants at once."""
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.data is not None:
        return g.constant(x.data, dtype)
    return g.emit("Cast", x, dtype=dtype, to=dtype)


def as_tensor(g: Emitter, x: Value | Number, dtype: Any) -> Value:
    """A tensor of `dtype` from a tensor or a number."""
    return cast_to(g, x, dtype) if isinstance(x, Value) else g.constant(x, dtype)


def reshape_to(g: Emitter, x: Value, shape: Sequence[int]) -> Value:
    """`x` in another shape, constants at once."""
    shape = tuple(shape)
    if x.shape == shape:
        return x
    if x.data is not None:
        return g.constant(x.data.reshape(shape))
    return g.emit("Reshape", x, g.constant(shape, np.int64), shape=shape)


def permute(g: Emitter, x: Value, perm: Sequence[int]) -> Value:
    """`x` with axis ``perm[i]`` as axis i, constants at once."""
    if list(perm) == list(range(len(perm))):
        return x
    if x.data is not None:
        return g.constant(x.data.transpose(perm))
    return g.emit("Transpose", x, shape=tuple(x.shape[p] for p in perm), perm=list(perm))


def per_channel(g: Emitter, x: Value, rank: int) -> Value:
    """A vector (c,), as it broadcasts over (n, c, ...)."""
    return reshape_to(g, x, (x.shape[0],) + (1,) * (rank - 2))


def elementwise(g: Emitter, op: str, *inputs: Value | Number) -> Value:
    """An operator on inputs of the output's dtype: MindSpore casts each to it by itself."""
    dtype = g.out.dtype
    return g.emit(op, *(as_tensor(g, x, dtype) for x in inputs), shape=g.out.shape)


def clip_to(g: Emitter, x: Value, low: Number | None, high: Number | None) -> Value:
    """``min(max(x, low), high)``; None leaves a limit out."""
    limits = (None if limit is None else g.constant(limit, x.dtype) for limit in (low, high))
    return g.emit("Clip", x, *limits, shape=x.shape)
