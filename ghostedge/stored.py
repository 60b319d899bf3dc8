"""Read what is stored as JSON or TOML, checked against the dataclass that it describes.

msgspec does the checking: a field of another type, a missing field or a value outside a ``Literal`` is named with its
path (``$.artifacts[0].size_bytes``), before any of it is used.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import sys
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from ghostedge.errors import GhostedgeError

T = TypeVar("T")

#: What is stored is far smaller; more than this is another file by mistake, or one made to exhaust memory.
MAX_BYTES = 64 * 2**20

#: Likewise of nesting: our own documents go down to 8. What walks one may so be recursive.
MAX_DEPTH = 64

#: Likewise of whole numbers.
MAX_INTEGER = 2**64

#: Three times Python's own limit: the stack of a thread has room for it.
_RECURSION_LIMIT = 3000


def parse_json(data: bytes | str, what: str, error: type[GhostedgeError]) -> Any:
    """Parse one JSON document of plain, finite values.

    Args:
        data: UTF-8.
        what: what is read, for the message, e.g. ``"the manifest build/manifest.json"``.
        error: the class to raise.

    Raises:
        GhostedgeError: as `error`: too large, not UTF-8, not JSON, nested too deeply, or holding NaN, an infinity, a
            whole number of more than 64 bits or half a surrogate pair; the message names the place of these.
    """
    return _parse(json.loads, data, "JSON", what, error)


def parse_toml(data: bytes | str, what: str, error: type[GhostedgeError]) -> dict[str, Any]:
    """Parse one TOML document, like `parse_json`."""
    found: dict[str, Any] = _parse(tomllib.loads, data, "TOML", what, error)
    return found


@contextlib.contextmanager
def shallow() -> Iterator[None]:
    """In the block what is nested too deeply is a RecursionError, as by Python's own limit.

    onnx2tf, for one, takes that limit away as it is imported, and a parser in C then ends the process.
    """
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(min(limit, _RECURSION_LIMIT))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def _parse(parse: Any, data: bytes | str, form: str, what: str, error: type[GhostedgeError]) -> Any:
    if len(data) > MAX_BYTES:
        raise error(f"{what} is larger than {MAX_BYTES >> 20} MiB; this is another file")
    try:
        with shallow():
            document = parse(data.decode() if isinstance(data, bytes) else data)
    except RecursionError:
        raise error(f"{what} is not {form} of ours: it is nested too deeply") from None
    except ValueError as exc:  # also of UTF-8, and of numbers with thousands of digits
        raise error(f"{what} is not {form} ({exc})") from exc
    if fault := _fault(document):
        raise error(f"{what} is not {form} of ours: {fault}")
    return document


def holds_half_surrogate(text: str) -> bool:
    """Whether JSON's escapes made `text` of a code point that no UTF-8 file can hold."""
    return not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text)


def _fault(document: Any) -> str | None:
    """The first value that nothing of ours holds, with its place.

    Neither recursive, since depth is one of the faults, nor a list of all values: those of 64 MiB would take gigabytes.
    """
    places = ["$"]
    levels: list[Iterator[tuple[Any, Any]]] = [iter([(None, document)])]
    while levels:
        for key, value in levels[-1]:
            place = places[-1]
            if isinstance(key, str) and holds_half_surrogate(key):
                return f"{place} {_HALF}"
            if isinstance(value, dict | list):
                if value and len(levels) == MAX_DEPTH:
                    return "it is nested too deeply"
                places.append(place + _step(key))
                levels.append(iter(value.items() if isinstance(value, dict) else enumerate(value)))
                break
            if fault := _scalar_fault(value):
                return f"{place}{_step(key)} {fault}"
        else:
            levels.pop()
            places.pop()
    return None


def _step(key: Any) -> str:
    """What a key or an index adds to a place."""
    return "" if key is None else f".{key}" if isinstance(key, str) else f"[{key}]"


_HALF = "holds half a surrogate pair, which is not text"


def _scalar_fault(value: Any) -> str | None:
    if isinstance(value, str):
        return _HALF if holds_half_surrogate(value) else None
    if isinstance(value, float):
        return None if math.isfinite(value) else f"is {value}; every number must be finite"
    if isinstance(value, int):  # TOML's may have any length in hexadecimal, more than Python writes in decimal
        return None if abs(value) <= MAX_INTEGER else f"is a number of {value.bit_length()} bits"
    return None if value is None else f"is a {type(value).__name__}, which JSON does not have"


def as_type(data: Any, kind: type[T], what: str, error: type[GhostedgeError]) -> T:
    """Make `kind`, a dataclass, of parsed JSON or TOML; fields that `kind` does not know are passed over.

    Raises:
        GhostedgeError: as `error`, with the path of the field that is missing or of another type, or with what the
            dataclass's own ``__post_init__`` refuses.
    """
    import msgspec

    try:
        return msgspec.convert(data, kind)
    except msgspec.ValidationError as exc:
        raise error(f"{what}: {exc}") from exc


def plain(value: Any) -> Any:
    """Plain JSON types of a dataclass and all that it holds; tuples become lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    return value


def digest(value: Any) -> str:
    """The SHA-256 of a value of plain JSON types, whatever the order of its keys; 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def json_schema(kind: type[Any], **header: Any) -> Mapping[str, Any]:
    """The JSON Schema (2020-12) of a dataclass, with `header` before it (``title``, ``$id``)."""
    import msgspec

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **header, **msgspec.json.schema(kind)}
