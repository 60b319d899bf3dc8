"""The columns of a ledger: NumPy arrays on the way from a worker, then an Arrow table that NumPy reads in place.

A row is what one model answered for one image::

    image_id    string                      the file name (with its class folder where file names repeat)
    label       int32                       the true class, -1 unknown
    content_crc32 int64                     CRC-32 of the encoded image, -1 unknown; older ledgers lack the column
    top5_class  fixed_size_list<int32, 5>   best first, equal logits by the lower class; padded with -1
    top5_logit  fixed_size_list<float, 5>   padded with NaN
    label_logit float                       the true class's logit, NaN where the label is unknown
    log_sum_exp float                       log of the sum of exp(logit) over all classes
    logits      list<halffloat>             the whole row; the column is there only when it was asked for
    error       string                      null, or why this image has no answer (classes -1, logits NaN)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ghostedge.lazy import require

#: How many of the best classes a row keeps.
TOP = 5

#: The column that older ledgers lack.
CONTENT = "content_crc32"


@cache
def schema(has_logits: bool, *, has_content: bool = True) -> Any:
    """The ``pyarrow.Schema`` of a ledger's columns."""
    pa = require("pyarrow", "evaluate")
    return pa.schema(
        [
            pa.field("image_id", pa.string(), nullable=False),
            pa.field("label", pa.int32(), nullable=False),
            *([pa.field(CONTENT, pa.int64(), nullable=False)] if has_content else []),
            pa.field("top5_class", pa.list_(pa.int32(), TOP)),
            pa.field("top5_logit", pa.list_(pa.float32(), TOP)),
            pa.field("label_logit", pa.float32()),
            pa.field("log_sum_exp", pa.float32()),
            *([pa.field("logits", pa.list_(pa.float16()))] if has_logits else []),
            pa.field("error", pa.string()),
        ]
    )


@dataclass(frozen=True)
class Columns:
    """n rows as an Arrow table, and NumPy's views of it.

    Attributes:
        table: a ``pyarrow.Table`` of a ledger's `schema`, in one piece. The views of numbers share its memory.
    """

    table: Any

    def __post_init__(self) -> None:
        table = self.table.combine_chunks()
        if CONTENT not in table.column_names:  # an older ledger
            unknown = require("pyarrow", "evaluate").array(np.full(len(table), -1, np.int64))
            table = table.add_column(2, schema(has_logits=False).field(CONTENT), unknown)
        object.__setattr__(self, "table", table)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def _array(self, name: str) -> Any:
        column = self.table.column(name)
        return column.chunk(0) if column.num_chunks else column.combine_chunks()

    def _numbers(self, name: str) -> NDArray[Any]:
        numbers: NDArray[Any] = self._array(name).to_numpy(zero_copy_only=False)
        return numbers

    def _best(self, name: str) -> NDArray[Any]:
        """A column of lists of `TOP` numbers. (`flatten` would do, but loads 8 MB of functions.)"""
        lists = self._array(name)
        numbers: NDArray[Any] = lists.values.slice(TOP * lists.offset, TOP * len(lists)).to_numpy(zero_copy_only=False)
        return numbers.reshape(-1, TOP)

    @cached_property
    def image_ids(self) -> NDArray[np.str_]:
        """The ids, str (n,)."""
        return np.array(self._array("image_id").to_pylist(), np.str_)

    @cached_property
    def labels(self) -> NDArray[np.int32]:
        """int32 (n,), -1 unknown."""
        return self._numbers("label")

    @cached_property
    def content_crc32(self) -> NDArray[np.int64]:
        """int64 (n,): CRC-32 of the encoded image (``zlib.crc32``), -1 unknown."""
        return self._numbers(CONTENT)

    @cached_property
    def top5_class(self) -> NDArray[np.int32]:
        """int32 (n, 5), best first."""
        return self._best("top5_class")

    @cached_property
    def top5_logit(self) -> NDArray[np.float32]:
        """float32 (n, 5)."""
        return self._best("top5_logit")

    @cached_property
    def label_logit(self) -> NDArray[np.float32]:
        """float32 (n,)."""
        return self._numbers("label_logit")

    @cached_property
    def log_sum_exp(self) -> NDArray[np.float32]:
        """float32 (n,): the softmax probability of class c is ``exp(logit_c - log_sum_exp)``."""
        return self._numbers("log_sum_exp")

    @cached_property
    def logits(self) -> NDArray[np.float16] | None:
        """float16 (n, classes), or None where they were not kept."""
        if "logits" not in self.table.column_names:
            return None
        lists = self._array("logits")
        ends = lists.offsets
        start, stop = (ends[0].as_py(), ends[-1].as_py())
        numbers: NDArray[np.float16] = lists.values.slice(start, stop - start).to_numpy(zero_copy_only=False)
        return numbers.reshape(len(self), -1)

    @cached_property
    def errors(self) -> tuple[str | None, ...]:
        """n entries: None, or why the image has no answer."""
        return tuple(self._array("error").to_pylist())

    @cached_property
    def failed(self) -> NDArray[np.bool_]:
        """bool (n,): the images without an answer."""
        return np.array([error is not None for error in self.errors], bool)

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """bool (n,): the images with an answer that is a number; a model that overflows gives NaN or infinity."""
        finite: NDArray[np.bool_] = np.isfinite(self.log_sum_exp)
        return finite & ~self.failed

    @property
    def confidence(self) -> NDArray[np.float64]:
        """float64 (n,): the softmax probability of the best class, NaN where there is no answer."""
        best = self.top5_logit[:, 0].astype(np.float64) - self.log_sum_exp
        probability: NDArray[np.float64] = np.minimum(np.exp(best), 1.0)
        return probability

    def correct(self, top: int = 1) -> NDArray[np.bool_]:
        """bool (n,): the label is among the best `top` (1..5); an image without an answer that is a number is not."""
        among = (self.top5_class[:, :top] == self.labels[:, None]).any(axis=1)
        right: NDArray[np.bool_] = among & (self.labels >= 0) & np.isfinite(self.log_sum_exp)
        return right

    def buffers(self) -> dict[str, Any]:
        """All values as contiguous memory: that of numbers by column; of texts lengths, UTF-8 and which are null."""
        found: dict[str, Any] = {}
        for name in schema(self.logits is not None).names:
            if name in ("image_id", "error"):
                texts = self._array(name)
                valid, offsets, data = texts.buffers()
                ends = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
                found[f"{name} lengths"] = np.diff(ends)
                found[name] = b"" if data is None else memoryview(data)[ends[0] : ends[-1]]
                found[f"{name} nulls"] = _nulls(texts, valid)
            else:
                numbers = getattr(self, {"label": "labels"}.get(name, name))
                found[name] = np.ascontiguousarray(numbers).data
        return found

    @classmethod
    def joined(cls, columns: Sequence[Columns]) -> Columns:
        """All of `columns` (at least one), one after the other."""
        return cls(require("pyarrow", "evaluate").concat_tables([each.table for each in columns]))


def _nulls(array: Any, valid: Any) -> NDArray[np.bool_]:
    """Which entries of an Arrow array are null, of its bitmap. (`is_null` would do, but takes 40 ms to load.)"""
    if valid is None:
        return np.zeros(len(array), bool)
    bits = np.unpackbits(np.frombuffer(valid, np.uint8), count=array.offset + len(array), bitorder="little")
    nulls: NDArray[np.bool_] = bits[array.offset :] == 0
    return nulls


@dataclass(frozen=True)
class Rows:
    """n rows as NumPy arrays, in any order: what a worker sends, which needs no Arrow.

    The arrays are those of `Columns`, of the same shapes.
    """

    image_ids: NDArray[np.str_]
    labels: NDArray[np.int32]
    content_crc32: NDArray[np.int64]
    top5_class: NDArray[np.int32]
    top5_logit: NDArray[np.float32]
    label_logit: NDArray[np.float32]
    log_sum_exp: NDArray[np.float32]
    logits: NDArray[np.float16] | None
    errors: Sequence[str | None]

    @classmethod
    def blank(
        cls, image_ids: ArrayLike, labels: NDArray[np.int32], errors: Sequence[str | None], classes: int | None
    ) -> Rows:
        """Rows without answers, to be filled; `classes` None leaves `logits` out."""
        count = len(labels)
        return cls(
            image_ids=np.array(image_ids, np.str_),
            labels=labels,
            content_crc32=np.full(count, -1, np.int64),
            top5_class=np.full((count, TOP), -1, np.int32),
            top5_logit=np.full((count, TOP), np.nan, np.float32),
            label_logit=np.full(count, np.nan, np.float32),
            log_sum_exp=np.full(count, np.nan, np.float32),
            logits=None if classes is None else np.full((count, classes), np.nan, np.float16),
            errors=errors,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def fill(self, at: NDArray[np.intp], answers: Columns, rows: NDArray[np.intp]) -> None:
        """Put what `answers` has in `rows` into the rows `at`; ids, labels and errors stay."""
        for name in ("content_crc32", "top5_class", "top5_logit", "label_logit", "log_sum_exp"):
            getattr(self, name)[at] = getattr(answers, name)[rows]
        if self.logits is not None and answers.logits is not None:
            self.logits[at] = answers.logits[rows]

    def columns(self) -> Columns:
        """The same as an Arrow table, which shares the memory of the numbers."""
        pa = require("pyarrow", "evaluate")
        arrays = [
            pa.array(self.image_ids.tolist(), pa.string()),
            pa.array(self.labels),
            pa.array(self.content_crc32),
            pa.FixedSizeListArray.from_arrays(pa.array(self.top5_class.ravel()), TOP),
            pa.FixedSizeListArray.from_arrays(pa.array(self.top5_logit.ravel()), TOP),
            pa.array(self.label_logit),
            pa.array(self.log_sum_exp),
        ]
        if self.logits is not None:
            offsets = np.arange(len(self) + 1, dtype=np.int32) * self.logits.shape[1]
            arrays.append(pa.ListArray.from_arrays(pa.array(offsets), pa.array(self.logits.ravel())))
        arrays.append(pa.array(self.errors, pa.string()))
        return Columns(pa.Table.from_arrays(arrays, schema=schema(self.logits is not None)))


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
    ran = np.array([error is None for error in errors], bool)
    rows = Rows.blank(image_ids, labels, tuple(errors), logits.shape[1] if keep_logits else None)
    if content_crc32 is not None:
        rows.content_crc32[:] = content_crc32
    if not ran.all():
        logits, labels = logits[ran], labels[ran]
    # A stable sort of the negated row puts the lower class first among equal logits.
    order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP].astype(np.int32)
    rows.top5_class[ran, : order.shape[1]] = order
    rows.top5_logit[ran, : order.shape[1]] = np.take_along_axis(logits, order, axis=1)
    exact = logits.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        peak = exact.max(axis=1)
        rows.log_sum_exp[ran] = peak + np.log(np.exp(exact - peak[:, None]).sum(axis=1))
        if rows.logits is not None:
            rows.logits[ran] = logits
    known = labels >= 0
    rows.label_logit[ran] = np.where(known, logits[np.arange(len(labels)), np.where(known, labels, 0)], np.nan)
    return rows
