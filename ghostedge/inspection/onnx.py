"""Inspect ONNX models."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ghostedge.errors import ArtifactError
from ghostedge.inspection import ModelSummary, Port, Weights, damage_of, macs, total
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require

#: Integers of these types are shapes, axes and indices, not weights.
_INDEX_TYPES = ("int64", "int32", "bool")

#: GhostNetV2's shapes take a tenth of a second.
_INFER_S = 120.0


def inspect_onnx(path: Path) -> ModelSummary:
    """See `ghostedge.inspection.inspect`."""
    onnx = require("onnx", "export")
    decode_error = require("google.protobuf.message", "export").DecodeError
    model = onnx.ModelProto()
    try:
        model.ParseFromString(path.read_bytes())
    except (decode_error, ValueError, TypeError, IndexError, RecursionError) as exc:  # also of names that are not UTF-8
        raise ArtifactError(f"{path} is not an ONNX model, or not a whole one; export it again") from exc
    if not model.graph.node or not model.ir_version:
        raise ArtifactError(f"{path} is not an ONNX model: it holds no graph")
    with damage_of(path):
        return _summary(onnx, path, model)


def _summary(onnx: Any, path: Path, model: Any) -> ModelSummary:
    graph = model.graph
    initializers = {tensor.name for tensor in graph.initializer}
    operators = Counter(node.op_type for node in graph.node if node.op_type != "Constant")
    shapes = _shapes(path)
    quantised = [
        math.prod(shapes.get(node.input[1], ()))
        for node in graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    opsets = ", ".join(f"{entry.domain or 'ONNX'} opset {entry.version}" for entry in model.opset_import)
    return ModelSummary(
        path=path,
        format="onnx",
        files={path.name: path.stat().st_size},
        producer=", ".join(filter(None, [f"{model.producer_name} {model.producer_version}".strip(), opsets])),
        inputs=tuple(_port(onnx, value) for value in graph.input if value.name not in initializers),
        outputs=tuple(_port(onnx, value) for value in graph.output),
        operators=dict(operators.most_common()),
        weights=Weights.of(_constants(onnx, graph)),
        macs=total(_macs(node, shapes) for node in graph.node),
        quantised_per_tensor=sum(count == 1 for count in quantised),
        quantised_per_channel=sum(count > 1 for count in quantised),
    )


def _dtype(onnx: Any, element_type: int) -> str:
    return "float32" if element_type == 1 else str(onnx.TensorProto.DataType.Name(element_type)).lower()


def _port(onnx: Any, value: Any) -> Port:
    kind = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in kind.shape.dim)
    return Port(value.name, _dtype(onnx, kind.elem_type), shape)


def _tensors(graph: Any) -> Iterator[tuple[str, Any]]:
    """Name and TensorProto of each constant, whether initializer or Constant node."""
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        if node.op_type == "Constant":
            yield from ((node.output[0], attribute.t) for attribute in node.attribute if attribute.name == "value")


def _constants(onnx: Any, graph: Any) -> Iterator[tuple[str, int, int]]:
    for _, tensor in _tensors(graph):
        dtype = _dtype(onnx, tensor.data_type)
        if dtype not in _INDEX_TYPES:
            count = math.prod(tensor.dims)
            yield dtype, count, count * onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """As `_infer`, in a process of its own: ONNX's inference crashes on some damaged files. Nothing is known then."""
    try:
        found = json.loads(run_module(__name__, [str(path)], timeout_s=_INFER_S))
    except ChildError:
        return {}
    return {name: tuple(sizes) for name, sizes in found.items()}


def _infer(path: Path) -> dict[str, tuple[int, ...]]:
    """Value -> its sizes for one image, as far as they can be inferred; 0 for one that cannot."""
    onnx = require("onnx", "export")
    one = onnx.ModelProto.FromString(path.read_bytes())
    for value in one.graph.input:
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].dim_value:
            dims[0].dim_value = 1
    for value in one.graph.output:
        value.type.tensor_type.ClearField("shape")
    del one.graph.value_info[:]
    with contextlib.suppress(onnx.shape_inference.InferenceError, RuntimeError, ValueError):
        one = onnx.shape_inference.infer_shapes(one, data_prop=True)
    graph = one.graph
    values = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return values | {name: tuple(tensor.dims) for name, tensor in _tensors(graph)}


def _macs(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    if node.op_type not in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
        return 0
    first, second, result = (shapes.get(name, ()) for name in (node.input[0], node.input[1], node.output[0]))
    if not (first and second and result):
        return None
    if node.op_type == "Conv":
        return macs(result[2:], second)
    if node.op_type == "ConvTranspose":
        return macs(first[2:], second)
    if node.op_type == "Gemm":
        return macs(result[:1], second)
    return macs(result, first[-1:])


if __name__ == "__main__":
    print(json.dumps(_infer(Path(sys.argv[1]))))
