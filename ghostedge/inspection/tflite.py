"""Inspect TFLite models."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ghostedge.inspection import ModelSummary, Port, Weights, macs, total
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.float16 import allows_float16
from ghostedge.tflite.model import ints, operator_name, spatial_transposes, tensor_type, text, unpack

#: Operator -> (input that is the weight, the axes of the output that are positions).
_PRODUCTS = {"CONV_2D": (1, (1, 2)), "DEPTHWISE_CONV_2D": (1, (1, 2)), "FULLY_CONNECTED": (1, (0,))}

#: Storage of one number, bits.
_BITS = {"FLOAT32": 32, "FLOAT16": 16, "BFLOAT16": 16, "FLOAT64": 64, "INT16": 16, "INT8": 8, "UINT8": 8, "INT4": 4}


def inspect_tflite(path: Path) -> ModelSummary:
    """See `ghostedge.inspection.inspect`. Of several subgraphs the first is the model."""
    model = unpack(path.read_bytes(), str(path))
    graph = model.subgraphs[0]
    operators = Counter(operator_name(model, operator) for operator in graph.operators)
    steps = [
        0 if t.quantization is None or t.quantization.scale is None else len(t.quantization.scale)
        for t in graph.tensors
    ]
    return ModelSummary(
        path=path,
        format="tflite",
        files={path.name: path.stat().st_size},
        producer=text(model.description),
        inputs=tuple(_port(graph.tensors[index]) for index in ints(graph.inputs)),
        outputs=tuple(_port(graph.tensors[index]) for index in ints(graph.outputs)),
        operators=dict(operators.most_common()),
        weights=Weights.of(_constants(model, graph)),
        macs=total(_macs(model, graph, operator) for operator in graph.operators),
        quantised_per_tensor=sum(count == 1 for count in steps),
        quantised_per_channel=sum(count > 1 for count in steps),
        xnnpack=coverage(path),
        spatial_transposes=spatial_transposes(model),
        allows_float16=allows_float16(path),
    )


def tflite_macs(path: Path) -> dict[str, int]:
    """See `ghostedge.inspection.operator_macs`."""
    model = unpack(path.read_bytes(), str(path))
    graph = model.subgraphs[0]
    counted = {text(graph.tensors[o.outputs[0]].name): _macs(model, graph, o) for o in graph.operators}
    return {name: count for name, count in counted.items() if count}


def _port(tensor: Any) -> Port:
    shape = ints(tensor.shapeSignature) or ints(tensor.shape)
    quantisation = tensor.quantization
    step, zero = 0.0, 0
    if quantisation is not None and quantisation.scale is not None and len(quantisation.scale) == 1:
        step, zero = float(quantisation.scale[0]), int(quantisation.zeroPoint[0])
    sizes: tuple[int | str, ...] = tuple("?" if size < 0 else size for size in shape)
    return Port(text(tensor.name), tensor_type(tensor).lower(), sizes, step, zero)


def _constants(model: Any, graph: Any) -> Iterator[tuple[str, int, int]]:
    """(dtype, numbers, bytes) of each weight; one that tensors share counts once."""
    seen = set()
    for tensor in graph.tensors:
        data, kind = model.buffers[tensor.buffer].data, tensor_type(tensor)
        # An int32 or int64 constant is a shape or an axis, unless it is quantised: then it is a bias.
        bias = tensor.quantization is not None and tensor.quantization.scale is not None
        if data is None or len(data) == 0 or tensor.buffer in seen or not (kind in _BITS or bias):
            continue
        seen.add(tensor.buffer)
        bits = _BITS.get(kind, 64 if kind == "INT64" else 32)
        yield kind.lower(), len(data) * 8 // bits, len(data)


def _macs(model: Any, graph: Any, operator: Any) -> int | None:
    name = operator_name(model, operator)
    inputs, outputs = ints(operator.inputs), ints(operator.outputs)
    shape = functools.cache(lambda index: ints(graph.tensors[index].shape))
    if name in _PRODUCTS:
        weight, axes = _PRODUCTS[name]
        result = shape(outputs[0])
        if name == "FULLY_CONNECTED":  # all axes of the output but the last are rows
            return macs(result[:-1], shape(inputs[weight]))
        return macs([result[axis] for axis in axes], shape(inputs[weight]))
    if name == "TRANSPOSE_CONV":  # output shape, weight, image
        return macs(shape(inputs[2])[1:3], shape(inputs[1]))
    if name == "BATCH_MATMUL":
        return macs(shape(outputs[0]), shape(inputs[0])[-1:])
    return 0
