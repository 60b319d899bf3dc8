"""The ledger: what one model answered for each image of a data set, as a Parquet file with one row an image.

Rows are sorted by `image_id`, which does not depend on how the data set is stored, so that the ledgers of two models,
made on two machines from two layouts, pair image by image. Nothing in the file depends on when or in how many sittings
it was written: equal contents are equal bytes. `ghostedge.evaluation.columns` lists the columns; the file's key-value
metadata holds the JSON of `LedgerMetadata` under ``ghostedge``.

Damage is told by checksums of that JSON and of every value under ``ghostedge.crc32`` (`Checksums`), which are compared
whenever all rows are read. Older ledgers have none; `Ledger.checksum` says so.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import name_column
from ghostedge.errors import GhostedgeError, LedgerError, first_line
from ghostedge.evaluation.columns import CONTENT, Columns, Rows, schema
from ghostedge.files import atomic_path, atomic_write
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.lazy import require
from ghostedge.model import InputSpec
from ghostedge.stored import as_type, parse_json, plain

SCHEMA_VERSION = 1

_KEY = b"ghostedge"
_CHECKSUMS = b"ghostedge.crc32"

#: How Parquet files are written. Columns whose values repeat get a dictionary. Logits do not repeat: a dictionary would
#: make the file larger, and reading it five times as slow.
_ENCODING: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": ["label", "top5_class.list.element", "error"],
}

#: Rows of one Parquet row group. Fixed, because it is part of the file's bytes.
_ROW_GROUP = 4096


@dataclass(frozen=True)
class LedgerMetadata:
    """Where a ledger's numbers come from.

    Attributes:
        model: ``file``, ``sha256`` (an OpenVINO IR: also ``weights_sha256``), ``format``, ``precision``.
        input: what the model's input tensor holds.
        preprocessing: the resize rule that was really used: that of `input` unless another one was asked for.
        runtime: what ran the model, at least ``name`` and ``version``.
        device: ``"CPU"``, ``"GPU"`` or ``"Ascend"``.
        host: ``machine``, ``system``, ``cpu``, ``python``.
        classes: logits a row.
        dataset: ``images`` (how many), ``ids_sha256`` (see `ids_sha256`). How they are stored is not part of it.
        is_reference: whether this is MindSpore's own run of the checkpoint.
        checkpoint_sha256: of the checkpoint the model was made from; None where it is not known.
        arithmetic: in which arithmetic MindSpore computed; None where it was not recorded (older ledgers), and of other
            runtimes, whose `runtime` says it.
    """

    model: Mapping[str, Any]
    input: InputSpec
    preprocessing: str
    runtime: Mapping[str, Any]
    device: str
    host: Mapping[str, str]
    classes: int
    dataset: Mapping[str, Any]
    is_reference: bool = False
    checkpoint_sha256: str | None = None
    arithmetic: Arithmetic | None = None

    @property
    def deciding(self) -> LedgerMetadata:
        """What decides the rows: all but the numbers of the cards, which may be others when a run is continued."""
        if self.arithmetic is None:
            return self
        return dataclasses.replace(self, arithmetic=dataclasses.replace(self.arithmetic, device_ids=()))

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal metadata are equal bytes."""
        document = {"schema_version": SCHEMA_VERSION, **plain(self)}
        if self.arithmetic is None:
            del document["arithmetic"]  # as in ledgers of before there was such a field
        return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> LedgerMetadata:
        """Read what `to_json` wrote. Raises: LedgerError for damaged JSON or another schema version."""
        return cls.from_dict(parse_json(text, "the metadata", LedgerError))

    @classmethod
    def from_dict(cls, data: Any) -> LedgerMetadata:
        """Read parsed JSON. Raises: LedgerError for a field of another type or another schema version."""
        if isinstance(data, dict) and (version := data.get("schema_version")) != SCHEMA_VERSION:
            raise LedgerError(
                f"schema version {version}, this ghostedge reads {SCHEMA_VERSION}; "
                "update ghostedge or make the ledger again"
            )
        return as_type(data, cls, "damaged metadata, make the ledger again", LedgerError)


@dataclass(frozen=True)
class Ledger(Columns):
    """A whole ledger: rows sorted by `image_ids`, each id once, and where they come from.

    Attributes:
        metadata: see `LedgerMetadata`.
        checksum: whether the rows were compared with a checksum of their file; older files have none.
    """

    metadata: LedgerMetadata
    checksum: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        wrong = np.flatnonzero(np.greater_equal(self.image_ids[:-1], self.image_ids[1:]))
        if len(wrong):
            first, second = self.image_ids[wrong[0] : wrong[0] + 2]
            what = f"image '{first}' is there twice" if first == second else f"'{second}' comes after '{first}'"
            raise LedgerError(f"a ledger holds each image once, sorted by image_id: {what}")

    @classmethod
    def of(cls, metadata: LedgerMetadata, rows: Rows | Columns) -> Ledger:
        """Sort `rows` into a ledger. Raises: LedgerError for an image that is there twice."""
        columns = rows.columns() if isinstance(rows, Rows) else rows
        return cls(columns.table.take(np.argsort(columns.image_ids, kind="stable")), metadata)


class Checksums:
    """CRC-32 of what a ledger says, however its rows are cut into pieces and encoded: one a column.

    SHA-256 would take a fifth of the time of reading whole logits, and against damage it does no more.

    Args:
        text: what else the file says: the JSON of the metadata, or a part's key.
    """

    def __init__(self, text: bytes) -> None:
        self._found = {"metadata": zlib.crc32(text)}

    def add(self, rows: Columns) -> Self:
        """Take these rows too."""
        if len(rows):
            for name, values in rows.buffers().items():
                self._found[name] = zlib.crc32(values, self._found.get(name, 0))
        return self

    def to_json(self) -> str:
        """Column -> 8 hexadecimal digits; texts have several."""
        return json.dumps({name: f"{checksum:08x}" for name, checksum in self._found.items()})


def ids_sha256(image_ids: NDArray[np.bytes_] | Iterable[str]) -> str:
    """The identity of a set of images: SHA-256 of the sorted ids (text or a `name_column`) joined by newlines."""
    is_column = isinstance(image_ids, np.ndarray) and image_ids.dtype.kind == "S"
    column: NDArray[np.bytes_] = image_ids if is_column else name_column(map(str, image_ids))  # type: ignore[assignment]
    digest, between = hashlib.sha256(), b""
    for image_id in np.sort(column):
        digest.update(between + image_id)
        between = b"\n"
    return digest.hexdigest()


def write_part(path: Path, rows: Columns, key: str) -> None:
    """Write a part of a ledger, whole or not at all: rows in any order, the key of their run. Raises: OutputError."""
    checksums = Checksums(key.encode()).add(rows).to_json()
    table = rows.table.replace_schema_metadata({_KEY: key, _CHECKSUMS: checksums})
    buffer = io.BytesIO()  # so that a full disk is an OSError of our own write, with its errno
    require("pyarrow.parquet", "evaluate").write_table(table, buffer, **_ENCODING)
    atomic_write(path, buffer.getvalue())


def read_part(path: Path) -> tuple[Columns, str]:
    """Read a part: its rows and its key. Raises: LedgerError for a file that is not one, or damaged."""
    with _opened(path) as file:
        columns, key = Columns(file.read(use_threads=False)), _kept(file, _KEY) or b""
        _compare(file, Checksums(key).add(columns))
        return columns, key.decode()


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger, whole or not at all. Raises: OutputError."""
    write_pieces(path, ledger.metadata, [ledger], has_logits=ledger.logits is not None)


def write_pieces(path: Path, metadata: LedgerMetadata, pieces: Iterable[Columns], *, has_logits: bool) -> None:
    """Write a ledger whose rows come in pieces, sorted by image_id; the same bytes as `write_ledger` of the whole.

    (With whole logits Parquet's pages end where pieces do, so equal bytes take equal pieces.)

    Args:
        pieces: of any size; only a few thousand rows are held beside the current one.
        has_logits: whether the pieces carry whole logits.

    Raises:
        OutputError: the file cannot be written.
    """
    pa, parquet = require("pyarrow", "evaluate"), require("pyarrow.parquet", "evaluate")
    described = schema(has_logits).with_metadata({_KEY: metadata.to_json().encode()})
    checksums = Checksums(described.metadata[_KEY])
    with (
        atomic_path(path) as partial,
        open(partial, "wb") as file,
        parquet.ParquetWriter(file, described, **_ENCODING) as writer,
    ):
        waiting: list[Any] = []
        count = 0
        for piece in pieces:
            checksums.add(piece)
            waiting.append(piece.table.replace_schema_metadata(described.metadata))
            count += len(piece)
            while count >= _ROW_GROUP:
                whole = pa.concat_tables(waiting)
                writer.write_table(whole.slice(0, _ROW_GROUP), row_group_size=_ROW_GROUP)
                waiting, count = [whole.slice(_ROW_GROUP)], count - _ROW_GROUP
        if count:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)
        writer.add_key_value_metadata({_CHECKSUMS: checksums.to_json()})


def read_ledger(path: Path) -> Ledger:
    """Read a ledger.

    Raises:
        LedgerError: missing, not a ledger, damaged, of another schema version, an image twice or out of order.
    """
    with _opened(path) as file:
        columns = Columns(file.read())
        has_checksum = _compare(file, Checksums(_kept(file, _KEY) or b"").add(columns))
        ledger = Ledger(columns.table, _metadata_of(file), has_checksum)
        if ledger.logits is not None and ledger.logits.shape[1] != ledger.metadata.classes:
            raise LedgerError(f"{ledger.logits.shape[1]} logits a row, {ledger.metadata.classes} in the metadata")
        dataset = ledger.metadata.dataset
        if dataset.get("images") != len(ledger) or dataset.get("ids_sha256") != ids_sha256(ledger.image_ids):
            raise LedgerError("its images are not those of its metadata; it was changed after it was made")
        return ledger


def read_metadata(path: Path) -> tuple[LedgerMetadata, bool]:
    """A ledger's metadata and whether it holds whole logits. Raises: LedgerError."""
    with _opened(path) as file:
        return _metadata_of(file), "logits" in file.schema_arrow.names


def read_pieces(path: Path) -> Iterator[Columns]:
    """The rows of a ledger in their order, a few thousand at a time.

    They are compared with the file's checksum once the last one is taken; nothing else is checked.

    Raises:
        LedgerError: it cannot be read, or is damaged.
    """
    pa = require("pyarrow", "evaluate")
    with _opened(path) as file:
        checksums = Checksums(_kept(file, _KEY) or b"")
        for batch in file.iter_batches(_ROW_GROUP, use_threads=False):
            columns = Columns(pa.Table.from_batches([batch]))
            checksums.add(columns)
            yield columns
        _compare(file, checksums)


def _kept(file: Any, key: bytes) -> bytes | None:
    """What the key-value metadata of a ``ParquetFile`` hold."""
    found: bytes | None = (file.metadata.metadata or {}).get(key)
    return found


def _compare(file: Any, checksums: Checksums) -> bool:
    """Compare what was read with the file's checksums: whether it has any. Raises: LedgerError where one differs."""
    stored = _kept(file, _CHECKSUMS)
    if stored is not None and stored != checksums.to_json().encode():
        raise LedgerError("its values are not those of its checksums, it is damaged; copy it or make it again")
    return stored is not None


def _metadata_of(file: Any) -> LedgerMetadata:
    text = _kept(file, _KEY)
    if text is None:
        raise LedgerError("a Parquet file but not a ledger; make one with 'ghostedge evaluate'")
    return LedgerMetadata.from_json(text)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile`` with a ledger's columns; what goes wrong in the block is a LedgerError."""
    pa, parquet = require("pyarrow", "evaluate"), require("pyarrow.parquet", "evaluate")
    try:
        with open(path, "rb") as stream, parquet.ParquetFile(stream) as file:
            found = file.schema_arrow
            expected = schema("logits" in found.names, has_content=CONTENT in found.names)
            if not found.equals(expected, check_metadata=False):
                have = ", ".join(f"{field.name} {field.type}" for field in found)
                raise LedgerError(f"it does not have a ledger's columns: it has {have}")
            yield file
    except GhostedgeError as exc:
        raise LedgerError(f"{path}: {exc}") from exc
    except (OSError, pa.ArrowException, ValueError, TypeError, OverflowError, MemoryError) as exc:
        # pyarrow finds some damage itself; some makes columns that NumPy cannot have.
        reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else first_line(exc)
        raise LedgerError(f"{path} cannot be read as a ledger: {reason}") from exc


def merge_ledgers(ledgers: Sequence[Ledger]) -> Ledger:
    """One ledger of disjoint sets of images, all run by the same model in the same way.

    Raises:
        LedgerError: nothing to merge; another model, InputSpec, runtime or device; an image in two of them.
    """
    if not ledgers:
        raise LedgerError("there is no ledger to merge")
    first = ledgers[0].metadata
    for other in ledgers[1:]:
        for field in dataclasses.fields(LedgerMetadata):
            ours, theirs = (getattr(metadata.deciding, field.name) for metadata in (first, other.metadata))
            if field.name != "dataset" and ours != theirs:
                raise LedgerError(f"ledgers of different runs do not merge: {field.name} is {ours} and {theirs}")
        if (ledgers[0].logits is None) != (other.logits is None):
            raise LedgerError("ledgers with and without whole logits do not merge")
    columns = Columns.joined(ledgers)
    dataset = {"images": len(columns), "ids_sha256": ids_sha256(columns.image_ids)}
    arithmetic = first.arithmetic
    if arithmetic is not None:
        cards = {card for each in ledgers if each.metadata.arithmetic for card in each.metadata.arithmetic.device_ids}
        arithmetic = dataclasses.replace(arithmetic, device_ids=tuple(sorted(cards)))
    return Ledger.of(dataclasses.replace(first, dataset=dataset, arithmetic=arithmetic), columns)
