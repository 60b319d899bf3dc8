"""Write what picks and orders channels as operators that XNNPACK has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.graph import VALID, Graph, Operator, options

__all__ = ["gather_as_copies"]

#: XNNPACK concatenates no more tensors at once (LiteRT 2.1.0).
_MAX_PARTS = 5

#: The mask of a STRIDED_SLICE that leaves rows, columns and batch whole.
_BUT_CHANNELS = 0b0111


def gather_as_copies(graph: Graph) -> int:
    """Replace each GATHER of a feature map's channels, which XNNPACK does not have (LiteRT 2.1.0); equal to the bit.

    1. A shuffle, the table of g rows read column by column: RESHAPE to (pixels, g, channels / g), TRANSPOSE of the last
       two axes, RESHAPE. Pixels stay where they are.
    2. At most five runs of neighbouring channels: STRIDED_SLICE each, CONCATENATION.
    3. Others: CONV_2D 1 x 1 whose weights are zeros and ones.

    The batch stays free. What stays: indices that are no constant, another axis than the last of four, integers.
    """
    replaced = 0
    for operator in graph.operators:
        if operator.kind == "GATHER" and (channels := _picked(graph, operator)) is not None:
            graph.replace(operator, _Writer(graph, operator).write(channels))
            replaced += 1
    return replaced


def _picked(graph: Graph, gather: Operator) -> NDArray[np.int32] | None:
    """The channels that a GATHER takes; None where it stays."""
    source, indices = gather.inputs[0], graph.constant(gather.inputs[1])
    rank, fields = len(graph.shape(source)), gather.options
    if indices is None or indices.ndim != 1 or graph.dtype(source) != "FLOAT32" or rank != 4:
        return None
    return indices.astype(np.int32) if fields.axis in (3, -1) and fields.batchDims == 0 else None


def _rows(channels: NDArray[np.int32], count: int) -> int | None:
    """The rows of the table of all channels that `channels` reads column by column; None for another order."""
    if len(channels) == count and channels[0] == 0 and count > 2:
        step = int(channels[1])
        if (
            step > 1
            and count % step == 0
            and np.array_equal(channels, np.arange(count).reshape(-1, step).T.reshape(-1))
        ):
            return count // step
    return None


class _Writer:
    """Writes the operators in the place of one GATHER."""

    def __init__(self, graph: Graph, gather: Operator) -> None:
        self.graph, self.name = graph, gather.name
        self.source, self.target = gather.inputs[0], gather.output
        self.shape = graph.shape(self.source)

    def write(self, channels: NDArray[np.int32]) -> list[Operator]:
        if rows := _rows(channels, self.shape[3]):
            return self._shuffle(rows)
        breaks = np.flatnonzero(np.diff(channels) != 1) + 1
        runs = np.split(channels, breaks)
        if len(runs) <= _MAX_PARTS:
            return self._slices([(int(run[0]), int(run[-1]) + 1) for run in runs])
        return [self._convolution(channels)]

    def _shuffle(self, rows: int) -> list[Operator]:
        batch, height, width, count = self.shape
        pixels, columns = batch * height * width, count // rows
        table = self._tensor((pixels, rows, columns), "table")
        turned = self._tensor((pixels, columns, rows), "turned")
        order = self._constant([0, 2, 1], "order")
        return [
            self._reshape(self.source, table),
            self.graph.make("TRANSPOSE", [table, order], [turned], options("Transpose")),
            self._reshape(turned, self.target),
        ]

    def _slices(self, runs: list[tuple[int, int]]) -> list[Operator]:
        made, parts = list[Operator](), list[int]()
        for index, (begin, end) in enumerate(runs):
            alone = len(runs) == 1
            part = self.target if alone else self._tensor((*self.shape[:3], end - begin), f"part{index}")
            bounds = {"begin": [0, 0, 0, begin], "end": [*self.shape[:3], end], "step": [1, 1, 1, 1]}
            inputs = [self._constant(bound, f"{role}{index}") for role, bound in bounds.items()]
            masks = options("StridedSlice", beginMask=_BUT_CHANNELS, endMask=_BUT_CHANNELS)
            made.append(self.graph.make("STRIDED_SLICE", [self.source, *inputs], [part], masks))
            parts.append(part)
        if len(parts) > 1:
            made.append(self.graph.make("CONCATENATION", parts, [self.target], options("Concatenation", axis=3)))
        return made

    def _convolution(self, channels: NDArray[np.int32]) -> Operator:
        weights = np.zeros((len(channels), 1, 1, self.shape[3]), np.float32)
        weights[np.arange(len(channels)), 0, 0, channels] = 1
        windows = options("Conv2D", padding=VALID, strideH=1, strideW=1, dilationHFactor=1, dilationWFactor=1)
        constants = {"ones": weights, "bias": np.zeros(len(channels), np.float32)}
        inputs = [self.graph.add_constant(value, f"{self.name}/{role}") for role, value in constants.items()]
        return self.graph.make("CONV_2D", [self.source, *inputs], [self.target], windows)

    def _reshape(self, source: int, target: int) -> Operator:
        # The first axis follows the batch, should LiteRT be told to resize the input.
        size = np.array([-1, *self.graph.shape(target)[1:]], np.int32)
        shape = self.graph.add_constant(size, f"{self.graph.name(target)}/shape")
        return self.graph.make("RESHAPE", [source, shape], [target], options("Reshape", newShape=size))

    def _tensor(self, shape: tuple[int, ...], role: str) -> int:
        return self.graph.add_tensor(shape, "FLOAT32", f"{self.name}/{role}")

    def _constant(self, numbers: list[int], role: str) -> int:
        return self.graph.add_constant(np.array(numbers, np.int32), f"{self.name}/{role}")
