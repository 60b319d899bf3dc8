"""Keep the rows of a ledger that is being made in parts beside it, so that a run that is killed goes on from there.

The parts are in ``.parts-<ledger>-<key>/``. A part appears whole; the key is a hash of everything that decides a row
(the model's bytes, the images, the preprocessing, the runtime and its version, the computer). A run that finds parts of
its own key takes their rows and runs the other images only. When no image is left, the parts become the ledger, sorted
by image_id, and are removed: how often the run was killed, how many workers it had and in which order they answered
leaves no trace in the ledger's bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import Dataset, name_column
from ghostedge.errors import LedgerError, OutputError
from ghostedge.evaluation.columns import TOP, Columns, Rows
from ghostedge.evaluation.ledger import LedgerMetadata, read_metadata, read_part, read_pieces, write_part, write_pieces
from ghostedge.evaluation.worker import Failure
from ghostedge.files import PARTIAL_PREFIX, locked, output_error

#: Rows of one part. A kill costs at most so many, and the images that the workers have in hand.
PART_ROWS = 256

#: The ledger is put together in pieces of so many bytes. Without whole logits a row takes `_ROW_BYTES`, mostly for its
#: image_id, as text and on the way to Parquet. Every piece reads those parts again that have rows in it, so the number
#: of pieces is bounded.
_ASSEMBLY_BYTES = 2**20
_ROW_BYTES = 600
_MOST_PIECES = 32


@dataclass(frozen=True)
class Images:
    """The images to evaluate; all subjects share it.

    Attributes:
        ids: bytes (n,), in the order in which they are run.
        order: intp (n,): the order of the ledgers, as places in `ids`; it sorts them.
    """

    ids: NDArray[np.bytes_]
    order: NDArray[np.intp]

    @classmethod
    def of(cls, dataset: Dataset, chosen: NDArray[np.intp]) -> Images:
        """The images `chosen` of `dataset`."""
        ids = dataset.image_ids
        ids = ids if len(chosen) == len(ids) else ids[chosen]  # all of them are not copied
        return cls(ids, np.argsort(ids, kind="stable"))

    def ranks(self, image_ids: Iterable[str]) -> NDArray[np.intp]:
        """Places of images in the ledger, or of the next image where there is no such image."""
        return np.searchsorted(self.ids, name_column(image_ids), sorter=self.order)

    def names(self, ranks: NDArray[np.intp]) -> list[str]:
        """The ids of the images at these places of the ledger."""
        return [name.decode() for name in self.ids[self.order[ranks]]]


@dataclass
class Counts:
    """What rows add up to: how many there are, without an answer, right, and right among the best five."""

    rows: int = 0
    failed: int = 0
    top1: int = 0
    top5: int = 0

    def add(self, columns: Columns) -> None:
        """Count these too."""
        self.rows += len(columns)
        self.failed += int(columns.failed.sum())
        self.top1 += int(columns.correct().sum())
        self.top5 += int(columns.correct(TOP).sum())


class Parts:
    """A ledger that is being made: which images are done, the parts, the rows that wait for the next part.

    Args:
        labels: int32 (n,), in the order of `images.ids`.
        keep_logits: whether the ledger holds whole logits.

    Attributes:
        failures: place in the ledger -> why the image has no answer.
        finished: what the ledger holds, once it is there.
        unchanged: it was there already.
        replaces: a ledger of another run is there.
    """

    def __init__(
        self, ledger: Path, metadata: LedgerMetadata, images: Images, labels: NDArray[np.int32], *, keep_logits: bool
    ) -> None:
        self.ledger, self.metadata, self.images, self.keep_logits = ledger, metadata, images, keep_logits
        self.failures: dict[int, str] = {}
        self.finished: Counts | None = None
        self.unchanged = self.replaces = False
        # Rows are addressed by their place in the ledger: the rank of the image_id.
        self.labels = labels[images.order]
        self._part_of = np.full(len(labels), -1, np.int32)
        self._row_of = np.zeros(len(labels), np.int32)
        self._parts: list[Path] = []
        self._waiting: list[Columns] = []
        self._so_far = Counts()
        digest = hashlib.sha256(metadata.deciding.to_json().encode())
        digest.update(self.labels.tobytes())
        digest.update(bytes([keep_logits]) + b"content_crc32")
        self._key = digest.hexdigest()
        self._folder = ledger.with_name(f".parts-{ledger.name}-{self._key[:12]}")

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the ledger for this process and take over what is there."""
        lock = self.ledger.with_name(f".{self.ledger.name}.lock")  # one for all keys: they share the ledger
        with locked(lock, OutputError(f"another process is making {self.ledger}; wait for it")):
            try:
                self._folder.mkdir(exist_ok=True)
            except OSError as exc:
                raise output_error(self.ledger, exc) from exc
            try:
                # A kill in mid-write leaves a partial ledger; the lock says that nobody writes it any more.
                for partial in self.ledger.parent.glob(f"{PARTIAL_PREFIX}*-{self.ledger.name}"):
                    partial.unlink(missing_ok=True)
                self._take_ledger()
                for part in sorted(self._folder.glob("part-*.parquet")):
                    with contextlib.suppress(LedgerError):  # not whole, though atomic: its images are run again
                        self._take(part)
                yield
            finally:
                # Whatever ended the run, rows that are there are not lost.
                with contextlib.suppress(OutputError):
                    self.flush()
                if self.finished is not None or not any(self._folder.glob("part-*")):
                    shutil.rmtree(self._folder, ignore_errors=True)

    def _take_ledger(self) -> None:
        """Take over a ledger that is there already: as it is, or the rows that have an answer if some have none.

        Raises: OutputError for a file that is no ledger; it is not ours to replace.
        """
        if not self.ledger.exists():
            return
        try:
            counts = self._count_ledger()
        except LedgerError as exc:
            raise OutputError(f"{exc}; move it away, or choose another --output") from exc
        if counts is None:
            self.replaces = True
        elif counts.failed:
            # They are tried again: the images may have been repaired.
            for columns in read_pieces(self.ledger):
                self._write(Columns(columns.table.take(np.flatnonzero(~columns.failed))))
        else:
            self._part_of[:] = 0
            self.finished = self._so_far = counts
            self.unchanged = True

    def _count_ledger(self) -> Counts | None:
        """What the ledger holds that is there already; None if this run would make another one. Raises: LedgerError."""
        metadata, has_logits = read_metadata(self.ledger)
        if metadata.deciding != self.metadata.deciding or has_logits != self.keep_logits:
            return None
        counts, same = Counts(), True
        for columns in read_pieces(self.ledger):
            ranks = np.arange(counts.rows, counts.rows + len(columns))
            if ranks[-1] >= len(self.labels) or columns.image_ids.tolist() != self.images.names(ranks):
                raise LedgerError(
                    f"{self.ledger}: its images are not those of its metadata; it was changed after it was made"
                )
            known = columns.content_crc32 >= 0  # older ledgers lack it
            same = same and bool((columns.labels == self.labels[ranks]).all() and (known | columns.failed).all())
            counts.add(columns)
        if same and counts.rows != len(self.labels):
            raise LedgerError(f"{self.ledger}: it has {counts.rows} of {len(self.labels)} images")
        return counts if same else None

    def _take(self, part: Path) -> None:
        """Take over a part's rows. Raises: LedgerError for a damaged one."""
        columns, key = read_part(part)
        if key == self._key:  # the folder's name holds only the key's beginning
            self._so_far.add(columns)
            self._place(part, columns)

    def _place(self, part: Path, columns: Columns) -> None:
        ranks = self.images.ranks(columns.image_ids.tolist())
        self._part_of[ranks] = len(self._parts)
        self._row_of[ranks] = np.arange(len(ranks))
        self._parts.append(part)

    @property
    def top1(self) -> float | None:
        """The fraction of right answers so far; None where a label is not known."""
        known = self._so_far.rows + len(self.failures)
        return self._so_far.top1 / known if known and self.labels.min() >= 0 else None

    def done(self) -> NDArray[np.bool_]:
        """bool (n,): which of the images have their row, in the order in which they are run."""
        result = np.empty(len(self.labels), bool)
        result[self.images.order] = self._part_of >= 0
        return result

    def add(self, rows: Rows, failures: Iterable[Failure]) -> None:
        """Take the answers of one task. Raises: OutputError when a part cannot be written."""
        for failure in failures:
            self.failures[int(self.images.ranks([failure.image_id])[0])] = failure.reason
        columns = rows.columns()
        self._so_far.add(columns)
        self._waiting.append(columns)
        if sum(map(len, self._waiting)) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as a part."""
        if sum(map(len, self._waiting)):
            self._write(Columns.joined(self._waiting))
            self._waiting = []

    def _write(self, columns: Columns) -> None:
        number = 1 + max((int(part.stem.rpartition("-")[2]) for part in self._parts), default=-1)
        part = self._folder / f"part-{number:06d}.parquet"
        write_part(part, columns, self._key)
        self._place(part, columns)

    def named_failures(self) -> dict[str, str]:
        """image_id -> why it has no answer, in the order of the ledger."""
        ranks = np.array(sorted(self.failures), np.intp)
        return {name: self.failures[int(rank)] for name, rank in zip(self.images.names(ranks), ranks, strict=True)}

    def finish(self) -> Counts:
        """Make the ledger of the parts, unless it is there. Raises: OutputError."""
        if self.finished is None:
            self.flush()
            counts = Counts()
            write_pieces(self.ledger, self.metadata, self._pieces(counts), has_logits=self.keep_logits)
            self.finished = counts
        return self.finished

    def _pieces(self, counts: Counts) -> Iterator[Columns]:
        """The ledger's rows in order, a bounded number at a time."""
        classes = self.metadata.classes if self.keep_logits else None
        step = max(_ASSEMBLY_BYTES // (_ROW_BYTES + 2 * (classes or 0)), -(-len(self.labels) // _MOST_PIECES))
        for start in range(0, len(self.labels), step):
            ranks = np.arange(start, min(start + step, len(self.labels)))
            parts = self._part_of[ranks]
            reasons = [self.failures.get(rank) for rank in ranks.tolist()]
            rows = Rows.blank(self.images.names(ranks), self.labels[ranks], reasons, classes)
            for part in np.unique(parts[parts >= 0]):
                at = np.flatnonzero(parts == part)
                rows.fill(at, read_part(self._parts[part])[0], self._row_of[ranks[at]])
            columns = rows.columns()
            counts.add(columns)
            yield columns
