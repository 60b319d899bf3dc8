"""Ledgers of phones as JSON Lines: the Android demo has no Parquet, and ghostedge serve keeps each row as it comes.

The first line says where the numbers come from, every further line is one image, sorted by `image_id`::

    {"kind": "ledger", "has_logits": false, "metadata": {...}}          the metadata is that of `LedgerMetadata`
    {"image_id": "a.JPEG", "label": 65, "top5_class": [65, ...], "top5_logit": [9.1, ...],
     "label_logit": 9.1, "log_sum_exp": 9.2, "error": null}             with "logits": [...] where they were kept
    {"kind": "end", "sha256": "..."}                                    of all bytes before it; older files lack it

Numbers that are not known are null: padding, and everything of an image that has an error. `content_crc32` may be there
in every row; without it, as from the app, such a ledger pairs with another one by name. It becomes the same `Ledger` as
a Parquet file, and is checked as strictly.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NoReturn, cast

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import GhostedgeError, LedgerError
from ghostedge.evaluation.columns import CONTENT, TOP, Columns, Rows
from ghostedge.evaluation.ledger import Ledger, LedgerMetadata, ids_sha256
from ghostedge.stored import as_type, holds_half_surrogate, parse_json, shallow

_HEADER = {"kind", "has_logits", "metadata"}

_LARGEST = float(np.finfo(np.float32).max)

#: More logits than a file of text holds: 1 GiB as float16.
_MOST_LOGITS = 2**29


def header_line(metadata: LedgerMetadata, *, has_logits: bool) -> str:
    """The first line of a ledger, with its end of line."""
    head = json.dumps({"kind": "ledger", "has_logits": has_logits}, separators=(",", ":"))
    return f'{head[:-1]},"metadata":{metadata.to_json()}}}\n'


def row_lines(rows: Rows) -> list[str]:
    """The lines of images, without their ends of line; finite numbers alone where a row has no error."""
    lines = []
    for place, error in enumerate(rows.errors):
        row = {
            "image_id": str(rows.image_ids[place]),
            "label": int(rows.labels[place]),
            CONTENT: int(rows.content_crc32[place]),
            "top5_class": rows.top5_class[place].tolist() if error is None else [-1] * TOP,
            **{
                name: _numbers(getattr(rows, name)[place], known=error is None)
                for name in ("top5_logit", "label_logit", "log_sum_exp")
            },
            "error": error,
        }
        if rows.logits is not None:
            row["logits"] = np.nan_to_num(rows.logits[place]).tolist() if error is None else None
        lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False, separators=(",", ":")))
    return lines


def end_line(text: str) -> str:
    """The last line of a ledger whose other lines are `text`, with its end of line."""
    end = {"kind": "end", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return json.dumps(end, separators=(",", ":")) + "\n"


def _numbers(values: NDArray[np.float32] | np.float32, *, known: bool) -> Any:
    """Plain numbers, None for those that are not known."""
    if np.ndim(values):
        return [_numbers(value, known=known) for value in np.asarray(values)]
    return float(values) if known and np.isfinite(values) else None


def read_json_lines(path: Path) -> Ledger:
    """Read a ledger.

    Raises:
        LedgerError: missing, not a ledger, cut short, a damaged line (named), an image twice or out of order, images
            that are not those of the metadata.
    """
    try:
        data = path.read_bytes()
        text = data.decode()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise LedgerError(f"{path} cannot be read as a ledger: {reason}") from exc
    try:
        return _ledger(data, text)
    except GhostedgeError as exc:
        raise LedgerError(f"{path}: {exc}") from exc


def _ledger(data: bytes, text: str) -> Ledger:
    lines = text.split("\n")
    if lines.pop():  # what follows the last end of line
        raise LedgerError(f"line {len(lines) + 1} is cut short; copy the file from the phone again")
    if not lines:
        raise LedgerError("it is empty; copy the file from the phone again")
    if has_checksum := len(lines) > 1 and lines[-1].startswith('{"kind"'):  # no row has that column
        end = _object(len(lines), last := lines.pop())
        if end != {"kind": "end", "sha256": hashlib.sha256(data[: -len(last.encode()) - 1]).hexdigest()}:
            raise LedgerError("its bytes are not those of its checksum, it is damaged; copy it from the phone again")
    metadata, has_logits = _header(lines[0])
    images = metadata.dataset.get("images")
    if images != len(lines) - 1:
        raise LedgerError(f"it has {len(lines) - 1} images, its first line says {images}; copy it from the phone again")
    if has_logits and images * metadata.classes > _MOST_LOGITS:  # before there is room for them
        raise LedgerError(f"line 1 is damaged: {images} images of {metadata.classes} logits are too many")
    ledger = Ledger(_columns(lines[1:], metadata.classes, has_logits).table, metadata, has_checksum)
    if metadata.dataset.get("ids_sha256") != ids_sha256(ledger.image_ids):
        raise LedgerError("its images are not those of its first line; it was changed after it was made")
    return ledger


def _header(line: str) -> tuple[LedgerMetadata, bool]:
    data = _object(1, line)
    parse_json(line, "line 1", LedgerError)  # what nothing of ours holds, as in Parquet's metadata
    if data.get("kind") != "ledger" or set(data) != _HEADER:
        raise LedgerError("its first line is not that of a ledger; make one with the Android demo or ghostedge serve")
    metadata = LedgerMetadata.from_dict(data["metadata"])
    if metadata.classes < 1 or type(data["has_logits"]) is not bool:
        raise LedgerError("damaged metadata (classes or has_logits); make the ledger again")
    return metadata, data["has_logits"]


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        with shallow():
            data = json.loads(line, parse_constant=_refuse, object_pairs_hook=_unique)
    except RecursionError:
        raise LedgerError(f"line {number} is damaged (it is nested too deeply)") from None
    except ValueError as exc:
        raise LedgerError(f"line {number} is damaged ({exc})") from exc
    if not isinstance(data, dict):
        raise LedgerError(f"line {number} is damaged (it is no JSON object)")
    return data


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a name is there twice")
    return data


_Logit = float | None


@dataclass(frozen=True)
class _Row:
    """One line of an image."""

    image_id: str
    label: int
    top5_class: tuple[int, int, int, int, int]
    top5_logit: tuple[_Logit, _Logit, _Logit, _Logit, _Logit]
    label_logit: _Logit
    log_sum_exp: _Logit
    error: str | None
    logits: list[_Logit] | None = None
    content_crc32: int = -1

    def faults(self, classes: int, has_logits: bool) -> Iterator[str]:
        """What is wrong with it in a ledger of `classes` classes."""
        answered = self.error is None
        known = answered and self.label >= 0
        top = min(TOP, classes) if answered else 0
        best, padding = self.top5_class[:top], self.top5_class[top:]
        if not self.image_id:
            yield "image_id is empty"
        for name, text in (("image_id", self.image_id), ("error", self.error or "")):
            if holds_half_surrogate(text):
                yield f"{name} holds half a surrogate pair"
        if not -1 <= self.content_crc32 < 2**32:
            yield f"content_crc32 {self.content_crc32}"
        if not -1 <= self.label < classes:
            yield f"label {self.label} of {classes} classes"
        if set(padding) - {-1} or len(set(best)) < top or not all(0 <= c < classes for c in best):
            yield "top5_class"
        logits = self.logits or []
        if has_logits and answered and len(logits) != classes:
            yield f"logits does not hold {classes} values"
        if self.logits is not None and not (has_logits and answered):
            yield "logits of an image with an error"
        # Of each the first so many are numbers that float32 can hold, the others null.
        for name, values, numbers in (
            ("top5_logit", self.top5_logit, top),
            ("label_logit", [self.label_logit], int(known)),
            ("log_sum_exp", [self.log_sum_exp], int(answered)),
            ("logits", logits, len(logits)),
        ):
            for place, value in enumerate(values):
                if (value is None) is (place < numbers) or abs(value or 0) > _LARGEST:
                    yield f"{name} holds {value!r}"
        if any(a < b for a, b in itertools.pairwise(cast(list[float], self.top5_logit[:top]))):
            yield "top5_logit is not sorted, best first"
        if known and self.label in best and self.label_logit != self.top5_logit[best.index(self.label)]:
            yield "label_logit is not that of top5_logit"


_COLUMNS = frozenset(field.name for field in fields(_Row))


def _row(number: int, line: str, classes: int, has_logits: bool) -> _Row:
    what = f"line {number} is not a row of this ledger"
    data = _object(number, line)
    needed = _COLUMNS - {CONTENT} - (set() if has_logits else {"logits"})
    if wrong := data.keys() - {CONTENT} ^ needed:
        raise LedgerError(f"{what}: columns missing or unknown: {', '.join(sorted(wrong))}")
    row = as_type(data, _Row, what, LedgerError)
    if fault := next(row.faults(classes, has_logits), None):
        raise LedgerError(f"{what}: {fault}")
    return row


def _columns(lines: Sequence[str], classes: int, has_logits: bool) -> Columns:
    """The lines of the images as columns."""
    count = len(lines)
    ids: list[str] = [""] * count
    errors: list[str | None] = [None] * count
    rows = Rows.blank(ids, np.empty(count, np.int32), errors, classes if has_logits else None)
    for place, line in enumerate(lines):
        row = _row(place + 2, line, classes, has_logits)
        ids[place], errors[place] = row.image_id, row.error
        rows.labels[place] = row.label
        rows.content_crc32[place] = row.content_crc32
        for name in ("top5_class", "top5_logit", "label_logit", "log_sum_exp"):
            getattr(rows, name)[place] = getattr(row, name)
        if rows.logits is not None and row.logits is not None:
            with np.errstate(over="ignore"):
                rows.logits[place] = np.array(row.logits, np.float32)
    return replace(rows, image_ids=np.array(ids, np.str_), errors=errors).columns()
