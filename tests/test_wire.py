"""The wire format's reader agrees with protobuf's documentation, and with protobuf."""

from __future__ import annotations

import pytest

from ghostedge.wire import field, fields, read_varint, varint


def test_the_examples_of_the_documentation() -> None:
    # https://protobuf.dev/programming-guides/encoding/: field 1 = 150, field 2 = "testing".
    assert list(fields(memoryview(b"\x08\x96\x01"))) == [(1, 150)]
    ((number, value),) = fields(memoryview(b"\x12\x07testing"))
    assert (number, bytes(value)) == (2, b"testing")
    assert field(1, 150) == b"\x08\x96\x01"
    assert field(2, b"testing") == b"\x12\x07testing"


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**63])
def test_varints_round_trip(value: int) -> None:
    assert read_varint(memoryview(b"x" + varint(value)), 1) == (value, 1 + len(varint(value)))


def test_it_agrees_with_protobuf() -> None:
    descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")
    option = descriptor_pb2.UninterpretedOption(identifier_value="x", positive_int_value=7, double_value=0.5)
    found = {number: value if isinstance(value, int) else bytes(value) for number, value in _parse(option)}
    assert found == {3: b"x", 4: 7, 6: b"\x00\x00\x00\x00\x00\x00\xe0\x3f"}


def _parse(message: object) -> list[tuple[int, int | memoryview]]:
    return list(fields(memoryview(message.SerializeToString())))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x12\x07test", "7 bytes should follow byte 2, but there are 4"),
        (b"\x08", "ends inside a number"),
        (b"\x08" + b"\xff" * 11, "longer than 64 bits"),
        (b"\x00\x01", "byte 0 does not begin a field"),
        (b"\x0f\x01", "byte 0 does not begin a field"),
    ],
)
def test_what_is_not_protobuf_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        list(fields(memoryview(data)))
