"""Write what picks and orders channels as operators that XNNPACK has."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.graph import ACTIVATIONS, Graph, Operator, options

__all__ = ["pick_by_copies"]

#: XNNPACK concatenates no more tensors at once (LiteRT 2.1.0).
_MAX_PARTS = 5

#: The mask of a STRIDED_SLICE that leaves rows, columns and batch whole.
_BUT_CHANNELS = 0b0111


def pick_by_copies(graph: Graph) -> int:
    """Replace each CONV_2D 1 x 1 whose weights only pick channels by copies of memory; equal to the bit.

    `ghostedge.onnx.rewrites.operators.gather_as_convolution` writes such convolutions, and multiplying by ones costs
    more than copying:

    1. A shuffle, the table of g rows read column by column: RESHAPE to (pixels, g, channels / g), TRANSPOSE of the last
       two axes, RESHAPE. Pixels stay where they are.
    2. At most five runs of neighbouring channels: STRIDED_SLICE each, CONCATENATION.

    The batch stays free; an activation that was fused becomes an operator. What stays: other orders of channels, and
    convolutions that do more than pick.
    """
    replaced = 0
    for operator in graph.operators:
        if operator.kind == "CONV_2D" and (channels := _picked(graph, operator)) is not None:
            copies = _Writer(graph, operator).write(channels)
            graph.replace(operator, copies or [operator])
            replaced += bool(copies)
    return replaced


def _picked(graph: Graph, conv: Operator) -> NDArray[np.intp] | None:
    """The channels that a convolution picks; None where it does anything else."""
    weights, windows = graph.constant(conv.inputs[1]), conv.options
    bias = graph.constant(conv.inputs[2]) if len(conv.inputs) > 2 and conv.inputs[2] != -1 else np.zeros(1)
    if weights is None or weights.dtype != np.float32 or weights.shape[1:3] != (1, 1) or bias is None or bias.any():
        return None
    rows = weights[:, 0, 0]
    if rows.shape[1] != graph.shape(conv.inputs[0])[3] or (windows.strideH, windows.strideW) != (1, 1):
        return None
    alone = np.count_nonzero(rows, axis=1) == 1
    return rows.argmax(axis=1) if alone.all() and (rows.max(axis=1) == 1).all() else None


def _rows(channels: NDArray[np.intp], count: int) -> int | None:
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
    """Writes the operators in the place of one convolution."""

    def __init__(self, graph: Graph, conv: Operator) -> None:
        self.graph, self.name, self.activation = graph, conv.name, conv.options.fusedActivationFunction
        self.source, self.target = conv.inputs[0], conv.output
        self.shape = graph.shape(self.source)

    def write(self, channels: NDArray[np.intp]) -> list[Operator]:
        """The operators; none where the convolution stays."""
        runs = np.split(channels, np.flatnonzero(np.diff(channels) != 1) + 1)
        rows = _rows(channels, self.shape[3])
        if (not rows and len(runs) > _MAX_PARTS) or self.activation not in (0, *ACTIVATIONS):
            return []
        target = self.target if not self.activation else self._tensor((*self.shape[:3], len(channels)), "picked")
        made = self._shuffle(rows, target) if rows else self._slices([(run[0], run[-1] + 1) for run in runs], target)
        if self.activation:
            made.append(self.graph.make(ACTIVATIONS[self.activation], [target], [self.target]))
        return made

    def _shuffle(self, rows: int, target: int) -> list[Operator]:
        batch, height, width, count = self.shape
        pixels, columns = batch * height * width, count // rows
        table = self._tensor((pixels, rows, columns), "table")
        turned = self._tensor((pixels, columns, rows), "turned")
        order = self._constant([0, 2, 1], "order")
        return [
            self._reshape(self.source, table),
            self.graph.make("TRANSPOSE", [table, order], [turned], options("Transpose")),
            self._reshape(turned, target),
        ]

    def _slices(self, runs: list[tuple[int, int]], target: int) -> list[Operator]:
        made, parts = list[Operator](), list[int]()
        for index, (begin, end) in enumerate(runs):
            part = target if len(runs) == 1 else self._tensor((*self.shape[:3], end - begin), f"part{index}")
            bounds = {"begin": [0, 0, 0, begin], "end": [*self.shape[:3], end], "step": [1, 1, 1, 1]}
            inputs = [self._constant(bound, f"{role}{index}") for role, bound in bounds.items()]
            masks = options("StridedSlice", beginMask=_BUT_CHANNELS, endMask=_BUT_CHANNELS)
            made.append(self.graph.make("STRIDED_SLICE", [self.source, *inputs], [part], masks))
            parts.append(part)
        if len(parts) > 1:
            made.append(self.graph.make("CONCATENATION", parts, [target], options("Concatenation", axis=3)))
        return made

    def _reshape(self, source: int, target: int) -> Operator:
        # The first axis follows the batch, should LiteRT be told to resize the input.
        size = np.array([-1, *self.graph.shape(target)[1:]], np.int32)
        shape = self.graph.add_constant(size, f"{self.graph.name(target)}/shape")
        return self.graph.make("RESHAPE", [source, shape], [target], options("Reshape", newShape=size))

    def _tensor(self, shape: tuple[int, ...], role: str) -> int:
        return self.graph.add_tensor(shape, "FLOAT32", f"{self.name}/{role}")

    def _constant(self, numbers: list[int], role: str) -> int:
        return self.graph.add_constant(np.array(numbers, np.int32), f"{self.name}/{role}")
