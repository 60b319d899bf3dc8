"""Rescale the channels of a float ONNX network so that one int8 scale an activation suits all of them.

An int8 activation has one scale for all its channels, and the widest one sets it: a channel of a tenth of that range
keeps 25 of 256 levels. Multiplying a channel by s where it is made and dividing by s where it is read changes nothing
in float and narrows the differences (cross-layer equalisation: Nagel et al., Data-Free Quantization through Weight
Equalization and Bias Correction, 2019, section 4.1, there for pairs of layers and from weights alone; here for whole
paths of a graph and from measured activations, as SmoothQuant, Xiao et al. 2023, does for dense layers). In GhostNetV2
such a path goes from a convolution through ReLU, the cheap depthwise convolution, concatenation, gate and residual
addition to the next convolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError, first_line
from ghostedge.lazy import require

__all__ = ["Equalised", "channel_ranges", "equalise"]

#: What passes a positive factor of a channel on: f(s x) = s f(x), channel by channel.
_HOMOGENEOUS = {
    "AveragePool",
    "Dropout",
    "Flatten",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Identity",
    "LeakyRelu",
    "MaxPool",
    "ReduceMax",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Resize",
    "Squeeze",
    "Unsqueeze",
}


@dataclass(frozen=True)
class Equalised:
    """What `equalise` did.

    Attributes:
        channels: how many channels of activations there are.
        scaled: how many of them are multiplied by a factor other than 1.
        largest: the largest factor, or the largest inverse of one.
    """

    channels: int
    scaled: int
    largest: float


def channel_ranges(model: Any, batch: Iterable[NDArray[np.float32]]) -> dict[str, NDArray[np.float64]]:
    """The largest magnitude of each channel (axis 1) of each float activation, over all images.

    Args:
        model: ``onnx.ModelProto`` with one input.
        batch: images, each float32 of the input's shape without its first axis; at least one.

    Returns:
        Value -> float64 (channels,), the input included.

    Raises:
        ConvertError: ONNX Runtime does not take the model, there is no image, or an activation is not finite; the
            message names the first one and the image.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    onnx, runtime = require("onnx", "export"), require("onnxruntime", "export")
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    made = [name for node in probe.graph.node for name in node.output if name]
    types = onnx.shape_inference.infer_shapes(probe, data_prop=True).graph.value_info
    floats = {value.name for value in types if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    floats |= {output.name for output in model.graph.output}
    watched = [name for name in made if name in floats]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in watched)
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    # Nothing may be fused away, and one thread adds in one order: equal inputs give equal factors.
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    try:
        session = runtime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # ONNX Runtime's exceptions have no common base of their own
        raise ConvertError(f"ONNX Runtime cannot run the model to observe it: {first_line(exc)}") from exc
    (source,) = (value.name for value in session.get_inputs())
    ranges: dict[str, NDArray[np.float64]] = {}
    for number, image in enumerate(batch, start=1):
        values = dict(zip(watched, session.run(watched, {source: image[None]}), strict=True)) | {source: image[None]}
        for name, value in values.items():
            if value.ndim < 2:
                continue
            most = np.abs(value).max(axis=tuple(axis for axis in range(value.ndim) if axis != 1)).astype(np.float64)
            if not np.isfinite(most).all():
                raise ConvertError(
                    f"activation '{name}' is not finite on calibration image {number}; the weights or the input are "
                    "damaged"
                )
            ranges[name] = np.maximum(ranges[name], most) if name in ranges else most
    if not ranges:
        raise ConvertError("there is no calibration image")
    return ranges


def equalise(
    model: Any, ranges: Mapping[str, NDArray[np.float64]], strength: float = 0.8, limit: float = 16.0
) -> Equalised:
    """Multiply channels where they are made, and divide where they are read, in the constants of a network.

    In exact arithmetic the logits stay what they are; in float32 they move by its rounding, about 1e-6 of their size.
    (Factors that are powers of two would not even round, but reach a decibel less: they miss by up to half an octave.)
    Channels that an operator ties together get one factor; those of the input, of the output, and of what is not
    homogeneous (sigmoid, hard sigmoid) get none.

    Args:
        model: ``onnx.ModelProto``, changed in place.
        ranges: what `channel_ranges` gave.
        strength: the part of the difference to an activation's widest channel that is made up, in octaves: 0 nothing,
            1 all. The more, the coarser int8 weights are in the next layer, whose input channels then differ.
        limit: no factor is larger, or smaller than its inverse.
    """
    graph = _Graph(model, ranges)
    factors = graph.factors(strength, limit)
    graph.apply(factors)
    changed = [value for value in factors.values() if (value != 1).any()]
    every = np.concatenate(list(factors.values())) if factors else np.ones(0)
    largest = max((float(np.maximum(value, 1 / value).max()) for value in changed), default=1.0)
    return Equalised(len(every), int((every != 1).sum()), largest)


class _Graph:
    """Which channels of which activations must have one factor; the first set is that of those with none."""

    def __init__(self, model: Any, ranges: Mapping[str, NDArray[np.float64]]) -> None:
        self.numpy = require("onnx.numpy_helper", "export")
        self.helper = require("onnx.helper", "export")
        self.graph = model.graph
        self.ranges = ranges
        self.constants = {tensor.name: tensor for tensor in self.graph.initializer}
        self.readers: dict[str, int] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers[name] = self.readers.get(name, 0) + 1
        self.offset: dict[str, int] = {}
        count = 1
        for name, value in ranges.items():
            self.offset[name] = count
            count += len(value)
        self.leader = np.arange(count)
        for value in (*self.graph.input, *self.graph.output):
            self._fix(value.name)
        for node in self.graph.node:
            self._tie_node(node)

    # -- which channels go together --------------------------------------------------------------------------------

    def _find(self, index: int) -> int:
        while self.leader[index] != index:
            self.leader[index] = self.leader[self.leader[index]]
            index = int(self.leader[index])
        return index

    def _join(self, first: Iterable[int], second: Iterable[int]) -> None:
        for one, other in zip(first, second, strict=True):
            low, high = sorted((self._find(one), self._find(other)))
            self.leader[high] = low  # 0, the set without a factor, stays the leader of its own

    def _channels(self, name: str) -> range:
        start = self.offset.get(name, 0)
        return range(start, start + len(self.ranges[name])) if start else range(0)

    def _fix(self, *names: str) -> None:
        for name in names:
            self._join(self._channels(name), [0] * len(self._channels(name)))

    def _tie(self, *names: str) -> None:
        first, *others = names
        if len({len(self._channels(name)) for name in names}) != 1:
            self._fix(*names)
            return
        for other in others:
            self._join(self._channels(first), self._channels(other))

    def _tie_node(self, node: Any) -> None:
        kind, output = node.op_type, node.output[0]
        activations = [name for name in node.input if name in self.offset]
        if kind in ("Conv", "Gemm", "MatMul"):
            if not self._is_scalable(node):
                self._fix(*activations, *node.output)
        elif kind in _HOMOGENEOUS and len(activations) == 1:
            self._tie(output, *activations)
        elif kind == "Concat" and self._attribute(node, "axis", 0) == 1 and len(activations) == len(node.input):
            parts = [channel for name in activations for channel in self._channels(name)]
            self._join(self._channels(output), parts)
        elif kind in ("Add", "Sub", "Sum", "Max", "Min") and len(activations) == len(node.input):
            self._tie(output, *activations)
        elif activations == [node.input[0]] and kind in ("Mul", "Div"):
            self._tie(output, activations[0])
        elif kind == "Mul" and len(activations) == 2 and any(fixed := [self._is_fixed(name) for name in activations]):
            # A gate, whose sigmoid has fixed it, so that the product keeps the factors of what is gated.
            self._tie(output, activations[fixed.index(True) - 1])
        else:
            self._fix(*activations, *node.output)

    def _is_fixed(self, name: str) -> bool:
        """Whether no channel of an activation has a factor, by what was seen of the graph so far."""
        return all(self._find(channel) == 0 for channel in self._channels(name))

    def _is_scalable(self, node: Any) -> bool:
        """Whether input and output channels can have any factors: constant weights of its own, all groups or one."""
        constants = [name for name in node.input[1:] if name]
        if node.input[0] not in self.offset or any(
            name not in self.constants or self.readers[name] > 1 for name in constants
        ):
            return False
        shape = list(self.constants[node.input[1]].dims)
        inputs, outputs = len(self._channels(node.input[0])), len(self._channels(node.output[0]))
        if node.op_type == "Conv":
            group = self._attribute(node, "group", 1)
            return shape[:2] == [outputs, inputs] if group == 1 else shape[:2] == [group, 1] == [inputs, 1]
        if any(self._attribute(node, name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return False
        transposed = self._attribute(node, "transB", 0)
        return shape == ([outputs, inputs] if transposed else [inputs, outputs])

    def _attribute(self, node: Any, name: str, default: Any) -> Any:
        found = [self.helper.get_attribute_value(each) for each in node.attribute if each.name == name]
        return found[0] if found else default

    # -- their factors ---------------------------------------------------------------------------------------------

    def factors(self, strength: float, limit: float) -> dict[str, NDArray[np.float64]]:
        """Activation -> the factor of each channel."""
        leaders = np.array([self._find(index) for index in range(len(self.leader))])
        octaves, members = np.zeros(len(leaders)), np.zeros(len(leaders))
        for name, value in self.ranges.items():
            channels = np.asarray(self._channels(name))
            alive = value > 0
            np.add.at(octaves, leaders[channels[alive]], np.log2(value.max() / value[alive]) if alive.any() else 0.0)
            np.add.at(members, leaders[channels[alive]], 1)
        most = math.log2(limit)
        wanted = np.clip(strength * octaves / np.maximum(members, 1), -most, most)
        wanted[0] = 0
        chosen = np.exp2(wanted)[leaders]
        return {name: chosen[np.asarray(self._channels(name))] for name in self.ranges}

    def apply(self, factors: Mapping[str, NDArray[np.float64]]) -> None:
        """Put the factors into weights and biases."""
        for node in self.graph.node:
            if node.op_type not in ("Conv", "Gemm", "MatMul") or not self._is_scalable(node):
                continue
            before, after = factors[node.input[0]], factors[node.output[0]]
            weights = self.numpy.to_array(self.constants[node.input[1]])
            if node.op_type == "Conv":
                tail = (1,) * (weights.ndim - 2)
                if self._attribute(node, "group", 1) == 1:
                    scale = after.reshape(-1, 1, *tail) / before.reshape(1, -1, *tail)
                else:
                    scale = (after / before).reshape(-1, 1, *tail)
            elif self._attribute(node, "transB", 0):
                scale = after[:, None] / before[None, :]
            else:
                scale = after[None, :] / before[:, None]
            self._set(node.input[1], weights * scale)
            for bias in [name for name in node.input[2:] if name]:
                self._set(bias, self.numpy.to_array(self.constants[bias]) * after)

    def _set(self, name: str, value: NDArray[Any]) -> None:
        self.constants[name].CopyFrom(self.numpy.from_array(value.astype(np.float32), name))
