"""Read and write the flatbuffer of a .tflite file.

Schema: tensorflow/lite/schema/schema.fbs, file identifier ``TFL3``; its Python classes come with LiteRT.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require

__all__ = ["ints", "operator_name", "pack", "spatial_transposes", "tensor_type", "text", "unpack"]

_IDENTIFIER = b"TFL3"

#: Where XNNPACK and mmap want weights to begin; schema.fbs says so (``force_align: 16``), Python's packer forgets it.
_ALIGNMENT = 16


def unpack(data: bytes, name: str) -> Any:
    """The model as the schema's plain objects (``ModelT``).

    Args:
        data: a whole file; what follows the flatbuffer is ignored.
        name: the file's name, for messages.

    Raises:
        ArtifactError: not a TFLite model, or a damaged one.
    """
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    if data[4:8] != _IDENTIFIER:
        raise ArtifactError(f"{name} is not a TFLite model (no {_IDENTIFIER.decode()} at byte 4)")
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
        if not model.subgraphs or not model.buffers or not model.operatorCodes:
            raise ValueError("it holds no graph")
        _check_references(model)
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as exc:
        raise ArtifactError(f"{name} is damaged or cut short ({exc}); export it again") from exc
    return model


def _check_references(model: Any) -> None:
    """Every index and every constant's size must fit. Raises: ValueError, TypeError or IndexError."""
    for graph in model.subgraphs:
        tensors = range(len(graph.tensors))
        for tensor in graph.tensors:
            model.buffers[tensor.buffer]
        for index in (*ints(graph.inputs), *ints(graph.outputs)):
            tensors[index]
        for operator in graph.operators:
            model.operatorCodes[operator.opcodeIndex]
            for index in (*ints(operator.inputs), *ints(operator.outputs)):
                if index != -1:  # an optional input that is left out
                    tensors[index]


def ints(vector: Sequence[int] | None) -> tuple[int, ...]:
    """A vector of the flatbuffer as Python integers; an absent one is empty."""
    return () if vector is None else tuple(int(value) for value in vector)


def pack(model: Any) -> bytes:
    """The flatbuffer of a ``ModelT``.

    Every buffer's data begins at a multiple of 16 bytes; data that no tensor and no metadata refers to is left out;
    equal zero points are written once for all tensors (8 bytes a channel, and nearly all are zero).
    """
    flatbuffers = require("flatbuffers", "export")
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = flatbuffers.Builder(size + size // 8 + 65536)
    for buffer in model.buffers:
        buffer.Pack = functools.partial(_pack_buffer, schema, buffer)
    shared: dict[bytes, int] = {}
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.details is None:
                tensor.quantization.Pack = functools.partial(_pack_quantisation, schema, tensor.quantization, shared)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _pack_buffer(schema: Any, buffer: Any, builder: Any) -> int:
    """``BufferT.Pack``, but aligned. Returns: the offset of the table."""
    data = None
    if buffer.data is not None:
        content = bytes(buffer.data)
        builder.StartVector(1, len(content), _ALIGNMENT)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        data = builder.EndVector()
    schema.BufferStart(builder)
    if data is not None:
        schema.BufferAddData(builder, data)
    table: int = schema.BufferEnd(builder)
    return table


def _pack_quantisation(schema: Any, parameters: Any, shared: dict[bytes, int], builder: Any) -> int:
    """``QuantizationParametersT.Pack``, but equal zero points share one vector. Returns: the offset of the table."""
    vectors: dict[str, int] = {}
    for name, dtype in (("Min", "<f4"), ("Max", "<f4"), ("Scale", "<f4"), ("ZeroPoint", "<i8")):
        values = getattr(parameters, name[0].lower() + name[1:])
        if values is None:
            continue
        array = np.asarray(values, dtype)
        key = array.tobytes()
        if name != "ZeroPoint":
            vectors[name] = builder.CreateNumpyVector(array)
        else:
            vectors[name] = shared[key] if key in shared else shared.setdefault(key, builder.CreateNumpyVector(array))
    schema.QuantizationParametersStart(builder)
    for name, offset in vectors.items():
        getattr(schema, f"QuantizationParametersAdd{name}")(builder, offset)
    schema.QuantizationParametersAddQuantizedDimension(builder, parameters.quantizedDimension)
    table: int = schema.QuantizationParametersEnd(builder)
    return table


@functools.cache
def _names(enum: str) -> dict[int, str]:
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    return {code: name for name, code in vars(getattr(schema, enum)).items() if isinstance(code, int)}


def operator_name(model: Any, operator: Any) -> str:
    """The name of an operator's kind, e.g. ``"CONV_2D"``; a custom operator's own name."""
    code = model.operatorCodes[operator.opcodeIndex]
    if code.customCode:
        return text(code.customCode)
    # Models from before schema 3a keep the code in the narrower, deprecated field.
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return _names("BuiltinOperator").get(number, f"BUILTIN_{number}")


def tensor_type(tensor: Any) -> str:
    """The name of a tensor's element type, e.g. ``"FLOAT32"``."""
    return _names("TensorType").get(tensor.type, f"TYPE_{tensor.type}")


def text(value: bytes | str | None) -> str:
    """A string of the flatbuffer; an absent one is empty."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def spatial_transposes(model: Any) -> tuple[str, ...]:
    """The names of the tensors that a TRANSPOSE makes by moving data of a feature map.

    A transpose of four or more axes counts when the order of the axes longer than 1 changes; (n, 1, 1, c) to
    (n, c, 1, 1) moves nothing.
    """
    names = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            if operator_name(model, operator) != "TRANSPOSE":
                continue
            shape = ints(graph.tensors[operator.inputs[0]].shape)
            order = _constant(model, graph, operator.inputs[1])
            moved = [axis for axis in order if axis < len(shape) and shape[axis] != 1]
            if len(shape) >= 4 and moved != sorted(moved):
                names.append(text(graph.tensors[operator.outputs[0]].name))
    return tuple(names)


def _constant(model: Any, graph: Any, tensor: int) -> tuple[int, ...]:
    """The value of a constant int32 tensor; empty where it is computed."""
    data = model.buffers[graph.tensors[tensor].buffer].data
    return () if data is None else struct.unpack(f"<{len(data) // 4}i", bytes(data))
