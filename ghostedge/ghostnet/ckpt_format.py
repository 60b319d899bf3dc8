"""Read and write MindSpore's ``.ckpt`` files without MindSpore.

The file is protobuf, described by MindSpore's ``checkpoint.proto``::

    message Checkpoint { repeated Value value = 1; }
    message Value { required string tag = 1; TensorProto tensor = 2; MapTensorProto maptensor = 3; }
    message TensorProto { repeated int64 dims = 1; required string tensor_type = 2; required bytes tensor_content = 3; }

A tensor above 512 MiB comes in slices: several values with one tag, one after the other, each with the dims of the
whole. Text is a tensor of type ``str`` with numpy's UTF-32. With ``crc_check=True`` MindSpore appends ``crc_num`` and
the CRC-32 of what is before in ten bytes.
"""

from __future__ import annotations

import binascii
import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError
from ghostedge.files import atomic_write
from ghostedge.wire import field, fields

_DTYPES = {
    "Bool": "?", "Int8": "i1", "UInt8": "u1", "Int16": "<i2", "UInt16": "<u2", "Int32": "<i4", "UInt32": "<u4",
    "Int64": "<i8", "UInt64": "<u8", "Float16": "<f2", "Float32": "<f4", "Float64": "<f8",
    "BFloat16": "<u2",  # numpy has none: the upper half of a float32
    "str": "<u4",
}  # fmt: skip

_CRC_TAG, _CRC_BYTES = b"crc_num", 10

# What a file encrypted with `enc_key` begins with, after a byte that tells MindSpore's ciphers apart.
_ENCRYPTED = b"\x5e\x3a\x7f"


@dataclass(frozen=True)
class CkptContent:
    """What a ``.ckpt`` file holds.

    Attributes:
        tensors: name -> array in the stored dtype (bfloat16 as float32), in the order of the file.
        texts: name -> text, of `save_checkpoint`'s ``append_dict``.
    """

    tensors: dict[str, NDArray[Any]]
    texts: dict[str, str]


def parse_ckpt(data: bytes, name: str) -> CkptContent:
    """Read the bytes of a ``.ckpt`` file.

    Args:
        data: the whole file.
        name: what to call it in errors.

    Raises:
        CheckpointError: the file is empty, encrypted, truncated or damaged, or not a MindSpore checkpoint.
    """
    if not data:
        raise CheckpointError(f"{name} is empty (0 bytes); download or copy it again")
    if data[1:4] == _ENCRYPTED:
        raise CheckpointError(f"{name} is encrypted; save it without enc_key")
    view = memoryview(data)
    if data[-17:-10] == _CRC_TAG:
        view = view[: -len(_CRC_TAG) - _CRC_BYTES]
        if int.from_bytes(data[-_CRC_BYTES:], "big") != binascii.crc32(view):
            raise CheckpointError(f"{name} is damaged: its checksum does not match; download or copy it again")
    content = CkptContent({}, {})
    last = ""
    try:
        values = (_Value.parse(value) for number, value in fields(view) if number == 1)
        for tag, group in itertools.groupby(values, key=lambda value: value.tag):
            slices = list(group)
            _add(content, slices[0], b"".join(value.content for value in slices))
            last = f" after '{tag}'"
    except (ValueError, OverflowError) as exc:
        if not data.startswith(b"\n"):  # the key of field 1, with which every checkpoint begins
            raise CheckpointError(f"{name} is not a MindSpore checkpoint ({exc})") from exc
        raise CheckpointError(f"{name} is truncated or damaged{last} ({exc}); download or copy it again") from exc
    return content


class _Value(NamedTuple):
    tag: str
    dims: tuple[int, ...]
    kind: str
    content: memoryview

    @classmethod
    def parse(cls, message: int | memoryview) -> _Value:
        value = dict(_fields(message))
        tag = _text(value[1]) if 1 in value else None
        if tag is None or 2 not in value:
            raise ValueError(f"value '{tag}' holds no tensor")
        tensor = list(_fields(value[2]))
        dims = tuple(size for number, size in tensor if number == 1 and isinstance(size, int))
        kind, content = (dict(tensor).get(number, memoryview(b"")) for number in (2, 3))
        return cls(tag, dims, _text(kind), content if isinstance(content, memoryview) else memoryview(b""))


def _fields(message: int | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    if isinstance(message, int):
        raise ValueError("a number where a message should be")
    return fields(message)


def _text(value: int | memoryview) -> str:
    if isinstance(value, int):
        raise ValueError("a number where a text should be")
    return bytes(value).decode()


def _add(content: CkptContent, value: _Value, data: bytes) -> None:
    if value.kind not in _DTYPES:
        raise ValueError(f"'{value.tag}' has the unknown type '{value.kind}'")
    array = np.frombuffer(data, _DTYPES[value.kind])
    if value.kind == "str":
        content.texts[value.tag] = "".join(map(chr, array))
        return
    shape = () if value.dims == (0,) else value.dims  # MindSpore writes scalars this way
    if math.prod(shape) != array.size:
        raise ValueError(f"'{value.tag}' of shape {shape} holds {array.size} values")
    if value.kind == "BFloat16":
        array = (array.astype("<u4") << 16).view("<f4")
    content.tensors[value.tag] = array.reshape(shape)


def write_ckpt(path: Path, tensors: Mapping[str, NDArray[np.float32]], texts: Mapping[str, str]) -> None:
    """Write a file that `mindspore.load_checkpoint` reads, whole or not at all.

    Args:
        path: where; its suffix should be ``.ckpt``, which MindSpore insists on.
        tensors: name -> float32 array of at most 512 MiB.
        texts: name -> text; MindSpore gives them back as strings and `load_param_into_net` passes over them.

    Raises:
        OutputError: the file cannot be written.
    """
    parts = [
        _value(name, array.shape, b"Float32", np.ascontiguousarray(array, "<f4").tobytes())
        for name, array in tensors.items()
    ]
    parts += [_value(name, (0,), b"str", text.encode("utf-32-le")) for name, text in texts.items()]
    atomic_write(path, b"".join(parts))


def _value(tag: str, dims: tuple[int, ...], kind: bytes, content: bytes) -> bytes:
    tensor = b"".join(field(1, dim) for dim in dims) + field(2, kind) + field(3, content)
    return field(1, field(1, tag.encode()) + field(2, tensor))
