"""Read, write and check the flatbuffer that a .tflite file is.

Schema: tensorflow/lite/schema/schema.fbs, file identifier ``TFL3``; its Python classes come with LiteRT.
"""

from __future__ import annotations

import functools
import mmap
import struct
from pathlib import Path
from typing import Any, Final

import numpy as np

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.tflite.graph import Graph, ints, schema

__all__ = ["check_packages", "check_tflite", "pack", "unpack"]

_IDENTIFIER = b"TFL3"

#: Where XNNPACK and mmap want weights to begin; schema.fbs says so (``force_align: 16``), Python's packer forgets it.
_ALIGNMENT = 16


def check_packages() -> None:
    """Raise MissingExtraError unless what runs and writes .tflite models is installed."""
    require("ai_edge_litert", "tflite")
    require("flatbuffers", "export")


def unpack(data: bytes, name: str) -> Graph:
    """The graph of a file.

    Args:
        data: a whole file; what follows the flatbuffer is ignored.
        name: the file's name, for messages.

    Raises:
        ArtifactError: not a TFLite model, or a damaged one.
    """
    if data[4:8] != _IDENTIFIER:
        raise ArtifactError(f"{name} is not a TFLite model (no {_IDENTIFIER.decode()} at byte 4)")
    try:
        model = schema().ModelT.InitFromObj(schema().Model.GetRootAs(data, 0))
        if not model.subgraphs or not model.buffers or not model.operatorCodes:
            raise ValueError("it holds no graph")
        _check_references(model)
        return Graph(model)
    except (struct.error, ValueError, TypeError, IndexError, AttributeError, OverflowError, MemoryError) as exc:
        raise ArtifactError(f"{name} is damaged or cut short ({exc}); export it again") from exc


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


def pack(graph: Graph) -> bytes:
    """The flatbuffer of a graph's model.

    Every buffer's data begins at a multiple of 16 bytes; data that no tensor and no metadata refers to is left out;
    equal zero points are written once for all tensors (8 bytes a channel, and nearly all are zero).
    """
    model = graph.model
    used = {tensor.buffer for subgraph in model.subgraphs for tensor in subgraph.tensors}
    used |= {entry.buffer for entry in model.metadata or []}
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None
        buffer.Pack = functools.partial(_pack_buffer, buffer)
    size = sum(len(buffer.data) for buffer in model.buffers if buffer.data is not None)
    builder = require("flatbuffers", "export").Builder(size + size // 8 + 65536)
    shared: dict[bytes, int] = {}
    for subgraph in model.subgraphs:
        for tensor in subgraph.tensors:
            if tensor.quantization is not None and tensor.quantization.details is None:
                tensor.quantization.Pack = functools.partial(_pack_quantisation, tensor.quantization, shared)
    builder.Finish(model.Pack(builder), _IDENTIFIER)
    return bytes(builder.Output())


def _pack_buffer(buffer: Any, builder: Any) -> int:
    """``BufferT.Pack``, but aligned. Returns: the offset of the table."""
    data = None
    if buffer.data is not None:
        content = bytes(buffer.data)
        builder.StartVector(1, len(content), _ALIGNMENT)
        builder.head -= len(content)
        builder.Bytes[builder.head : builder.head + len(content)] = content
        data = builder.EndVector()
    schema().BufferStart(builder)
    if data is not None:
        schema().BufferAddData(builder, data)
    table: int = schema().BufferEnd(builder)
    return table


def _pack_quantisation(parameters: Any, shared: dict[bytes, int], builder: Any) -> int:
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
    schema().QuantizationParametersStart(builder)
    for name, offset in vectors.items():
        getattr(schema(), f"QuantizationParametersAdd{name}")(builder, offset)
    schema().QuantizationParametersAddQuantizedDimension(builder, parameters.quantizedDimension)
    table: int = schema().QuantizationParametersEnd(builder)
    return table


# -- checking a file ----------------------------------------------------------------------------------------------

#: The tables of the TFLite schema, version 3 (tensorflow/compiler/mlir/lite/schema/schema.fbs): their fields in the
#: schema's order, each the bytes of a scalar or the name of a table; with ``[]`` a vector of them. A union's table is
#: "Options": its fields are other tables' business.
_SCHEMA: Final[dict[str, str]] = {
    # version, operator_codes, subgraphs, description, buffers, metadata_buffer, metadata, signature_defs
    "Model": "4 OperatorCode[] SubGraph[] 1[] Buffer[] 4[] Metadata[] SignatureDef[]",
    "OperatorCode": "1 1[] 4 4",
    # tensors, inputs, outputs, operators, name
    "SubGraph": "Tensor[] 4[] 4[] Operator[] 1[]",
    # shape, type, buffer, name, quantization, is_variable, sparsity, shape_signature, has_rank
    "Tensor": "4[] 1 4 1[] QuantizationParameters 1 Options 4[] 1",
    # min, max, scale, zero_point, details_type, details, quantized_dimension
    "QuantizationParameters": "4[] 4[] 4[] 8[] 1 Options 4",
    # opcode_index, inputs, outputs, builtin_options_type, builtin_options, custom_options, custom_options_format,
    # mutating_variable_inputs, intermediates, large_custom_options_offset, large_custom_options_size,
    # builtin_options_2_type, builtin_options_2
    "Operator": "4 4[] 4[] 1 Options 1[] 1 1[] 4[] 8 8 1 Options",
    "Buffer": "1[] 8 8",
    "Metadata": "1[] 4",
    "SignatureDef": "TensorMap[] TensorMap[] 1[] 1[] 4",
    "TensorMap": "1[] 4",
    "Options": "",
}
_TABLES: Final = {name: fields.split() for name, fields in _SCHEMA.items()}


def check_tflite(path: Path) -> None:
    """Raise ArtifactError unless `path` is a TFLite file whose every table and vector lies inside the file.

    It reads the structure and not the weights: about 15 ms for GhostNetV2. Options of operators are checked as tables,
    not field by field, and values are not judged: a zero point of a million passes here. A zip archive appended to the
    model (associated files) does no harm.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            if len(head) < 8 or head[4:] != b"TFL3":
                raise ArtifactError(f"{path} is not a TFLite model (no 'TFL3' in its first bytes)")
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _Walk(data).table(struct.unpack("<I", head[:4])[0], "Model")
    except (struct.error, _DamagedError) as exc:
        reason = exc if isinstance(exc, _DamagedError) else "an offset leads outside the file"
        raise ArtifactError(f"{path} is damaged or not whole ({reason}); copy or export it again") from exc
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror}") from exc


class _DamagedError(Exception):
    """Something lies outside the file."""


class _Walk:
    """A walk over every table that is reachable from the root, each visited once."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.seen: set[tuple[int, str]] = set()

    def table(self, at: int, name: str) -> None:
        if (at, name) in self.seen:
            return
        self.seen.add((at, name))
        (back,) = struct.unpack_from("<i", self.data, at)
        vtable = at - back
        self._inside(vtable, 4, name)
        size, extent = struct.unpack_from("<HH", self.data, vtable)
        self._inside(vtable, size, name)
        self._inside(at, extent, name)
        if size < 4 or size % 2 or extent < 4:
            raise _DamagedError(f"table {name} has an impossible layout")
        offsets = struct.unpack_from(f"<{(size - 4) // 2}H", self.data, vtable + 4)
        if any(offset >= extent for offset in offsets):
            raise _DamagedError(f"table {name} has a field outside itself")
        for field, offset in zip(_TABLES[name], offsets, strict=False):  # an older file has fewer, a newer one more
            if offset:
                self._field(at + offset, field, name, at + extent)

    def _field(self, at: int, field: str, name: str, end: int) -> None:
        if field.isdigit():
            if at + int(field) > end:
                raise _DamagedError(f"table {name} has a field outside itself")
            return
        target, element = self._follow(at), field.removesuffix("[]")
        if element == field:
            self.table(target, field)
            return
        (count,) = struct.unpack_from("<I", self.data, target)
        self._inside(target + 4, count * (int(element) if element.isdigit() else 4), f"a vector of {name}")
        if not element.isdigit():
            for place in range(target + 4, target + 4 + 4 * count, 4):
                self.table(self._follow(place), element)

    def _follow(self, at: int) -> int:
        (offset,) = struct.unpack_from("<I", self.data, at)
        return at + int(offset)

    def _inside(self, at: int, size: int, name: str) -> None:
        if at < 0 or at + size > len(self.data):
            raise _DamagedError(f"{name} lies outside the file")
