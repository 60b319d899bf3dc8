"""Inspect TFLite models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ghostedge.inspection import ModelSummary, Port, Weights, damage_of, macs, total
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.float16 import allows_float16
from ghostedge.tflite.graph import Graph, Operator, ints, text

#: Storage of one number, bits.
_BITS = {"FLOAT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT64": 64, "INT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4}


def inspect_tflite(path: Path) -> ModelSummary:
    """See `ghostedge.inspection.inspect`. Of several subgraphs the first is the model."""
    graph = unpack(path.read_bytes(), str(path))
    with damage_of(path):
        return _summary(path, graph)


def _summary(path: Path, graph: Graph) -> ModelSummary:
    steps = [len(graph.scales(tensor)) for tensor in range(len(graph.tensors))]
    return ModelSummary(
        path=path,
        format="tflite",
        files={path.name: path.stat().st_size},
        producer=text(graph.model.description),
        inputs=tuple(_port(graph, tensor) for tensor in graph.inputs),
        outputs=tuple(_port(graph, tensor) for tensor in graph.outputs),
        operators=dict(Counter(operator.kind for operator in graph.operators).most_common()),
        weights=Weights.of(_constants(graph)),
        macs=total(_macs(graph, operator) for operator in graph.operators),
        quantised_per_tensor=sum(count == 1 for count in steps),
        quantised_per_channel=sum(count > 1 for count in steps),
        xnnpack=coverage(path),
        spatial_transposes=graph.spatial_transposes(),
        allows_float16=allows_float16(path),
    )


def tflite_macs(path: Path) -> dict[str, int | None]:
    """See `ghostedge.inspection.operator_macs`."""
    graph = unpack(path.read_bytes(), str(path))
    with damage_of(path):
        return {operator.name: _macs(graph, operator) for operator in graph.operators}


def _port(graph: Graph, tensor: int) -> Port:
    shape = ints(graph.tensors[tensor].shapeSignature) or graph.shape(tensor)
    port = Port(graph.name(tensor), graph.dtype(tensor).lower(), tuple("?" if size < 0 else size for size in shape))
    if len(scales := graph.scales(tensor)) == 1:
        return replace(port, scale=scales[0], zero_point=next(iter(graph.zero_points(tensor)), 0))
    return port


def _constants(graph: Graph) -> Iterator[tuple[str, int, int]]:
    """(dtype, numbers, bytes) of each weight; one that tensors share counts once."""
    seen = set()
    for tensor, raw in enumerate(graph.tensors):
        data, kind = graph.stored(tensor), graph.dtype(tensor)
        # An int32 or int64 constant is a shape or an axis, unless it is quantised: then it is a bias.
        bias = raw.quantization is not None and raw.quantization.scale is not None
        if data is None or raw.buffer in seen or not (kind in _BITS or bias):
            continue
        seen.add(raw.buffer)
        bits = _BITS.get(kind, 64 if kind == "INT64" else 32)
        yield kind.lower(), len(data) * 8 // bits, len(data)


def _macs(graph: Graph, operator: Operator) -> int | None:
    shape, inputs, output = graph.shape, operator.inputs, operator.output
    if operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return macs(shape(output)[1:3], shape(inputs[1]))
    if operator.kind == "FULLY_CONNECTED":  # all axes of the output but the last are rows
        return macs(shape(output)[:-1], shape(inputs[1]))
    if operator.kind == "TRANSPOSE_CONV":  # output shape, weight, image
        return macs(shape(inputs[2])[1:3], shape(inputs[1]))
    if operator.kind == "BATCH_MATMUL":
        return macs(shape(output), shape(inputs[0])[-1:])
    return 0
