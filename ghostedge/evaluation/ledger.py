"""The ledger: what one model answered for each image of a data set, as a Parquet file with one row an image.

Rows are sorted by `image_id`, which does not depend on how the data set is stored, so that the ledgers of two models,
made on two machines from two layouts, pair image by image. Nothing in the file depends on when or in how many sittings
it was written: equal contents are equal bytes.

Columns::

    image_id    string                      the file name (with its class folder where file names repeat)
    label       int32                       the true class, -1 unknown
    content_crc32 int64                     CRC-32 of the encoded image, -1 unknown; older ledgers lack the column
    top5_class  fixed_size_list<int32, 5>   best first, equal logits by the lower class; padded with -1
    top5_logit  fixed_size_list<float, 5>   padded with NaN
    label_logit float                       the true class's logit, NaN where the label is unknown
    log_sum_exp float                       log of the sum of exp(logit) over all classes
    logits      list<halffloat>             the whole row; the column is there only when it was asked for
    error       string                      null, or why this image has no answer (classes -1, logits NaN)

The file's key-value metadata holds the JSON of `LedgerMetadata` under ``ghostedge``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import name_column
from ghostedge.errors import GhostedgeError, LedgerError, first_line
from ghostedge.files import atomic_path, atomic_write
from ghostedge.lazy import require
from ghostedge.model import InputSpec

__all__ = [
    "SCHEMA_VERSION",
    "TOP",
    "Ledger",
    "LedgerMetadata",
    "Rows",
    "ids_sha256",
    "merge_ledgers",
    "read_ledger",
    "read_metadata",
    "read_pieces",
    "read_rows",
    "rows_of_logits",
    "write_ledger",
    "write_ledger_stream",
    "write_rows",
]

SCHEMA_VERSION = 1

#: How many of the best classes a row keeps.
TOP = 5

_KEY = b"ghostedge"
_CONTENT = "content_crc32"

#: How Parquet files are written. Columns whose values repeat get a dictionary; for logits, which fill it at once, one
#: only makes the file larger and reading it five times as long.
_ENCODING: dict[str, Any] = {"compression": "zstd", "use_dictionary": ["label", "top5_class.list.element", "error"]}

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

    def to_json(self) -> str:
        """One line of JSON with sorted keys: equal metadata are equal bytes."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        document = {"schema_version": SCHEMA_VERSION, **fields, "input": self.input.to_dict()}
        return json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> LedgerMetadata:
        """Read what `to_json` wrote. Raises: LedgerError for damaged JSON or another schema version."""
        try:
            data: dict[str, Any] = json.loads(text)
            if (version := data.pop("schema_version")) != SCHEMA_VERSION:
                raise LedgerError(
                    f"schema version {version}, this ghostedge reads {SCHEMA_VERSION}; "
                    "update ghostedge or make the ledger again"
                )
            return cls(**{**data, "input": InputSpec.from_dict(data["input"])})
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise LedgerError(f"damaged metadata ({type(exc).__name__}: {exc}); make the ledger again") from exc


@dataclass(frozen=True)
class Rows:
    """The columns of n rows, in any order.

    Attributes:
        image_ids: str (n,).
        labels: int32 (n,), -1 unknown.
        content_crc32: int64 (n,): CRC-32 of the encoded image (``zlib.crc32``), -1 unknown.
        top5_class: int32 (n, 5), best first.
        top5_logit: float32 (n, 5).
        label_logit: float32 (n,).
        log_sum_exp: float32 (n,): the softmax probability of class c is ``exp(logit_c - log_sum_exp)``.
        logits: float16 (n, classes), or None where they were not kept.
        errors: n entries: None, or why the image has no answer.
    """

    image_ids: NDArray[np.str_]
    labels: NDArray[np.int32]
    content_crc32: NDArray[np.int64]
    top5_class: NDArray[np.int32]
    top5_logit: NDArray[np.float32]
    label_logit: NDArray[np.float32]
    log_sum_exp: NDArray[np.float32]
    logits: NDArray[np.float16] | None
    errors: tuple[str | None, ...]

    def __len__(self) -> int:
        return len(self.image_ids)

    def take(self, index: NDArray[np.intp]) -> Rows:
        """The rows `index` names, in its order."""
        return Rows(
            **{name: getattr(self, name)[index] for name in _ARRAYS},
            logits=None if self.logits is None else self.logits[index],
            errors=tuple(self.errors[i] for i in index),
        )

    @property
    def failed(self) -> NDArray[np.bool_]:
        """bool (n,): the images without an answer."""
        return np.array([error is not None for error in self.errors], dtype=bool)

    def correct(self, top: int = 1) -> NDArray[np.bool_]:
        """bool (n,): the label is among the best `top` (1..5); an image without an answer that is a number is not."""
        hits = (self.top5_class[:, :top] == self.labels[:, None]).any(axis=1)
        right: NDArray[np.bool_] = hits & (self.labels >= 0) & np.isfinite(self.log_sum_exp)
        return right


_ARRAYS = ("image_ids", "labels", "content_crc32", "top5_class", "top5_logit", "label_logit", "log_sum_exp")


def concatenate(parts: Sequence[Rows]) -> Rows:
    """All rows of `parts` (at least one), one after the other."""
    logits = [part.logits for part in parts if part.logits is not None]
    return Rows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        logits=np.concatenate(logits) if len(logits) == len(parts) else None,
        errors=tuple(error for part in parts for error in part.errors),
    )


@dataclass(frozen=True)
class Ledger(Rows):
    """A whole ledger: rows sorted by `image_ids`, each id once, and where they come from.

    Attributes:
        metadata: see `LedgerMetadata`.
    """

    metadata: LedgerMetadata

    def __post_init__(self) -> None:
        _check_columns(self)
        wrong = np.flatnonzero(np.greater_equal(self.image_ids[:-1], self.image_ids[1:]))
        if len(wrong):
            first, second = self.image_ids[wrong[0] : wrong[0] + 2]
            what = f"image '{first}' is there twice" if first == second else f"'{second}' comes after '{first}'"
            raise LedgerError(f"a ledger holds each image once, sorted by image_id: {what}")

    @classmethod
    def of(cls, metadata: LedgerMetadata, rows: Rows) -> Ledger:
        """Sort `rows` into a ledger. Raises: LedgerError for an image that is there twice."""
        ordered = rows.take(np.argsort(rows.image_ids, kind="stable"))
        return cls(metadata=metadata, **vars(ordered))


def ids_sha256(image_ids: NDArray[np.bytes_] | Iterable[str]) -> str:
    """The identity of a set of images: SHA-256 of the sorted ids joined by newlines, 64 hexadecimal digits.

    Args:
        image_ids: as text, or a `name_column`.
    """
    is_column = isinstance(image_ids, np.ndarray) and image_ids.dtype.kind == "S"
    column: NDArray[np.bytes_] = image_ids if is_column else name_column(map(str, image_ids))  # type: ignore[assignment]
    digest, between = hashlib.sha256(), b""
    for image_id in np.sort(column):
        digest.update(between + image_id)
        between = b"\n"
    return digest.hexdigest()


def rows_of_logits(
    image_ids: NDArray[np.str_],
    labels: NDArray[np.int32],
    logits: NDArray[np.float32],
    errors: Sequence[str | None],
    *,
    keep_logits: bool,
    content_crc32: NDArray[np.int64] | None = None,
) -> Rows:
    """Reduce logits to the ledger's columns.

    Args:
        image_ids: str (n,).
        labels: int32 (n,), -1 unknown, below `classes`.
        logits: float32 (n, classes); the rows of images with an error are ignored.
        errors: n entries, None for an image that was run.
        keep_logits: whether to keep the whole rows, as float16.
        content_crc32: int64 (n,), -1 unknown; None for all unknown.
    """
    count, classes = logits.shape
    failed = np.array([error is not None for error in errors], dtype=bool)
    best = min(TOP, classes)
    # A stable sort of the negated row puts the lower class first among equal logits.
    order = np.argsort(-logits, axis=1, kind="stable")[:, :best].astype(np.int32)
    top_class = np.full((count, TOP), -1, np.int32)
    top_logit = np.full((count, TOP), np.nan, np.float32)
    top_class[:, :best] = order
    top_logit[:, :best] = np.take_along_axis(logits, order, axis=1)
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore"):
        peak = exact.max(axis=1)
        log_sum_exp = (peak + np.log(np.exp(exact - peak[:, None]).sum(axis=1))).astype(np.float32)
    known = labels >= 0
    label_logit = np.where(known, logits[np.arange(count), np.where(known, labels, 0)], np.float32(np.nan))
    top_class[failed] = -1
    top_logit[failed] = np.nan
    log_sum_exp[failed] = np.nan
    label_logit[failed] = np.nan
    kept = None
    if keep_logits:
        with np.errstate(over="ignore"):
            kept = logits.astype(np.float16)
        kept[failed] = np.nan
    content = np.full(count, -1, np.int64) if content_crc32 is None else content_crc32
    return Rows(image_ids, labels, content, top_class, top_logit, label_logit, log_sum_exp, kept, tuple(errors))


def _check_columns(rows: Rows) -> None:
    count = len(rows.image_ids)
    expected = {
        "labels": ((count,), np.int32),
        "content_crc32": ((count,), np.int64),
        "top5_class": ((count, TOP), np.int32),
        "top5_logit": ((count, TOP), np.float32),
        "label_logit": ((count,), np.float32),
        "log_sum_exp": ((count,), np.float32),
    }
    for name, (shape, dtype) in expected.items():
        column = getattr(rows, name)
        if column.shape != shape or column.dtype != dtype:
            raise LedgerError(f"column {name} is {column.dtype} {column.shape}, not {np.dtype(dtype)} {shape}")
    if len(rows.errors) != count:
        raise LedgerError(f"{len(rows.errors)} error entries for {count} images")
    if rows.logits is not None and (rows.logits.dtype != np.float16 or len(rows.logits) != count):
        raise LedgerError(f"column logits is {rows.logits.dtype} {rows.logits.shape}, not float16 ({count}, classes)")


# -- Parquet ------------------------------------------------------------------------------------------------


def _schema(has_logits: bool, *, has_content: bool = True) -> Any:
    pa = require("pyarrow", "evaluate")
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
            *([pa.field(_CONTENT, pa.int64(), nullable=False)] if has_content else []),
            pa.field("top5_class", pa.list_(pa.int32(), TOP)),
            pa.field("top5_logit", pa.list_(pa.float32(), TOP)),
            pa.field("label_logit", pa.float32()),
            pa.field("log_sum_exp", pa.float32()),
            *([pa.field("logits", pa.list_(pa.float16()))] if has_logits else []),
            pa.field("error", pa.string()),
        ]
    )


def _to_table(rows: Rows) -> Any:
    pa = require("pyarrow", "evaluate")
    columns = [
        pa.array(rows.image_ids.tolist(), pa.string()),
        pa.array(rows.labels),
        pa.array(rows.content_crc32),
        pa.FixedSizeListArray.from_arrays(pa.array(rows.top5_class.ravel()), TOP),
        pa.FixedSizeListArray.from_arrays(pa.array(rows.top5_logit.ravel()), TOP),
        pa.array(rows.label_logit),
        pa.array(rows.log_sum_exp),
    ]
    if rows.logits is not None:
        offsets = np.arange(len(rows) + 1, dtype=np.int32) * rows.logits.shape[1]
        columns.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(rows.logits.ravel())))
    columns.append(pa.array(rows.errors, pa.string()))
    return pa.Table.from_arrays(columns, schema=_schema(rows.logits is not None))


def _from_table(table: Any) -> Rows:
    table = table.combine_chunks()

    def flat(name: str) -> Any:
        return table.column(name).combine_chunks()

    count = table.num_rows
    logits = None
    if "logits" in table.column_names:
        logits = flat("logits").flatten().to_numpy(zero_copy_only=False).reshape(count, -1)
    content = np.full(count, -1, np.int64)
    if _CONTENT in table.column_names:
        content = flat(_CONTENT).to_numpy(zero_copy_only=False)
    ids = flat("image_id").to_pylist()
    return Rows(
        image_ids=np.array(ids, dtype=np.str_) if ids else np.empty(0, dtype="<U1"),
        labels=flat("label").to_numpy(zero_copy_only=False),
        content_crc32=content,
        top5_class=flat("top5_class").flatten().to_numpy(zero_copy_only=False).reshape(count, TOP),
        top5_logit=flat("top5_logit").flatten().to_numpy(zero_copy_only=False).reshape(count, TOP),
        label_logit=flat("label_logit").to_numpy(zero_copy_only=False),
        log_sum_exp=flat("log_sum_exp").to_numpy(zero_copy_only=False),
        logits=logits,
        errors=tuple(flat("error").to_pylist()),
    )


def write_rows(path: Path, rows: Rows, key: str) -> None:
    """Write one part of a ledger that is being made, whole or not at all.

    Args:
        path: the part.
        rows: in any order.
        key: names the run that the part belongs to; `read_rows` gives it back.

    Raises:
        OutputError: the part cannot be written (a full disk).
    """
    parquet = require("pyarrow.parquet", "evaluate")
    table = _to_table(rows).replace_schema_metadata({_KEY: key})
    buffer = io.BytesIO()  # so that a full disk is an OSError of our own write, with its errno
    parquet.write_table(table, buffer, **_ENCODING)
    atomic_write(path, buffer.getvalue())


def read_rows(path: Path) -> tuple[Rows, str]:
    """Read a part: its rows and its key. Raises: LedgerError for a file that is not one."""
    table = _read_table(path, use_threads=False)
    return _from_table(table), (table.schema.metadata or {}).get(_KEY, b"").decode()


def write_ledger(path: Path, ledger: Ledger) -> None:
    """Write a ledger, whole or not at all. Raises: OutputError."""
    write_ledger_stream(path, ledger.metadata, [ledger], has_logits=ledger.logits is not None)


def write_ledger_stream(path: Path, metadata: LedgerMetadata, rows: Iterable[Rows], *, has_logits: bool) -> None:
    """Write a ledger whose rows come in pieces, sorted by image_id; the same bytes as `write_ledger` of the whole.

    Args:
        path: the ledger.
        metadata: see `LedgerMetadata`.
        rows: pieces of any size; only a few thousand rows are held beside the current one.
        has_logits: whether the pieces carry whole logits.

    Raises:
        OutputError: the file cannot be written.
    """
    pa, parquet = require("pyarrow", "evaluate"), require("pyarrow.parquet", "evaluate")
    schema = _schema(has_logits).with_metadata({_KEY: metadata.to_json().encode()})
    with (
        atomic_path(path) as partial,
        open(partial, "wb") as file,
        parquet.ParquetWriter(file, schema, **_ENCODING) as writer,
    ):
        waiting: list[Any] = []
        count = 0
        for piece in rows:
            table = _to_table(piece).replace_schema_metadata(schema.metadata)
            waiting.append(table)
            count += table.num_rows
            while count >= _ROW_GROUP:
                whole = pa.concat_tables(waiting)
                writer.write_table(whole.slice(0, _ROW_GROUP), row_group_size=_ROW_GROUP)
                waiting, count = [whole.slice(_ROW_GROUP)], count - _ROW_GROUP
        if count:
            writer.write_table(pa.concat_tables(waiting), row_group_size=_ROW_GROUP)


def read_ledger(path: Path) -> Ledger:
    """Read a ledger.

    Raises:
        LedgerError: missing, not a ledger, damaged, of another schema version, an image twice or out of order.
    """
    table = _read_table(path)
    try:
        ledger = Ledger(metadata=_metadata_of(table.schema), **vars(_from_table(table)))
        if ledger.logits is not None and ledger.logits.shape[1] != ledger.metadata.classes:
            raise LedgerError(f"{ledger.logits.shape[1]} logits a row, {ledger.metadata.classes} in the metadata")
        dataset = ledger.metadata.dataset
        if dataset.get("images") != len(ledger) or dataset.get("ids_sha256") != ids_sha256(ledger.image_ids):
            raise LedgerError("its images are not those of its metadata; it was changed after it was made")
    except GhostedgeError as exc:
        raise LedgerError(f"{path}: {exc}") from exc
    return ledger


def read_metadata(path: Path) -> tuple[LedgerMetadata, bool]:
    """A ledger's metadata and whether it holds whole logits. Raises: LedgerError."""
    with _opened(path) as file:
        try:
            return _metadata_of(file.schema_arrow), "logits" in file.schema_arrow.names
        except LedgerError as exc:
            raise LedgerError(f"{path}: {exc}") from exc


def read_pieces(path: Path) -> Iterator[Rows]:
    """The rows of a ledger in their order, a few thousand at a time; they are not checked. Raises: LedgerError."""
    pa = require("pyarrow", "evaluate")
    with _opened(path) as file:
        for batch in file.iter_batches(_ROW_GROUP, use_threads=False):
            yield _from_table(pa.Table.from_batches([batch]))


def _metadata_of(schema: Any) -> LedgerMetadata:
    text = (schema.metadata or {}).get(_KEY)
    if text is None:
        raise LedgerError("a Parquet file but not a ledger; make one with 'ghostedge evaluate'")
    return LedgerMetadata.from_json(text)


def _read_table(path: Path, *, use_threads: bool = True) -> Any:
    with _opened(path) as file:
        return file.read(use_threads=use_threads)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A ``pyarrow.parquet.ParquetFile`` with a ledger's columns; what goes wrong while it is read is a LedgerError."""
    pa, parquet = require("pyarrow", "evaluate"), require("pyarrow.parquet", "evaluate")
    try:
        with open(path, "rb") as stream, parquet.ParquetFile(stream) as file:
            schema = file.schema_arrow
            expected = _schema("logits" in schema.names, has_content=_CONTENT in schema.names)
            if not schema.equals(expected, check_metadata=False):
                have = ", ".join(f"{field.name} {field.type}" for field in schema)
                raise LedgerError(f"{path} does not have a ledger's columns: it has {have}")
            yield file
    except (OSError, pa.ArrowException) as exc:
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
            ours, theirs = getattr(first, field.name), getattr(other.metadata, field.name)
            if field.name != "dataset" and ours != theirs:
                raise LedgerError(f"ledgers of different runs do not merge: {field.name} is {ours} and {theirs}")
        if (ledgers[0].logits is None) != (other.logits is None):
            raise LedgerError("ledgers with and without whole logits do not merge")
    rows = concatenate(ledgers)
    dataset = {"images": len(rows), "ids_sha256": ids_sha256(rows.image_ids)}
    return Ledger.of(dataclasses.replace(first, dataset=dataset), rows)
