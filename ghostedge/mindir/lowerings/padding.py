"""Lower padding."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Number, as_tensor, reshape_to

__all__: list[str] = []


def _pad(g: Emitter, x: Value, pairs: Sequence[Sequence[int]], mode: str, value: Value | Number | None = None) -> Value:
    """`pairs`: (before, after) for each axis from the first; negative ones cut off."""
    before, after = ([pair[end] for pair in pairs] for end in (0, 1))
    fill = None if value is None else as_tensor(g, value, x.dtype)
    if fill is not None:
        fill = None if fill.data is not None and not fill.data.any() else reshape_to(g, fill, ())
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


@lowers("ReflectionPad2D")
def reflection_pad_2d(g: Emitter, input: Value, padding: Sequence[int]) -> Value:
    """Mirrored at the border pixel, which is not repeated; `padding`: (left, right, top, bottom)."""
    return _pad(g, input, _pairs_from_last(g, padding, len(input.shape)), "reflect")


@lowers("ReplicationPad2D")
def replication_pad_2d(g: Emitter, input: Value, padding: Sequence[int]) -> Value:
    """The border pixel repeated; `padding`: (left, right, top, bottom)."""
    return _pad(g, input, _pairs_from_last(g, padding, len(input.shape)), "edge")


@lowers("MirrorPad")
def mirror_pad(g: Emitter, input_x: Value, paddings: Value, mode: str) -> Value:
    """Mirrored at the border pixel; ``SYMMETRIC`` would repeat it, which ONNX has no mode for."""
    if mode != "REFLECT" or paddings.data is None:
        raise g.error(f"mode {mode!r} or a padding that is computed while the network runs is not supported")
    return _pad(g, input_x, paddings.data.tolist(), "reflect")
