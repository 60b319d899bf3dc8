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

# The tables of the TFLite schema, version 3 (tensorflow/compiler/mlir/lite/schema/schema.fbs). A table is the tuple of
# its fields in the schema's order, each one of: bytes of a scalar; ("vector", bytes of an element); ("table", name);
# ("tables", name) for a vector of tables. A union's table is "Options": its fields are other tables' business.
_Field = int | tuple[str, int] | tuple[str, str]
_STRING: Final = ("vector", 1)
_TABLES: Final[dict[str, tuple[_Field, ...]]] = {
    "Model": (
        4,  # version
        ("tables", "OperatorCode"),
        ("tables", "SubGraph"),
        _STRING,  # description
        ("tables", "Buffer"),
        ("vector", 4),  # metadata_buffer
        ("tables", "Metadata"),
        ("tables", "SignatureDef"),
    ),
    "OperatorCode": (1, _STRING, 4, 4),
    "SubGraph": (("tables", "Tensor"), ("vector", 4), ("vector", 4), ("tables", "Operator"), _STRING),
    "Tensor": (
        ("vector", 4),  # shape
        1,  # type
        4,  # buffer
        _STRING,  # name
        ("table", "QuantizationParameters"),
        1,  # is_variable
        ("table", "Options"),  # sparsity
        ("vector", 4),  # shape_signature
        1,  # has_rank
    ),
    "QuantizationParameters": (
        ("vector", 4),  # min
        ("vector", 4),  # max
        ("vector", 4),  # scale
        ("vector", 8),  # zero_point
        1,  # details_type
        ("table", "Options"),  # details
        4,  # quantized_dimension
    ),
    "Operator": (
        4,  # opcode_index
        ("vector", 4),  # inputs
        ("vector", 4),  # outputs
        1,  # builtin_options_type
        ("table", "Options"),
        _STRING,  # custom_options
        1,  # custom_options_format
        ("vector", 1),  # mutating_variable_inputs
        ("vector", 4),  # intermediates
        8,  # large_custom_options_offset
        8,  # large_custom_options_size
        1,  # builtin_options_2_type
        ("table", "Options"),
    ),
    "Buffer": (("vector", 1), 8, 8),
    "Metadata": (_STRING, 4),
    "SignatureDef": (("tables", "TensorMap"), ("tables", "TensorMap"), _STRING, _STRING, 4),
    "TensorMap": (_STRING, 4),
    "Options": (),
}


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

    def _field(self, at: int, field: _Field, name: str, end: int) -> None:
        if isinstance(field, int):
            if at + field > end:
                raise _DamagedError(f"table {name} has a field outside itself")
            return
        kind, what = field
        target = self._follow(at)
        if kind == "table":
            self.table(target, str(what))
            return
        (count,) = struct.unpack_from("<I", self.data, target)
        self._inside(target + 4, count * (4 if isinstance(what, str) else what), f"a vector of {name}")
        if isinstance(what, str):
            for place in range(target + 4, target + 4 + 4 * count, 4):
                self.table(self._follow(place), what)

    def _follow(self, at: int) -> int:
        (offset,) = struct.unpack_from("<I", self.data, at)
        return at + int(offset)

    def _inside(self, at: int, size: int, name: str) -> None:
        if at < 0 or at + size > len(self.data):
            raise _DamagedError(f"{name} lies outside the file")
