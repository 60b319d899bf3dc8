"""Lower reductions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import axes_of, cast_to, reshape_to

__all__: list[str] = []


def _reduce(g: Emitter, op: str, x: Value, axis: int | Sequence[int] | None, keep: bool, out: Value) -> Value:
    axes = axes_of(axis, len(x.shape))
    x = cast_to(g, x, out.dtype)
    if not axes:
        return x
    if op == "ReduceMean" and len(x.shape) == 4 and axes == [2, 3]:
        # ONNX's own operator for the mean of an image, which runtimes and converters know best.
        pooled = g.emit("GlobalAveragePool", x, shape=(*x.shape[:2], 1, 1))
        return reshape_to(g, pooled, out.shape)
    if op == "ReduceSum":  # the one reduction whose axes are an input in opset 17
        return g.emit(op, x, g.constant(axes, np.int64), shape=out.shape, keepdims=int(keep))
    return g.emit(op, x, shape=out.shape, axes=axes, keepdims=int(keep))


def _reduction(g: Emitter, x: Value, axis: Any = None, keep_dims: bool = False, *, operator: str) -> Value:
    """Over `axis`, over all axes where it is None or ``()``."""
    return _reduce(g, operator, x, axis, keep_dims, g.out)


lowers("ReduceMean")(partial(_reduction, operator="ReduceMean"))
lowers("ReduceMax", "Max")(partial(_reduction, operator="ReduceMax"))
lowers("ReduceMin", "Min")(partial(_reduction, operator="ReduceMin"))
lowers("ReduceProd")(partial(_reduction, operator="ReduceProd"))


def _reduction_ext(
    g: Emitter, input: Value, axis: Any = None, keep_dims: bool = False, dtype: int | None = None, *, operator: str
) -> Value:
    """As above; the input is cast to `dtype` first."""
    return _reduce(g, operator, input, axis, keep_dims, g.out)


lowers("MeanExt")(partial(_reduction_ext, operator="ReduceMean"))
lowers("SumExt")(partial(_reduction_ext, operator="ReduceSum"))
lowers("ProdExt")(partial(_reduction_ext, operator="ReduceProd"))


@lowers("ReduceSum")
def reduce_sum(g: Emitter, x: Value, axis: Any = (), keep_dims: bool = False, skip_mode: bool = False) -> Value:
    """Over `axis`; for ``()``, over all axes, or with `skip_mode` over none."""
    if skip_mode and axis in (None, ()):
        return x
    return _reduce(g, "ReduceSum", x, axis, keep_dims, g.out)


def _extreme(
    g: Emitter, x: Value, axis: int, keep_dims: bool, *, reduce: str, arg: str, index_first: bool
) -> tuple[Value | None, ...]:
    """Outputs the extremes along `axis` and their first places, whichever of the two are read."""
    index, value = g.outputs if index_first else reversed(g.outputs)
    places = extremes = None
    if index is not None:
        axis = axis % len(x.shape)
        found = g.emit(arg, x, shape=index.shape, dtype=np.int64, axis=axis, keepdims=int(keep_dims))
        places = cast_to(g, found, index.dtype)
    if value is not None:
        extremes = _reduce(g, reduce, x, axis, keep_dims, value)
    return (places, extremes) if index_first else (extremes, places)


lowers("ArgMaxWithValue")(partial(_extreme, reduce="ReduceMax", arg="ArgMax", index_first=True))
lowers("ArgMinWithValue")(partial(_extreme, reduce="ReduceMin", arg="ArgMin", index_first=True))
lowers("MaxDim")(partial(_extreme, reduce="ReduceMax", arg="ArgMax", index_first=False))
lowers("MinDim")(partial(_extreme, reduce="ReduceMin", arg="ArgMin", index_first=False))


@lowers("Argmax")
def argmax(g: Emitter, input: Value, axis: int, output_type: int) -> Value:
    """The first place of the maximum along `axis`, int32 or int64; ONNX's is int64."""
    found = g.emit("ArgMax", input, shape=g.out.shape, dtype=np.int64, axis=axis % len(input.shape), keepdims=0)
    return cast_to(g, found, g.out.dtype)
