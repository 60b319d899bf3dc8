"""Walk protobuf's wire format without a schema."""

from __future__ import annotations

from collections.abc import Iterator

# https://protobuf.dev/programming-guides/encoding/: wire type -> bytes of a value of fixed length.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}


def fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Each field of `message`: its number, and its value.

    Yields:
        (number, int) for varints, (number, view into `message`) for everything else. Nothing is copied.

    Raises:
        ValueError: `message` is not protobuf, or it ends inside a field.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = read_varint(message, position)
        number, wire_type = key >> 3, key & 7
        if number == 0:
            raise ValueError(f"byte {start} does not begin a field")
        if wire_type == _VARINT:
            value, position = read_varint(message, position)
            yield number, value
            continue
        if wire_type == _LENGTH_DELIMITED:
            length, position = read_varint(message, position)
        elif wire_type in _FIXED_BYTES:
            length = _FIXED_BYTES[wire_type]
        else:
            raise ValueError(f"byte {start} does not begin a field")
        if length > len(message) - position:
            raise ValueError(f"{length} bytes should follow byte {position}, but there are {len(message) - position}")
        yield number, message[position : position + length]
        position += length


def read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """The varint at `position`, and the position after it. Raises: ValueError."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(data):
            raise ValueError(f"it ends inside a number at byte {position}")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError(f"a number longer than 64 bits before byte {position}")


def varint(value: int) -> bytes:
    """`value`, zero or above, as a varint."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: int | bytes) -> bytes:
    """One field: an int as a varint, bytes length-delimited."""
    if isinstance(value, int):
        return varint(number << 3 | _VARINT) + varint(value)
    return varint(number << 3 | _LENGTH_DELIMITED) + varint(len(value)) + value
