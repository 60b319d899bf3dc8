"""Read a ledger that the Android demo wrote: JSON Lines, because a phone has no Parquet.

The first line says where the numbers come from, every further line is one image, sorted by `image_id`::

    {"kind": "ledger", "has_logits": false, "metadata": {...}}          the metadata is that of `LedgerMetadata`
    {"image_id": "a.JPEG", "label": 65, "top5_class": [65, ...], "top5_logit": [9.1, ...],
     "label_logit": 9.1, "log_sum_exp": 9.2, "error": null}             with "logits": [...] where they were kept

Numbers that are not known are null: padding, and everything of an image that has an error. There is no `content_crc32`,
so that such a ledger pairs with another one by name. It becomes the same `Ledger` as a Parquet file, and is checked as
strictly.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ghostedge.errors import GhostedgeError, LedgerError
from ghostedge.evaluation.columns import TOP, Columns, Rows
from ghostedge.evaluation.ledger import Ledger, LedgerMetadata, ids_sha256

__all__ = ["read_json_lines"]

_HEADER = {"kind", "has_logits", "metadata"}
_COLUMNS = {"image_id", "label", "top5_class", "top5_logit", "label_logit", "log_sum_exp", "error"}


def read_json_lines(path: Path) -> Ledger:
    """Read a ledger.

    Raises:
        LedgerError: missing, not a ledger, cut short, a damaged line (named), an image twice or out of order, images
            that are not those of the metadata.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
        raise LedgerError(f"{path} cannot be read as a ledger: {reason}") from exc
    try:
        return _ledger(text)
    except GhostedgeError as exc:
        raise LedgerError(f"{path}: {exc}") from exc


def _ledger(text: str) -> Ledger:
    lines = text.split("\n")
    if lines.pop():  # what follows the last end of line
        raise LedgerError(f"line {len(lines) + 1} is cut short; copy the file from the phone again")
    if not lines:
        raise LedgerError("it is empty; copy the file from the phone again")
    metadata, has_logits = _header(lines[0])
    images = metadata.dataset.get("images")
    if images != len(lines) - 1:
        raise LedgerError(f"it has {len(lines) - 1} images, its first line says {images}; copy it from the phone again")
    ledger = Ledger(_columns(lines[1:], metadata.classes, has_logits).table, metadata)
    if metadata.dataset.get("ids_sha256") != ids_sha256(ledger.image_ids):
        raise LedgerError("its images are not those of its first line; it was changed after it was made")
    return ledger


def _header(line: str) -> tuple[LedgerMetadata, bool]:
    data = _object(1, line)
    if data.get("kind") != "ledger" or set(data) != _HEADER:
        raise LedgerError("its first line is not that of a ledger; make one with the Android demo")
    metadata = LedgerMetadata.from_dict(data["metadata"])
    if metadata.classes < 1 or type(data["has_logits"]) is not bool:
        raise LedgerError("damaged metadata (classes or has_logits); make the ledger again")
    return metadata, data["has_logits"]


def _object(number: int, line: str) -> dict[str, Any]:
    try:
        data = json.loads(line, parse_constant=_refuse, object_pairs_hook=_unique)
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


class _Row:
    """One line, checked; NaN stands for null."""

    def __init__(self, number: int, line: str, classes: int, has_logits: bool) -> None:
        self._number = number
        self._data = _object(number, line)
        expected = _COLUMNS | ({"logits"} if has_logits else set())
        if set(self._data) != expected:
            wrong = ", ".join(sorted(set(self._data) ^ expected))
            raise self._fault(f"columns missing or unknown: {wrong}")
        self.image_id = self._typed("image_id", str)
        self.error = self._data["error"] if self._data["error"] is None else self._typed("error", str)
        self.label = self._typed("label", int)
        answered = self.error is None
        known = answered and self.label >= 0
        top = min(TOP, classes) if answered else 0
        self.top5_class = self._list("top5_class", TOP)
        self.top5_logit = list(self._numbers("top5_logit", TOP, top))
        self.label_logit = self._number_or_nan("label_logit", self._data["label_logit"], known)
        self.log_sum_exp = self._number_or_nan("log_sum_exp", self._data["log_sum_exp"], answered)
        self.logits: list[float] | None = None
        if has_logits:
            empty = [math.nan] * classes
            self.logits = list(self._numbers("logits", classes, classes)) if answered else empty
            if not answered and self._data["logits"] is not None:
                raise self._fault("logits of an image with an error")
        if not self.image_id:
            raise self._fault("image_id is empty")
        if not -1 <= self.label < classes:
            raise self._fault(f"label {self.label} of {classes} classes")
        best, padding = self.top5_class[:top], self.top5_class[top:]
        if any(type(c) is not int for c in self.top5_class) or set(padding) - {-1}:
            raise self._fault("top5_class")
        if len(set(best)) < top or not all(0 <= c < classes for c in best):
            raise self._fault("top5_class")
        if any(a < b for a, b in zip(self.top5_logit[: top - 1], self.top5_logit[1:top], strict=False)):
            raise self._fault("top5_logit is not sorted, best first")
        if known and self.label in best and self.label_logit != self.top5_logit[best.index(self.label)]:
            raise self._fault("label_logit is not that of top5_logit")

    def _fault(self, what: str) -> LedgerError:
        return LedgerError(f"line {self._number} is not a row of this ledger: {what}")

    def _typed(self, name: str, kind: type) -> Any:
        if type(self._data[name]) is not kind:
            raise self._fault(f"{name} is {self._data[name]!r}")
        return self._data[name]

    def _list(self, name: str, length: int) -> list[Any]:
        value = self._data[name]
        if not isinstance(value, list) or len(value) != length:
            raise self._fault(f"{name} does not hold {length} values")
        return value

    def _numbers(self, name: str, length: int, known: int) -> Iterator[float]:
        """The values of a list of which the first `known` are numbers and the others null."""
        for place, value in enumerate(self._list(name, length)):
            yield self._number_or_nan(name, value, place < known)

    def _number_or_nan(self, name: str, value: Any, known: bool) -> float:
        if known and type(value) in (int, float) and abs(value) <= np.finfo(np.float32).max:
            return float(value)
        if not known and value is None:
            return math.nan
        raise self._fault(f"{name} holds {value!r}")


def _columns(lines: list[str], classes: int, has_logits: bool) -> Columns:
    """The lines of the images as columns."""
    count = len(lines)
    ids, errors = [""] * count, [None] * count
    rows = Rows.blank(ids, np.empty(count, np.int32), errors, classes if has_logits else None)
    for place, line in enumerate(lines):
        row = _Row(place + 2, line, classes, has_logits)
        ids[place], errors[place], rows.labels[place] = row.image_id, row.error, row.label
        rows.top5_class[place], rows.top5_logit[place] = row.top5_class, row.top5_logit
        rows.label_logit[place], rows.log_sum_exp[place] = row.label_logit, row.log_sum_exp
        if rows.logits is not None and row.logits is not None:
            with np.errstate(over="ignore"):
                rows.logits[place] = np.array(row.logits, np.float32)
    return dataclasses.replace(rows, image_ids=np.array(ids, np.str_), errors=errors).columns()
