"""Read and change the constants and operators of an unpacked .tflite model."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require
from ghostedge.tflite.model import ints, tensor_type, text

__all__ = [
    "add_constant",
    "add_tensor",
    "constant",
    "drop_metadata",
    "make_operator",
    "replace_constant",
    "tensor_name",
]

_DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32}


def tensor_name(graph: Any, index: int) -> str:
    """The name of a tensor."""
    return text(graph.tensors[index].name)


def constant(model: Any, graph: Any, index: int) -> NDArray[Any] | None:
    """The value of a constant tensor, in its shape; None for one that is computed, or of a type not known here."""
    tensor = graph.tensors[index]
    data = model.buffers[tensor.buffer].data
    dtype = _DTYPES.get(tensor_type(tensor))
    if data is None or len(data) == 0 or dtype is None:
        return None
    return np.frombuffer(bytes(data), dtype).reshape(ints(tensor.shape))


def replace_constant(model: Any, graph: Any, index: int, value: NDArray[Any]) -> None:
    """Give a constant tensor another value of the same shape and type, in a buffer of its own."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
    graph.tensors[index].buffer = len(model.buffers)  # another tensor may share the old one
    model.buffers.append(buffer)


def add_tensor(
    graph: Any, shape: tuple[int, ...], kind: str, name: str, quantised: tuple[float, int] | None = None
) -> int:
    """Add a computed tensor, e.g. of kind ``"UINT8"`` with (scale, zero point). Returns: its index."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    tensor = schema.TensorT()
    tensor.shape, tensor.type, tensor.name = np.array(shape, np.int32), getattr(schema.TensorType, kind), name.encode()
    if quantised is not None:
        parameters = schema.QuantizationParametersT()
        parameters.scale = np.array([quantised[0]], np.float32)
        parameters.zeroPoint = np.array([quantised[1]], np.int64)
        tensor.quantization = parameters
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def add_constant(model: Any, graph: Any, value: NDArray[Any], name: str) -> int:
    """Add a constant tensor. Returns: its index."""
    kind = next(kind for kind, dtype in _DTYPES.items() if dtype == value.dtype)
    index = add_tensor(graph, value.shape, kind, name)
    replace_constant(model, graph, index, value)
    return index


def make_operator(model: Any, kind: str, inputs: list[int], outputs: list[int], options: Any = None) -> Any:
    """A built-in operator such as ``"QUANTIZE"``; `options` is the schema's ``...OptionsT`` object, if it has one."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    number = getattr(schema.BuiltinOperator, kind)
    operator = schema.OperatorT()
    operator.opcodeIndex = next(
        (
            i
            for i, code in enumerate(model.operatorCodes)
            if max(code.builtinCode, code.deprecatedBuiltinCode) == number
        ),
        len(model.operatorCodes),
    )
    if operator.opcodeIndex == len(model.operatorCodes):
        code = schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), _VERSIONS.get(kind, 1)
        model.operatorCodes.append(code)
    operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
    if options is not None:
        operator.builtinOptions = options
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
    return operator


#: The version of an operator from which LiteRT takes it on the types it is given here.
_VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2, "CONCATENATION": 2}


def drop_metadata(model: Any) -> None:
    """Remove the model's metadata, so that it can be embedded anew."""
    model.metadata = None  # `pack` leaves its buffers out
