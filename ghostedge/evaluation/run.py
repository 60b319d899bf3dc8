"""Run artifacts over a labelled data set and write a ledger each: one decode pass, many processes, resumable.

The rows of a run that is going on are kept in parts beside the ledger, in ``.parts-<ledger>-<key>/``. A part appears
whole; the key is a hash of everything that decides a row (the model's bytes, the images, the preprocessing, the runtime
and its version, the computer). A run that finds parts of its own key takes their rows and runs the other images only.
When no image is left, the parts become the ledger, sorted by image_id, and are removed: how often the run was killed,
how many workers it had and in which order they answered leaves no trace in the ledger's bytes.
"""

from __future__ import annotations

import collections
import contextlib
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import Dataset, labels_for, name_column, spread
from ghostedge.errors import DatasetError, LedgerError, ManifestError, OutputError, UsageError
from ghostedge.evaluation.engines.local import LocalEngine
from ghostedge.evaluation.ledger import (
    TOP,
    LedgerMetadata,
    Rows,
    concatenate,
    ids_sha256,
    read_metadata,
    read_pieces,
    read_rows,
    rows_of_logits,
    write_ledger_stream,
    write_rows,
)
from ghostedge.evaluation.overlap import calibration_images, refuse_known
from ghostedge.evaluation.worker import About, Failure, Job, ModelSetup, Result, Task
from ghostedge.files import PARTIAL_PREFIX, output_error, sha256_file
from ghostedge.lazy import choose, require
from ghostedge.manifest import Manifest
from ghostedge.model import RESIZE_RULES, Model
from ghostedge.runtimes import runtime_of

__all__ = ["PART_ROWS", "Engine", "Evaluation", "Options", "Progress", "Subject", "evaluate", "subjects_of"]

#: Rows of one part: what a kill can cost, beside the images that the workers have in hand.
PART_ROWS = 256

#: At least this many images a task, in whole batches. Small, so that the last tasks end together; large enough that
#: passing them on costs nothing.
_TASK_IMAGES = 16

#: Bytes of rows that are held while the ledger is put together, and what a row takes without whole logits: mostly its
#: image_id, as text and on the way to Parquet. A part that holds rows from all over the ledger is read again for every
#: piece of the ledger, so that there are at most so many pieces.
_ASSEMBLY_BYTES = 2**20
_ROW_BYTES = 600
_MOST_PIECES = 32


class Engine(Protocol):
    """Where tasks are run.

    Attributes:
        about: what the models say, once they are loaded.
    """

    about: About

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Run `tasks`, each exactly once; results in any order. Raises: GhostedgeError."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


@dataclass(frozen=True)
class Subject:
    """One model and the ledger it shall get.

    Attributes:
        setup: what to run, and how.
        ledger: the file to write.
        device: for the metadata.
        is_reference: whether this is MindSpore's own run of the checkpoint.
    """

    setup: ModelSetup
    ledger: Path
    device: str = "CPU"
    is_reference: bool = False


@dataclass(frozen=True)
class Options:
    """How to evaluate.

    Attributes:
        limit: evaluate this many images, spread evenly over the sorted ids; None for all.
        workers: worker processes.
        decode_threads: images that a worker decodes at a time.
        keep_logits: keep whole logits (float16) in the ledger.
        on_error: ``"fail"``: name the images that cannot be read and make no ledger; ``"skip"``: give them a row with
            the reason, which counts as a wrong answer.
        allow_calibration_images: evaluate an artifact on images that it was calibrated on as well.
        engine: makes the engine from a job; None for worker processes on this machine.
    """

    limit: int | None = None
    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    decode_threads: int = 1
    keep_logits: bool = False
    on_error: Literal["fail", "skip"] = "fail"
    allow_calibration_images: bool = False
    engine: Callable[[Job], Engine] | None = None


@dataclass(frozen=True)
class Progress:
    """How far an evaluation is.

    Attributes:
        done: images that every model has answered, those of earlier runs included.
        total: images to evaluate.
        resumed: images that were done before this run.
        images_per_s: over the last half minute; 0 before the first result.
        seconds_left: at that rate; None before the first result.
        top1: fraction of right answers so far, by subject; None where no label is known.
        failures: what has failed since the last progress: (subject, image_id, reason).
    """

    done: int
    total: int
    resumed: int
    images_per_s: float
    seconds_left: float | None
    top1: tuple[float | None, ...]
    failures: tuple[tuple[int, str, str], ...] = ()


@dataclass(frozen=True)
class Evaluation:
    """What one ledger says.

    Attributes:
        ledger: the file.
        metadata: of the ledger.
        images: how many rows it has; the denominator of the accuracies.
        top1: fraction of images whose best class is the label; None where a label is unknown.
        top5: fraction whose label is among the best five.
        failures: image_id -> why it has no answer; each counts as a wrong answer.
        unchanged: the ledger was there already.
        notes: what a reader of the numbers should know.
    """

    ledger: Path
    metadata: LedgerMetadata
    images: int
    top1: float | None
    top5: float | None
    failures: Mapping[str, str] = field(default_factory=dict)
    unchanged: bool = False
    notes: tuple[str, ...] = ()


def subjects_of(
    artifacts: Iterable[Model],
    output: Path,
    *,
    preprocessing: str | None = None,
    threads: int = 1,
    runtime: str | None = None,
    float16: bool = False,
) -> tuple[Subject, ...]:
    """The subjects of an evaluation of `artifacts`, with ledgers named after them in `output`.

    Args:
        artifacts: at least one.
        output: the folder for the ledgers: ``<artifact's file name>.parquet``.
        preprocessing: a resize rule in place of the artifacts' own; it becomes part of the ledger's name.
        threads: of one inference.
        runtime: ``"module:Class"`` in place of the format's own runtime.
        float16: run them in float16 as CPUs with float16 arithmetic do; ``.f16`` becomes part of the ledgers' names.

    Raises:
        UsageError: no artifact, or two of the same file name; an unknown preprocessing or format.
    """
    subjects: dict[Path, Subject] = {}
    for artifact in artifacts:
        spec, name = artifact.input, artifact.path.name
        if preprocessing is not None and preprocessing != spec.resize_rule:
            rule = choose("preprocessing", preprocessing, RESIZE_RULES)
            spec = replace(spec, resize_rule=rule)  # type: ignore[arg-type]  # chosen from the field's own values
            name += f".{rule}"
        if float16:
            name += ".f16"
        ledger = output / f"{name}.parquet"
        if ledger in subjects:
            raise UsageError(f"two artifacts are called {artifact.path.name}; evaluate them into two --output folders")
        target = runtime or runtime_of(artifact.format, float16=float16)
        setup = ModelSetup(artifact, target, spec, threads)
        if artifact.format == "checkpoint":  # MindSpore compiles a graph for a batch of a given size
            setup = replace(setup, batch=_TASK_IMAGES, options={"batch_size": _TASK_IMAGES})
        subjects[ledger] = Subject(setup, ledger)
    if not subjects:
        raise UsageError("there is no artifact to evaluate")
    return tuple(subjects.values())


def evaluate(
    subjects: tuple[Subject, ...],
    dataset: Dataset,
    options: Options,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Evaluation, ...]:
    """Run every subject over `dataset` and write its ledger.

    Each image is read and decoded once for all subjects. A run that was killed continues where it stopped; a ledger
    that is there already and would come out the same is left alone.

    Args:
        subjects: at least one, with different ledgers.
        dataset: see `ghostedge.data.datasets.open_dataset`.
        options: see `Options`.
        on_progress: called after each task.

    Returns:
        One `Evaluation` a subject, in their order.

    Raises:
        DatasetError: images cannot be read and ``on_error`` is ``"fail"`` (the other rows are kept for the next run);
            labels that the models do not have; images that an artifact was calibrated on.
        GhostedgeError: a model cannot be loaded or run, or a worker was lost.
        OutputError: a part or a ledger cannot be written; what was written before stays.
        MissingExtraError: pyarrow or a runtime is not installed.
    """
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 is needed")
    require("pyarrow.parquet", "evaluate")  # a missing package shows now, not when the first part is written
    chosen = spread(dataset.image_ids, options.limit)
    images = _Images.of(dataset, chosen)
    setups = tuple(subject.setup for subject in subjects)
    calibration = {} if options.allow_calibration_images else calibration_images(s.artifact for s in setups)
    refuse_known(dataset, chosen, calibration)
    job = Job(setups, options.keep_logits, options.decode_threads, calibration)
    largest = max(subject.setup.batch for subject in subjects)
    size = largest * -(-_TASK_IMAGES // largest)
    workers = min(options.workers, -(-len(chosen) // size))
    engine = options.engine(job) if options.engine else LocalEngine(job, workers)
    with contextlib.closing(engine), contextlib.ExitStack() as locks:
        runs = []
        for number, subject in enumerate(subjects):
            metadata = _metadata(subject, engine.about, number, images.ids)
            labels = labels_for(dataset, metadata.classes, subject.setup.artifact.labels)
            run = _Run(subject, metadata, images, labels[chosen], options, dataset.notes)
            locks.enter_context(run.locked())
            runs.append(run)
        if any((run.labels != runs[0].labels).any() for run in runs):
            raise UsageError("the artifacts give the data set's classes different indices; evaluate them one by one")
        labels = np.empty_like(runs[0].labels)
        labels[images.order] = runs[0].labels
        _run_all(runs, engine, lambda done: _tasks(dataset, chosen, labels, done, size), on_progress)
        return tuple(run.finish() for run in runs)


def _metadata(subject: Subject, about: About, number: int, image_ids: NDArray[np.bytes_]) -> LedgerMetadata:
    artifact = subject.setup.artifact
    hashes = [sha256_file(path) for path in artifact.files]
    model = {"file": artifact.path.name, "format": artifact.format, "precision": artifact.precision}
    model |= dict(zip(("sha256", "weights_sha256"), hashes, strict=False))
    return LedgerMetadata(
        model=model,
        input=artifact.input,
        preprocessing=subject.setup.input.resize_rule,
        runtime=about.runtimes[number],
        device=subject.device,
        host=about.host,
        classes=about.classes[number],
        dataset={"images": len(image_ids), "ids_sha256": ids_sha256(image_ids)},
        is_reference=subject.is_reference,
        checkpoint_sha256=hashes[0] if artifact.format == "checkpoint" else _checkpoint_of(artifact, hashes[0]),
    )


def _checkpoint_of(artifact: Model, sha256: str) -> str | None:
    """The SHA-256 of the checkpoint that a manifest beside the artifact says it was made from."""
    try:
        manifest = Manifest.read(artifact.path.parent)
    except ManifestError:
        return None
    if manifest is None or manifest.source.get("format") != "checkpoint":
        return None
    made = {file.sha256 for record in manifest.artifacts.values() for file in record.files}
    return str(manifest.source["sha256"]) if sha256 in made else None


@dataclass(frozen=True)
class _Images:
    """The images to evaluate; all subjects share it.

    Attributes:
        ids: bytes (n,), in the order in which they are run.
        order: intp (n,): the order of the ledgers, as places in `ids`; it sorts them.
    """

    ids: NDArray[np.bytes_]
    order: NDArray[np.intp]

    @classmethod
    def of(cls, dataset: Dataset, chosen: NDArray[np.intp]) -> _Images:
        ids = dataset.image_ids
        ids = ids if len(chosen) == len(ids) else ids[chosen]  # all of them are not copied
        return cls(ids, np.argsort(ids, kind="stable"))

    def ranks(self, image_ids: Iterable[str]) -> NDArray[np.intp]:
        """Places of images in the ledger, or of the next image where there is no such image."""
        return np.searchsorted(self.ids, name_column(image_ids), sorter=self.order)

    def names(self, ranks: NDArray[np.intp]) -> list[str]:
        """The ids of the images at these places of the ledger."""
        return [name.decode() for name in self.ids[self.order[ranks]]]


class _Run:
    """The state of one subject: which images are done, the parts, the rows that wait for the next part."""

    def __init__(
        self,
        subject: Subject,
        metadata: LedgerMetadata,
        images: _Images,
        labels: NDArray[np.int32],
        options: Options,
        notes: tuple[str, ...],
    ) -> None:
        self.subject = subject
        self.metadata = metadata
        self.options = options
        self.notes = notes
        # Rows are addressed by their place in the ledger: the rank of the image_id.
        self.images = images
        self.labels = labels[images.order]
        self.part_of = np.full(len(labels), -1, np.int32)
        self.row_of = np.zeros(len(labels), np.int32)
        self.parts: list[Path] = []
        self.failures: dict[int, str] = {}  # rank -> reason
        self.waiting: list[Rows] = []
        self.answered = self.right = 0
        digest = hashlib.sha256(metadata.to_json().encode())
        digest.update(self.labels.tobytes())
        digest.update(bytes([options.keep_logits]) + b"content_crc32")
        self.key = digest.hexdigest()
        self.folder = subject.ledger.with_name(f".parts-{subject.ledger.name}-{self.key[:12]}")
        self.finished: Evaluation | None = None

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the parts for this process and take over what is there; the kernel's lock ends with the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.folder, os.O_RDONLY)
        except OSError as exc:
            raise output_error(self.subject.ledger, exc) from exc
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                raise OutputError(f"another process is making {self.subject.ledger}; wait for it") from exc
            # A kill in mid-write leaves a partial ledger; the lock says that nobody writes it any more.
            for partial in self.subject.ledger.parent.glob(f"{PARTIAL_PREFIX}*-{self.subject.ledger.name}"):
                partial.unlink(missing_ok=True)
            self._take_ledger()
            for part in sorted(self.folder.glob("part-*.parquet")):
                with contextlib.suppress(LedgerError):  # not whole, though atomic: its images are run again
                    self._take(part)
            yield
        finally:
            # Whatever ended the run, rows that are there are not lost.
            with contextlib.suppress(OutputError):
                self.flush()
            if self.finished is not None or not any(self.folder.iterdir()):
                shutil.rmtree(self.folder, ignore_errors=True)
            os.close(lock)

    def _take_ledger(self) -> None:
        """Take over a ledger that is there already: as it is, or the rows that have an answer if some have none.

        Raises: OutputError for a file that is no ledger; it is not ours to replace.
        """
        if not self.subject.ledger.exists():
            return
        counts: collections.Counter[str] = collections.Counter()
        try:
            metadata, has_logits = read_metadata(self.subject.ledger)
            same = metadata == self.metadata and has_logits == self.options.keep_logits
            for rows in read_pieces(self.subject.ledger) if same else ():
                ranks = np.arange(counts["rows"], counts["rows"] + len(rows))
                if ranks[-1] >= len(self.labels) or rows.image_ids.tolist() != self.images.names(ranks):
                    raise LedgerError(
                        f"{self.subject.ledger}: its images are not those of its metadata; it was changed after it was "
                        "made"
                    )
                known = rows.content_crc32 >= 0  # older ledgers lack it
                same = same and bool((rows.labels == self.labels[ranks]).all() and (known | rows.failed).all())
                _tally(counts, rows)
            if same and counts["rows"] != len(self.labels):
                raise LedgerError(f"{self.subject.ledger}: it has {counts['rows']} of {len(self.labels)} images")
        except LedgerError as exc:
            raise OutputError(f"{exc}; move it away, or choose another --output") from exc
        if not same:
            self.notes += (f"{self.subject.ledger} held the answers of another run, which are replaced",)
        elif counts["failed"]:
            # They are tried again: the images may have been repaired.
            for rows in read_pieces(self.subject.ledger):
                self.waiting = [rows.take(np.flatnonzero(~rows.failed))]
                self.flush()
        else:
            self.answered, self.right = counts["rows"], counts["top1"]
            self.part_of[:] = 0
            self.finished = Evaluation(**self._summary(counts), unchanged=True)

    def _take(self, part: Path) -> None:
        """Take over a part's rows. Raises: LedgerError for a damaged one."""
        rows, key = read_rows(part)
        if key != self.key:
            return  # the folder's name holds only the key's beginning
        self._place(part, rows)
        self._count(rows)

    def _place(self, part: Path, rows: Rows) -> None:
        ranks = self.images.ranks(rows.image_ids.tolist())
        self.part_of[ranks] = len(self.parts)
        self.row_of[ranks] = np.arange(len(ranks))
        self.parts.append(part)

    def _count(self, rows: Rows) -> None:
        self.answered += len(rows)
        self.right += int(rows.correct().sum())

    @property
    def top1(self) -> float | None:
        """The fraction of right answers so far."""
        known = self.answered + len(self.failures)
        return self.right / known if known and self.labels.min() >= 0 else None

    def done(self) -> NDArray[np.bool_]:
        """bool (n,): which of the images have their row, in the order in which they are run."""
        result = np.empty(len(self.labels), bool)
        result[self.images.order] = self.part_of >= 0
        return result

    def add(self, rows: Rows, failures: Iterable[Failure]) -> None:
        """Take the answers of one task. Raises: OutputError when a part cannot be written."""
        self._count(rows)
        for failure in failures:
            self.failures[int(self.images.ranks([failure.image_id])[0])] = failure.reason
        self.waiting.append(rows)
        if sum(map(len, self.waiting)) >= PART_ROWS:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows as a part."""
        if not sum(map(len, self.waiting)):
            return
        rows = concatenate(self.waiting)
        number = 1 + max((int(part.stem.rpartition("-")[2]) for part in self.parts), default=-1)
        part = self.folder / f"part-{number:06d}.parquet"
        write_rows(part, rows, self.key)
        self.waiting = []
        self._place(part, rows)

    def finish(self) -> Evaluation:
        """Make the ledger of the parts. Raises: DatasetError for failed images if they are not to be skipped."""
        if self.finished is not None:
            return self.finished
        self.flush()
        failed = np.array(sorted(self.failures), np.intp)
        named = {name: self.failures[int(rank)] for name, rank in zip(self.images.names(failed), failed, strict=True)}
        if named and self.options.on_error == "fail":
            first, reason = next(iter(named.items()))
            raise DatasetError(
                f"{len(named)} of {len(self.labels)} images have no answer by {self.subject.setup.artifact.path.name}, "
                f"the first is {first}: {reason}; get them again, or take --on-error skip to count them as wrong "
                "(the other rows are kept, the next run continues)"
            )
        counts: collections.Counter[str] = collections.Counter()
        pieces = self._pieces(counts)
        write_ledger_stream(self.subject.ledger, self.metadata, pieces, has_logits=self.options.keep_logits)
        self.finished = Evaluation(**self._summary(counts), failures=named)
        return self.finished

    def _pieces(self, counts: collections.Counter[str]) -> Iterator[Rows]:
        """The ledger's rows in order, a bounded number at a time."""
        width = _ROW_BYTES + (2 * self.metadata.classes if self.options.keep_logits else 0)
        step = max(_ASSEMBLY_BYTES // width, -(-len(self.labels) // _MOST_PIECES))
        for start in range(0, len(self.labels), step):
            ranks = np.arange(start, min(start + step, len(self.labels)))
            parts = self.part_of[ranks]
            pieces, at = [], []
            for part in np.unique(parts):
                here = ranks[parts == part]
                at.append(here)
                pieces.append(
                    self._failed_rows(here) if part < 0 else read_rows(self.parts[part])[0].take(self.row_of[here])
                )
            rows = concatenate(pieces).take(np.argsort(np.concatenate(at)))
            _tally(counts, rows)
            yield rows

    def _failed_rows(self, ranks: NDArray[np.int64]) -> Rows:
        nothing = np.zeros((len(ranks), self.metadata.classes), np.float32)
        reasons = [self.failures[int(rank)] for rank in ranks]
        labels = self.labels[ranks]
        return rows_of_logits(
            np.array(self.images.names(ranks)), labels, nothing, reasons, keep_logits=self.options.keep_logits
        )

    def _summary(self, counts: Mapping[str, int]) -> dict[str, Any]:
        labelled = self.labels.min() >= 0
        return {
            "ledger": self.subject.ledger,
            "metadata": self.metadata,
            "images": len(self.labels),
            "top1": counts["top1"] / len(self.labels) if labelled else None,
            "top5": counts["top5"] / len(self.labels) if labelled else None,
            "notes": self.notes,
        }


def _tally(counts: collections.Counter[str], rows: Rows) -> None:
    """Add to ``rows``, ``failed``, ``top1`` and ``top5``."""
    counts["rows"] += len(rows)
    counts["failed"] += int(rows.failed.sum())
    for top in (1, TOP):
        counts[f"top{top}"] += int(rows.correct(top).sum())


def _run_all(
    runs: list[_Run],
    engine: Engine,
    tasks: Callable[[NDArray[np.bool_]], Iterator[Task]],
    on_progress: Callable[[Progress], None],
) -> None:
    """Have the engine run every image that a run lacks, and hand each run its rows."""
    done = np.array([run.done() for run in runs])
    total = done.shape[1]
    resumed = finished = int(done.all(axis=0).sum())
    recent = collections.deque([(time.monotonic(), finished)])
    for result in engine.results(tasks(done)):
        for number, rows in zip(result.task.models, result.rows, strict=True):
            runs[number].add(rows, [f for f in result.failures if f.model == number])
        finished += len(result.task.image_ids)
        recent.append((time.monotonic(), finished))
        while len(recent) > 2 and recent[-1][0] - recent[0][0] > 30:
            recent.popleft()
        rate = (recent[-1][1] - recent[0][1]) / max(recent[-1][0] - recent[0][0], 1e-9)
        on_progress(
            Progress(
                done=finished,
                total=total,
                resumed=resumed,
                images_per_s=rate,
                seconds_left=(total - finished) / rate,
                top1=tuple(run.top1 for run in runs),
                failures=tuple((f.model, f.image_id, f.reason) for f in result.failures),
            )
        )


def _tasks(
    dataset: Dataset, chosen: NDArray[np.intp], labels: NDArray[np.int32], done: NDArray[np.bool_], size: int
) -> Iterator[Task]:
    """Cut the images that a model lacks into tasks of at most `size` neighbours that the same models lack.

    Args:
        dataset: where the images are.
        chosen: intp (n,) into the data set.
        labels: int32 (n,), as indices of the logits.
        done: bool (models, n).
        size: images of one task.
    """
    open_images = np.flatnonzero(~done.all(axis=0))
    start = 0
    while start < len(open_images):
        lacking = ~done[:, open_images[start]]
        stop = start + 1
        while stop < min(start + size, len(open_images)) and (~done[:, open_images[stop]] == lacking).all():
            stop += 1
        here = open_images[start:stop]
        yield Task(
            image_ids=tuple(dataset.image_ids[index].decode() for index in chosen[here]),
            sources=tuple(dataset.source(index) for index in chosen[here]),
            labels=labels[here],
            models=tuple(map(int, np.flatnonzero(lacking))),
        )
        start = stop
