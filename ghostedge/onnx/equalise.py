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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError, first_line
from ghostedge.files import atomic_write
from ghostedge.lazy import choose, require
from ghostedge.model import KEY, Format, Model, Stage, StageOutput
from ghostedge.onnx.graph import OnnxGraph, attributes
from ghostedge.quantize.ranges import UnionFind

__all__ = ["EqualiseStage", "channel_ranges", "equalise"]

#: Operators that pass a positive factor of a channel on: f(s x) = s f(x), channel by channel.
_HOMOGENEOUS = (
    "AveragePool Dropout Flatten GlobalAveragePool GlobalMaxPool Identity LeakyRelu MaxPool ReduceMax ReduceMean Relu "
    "Reshape Resize Squeeze Unsqueeze"
)

#: The operators with weights, which are their second input.
_WEIGHTED = ("Conv", "Gemm", "MatMul")


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
) -> dict[str, NDArray[np.float64]]:
    """Multiply channels where they are made, and divide where they are read, in the constants of a network.

    In exact arithmetic the logits stay what they are; in float32 they move by its rounding, about 1e-6 of their size.
    (Factors that are powers of two would not even round, but reach a decibel less: they miss by up to half an octave.)
    Channels that an operator ties together get one factor; the channels of the input, of the output and of operators
    that are not homogeneous (sigmoid, hard sigmoid) get none.

    Args:
        model: ``onnx.ModelProto``, changed in place.
        ranges: what `channel_ranges` gave.
        strength: which part of a channel's difference to the activation's widest channel, in octaves, the factor makes
            up: 0 nothing, 1 all. A larger part makes int8 weights coarser in the next layer, whose input channels then
            differ.
        limit: no factor is larger, or smaller than its inverse.

    Returns:
        Activation -> the factor of each channel.
    """
    graph = OnnxGraph(model.graph)
    channels = _Channels(graph, ranges)
    factors = channels.factors(strength, limit)
    _apply(graph, factors, channels)
    return factors


class _Channels:
    """Which channels of which activations must have one factor. A channel is a number; 0 leads those without a factor.

    Attributes:
        graph: the network.
        ranges: see `equalise`.
    """

    def __init__(self, graph: OnnxGraph, ranges: Mapping[str, NDArray[np.float64]]) -> None:
        self.graph = graph
        self.ranges = ranges
        self._numbers: dict[str, range] = {}
        count = 1
        for name, value in ranges.items():
            self._numbers[name] = range(count, count + len(value))
            count += len(value)
        self._sets = UnionFind(range(count))
        for value in (*graph.proto.input, *graph.proto.output):
            self._fix(value.name)
        for node in graph.nodes():
            self._tie_node(node)

    def _of(self, name: str) -> range:
        return self._numbers.get(name, range(0))

    def _join(self, first: Iterable[int], second: Iterable[int]) -> None:
        for one, other in zip(first, second, strict=True):
            self._sets.join(one, other)

    def _fix(self, *names: str) -> None:
        for name in names:
            for channel in self._of(name):
                self._sets.join(0, channel)

    def _tie(self, first: str, *others: str) -> None:
        if any(len(self._of(other)) != len(self._of(first)) for other in others):
            self._fix(first, *others)
            return
        for other in others:
            self._join(self._of(first), self._of(other))

    def _tie_node(self, node: Any) -> None:
        kind, output = node.op_type, node.output[0]
        activations = [name for name in node.input if name in self.ranges]
        if picked := self._picked(node):
            for name, channels in picked.items():
                self._join(self._of(name), [self._of(node.input[0])[channel] for channel in channels])
            return
        only_activations = len(activations) == len(node.input)
        if kind in _WEIGHTED:
            if not self.is_scalable(node):
                self._fix(*activations, *node.output)
        elif kind in _HOMOGENEOUS.split() and len(activations) == 1:
            self._tie(output, activations[0])
        elif kind == "Concat" and attributes(node).get("axis", 0) == 1 and only_activations:
            self._join(self._of(output), [channel for name in activations for channel in self._of(name)])
        elif kind in ("Add", "Sub", "Sum", "Max", "Min") and only_activations:
            self._tie(output, *activations)
        elif activations == [node.input[0]] and kind in ("Mul", "Div"):
            self._tie(output, activations[0])
        elif kind == "Mul" and len(activations) == 2 and any(fixed := [self._is_fixed(name) for name in activations]):
            # A gate, whose sigmoid has fixed it, so that the product keeps the factors of what is gated.
            self._tie(output, activations[fixed.index(True) - 1])
        else:
            self._fix(*activations, *node.output)

    def _picked(self, node: Any) -> dict[str, Sequence[int]]:
        """What a node makes that holds channels of its first input as they are -> which; nothing of other nodes."""
        count, axis = len(self._of(node.input[0])), attributes(node).get("axis", 0)
        constants = [self.graph.constant(name) for name in node.input[1:] if self.graph.is_constant(name)]
        if any(name not in self.ranges for name in (node.input[0], *node.output)) or not constants:
            return {}
        if node.op_type == "Gather" and axis == 1 and constants[0].ndim == 1:
            return {node.output[0]: constants[0].tolist()}
        if node.op_type == "Split" and axis == 1:
            parts = np.split(np.arange(count), np.cumsum(constants[0])[:-1])
            return {name: part.tolist() for name, part in zip(node.output, parts, strict=True)}
        if node.op_type == "Slice" and len(constants) == 4 and constants[2].tolist() == [1]:
            start, end, step = (int(constants[index][0]) for index in (0, 1, 3))
            return {node.output[0]: range(count)[start:end:step]}
        return {}

    def _is_fixed(self, name: str) -> bool:
        """Whether no channel of an activation has a factor, by what was seen of the graph so far."""
        return all(self._sets.find(channel) == self._sets.find(0) for channel in self._of(name))

    def is_scalable(self, node: Any) -> bool:
        """Whether input and output channels can have any factors: constant weights of its own, all groups or one."""
        constants = [name for name in node.input[1:] if name]
        if (
            node.input[0] not in self.ranges
            or not self.graph.has_constants(node)
            or any(len(self.graph.readers(name)) > 1 for name in constants)
        ):
            return False
        shape, fields = self.graph.shape(node.input[1]), attributes(node)
        inputs, outputs = len(self._of(node.input[0])), len(self._of(node.output[0]))
        if node.op_type == "Conv":
            group = fields.get("group", 1)
            return shape[:2] == (outputs, inputs) if group == 1 else shape[:2] == (group, 1) == (inputs, 1)
        if any(fields.get(name, 1.0) != 1.0 for name in ("alpha", "beta")):
            return False
        return shape == ((outputs, inputs) if fields.get("transB", 0) else (inputs, outputs))

    def factors(self, strength: float, limit: float) -> dict[str, NDArray[np.float64]]:
        """Activation -> the factor of each channel."""
        count = 1 + sum(map(len, self._numbers.values()))
        leaders = np.array([self._sets.find(channel) for channel in range(count)])
        octaves, members = np.zeros(count), np.zeros(count)
        for name, value in self.ranges.items():
            channels, alive = np.asarray(self._of(name)), value > 0
            np.add.at(octaves, leaders[channels[alive]], np.log2(value.max() / value[alive]) if alive.any() else 0.0)
            np.add.at(members, leaders[channels[alive]], 1)
        most = math.log2(limit)
        wanted = np.clip(strength * octaves / np.maximum(members, 1), -most, most)
        wanted[leaders[0]] = 0
        chosen = np.exp2(wanted)[leaders]
        return {name: chosen[np.asarray(self._of(name))] for name in self.ranges}


def _apply(graph: OnnxGraph, factors: Mapping[str, NDArray[np.float64]], channels: _Channels) -> None:
    """Put the factors into weights and biases."""
    for node in graph.nodes(*_WEIGHTED):
        if not channels.is_scalable(node):
            continue
        before, after = factors[node.input[0]], factors[node.output[0]]
        fields = attributes(node)
        if node.op_type == "Conv":
            scale = after[:, None] / before[None, :] if fields.get("group", 1) == 1 else (after / before)[:, None]
            scale = scale.reshape(*scale.shape, *[1] * (len(graph.shape(node.input[1])) - 2))
        else:
            scale = after[:, None] / before[None, :] if fields.get("transB", 0) else after[None, :] / before[:, None]
        constants = [name for name in node.input[1:] if name]
        for name, factor in zip(constants, (scale, after), strict=False):
            graph.set_constant(name, (graph.constant(name) * factor).astype(np.float32))


class EqualiseStage(Stage):
    """Float32 ONNX to the same network with its channels rescaled (`equalise`).

    Int8 artifacts are made of what it makes. Needs: an ONNX model with one input; calibration images.

    Promises: the logits of the source, but for the rounding of float32; its graph, names and dynamic batch; equal
    inputs give equal bytes.

    The recipe's ``[options]``: ``strength`` (0..1) and ``limit`` (at least 1), see `equalise`.
    """

    source: Format = "onnx"
    target: Format = "onnx"
    precisions: tuple[str, ...] = ("equalised",)
    calibrated: tuple[str, ...] = ("equalised",)
    packages: tuple[str, ...] = ("onnx", "onnxruntime", "numpy")

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        _options(output)

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        return tuple(self._equalise(source, output) for output in outputs)

    def _equalise(self, source: Model, output: StageOutput) -> Model:
        self.check(output)
        if output.calibration is None:
            raise UsageError(f"{output.path.name} needs images to calibrate on")
        if output.input != source.input:
            raise ConvertError(f"cannot make {output.path.name}: its input must be that of {source.path.name}")
        model = _load(source)
        try:
            ranges = channel_ranges(model, calibration_batch(output.calibration, source.input))
        except ConvertError as exc:
            raise ConvertError(f"cannot equalise {source.path}: {exc}") from exc
        equalise(model, ranges, **_options(output))
        for entry in [entry for entry in model.metadata_props if entry.key == KEY]:
            model.metadata_props.remove(entry)
        model.metadata_props.add(key=KEY, value=output.model.to_json())
        atomic_write(output.path, model.SerializeToString(deterministic=True))
        return output.model


def _options(output: StageOutput) -> dict[str, float]:
    options: dict[str, float] = {}
    for name, value in output.options.items():
        choose("option of equalised onnx", name, ("limit", "strength"))
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{output.path.name}: {name} is {value!r}; it must be a number")
        options[name] = float(value)
    if not 0 <= options.get("strength", 0.0) <= 1 or options.get("limit", 1.0) < 1:
        raise UsageError(f"{output.path.name}: strength must lie within 0 and 1, limit be at least 1")
    return options


def _load(source: Model) -> Any:
    onnx = require("onnx", "export")
    try:
        return onnx.load(source.path)
    except OSError as exc:
        raise ArtifactError(f"cannot read {source.path}: {exc.strerror or exc}") from exc
    except Exception as exc:  # protobuf's DecodeError, of whichever implementation is loaded
        raise ArtifactError(f"{source.path} is not an ONNX model: {first_line(exc)}") from exc
