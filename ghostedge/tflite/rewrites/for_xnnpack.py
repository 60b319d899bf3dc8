"""Write a .tflite's operators as ones that XNNPACK has, or that it computes faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.tflite.graph import VALID, Graph, Operator, options

__all__ = ["add_n_as_add", "columns_as_channels", "depthwise", "pool_as_depthwise", "reached", "resize_as_copies"]

#: The mask of a STRIDED_SLICE that leaves all four axes whole.
_WHOLE = 0b1111

#: XNNPACK concatenates no more tensors at once (LiteRT 2.1.0).
_MAX_PARTS = 5


def add_n_as_add(graph: Graph) -> int:
    """Replace each ADD_N of two tensors of one shape by an ADD; more than two stay.

    onnx2tf makes an ADD_N of an ONNX Sum. XNNPACK does not have it (LiteRT 2.1.0).
    """
    found = [operator for operator in graph.operators if operator.kind == "ADD_N" and len(operator.inputs) == 2]
    for operator in found:
        graph.replace(operator, [graph.make("ADD", operator.inputs, operator.outputs, options("Add"))])
    return len(found)


def pool_as_depthwise(graph: Graph) -> int:
    """Replace each AVERAGE_POOL_2D by a DEPTHWISE_CONV_2D with weights 1 / (rows * columns).

    LiteRT 2.1.0 gives no int8 AVERAGE_POOL_2D to XNNPACK: each of GhostNetV2's 14 gates would leave the delegate and
    come back, 15 partitions for one. Most pools are convolutions already when they come here, by the rewrite of this
    name in `ghostedge.onnx.rewrites`; what is left are larger windows, and models of other origin. A pool with SAME
    padding divides by fewer elements at the border: a MUL of each pixel makes up for that.
    """
    found = [op for op in graph.operators if op.kind == "AVERAGE_POOL_2D"]
    for operator in found:
        pool, (image,) = operator.options, operator.inputs
        rows, columns, channels = pool.filterHeight, pool.filterWidth, graph.shape(image)[3]
        weights = np.full((1, rows, columns, channels), 1 / (rows * columns), np.float32)
        bias = np.zeros(channels, np.float32)
        convolution = depthwise(graph, image, operator.output, weights, bias, operator.name)
        convolution.options.strideH, convolution.options.strideW = pool.strideH, pool.strideW
        convolution.options.padding = pool.padding
        shares = _border_shares(graph.shape(image), graph.shape(operator.output), pool)
        if pool.padding == VALID or (shares == 1).all():
            convolution.options.fusedActivationFunction = pool.fusedActivationFunction
            graph.replace(operator, [convolution])
            continue
        sums = graph.add_tensor(graph.shape(operator.output), "FLOAT32", f"{operator.name}/shares")
        convolution.outputs = [sums]
        inputs = [sums, graph.add_constant(shares, f"{operator.name}/border")]
        fused = options("Mul", fusedActivationFunction=pool.fusedActivationFunction)
        graph.replace(operator, [convolution, graph.make("MUL", inputs, [operator.output], fused)])
    return len(found)


def _border_shares(image: Sequence[int], made: Sequence[int], pool: Any) -> NDArray[np.float32]:
    """Float32 (1, rows, columns, 1): a window's elements over those of them that lie inside the image."""
    inside = []
    for axis, taps, stride in ((1, pool.filterHeight, pool.strideH), (2, pool.filterWidth, pool.strideW)):
        before = max(0, (made[axis] - 1) * stride + taps - image[axis]) // 2  # TFLite's SAME
        begins = np.arange(made[axis]) * stride - before
        inside.append(np.minimum(begins + taps, image[axis]) - np.maximum(begins, 0))
    shares = pool.filterHeight * pool.filterWidth / np.outer(*inside)
    return np.asarray(shares[None, :, :, None], np.float32)


def depthwise(
    graph: Graph, image: int, output: int, weights: NDArray[np.float32], bias: NDArray[np.float32], name: str
) -> Operator:
    """A DEPTHWISE_CONV_2D of stride 1 without padding, not yet in the graph; `name` is that of its constants.

    Args:
        weights: float32 (1, rows, columns, channels).
        bias: float32 (channels,).
    """
    windows = options("DepthwiseConv2D", padding=VALID, depthMultiplier=1, strideH=1, strideW=1)
    windows.dilationHFactor = windows.dilationWFactor = 1
    inputs = [image, graph.add_constant(weights, f"{name}/weights"), graph.add_constant(bias, f"{name}/bias")]
    return graph.make("DEPTHWISE_CONV_2D", inputs, [output], windows)


def reached(
    graph: Graph, conv: Operator, image: Sequence[int], before: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """((top, bottom), (left, right)): what a convolution without padding of its own reads around an image.

    Args:
        image: its shape, (n, rows, columns, channels).
        before: rows above and columns left of it.
    """
    windows, taps, made = conv.options, graph.shape(conv.inputs[1])[1:3], graph.shape(conv.output)[1:3]
    strides, dilations = (windows.strideH, windows.strideW), (windows.dilationHFactor, windows.dilationWFactor)
    ends = [(made[axis] - 1) * strides[axis] + (taps[axis] - 1) * dilations[axis] + 1 for axis in (0, 1)]
    after = [max(0, ends[axis] - before[axis] - image[axis + 1]) for axis in (0, 1)]
    return (before[0], after[0]), (before[1], after[1])


def columns_as_channels(graph: Graph) -> int:
    """PAD, CONV_2D 3 x 3 of stride 2 on 3 channels -> RESHAPE, PAD, CONV_2D 3 x 2 of stride (2, 1) on 6.

    Two neighbouring columns lie one after the other in memory: as six channels they are the same bytes. Without dot
    product instructions XNNPACK's int8 kernels for ARM64 multiply groups of 8 channels, padded, at each tap: 9 taps of
    3 channels cost 72 products, 6 taps of 6 cost 48 (224 x 224 x 3 -> 112 x 112 x 16 on a Cortex-A72: 6.7 M and 4.8 M
    instructions; LiteRT 2.1.0). With dot products (Cortex-A76) nothing changes, float32 loses 0.2 M: it is for
    models that will be int8.

    The sums have the same terms and some zeros more.

    What stays: another window, stride, pad or number of channels, an odd height or width, weights that are not constant
    float32, other readers of the image or of the padded one.
    """
    (image,) = graph.inputs
    found = _stem(graph, image)
    if found is None:
        return 0
    pad, conv = found
    weights = graph.constant(conv.inputs[1])
    assert weights is not None
    _, height, width, channels = graph.shape(image)
    name, half = conv.name, (1, height, width // 2, 2 * channels)
    pairs = graph.add_tensor(half, "FLOAT32", f"{name}/pairs")
    padded = graph.add_tensor((1, height + 1, width // 2 + 1, 2 * channels), "FLOAT32", f"{name}/padded")
    # The last row and column that were padded no window of stride 2 reaches.
    widths = np.array([[0, 0], [1, 0], [1, 0], [0, 0]], np.int32)
    shape = np.array(half, np.int32)
    size = graph.add_constant(shape, f"{name}/pairs/shape")
    pad.inputs = [pairs, graph.add_constant(widths, f"{name}/padded/widths")]
    pad.outputs = [padded]
    conv.inputs = [padded, graph.add_constant(_of_pairs(weights), f"{name}/pairs/weights"), *conv.inputs[2:]]
    conv.options.strideW = 1
    graph.replace(pad, [graph.make("RESHAPE", [image, size], [pairs], options("Reshape", newShape=shape)), pad])
    return 1


def _stem(graph: Graph, image: int) -> tuple[Operator, Operator] | None:
    """The PAD that alone reads the image and the CONV_2D that alone reads the PAD, if they are what is looked for."""
    pads = graph.readers(image)
    if len(pads) != 1 or pads[0].kind != "PAD" or graph.dtype(image) != "FLOAT32":
        return None
    widths, convs = graph.constant(pads[0].reads[1]), graph.readers(pads[0].output)
    if len(convs) != 1 or convs[0].kind != "CONV_2D" or widths is None:
        return None
    shape, weights, windows = graph.shape(image), graph.constant(convs[0].reads[1]), convs[0].options
    fits = len(shape) == 4 and shape[3] == 3 and shape[1] % 2 == 0 and shape[2] % 2 == 0
    fits &= widths.tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    fits &= weights is not None and weights.dtype == np.float32 and weights.shape[1:] == (3, 3, 3)
    fits &= windows.padding == VALID and (windows.strideH, windows.strideW) == (2, 2)
    return (pads[0], convs[0]) if fits and windows.dilationHFactor == windows.dilationWFactor == 1 else None


def _of_pairs(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weights (n, 3, 3, 3) of the columns 2 i - 1 to 2 i + 1 as (n, 3, 2, 6) of the columns 2 i - 2 to 2 i + 1."""
    outputs, rows, taps, channels = weights.shape
    wide = np.zeros((outputs, rows, taps + 1, channels), np.float32)
    wide[:, :, 1:] = weights
    return wide.reshape(outputs, rows, 2, 2 * channels)


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
