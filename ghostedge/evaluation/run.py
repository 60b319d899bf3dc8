"""Run artifacts over a labelled data set and write a ledger each: one decode pass, many processes, resumable.

`ghostedge.evaluation.parts` says how a run that was killed goes on.
"""

from __future__ import annotations

import collections
import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.calibration import refuse_known
from ghostedge.data.datasets import Dataset, labels_for, spread
from ghostedge.errors import DatasetError, ManifestError, RefusedError, UsageError
from ghostedge.evaluation.engines import Engine, LocalEngine
from ghostedge.evaluation.ledger import LedgerMetadata, ids_sha256
from ghostedge.evaluation.parts import Images, Parts
from ghostedge.evaluation.worker import About, Job, ModelSetup, Task
from ghostedge.files import sha256_file
from ghostedge.lazy import choose, require
from ghostedge.manifest import Manifest
from ghostedge.model import RESIZE_RULES, Model
from ghostedge.runtimes import runtime_of

#: At least this many images a task, in whole batches. Small, so that the last tasks end together; large enough that
#: passing them on costs nothing.
_TASK_IMAGES = 16


@dataclass(frozen=True)
class Subject:
    """One model and the ledger it shall get; `device` and `is_reference` are for its metadata."""

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
        on_progress: called after each task.

    Returns:
        One `Evaluation` a subject, in their order.

    Raises:
        DatasetError: images cannot be read and ``on_error`` is ``"fail"`` (the other rows are kept for the next run);
            labels that the models do not have; images that an artifact was calibrated on.
        RefusedError: some of several models cannot be loaded, all of them named; nothing was run.
        GhostedgeError: no model can be loaded, one fails as it runs, or a worker was lost.
        OutputError: a part or a ledger cannot be written; what was written before stays.
        MissingExtraError: pyarrow or a runtime is not installed.
    """
    if options.workers < 1:
        raise UsageError(f"--workers {options.workers}: at least 1 is needed")
    choose("on_error", options.on_error, ("fail", "skip"))
    require("pyarrow.parquet", "evaluate")  # a missing package shows now, not when the first part is written
    chosen = spread(dataset.image_ids, options.limit)
    images = Images.of(dataset, chosen)
    setups = tuple(subject.setup for subject in subjects)
    calibration = {
        digest: (image_id, setup.artifact.path.name)
        for setup in (() if options.allow_calibration_images else setups)
        for image_id, digest in setup.artifact.calibration.items()
    }
    refuse_known(dataset, chosen, calibration)
    job = Job(setups, options.keep_logits, options.decode_threads, calibration)
    largest = max(subject.setup.batch for subject in subjects)
    size = largest * -(-_TASK_IMAGES // largest)
    workers = min(options.workers, -(-len(chosen) // size))
    engine = options.engine(job) if options.engine else LocalEngine(job, workers)
    with contextlib.closing(engine), contextlib.ExitStack() as locks:
        if refused := engine.about.refused:
            reasons = {subjects[number].setup.artifact.path: reason for number, reason in refused.items()}
            raise RefusedError(reasons, len(subjects))
        ledgers: list[Parts] = []
        for number, subject in enumerate(subjects):
            metadata = _metadata(subject, engine.about, number, images.ids)
            labels = labels_for(dataset, metadata.classes, subject.setup.artifact.labels)[chosen]
            parts = Parts(subject.ledger, metadata, images, labels, keep_logits=options.keep_logits)
            locks.enter_context(parts.locked())
            ledgers.append(parts)
        if any((parts.labels != ledgers[0].labels).any() for parts in ledgers):
            raise UsageError("the artifacts give the data set's classes different indices; evaluate them one by one")
        _run_all(ledgers, engine, lambda done: _tasks(dataset, chosen, labels, done, size), on_progress)
        return tuple(_finish(parts, options, dataset.notes) for parts in ledgers)


def _finish(parts: Parts, options: Options, notes: tuple[str, ...]) -> Evaluation:
    """Make the ledger. Raises: DatasetError for images without an answer if they are not to be skipped."""
    images = len(parts.labels)
    failures = parts.named_failures()
    if failures and options.on_error == "fail":
        first, reason = next(iter(failures.items()))
        raise DatasetError(
            f"{len(failures)} of {images} images have no answer by {parts.metadata.model['file']}, "
            f"the first is {first}: {reason}; get them again, or take --on-error skip to count them as wrong "
            "(the other rows are kept, the next run continues)"
        )
    counts = parts.finish()
    labelled = parts.labels.min() >= 0
    if parts.replaces:
        notes += (f"{parts.ledger} held the answers of another run, which are replaced",)
    return Evaluation(
        ledger=parts.ledger,
        metadata=parts.metadata,
        images=images,
        top1=counts.top1 / images if labelled else None,
        top5=counts.top5 / images if labelled else None,
        failures=failures,
        unchanged=parts.unchanged,
        notes=notes,
    )


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
        checkpoint_sha256=hashes[0] if artifact.format == "checkpoint" else checkpoint_of(artifact, hashes[0]),
        arithmetic=about.arithmetics[number] if about.arithmetics else None,
    )


def checkpoint_of(artifact: Model, sha256: str) -> str | None:
    """The SHA-256 of the checkpoint that a manifest beside the artifact says it was made from."""
    try:
        manifest = Manifest.read(artifact.path.parent)
    except ManifestError:
        return None
    if manifest is None or manifest.source.get("format") != "checkpoint":
        return None
    made = {file.sha256 for record in manifest.artifacts.values() for file in record.files}
    return str(manifest.source["sha256"]) if sha256 in made else None


def _run_all(
    ledgers: list[Parts],
    engine: Engine,
    tasks: Callable[[NDArray[np.bool_]], Iterator[Task]],
    on_progress: Callable[[Progress], None],
) -> None:
    """Have the engine run every image that a ledger lacks, and give each ledger its rows."""
    done = np.array([parts.done() for parts in ledgers])
    total = done.shape[1]
    resumed = finished = int(done.all(axis=0).sum())
    recent = collections.deque([(time.monotonic(), finished)])
    for result in engine.results(tasks(done)):
        for number, rows in zip(result.task.models, result.rows, strict=True):
            ledgers[number].add(rows, [f for f in result.failures if f.model == number])
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
                top1=tuple(parts.top1 for parts in ledgers),
                failures=tuple((f.model, f.image_id, f.reason) for f in result.failures),
            )
        )


def _tasks(
    dataset: Dataset, chosen: NDArray[np.intp], labels: NDArray[np.int32], done: NDArray[np.bool_], size: int
) -> Iterator[Task]:
    """Cut the images that a model lacks into tasks of at most `size` neighbours that the same models lack.

    Args:
        chosen: intp (n,) into the data set.
        labels: int32 (n,), as indices of the logits.
        done: bool (models, n).
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
