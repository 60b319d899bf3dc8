"""Write nearest-neighbour upsampling as copies, which XNNPACK has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.graph import Graph, Operator, options

__all__ = ["resize_as_copies"]

#: The mask of a STRIDED_SLICE that leaves all four axes whole.
_WHOLE = 0b1111

#: XNNPACK concatenates no more tensors at once (LiteRT 2.1.0).
_MAX_PARTS = 5


def resize_as_copies(graph: Graph) -> int:
    """Replace each RESIZE_NEAREST_NEIGHBOR that enlarges by CONCATENATION, RESHAPE and STRIDED_SLICE; equal to the bit.

    XNNPACK does not have it (LiteRT 2.1.0), so that each one splits the network in two partitions. Columns are doubled
    by writing a pixel's channels twice in a row, rows by writing a row twice; what a size that is no multiple needs
    besides (3 -> 7 is 0 0 0 1 1 2 2) is cut out and put before it. The batch stays free.

    What stays: a side that becomes smaller, or a type other than float32.
    """
    replaced = 0
    for operator in graph.operators:
        if operator.kind == "RESIZE_NEAREST_NEIGHBOR" and (copies := _copies(graph, operator)):
            graph.replace(operator, copies)
            replaced += 1
    return replaced


def _copies(graph: Graph, resize: Operator) -> list[Operator]:
    """The operators that do the same; none where `resize` stays."""
    source, target = resize.inputs[0], resize.output
    before, after = graph.shape(source), graph.shape(target)
    pixels = {axis: _pixels(before[axis], after[axis], resize.options) for axis in (1, 2)}
    times = {axis: int(np.bincount(pixels[axis], minlength=before[axis]).min()) for axis in (1, 2)}
    if graph.dtype(source) != "FLOAT32" or 0 in times.values() or before == after:
        return []
    writer = _Writer(graph, graph.name(target))
    value = source
    for axis in (2, 1):
        value = writer.repeat(value, axis, times[axis])
    for axis in (1, 2):
        value = writer.choose(value, axis, np.repeat(np.arange(before[axis]), times[axis]), pixels[axis])
    writer.made[-1].outputs = [target]
    del graph.tensors[-1]  # what the last operator would have made
    return writer.made


def _pixels(size: int, enlarged: int, options: Any) -> NDArray[np.int64]:
    """The input pixel of each output pixel, in the float32 steps of LiteRT's own kernel."""
    last = 1 if options.alignCorners and enlarged > 1 else 0
    scale = np.float32(size - last) / np.float32(enlarged - last)
    place = (np.arange(enlarged, dtype=np.float32) + np.float32(0.5 if options.halfPixelCenters else 0)) * scale
    rounded = np.floor(place + np.float32(0.5) if options.alignCorners else place)  # std::round: halves up
    pixels: NDArray[np.int64] = np.minimum(rounded, size - 1).astype(np.int64)
    return pixels


class _Writer:
    """Writes operators whose intermediate tensors are named after `name`; `made` holds them in their order."""

    def __init__(self, graph: Graph, name: str) -> None:
        self.graph, self.name = graph, name
        self.made: list[Operator] = []

    def repeat(self, value: int, axis: int, times: int) -> int:
        """Write every row (`axis` 1) or column (2) `times` times. Returns: the tensor."""
        if times == 1:
            return value
        # Behind the axis that grows lies the one on which copies stand side by side in memory.
        shape = [*self.graph.shape(value)]
        copies = self._concatenate([value] * times, axis + 1)
        shape[axis] *= times
        size = np.array([-1, *shape[1:]], np.int32)
        return self._write("RESHAPE", [copies, self._constant(size, "shape")], shape, options("Reshape", newShape=size))

    def choose(self, value: int, axis: int, have: NDArray[np.int64], want: NDArray[np.int64]) -> int:
        """Write the rows or columns `want`, in runs that `value`, whose own are `have`, holds. Returns: the tensor."""
        parts: list[int] = []
        end = len(want)
        while end:  # from the last, so that 0 0 0 1 1 2 2 is the first one and then all of 0 0 1 1 2 2
            ends = np.flatnonzero(have == want[end - 1]) + 1
            length, stop = max((_common(have[:stop][::-1], want[:end][::-1]), stop) for stop in ends.tolist())
            parts.insert(0, value if length == len(have) else self._cut(value, axis, stop - length, stop))
            end -= length
        return parts[0] if len(parts) == 1 else self._concatenate(parts, axis)

    def _cut(self, value: int, axis: int, begin: int, end: int) -> int:
        shape = [*self.graph.shape(value)]
        begins, ends, strides = np.zeros(4, np.int32), np.array(shape, np.int32), np.ones(4, np.int32)
        begins[axis], ends[axis] = begin, end
        shape[axis] = end - begin
        others = _WHOLE & ~(1 << axis)
        bounds = [self._constant(data, key) for key, data in (("begin", begins), ("end", ends), ("strides", strides))]
        return self._write(
            "STRIDED_SLICE", [value, *bounds], shape, options("StridedSlice", beginMask=others, endMask=others)
        )

    def _concatenate(self, parts: list[int], axis: int) -> int:
        while len(parts) > _MAX_PARTS:
            groups = [parts[i : i + _MAX_PARTS] for i in range(0, len(parts), _MAX_PARTS)]
            parts = [group[0] if len(group) == 1 else self._concatenate(group, axis) for group in groups]
        shape = [*self.graph.shape(parts[0])]
        shape[axis] = sum(self.graph.shape(part)[axis] for part in parts)
        return self._write("CONCATENATION", parts, shape, options("Concatenation", axis=axis))

    def _write(self, kind: str, inputs: Sequence[int], shape: Sequence[int], options: Any) -> int:
        output = self.graph.add_tensor(shape, "FLOAT32", f"{self.name}/{kind.lower()}{len(self.made)}")
        self.made.append(self.graph.make(kind, inputs, [output], options))
        return output

    def _constant(self, value: NDArray[np.int32], role: str) -> int:
        return self.graph.add_constant(value, f"{self.name}/{role}{len(self.made)}")


def _common(a: NDArray[np.int64], b: NDArray[np.int64]) -> int:
    """How many numbers `a` and `b` begin with alike."""
    shorter = min(len(a), len(b))
    different = np.flatnonzero(a[:shorter] != b[:shorter])
    return int(different[0]) if len(different) else shorter
