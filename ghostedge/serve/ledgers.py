"""Collect a phone's answers to the images into a ledger; every batch is kept, and a run goes on where it stopped."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.evaluation.columns import rows_of_logits
from ghostedge.evaluation.jsonl import end_line, header_line, row_lines
from ghostedge.evaluation.ledger import LedgerMetadata
from ghostedge.files import atomic_write, output_error

__all__ = ["LedgerRun"]


class LedgerRun:
    """A ledger that grows, as ``NAME.jsonl.part`` in the order in which answers come, until it is whole.

    Args:
        path: the ledger, ``.jsonl``.
        metadata: where the numbers come from; a part of other metadata is begun anew.
        ids: n image ids, sorted.
        labels: int32 (n,), -1 unknown.
        keep_logits: whether rows hold whole logits.

    Raises:
        OutputError: the part cannot be written.
    """

    def __init__(
        self, path: Path, metadata: LedgerMetadata, ids: Sequence[str], labels: NDArray[np.int32], *, keep_logits: bool
    ) -> None:
        self.path = path
        self.right = 0
        self._part = path.with_name(f"{path.name}.part")
        self._header = header_line(metadata, has_logits=keep_logits)
        self._ids, self._labels, self._keep_logits = tuple(ids), labels, keep_logits
        self._places = {image_id: place for place, image_id in enumerate(ids)}
        self._lines: dict[int, str] = {}
        self._whole = self._resume(path)
        if not self._whole and not self._resume(self._part):
            self._write(self._header, "w")

    def _resume(self, file: Path) -> bool:
        """Take the rows of a file of this very run; what follows its last whole row is cut off."""
        try:
            text = file.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return False
        first, *lines = text.split("\n")[:-1] or [""]
        if f"{first}\n" != self._header:
            return False
        for line in lines:
            try:
                row = json.loads(line)
                place = self._places[row["image_id"]]
                self.right += row["label"] >= 0 and row["top5_class"][0] == row["label"]
            except (ValueError, KeyError, TypeError, IndexError):
                break
            self._lines[place] = line
        if file == self._part:
            atomic_write(file, "".join([self._header, *(f"{line}\n" for line in self._lines.values())]))
        return True

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
        if self._whole or not new:
            return False
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
        self._write("".join(f"{line}\n" for line in lines), "a")
        self._lines.update(zip(at, lines, strict=True))
        self.right += int(((rows.top5_class[:, 0] == rows.labels) & (rows.labels >= 0)).sum())
        if len(self._lines) < len(self._ids):
            return False
        text = "".join([self._header, *(f"{self._lines[place]}\n" for place in sorted(self._lines))])
        atomic_write(self.path, text + end_line(text))
        self._part.unlink(missing_ok=True)
        self._whole = True
        return True

    def _write(self, text: str, mode: str) -> None:
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            with open(self._part, mode, encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as exc:
            raise output_error(self._part, exc) from exc
