"""A ledger knows when it is damaged: one bit that changes a value is refused, in Parquet and in JSON Lines."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ghostedge.errors import LedgerError
from ghostedge.evaluation.columns import Columns, Rows
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import (
    Checksums,
    Ledger,
    read_ledger,
    read_part,
    read_pieces,
    write_ledger,
    write_part,
    write_pieces,
)
from tests.fuzz.stored import json_lines

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FLIPS = 400


@pytest.fixture(scope="module", params=[True, False], ids=["with logits", "without"])
def ledger(make_ledger: Callable[..., Ledger], request: pytest.FixtureRequest) -> Ledger:
    """150 images of 7 classes, two of them with an error."""
    logits = np.random.default_rng(0).normal(0, 3, (150, 7)).astype(np.float16).astype(np.float32)
    errors = ["it is empty" if row in (7, 90) else None for row in range(150)]
    return make_ledger(logits, (np.arange(150) % 7).astype(np.int32), errors=errors, keep_logits=request.param)


def same(one: Columns, other: Columns) -> bool:
    """Whether every value is the same to the bit."""
    for name in (field.name for field in dataclasses.fields(Rows)):
        a, b = getattr(one, name), getattr(other, name)
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
                return False
        elif a != b:
            return False
    return True


def flips(data: bytes, path: Path, read: Callable[[Path], Ledger], whole: Ledger) -> Counter[str]:
    """What becomes of one bit that is another one, at seeded places."""
    rng = np.random.default_rng(1)
    found = Counter[str]()
    for at, bit in zip(rng.integers(0, len(data), FLIPS), rng.integers(0, 8, FLIPS), strict=True):
        other = bytearray(data)
        other[at] ^= 1 << int(bit)
        path.write_bytes(other)
        try:
            ledger = read(path)
        except LedgerError as exc:
            found["refused" if str(exc).startswith(str(path)) else "refused without a name"] += 1
        else:
            equal = same(ledger, whole) and ledger.metadata == whole.metadata
            found["without effect" if equal else "accepted with other content"] += 1
    return found


def test_a_bit_of_parquet_is_refused_or_without_effect(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_ledger(path, ledger)
    whole = read_ledger(path)
    assert whole.checksum
    found = flips(path.read_bytes(), path, read_ledger, whole)
    assert set(found) <= {"refused", "without effect"}, found
    assert found["refused"] > FLIPS / 2


def test_the_check_bites(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same flips of a file without checksums, as ghostedge 0.2 wrote it, are accepted."""
    path = tmp_path / "a.parquet"
    older(path, ledger, monkeypatch)
    whole = read_ledger(path)
    assert not whole.checksum
    assert same(whole, ledger)
    assert flips(path.read_bytes(), path, read_ledger, whole)["accepted with other content"] > FLIPS / 20


def older(path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write it without checksums."""
    with monkeypatch.context() as patch:
        patch.setattr(parquet.ParquetWriter, "add_key_value_metadata", lambda self, added: None)
        write_ledger(path, ledger)


def test_a_bit_of_json_lines_is_refused(make_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (6, 7)).astype(np.float16).astype(np.float32)
    labels = np.arange(6, dtype=np.int32)
    made = make_ledger(logits, labels, keep_logits=True, content_crc32=np.full(6, -1))
    path = tmp_path / "a.jsonl"
    path.write_bytes(json_lines(made))
    whole = read_json_lines(path)
    assert whole.checksum
    assert same(whole, made)
    assert flips(path.read_bytes(), path, read_json_lines, whole) == {"refused": FLIPS}


def test_json_lines_without_a_checksum_are_read(make_ledger: Callable[..., Ledger], tmp_path: Path) -> None:
    logits = np.zeros((3, 7), np.float32)
    made = make_ledger(logits, np.arange(3, dtype=np.int32), keep_logits=True, content_crc32=np.full(3, -1))
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"\n".join(json_lines(made).split(b"\n")[:-2]) + b"\n")
    assert not read_json_lines(path).checksum


def test_older_ledgers_are_judged_with_a_note(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ghostedge.accuracy.parity import compare_ledgers

    older(tmp_path / "old.parquet", ledger, monkeypatch)
    write_ledger(tmp_path / "new.parquet", ledger)
    old, new = read_ledger(tmp_path / "old.parquet"), read_ledger(tmp_path / "new.parquet")
    assert not [line for line in compare_ledgers(new, new).warnings if "checksum" in line]
    (line,) = [line for line in compare_ledgers(new, old).warnings if "checksum" in line]
    assert line.startswith("the ledger of the candidate has no checksum")


def test_the_values_are_those_of_before(ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    older(tmp_path / "old.parquet", ledger, monkeypatch)
    write_ledger(tmp_path / "new.parquet", ledger)
    old, new = (parquet.read_table(tmp_path / name) for name in ("old.parquet", "new.parquet"))
    assert same(Columns(old), Columns(new))
    assert old.schema.equals(new.schema, check_metadata=False)
    assert old.schema.metadata[b"ghostedge"] == new.schema.metadata[b"ghostedge"]


def test_pieces_do_not_change_the_checksum(ledger: Ledger, tmp_path: Path) -> None:
    def pieces(size: int) -> list[Columns]:
        return [Columns(ledger.table.slice(start, size)) for start in range(0, len(ledger), size)]

    found = set()
    for size in (1, 7, 150):
        checksums = Checksums(b"x")
        for piece in pieces(size):
            checksums.add(piece)
        found.add(checksums.to_json())
    assert len(found) == 1
    path = tmp_path / "a.parquet"
    write_pieces(path, ledger.metadata, pieces(11), has_logits=ledger.logits is not None)
    assert read_ledger(path).checksum
    assert same(Columns.joined(list(read_pieces(path))), ledger)


def test_damage_is_found_where_rows_come_in_pieces_and_in_parts(ledger: Ledger, tmp_path: Path) -> None:
    def planted(path: Path) -> None:
        """A whole Parquet file whose first label is another one."""
        table = parquet.read_table(path)
        labels = table.column("label").to_pylist()
        changed = pa.array([labels[0] + 1, *labels[1:]], pa.int32())
        kept = {**parquet.read_metadata(path).metadata}
        kept.pop(b"ARROW:schema")
        at = table.column_names.index("label")
        field = table.schema.field("label")
        parquet.write_table(table.set_column(at, field, changed).replace_schema_metadata(kept), path)

    path = tmp_path / "a.parquet"
    write_ledger(path, ledger)
    planted(path)
    with pytest.raises(LedgerError, match=r"a\.parquet: its values are not those of its checksums"):
        list(read_pieces(path))
    part = tmp_path / "part-000000.parquet"
    write_part(part, ledger, "key")
    assert read_part(part)[1] == "key"
    planted(part)
    with pytest.raises(LedgerError, match="checksum"):
        read_part(part)
