"""Free the batch: follow it from the inputs through every operator, and take its fixed size out of the constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np

from ghostedge.errors import ConvertError
from ghostedge.mindir.graph import Graph, Node, Value

__all__ = ["free_batch"]


def free_batch(graph: Graph) -> tuple[Graph, Mapping[str, int]]:
    """Make a graph of ONNX operators, exported at some batch size, run at any.

    Requires that axis 0 of the inputs is the batch. Ensures that running n images at once gives what n runs give: no
    operator mixes images, and no constant holds the batch size the MindIR was exported at.

    An axis carries the batch when its length is a multiple of it, image by image: (n * k, ...) after a reshape that
    merged axes. Where an operator is not known to keep images apart, that is an error and not a guess.

    Returns:
        The graph, with other constants for Reshape and Expand, and for each value that depends on the inputs the
        axis that carries the batch.

    Raises:
        ConvertError: the batch cannot be freed; the message names the node and the reason.
    """
    values = dict(graph.values)
    batch = values[graph.inputs[0]].shape[0] if values[graph.inputs[0]].shape else 0
    axes = {name: 0 for name in graph.inputs if values[name].shape[:1] == (batch,) and batch}
    nodes = []
    for node in graph.nodes:
        if not any(name in axes for name in node.inputs):  # what it makes does not depend on the inputs
            nodes.append(node)
            continue
        call = _Call(node, values, axes, batch)
        try:
            axis = _RULES.get(node.op, _unknown)(call)
        except _MixedImagesError as reason:
            raise ConvertError(
                f"the batch cannot be made dynamic: operator '{node.op}' at node '{node.name}' {reason}; convert with "
                "dynamic_batch=False to keep the batch size of the MindIR"
            ) from reason
        nodes.append(call.node)
        axes.update(dict.fromkeys(node.outputs, axis))
    return replace(graph, nodes=tuple(nodes), values=values), axes


class _MixedImagesError(Exception):
    """Why an operator does not keep the images apart."""


class _Call:
    """One node with the shapes of its inputs; rules may put another node in its place.

    Attributes:
        node: what is to run, at first the node that was given.
        batch: the batch size that the MindIR was exported at.
        inputs: what the node reads; None for an absent input.
        axes: of each input the axis that carries the batch; None where it carries none.
        out: what the node makes, its first output.
    """

    def __init__(self, node: Node, values: dict[str, Value], axes: Mapping[str, int], batch: int) -> None:
        self.node = node
        self.batch = batch
        self.inputs: list[Value | None] = [values[str(name)] if name else None for name in node.inputs]
        self.axes: list[int | None] = [axes.get(str(name)) for name in node.inputs]
        self.out = values[node.outputs[0]]
        self._values = values

    def shape(self, index: int) -> tuple[int, ...]:
        value = self.inputs[index]
        assert value is not None
        return value.shape

    def alone(self) -> int:
        """The batch axis of the first input, which must be the only one that carries a batch."""
        if self.axes[0] is None or any(axis is not None for axis in self.axes[1:]):
            raise _MixedImagesError("reads the batch through an input that should be constant")
        return self.axes[0]

    def apart(self, axis: int, *mixed: int) -> int:
        """`axis`, which must be none of the axes along which the operator mixes elements."""
        if axis in mixed:
            raise _MixedImagesError(f"works along axis {axis}, which carries the batch")
        return axis

    def constant(self, index: int) -> list[int]:
        """An input of integers, which must be known."""
        value = self.inputs[index]
        if value is None or value.data is None:
            raise _MixedImagesError("has a shape or an index that is computed while the network runs")
        numbers: list[int] = value.data.reshape(-1).tolist()
        return numbers

    def replace_constant(self, index: int, numbers: list[int]) -> None:
        if numbers == self.constant(index):
            return
        name = f"%batched input {index} of {self.node.outputs[0]}"
        self._values[name] = Value.constant(name, np.array(numbers, np.int64))
        inputs = list(self.node.inputs)
        inputs[index] = name
        self.node = replace(self.node, inputs=tuple(inputs))


#: A function that gives the axis of a node's outputs that carries the batch.
_Rule = Callable[[_Call], int]


def _unknown(call: _Call) -> int:
    raise _MixedImagesError("has no rule for the batch")


def _elementwise(call: _Call) -> int:
    """Inputs are aligned at the last axis; a constant must be the same for every image."""
    rank = len(call.out.shape)
    found = {axis + rank - len(call.shape(i)) for i, axis in enumerate(call.axes) if axis is not None}
    if len(found) != 1:
        raise _MixedImagesError("combines inputs that carry the batch on different axes")
    (axis,) = found
    for index, value in enumerate(call.inputs):
        if value is None:
            continue
        own = axis - rank + len(value.shape)
        size = value.shape[own] if own >= 0 else 1
        if size != (1 if call.axes[index] is None else call.out.shape[axis]):
            raise _MixedImagesError("combines the batch with a tensor of a fixed number of images")
    return axis


def _first_axis(call: _Call) -> int:
    """Images lie on axis 0, as in (n, c, h, w); weights are constants."""
    if call.alone() != 0:
        raise _MixedImagesError("wants the batch on axis 0")
    return 0


def _dropping(call: _Call) -> int:
    """Axes are reduced, or dropped for their length of 1."""
    attributes, rank = call.node.attributes, len(call.shape(0))
    if call.node.op in ("ReduceSum", "Squeeze"):
        dropped = call.constant(1)
    else:
        dropped = attributes["axes"] if "axes" in attributes else [attributes["axis"]]
    dropped = [axis % rank for axis in dropped]
    axis = call.apart(call.alone(), *dropped)
    return axis if attributes.get("keepdims") else axis - sum(other < axis for other in dropped)


def _reshape(call: _Call) -> int:
    """The batch's axis in the output is the one with as many elements before it; its length becomes -1."""
    axis, before, after = call.alone(), call.shape(0), call.out.shape
    leading = math.prod(before[:axis])
    fits = [i for i, size in enumerate(after) if math.prod(after[:i]) == leading and size % call.batch == 0]
    if not fits:
        raise _MixedImagesError(f"from {before} to {after} merges the batch on axis {axis} into others")
    best = next((i for i in fits if i == axis), next((i for i in fits if after[i] == before[axis]), fits[0]))
    target = list(after)
    target[best] = 0 if best == axis and after[best] == before[axis] else -1  # 0 takes the length over from the input
    call.replace_constant(1, target)
    return best


def _transpose(call: _Call) -> int:
    perm: list[int] = call.node.attributes["perm"]
    return perm.index(call.alone())


def _unsqueeze(call: _Call) -> int:
    added, axis = call.constant(1), call.alone()
    kept = [i for i in range(len(call.out.shape)) if i not in added]
    return kept[axis]


def _concat(call: _Call) -> int:
    found = set(call.axes)
    if len(found) != 1:
        raise _MixedImagesError("joins the batch with a constant or with a batch on another axis")
    (axis,) = found
    assert axis is not None
    return call.apart(axis, call.node.attributes["axis"])


def _gather(call: _Call) -> int:
    axis, along = call.alone(), call.node.attributes["axis"]
    call.apart(axis, along)
    return axis if axis < along else axis + len(call.shape(1)) - 1


def _expand(call: _Call) -> int:
    axis = call.alone() + len(call.out.shape) - len(call.shape(0))
    if call.out.shape[axis] != call.shape(0)[call.alone()]:
        raise _MixedImagesError("repeats images")
    target = call.constant(1)
    target[axis] = 1  # 1 keeps the input's length
    call.replace_constant(1, target)
    return axis


def _matmul(call: _Call) -> int:
    """(..., i, j) x (..., j, k): the leading axes are broadcast, j is summed over; axes are counted from the last."""
    found = set()
    for index, summed, kept in ((0, -1, -2), (1, -2, -1)):
        batched, rank, other = call.axes[index], len(call.shape(index)), 1 - index
        if batched is None:
            continue
        axis = call.apart(batched, rank + summed) - rank
        if axis == kept and call.axes[other] is not None:
            raise _MixedImagesError("multiplies the images of a batch with each other")
        size = call.shape(other)[axis] if axis != kept and -axis <= len(call.shape(other)) else 1
        if size != 1 and call.axes[other] is None:
            raise _MixedImagesError("combines the batch with a tensor of a fixed number of images")
        found.add(axis)
    if len(found) != 1:
        raise _MixedImagesError("combines inputs that carry the batch on different axes")
    return len(call.out.shape) + found.pop()


def _gemm(call: _Call) -> int:
    axis = call.alone()
    if axis != (1 if call.node.attributes.get("transA") else 0):
        raise _MixedImagesError("sums over the batch")
    if len(call.inputs) > 2 and call.inputs[2] is not None:
        bias = call.shape(2)
        if len(bias) == 2 and bias[0] != 1:
            raise _MixedImagesError("adds a bias of a fixed number of images")
    return 0


def _padded(call: _Call) -> Iterable[int]:
    amounts, rank = call.constant(1), len(call.shape(0))
    return (axis for axis in range(rank) if amounts[axis] or amounts[rank + axis])


#: Operator -> the axes along which it mixes, moves or repeats elements; the others it leaves as they are.
_MIXED: dict[str, Callable[[_Call], Iterable[int]]] = {
    "LayerNormalization": lambda call: range(call.node.attributes["axis"] % len(call.out.shape), len(call.out.shape)),
    "LogSoftmax": lambda call: (call.node.attributes["axis"],),
    "Pad": _padded,
    "Slice": lambda call: call.constant(3),
    "Softmax": lambda call: (call.node.attributes["axis"],),
    "Split": lambda call: (call.node.attributes["axis"],),
    "Tile": lambda call: (axis for axis, times in enumerate(call.constant(1)) if times != 1),
}


def _along_axes(call: _Call) -> int:
    mixed = _MIXED[call.node.op](call)
    return call.apart(call.alone(), *mixed)


#: Rule -> the operators that it is for.
_OPERATORS: dict[_Rule, str] = {
    _elementwise: (
        "Abs Add And Cast Ceil Celu Clip Cos Div Elu Equal Erf Exp Floor Greater GreaterOrEqual HardSigmoid "
        "HardSwish Identity LeakyRelu Less LessOrEqual Log Max Min Mul Neg Not Or Pow PRelu Reciprocal Relu "
        "Round Selu Sigmoid Sign Sin Softplus Softsign Sqrt Sub Sum Tanh Where"
    ),
    _first_axis: (
        "AveragePool BatchNormalization Conv ConvTranspose Flatten GlobalAveragePool GlobalMaxPool "
        "InstanceNormalization MaxPool Resize"
    ),
    _dropping: "ArgMax ArgMin ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Squeeze",
    _along_axes: " ".join(_MIXED),
    _concat: "Concat",
    _expand: "Expand",
    _gather: "Gather",
    _gemm: "Gemm",
    _matmul: "MatMul",
    _reshape: "Reshape",
    _transpose: "Transpose",
    _unsqueeze: "Unsqueeze",
}

_RULES: dict[str, _Rule] = {operator: rule for rule, operators in _OPERATORS.items() for operator in operators.split()}
