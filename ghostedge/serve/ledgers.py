"""Collect a phone's answers to the images into a ledger; every batch is kept, and a run goes on where it stopped."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import LedgerError
from ghostedge.evaluation.columns import rows_of_logits
from ghostedge.evaluation.jsonl import end_line, header_line, read_json_lines, row_lines
from ghostedge.evaluation.ledger import LedgerMetadata
from ghostedge.files import atomic_write, output_error

__all__ = ["LedgerRun"]


class LedgerRun:
    """A ledger that grows, as ``NAME.jsonl.KEY.part`` in the order in which answers come, until it is whole.

    The key is a hash of all that decides a row, so that what came for another model, other images or other labels is
    neither taken for this ledger's nor lost. What the phone is called decides nothing.

    Args:
        path: the ledger, ``.jsonl``.
        metadata: where the numbers come from.
        ids: n image ids, sorted.
        labels: int32 (n,), -1 unknown.
        keep_logits: whether rows hold whole logits.

    Attributes:
        whole: whether the ledger is there.
        replaces: a ledger of another run, or a damaged one, is there, until this one is whole.

    Raises:
        OutputError: the part cannot be written.
    """

    def __init__(
        self, path: Path, metadata: LedgerMetadata, ids: Sequence[str], labels: NDArray[np.int32], *, keep_logits: bool
    ) -> None:
        self.path = path
        self.right = 0
        self._header = header_line(metadata, has_logits=keep_logits)
        self._deciding = _deciding(metadata)
        key = hashlib.sha256(self._deciding.to_json().encode() + labels.tobytes() + bytes([keep_logits])).hexdigest()
        self._part = path.with_name(f"{path.name}.{key[:12]}.part")
        self._ids, self._labels, self._keep_logits = tuple(ids), labels, keep_logits
        self._places = {image_id: place for place, image_id in enumerate(ids)}
        self._lines: dict[int, str] = {}
        self.whole = self._is_there()
        self.replaces = path.exists() and not self.whole
        if not self.whole:
            self._resume()

    def _is_there(self) -> bool:
        """Whether the ledger is there already, whole, and of this very run."""
        try:
            ledger = read_json_lines(self.path)
        except LedgerError:
            return False
        same = _deciding(ledger.metadata) == self._deciding and (ledger.logits is not None) == self._keep_logits
        if not same or (ledger.labels != self._labels).any():
            return False
        self._lines = dict.fromkeys(range(len(ledger)), "")
        self.right = int(ledger.correct().sum())
        return True

    def _resume(self) -> None:
        """Take the rows of the part; what follows its last whole row is cut off."""
        try:
            lines = self._part.read_text(encoding="utf-8", errors="replace").split("\n")[1:-1]
        except OSError:
            lines = []
        for line in lines:
            try:
                row = json.loads(line)
                place = self._places[row["image_id"]]
                right = row["label"] >= 0 and row["top5_class"][0] == row["label"]
            except (ValueError, KeyError, TypeError, IndexError):
                break
            self.right += right and place not in self._lines
            self._lines[place] = line
        atomic_write(self._part, "".join([self._header, *(f"{line}\n" for line in self._lines.values())]))

    @property
    def done(self) -> frozenset[int]:
        """The places of the images that have a row."""
        return frozenset(self._lines)

    @property
    def top1(self) -> float | None:
        """The share of right answers so far; None without labels."""
        known = sum(self._labels[place] >= 0 for place in self._lines)
        return self.right / known if known else None

    def add(
        self, places: Sequence[int], logits: NDArray[np.float32], errors: Sequence[str | None], content: Sequence[int]
    ) -> bool:
        """Keep answers; those that are here already are passed over, since a phone repeats what got no reply.

        Args:
            places: n different places in the ids.
            logits: float32 (n, classes).
            errors: n entries, None for an image with an answer.
            content: n CRC-32 of the encoded images, -1 unknown.

        Returns:
            Whether the ledger is whole now and was not before.

        Raises:
            OutputError: the disk is full.
        """
        new = [row for row, place in enumerate(places) if place not in self._lines]
        if self.whole or not new:
            return self.finish()
        at = [places[row] for row in new]
        finite = np.isfinite(logits[new]).all(axis=1)
        reasons = [
            errors[row] or (None if good else "the model's logits hold NaN or infinity")
            for row, good in zip(new, finite, strict=True)
        ]
        rows = rows_of_logits(
            np.array([self._ids[place] for place in at]),
            self._labels[at],
            logits[new],
            reasons,
            keep_logits=self._keep_logits,
            content_crc32=np.array(content, np.int64)[new],
        )
        lines = row_lines(rows)
        self._append("".join(f"{line}\n" for line in lines))
        self._lines.update(zip(at, lines, strict=True))
        self.right += int(((rows.top5_class[:, 0] == rows.labels) & (rows.labels >= 0)).sum())
        return self.finish()

    def finish(self) -> bool:
        """Make the ledger of the part, once every image has its row, as after a disk that was full for the last one.

        Returns:
            Whether the ledger is whole now and was not before.

        Raises:
            OutputError: the disk is full.
        """
        if self.whole or len(self._lines) < len(self._ids):
            return False
        text = "".join([self._header, *(f"{self._lines[place]}\n" for place in sorted(self._lines))])
        atomic_write(self.path, text + end_line(text))
        self._part.unlink(missing_ok=True)
        self.whole = True
        return True

    def _append(self, text: str) -> None:
        """Add lines to the part, all of them or none: rows after half a line would be lost in a restart."""
        before = self._part.stat().st_size if self._part.exists() else 0
        try:
            with open(self._part, "a", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.truncate(self._part, before)
            raise output_error(self._part, exc) from exc


def _deciding(metadata: LedgerMetadata) -> LedgerMetadata:
    """What decides the rows: all but what the phone's user calls it."""
    return replace(metadata, host={name: value for name, value in metadata.host.items() if name != "phone"})
