"""Decode images once and run every model on them: the part of an evaluation that is done in many processes."""

from __future__ import annotations

import contextlib
import os
import platform
import warnings
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.calibration import refuse_same
from ghostedge.data.datasets import Source
from ghostedge.data.preprocess import Pixels, decode, resize_and_crop, to_spec
from ghostedge.errors import GhostedgeError, ImageError
from ghostedge.evaluation.columns import Rows, rows_of_logits
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.lazy import resolve
from ghostedge.model import InputSpec, Model, Runtime


@dataclass(frozen=True)
class ModelSetup:
    """One model to run.

    Attributes:
        artifact: the model.
        runtime: ``"module:Class"`` of its runtime.
        input: how images become its input; differs from ``artifact.input`` where another resize rule was asked for.
        threads: threads of one inference.
        batch: images of one inference; the last batch is filled up, so that every inference has this size.
        options: further arguments of the runtime's constructor.
    """

    artifact: Model
    runtime: str
    input: InputSpec
    threads: int = 1
    batch: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What a worker needs once; it pickles.

    Attributes:
        models: what to run.
        keep_logits: whether rows carry whole logits.
        decode_threads: how many images are decoded at a time.
        calibration: images that must not be among those evaluated: SHA-256 -> (image id, file name of the model).
    """

    models: tuple[ModelSetup, ...]
    keep_logits: bool = False
    decode_threads: int = 1
    calibration: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class About:
    """What a worker says when its models are loaded.

    Attributes:
        runtimes: `Runtime.info` of each model; empty of one that is refused.
        classes: logits of each model; 0 of one that is refused.
        host: see `host`.
        refused: number of a model that cannot be run -> why; there is another that can.
        arithmetics: of each model that MindSpore runs, in which arithmetic; None of the others; () for none at all.
    """

    runtimes: tuple[dict[str, Any], ...]
    classes: tuple[int, ...]
    host: dict[str, str]
    refused: Mapping[int, str] = field(default_factory=dict)
    arithmetics: tuple[Arithmetic | None, ...] = ()

    def alike(self) -> About:
        """What must be the same of all workers of a job: all but the host and the cards' numbers."""
        cards = tuple(each and replace(each, device_ids=()) for each in self.arithmetics)
        return replace(self, host={}, arithmetics=cards)


@dataclass(frozen=True)
class Task:
    """Images to run.

    Attributes:
        image_ids: n ids.
        sources: where the n images are. The images come with the task, so that no worker has to know all.
        labels: int32 (n,), as indices of the logits.
        models: which of the job's models to run.
    """

    image_ids: tuple[str, ...]
    sources: tuple[Source, ...]
    labels: NDArray[np.int32]
    models: tuple[int, ...]


@dataclass(frozen=True)
class Failure:
    """An image to which a model has no answer, and why."""

    model: int
    image_id: str
    reason: str


@dataclass(frozen=True)
class Result:
    """The answers to a `Task`: for each of its models the rows of the images that it ran, and what failed."""

    task: Task
    rows: tuple[Rows, ...]
    failures: tuple[Failure, ...]


class Worker:
    """The models of a job, loaded. `about` says which cannot be; `run` is for the others.

    Raises:
        ArtifactError: no model can be loaded; the first one's reason.
        MissingExtraError: likewise; its runtime is not installed.
    """

    def __init__(self, job: Job) -> None:
        self._job = job
        self._close = contextlib.ExitStack()
        self._runtimes: dict[int, Runtime] = {}
        classes, refused = [0] * len(job.models), dict[int, GhostedgeError]()
        for number, model in enumerate(job.models):
            try:
                runtime = resolve(model.runtime)(model.artifact, model.threads, **model.options)
                self._runtimes[number] = self._close.enter_context(runtime)
                blank = runtime.run(np.zeros(model.input.shape(model.batch), model.input.dtype))
                classes[number] = blank.shape[1]
            except GhostedgeError as exc:
                refused[number] = exc
        if len(refused) == len(job.models) > 0:
            self._close.close()
            raise refused[0]
        self._pool = self._close.enter_context(ThreadPoolExecutor(job.decode_threads))
        loaded = [None if number in refused else self._runtimes[number] for number in range(len(job.models))]
        runtimes = tuple({} if runtime is None else dict(runtime.info) for runtime in loaded)
        arithmetics = tuple(getattr(runtime, "arithmetic", None) for runtime in loaded)
        reasons = {number: str(exc) for number, exc in refused.items()}
        self.about = About(runtimes, tuple(classes), host(), reasons, arithmetics)

    def close(self) -> None:
        """Free the models."""
        self._close.close()

    def run(self, task: Task) -> Result:
        """Decode the task's images once and run its models on them. Raises: ArtifactError where a model fails."""
        decode_one = partial(self._decode, geometries={self._job.models[m].input.geometry for m in task.models})
        each = self._pool.map if self._job.decode_threads > 1 else map
        decoded = list(each(decode_one, task.image_ids, task.sources))
        good = np.array([isinstance(image, _Decoded) for image in decoded], bool)
        failures = [
            Failure(model, image_id, reason)
            for image_id, reason in zip(task.image_ids, decoded, strict=True)
            if isinstance(reason, str)
            for model in task.models
        ]
        images = [image for image in decoded if isinstance(image, _Decoded)]
        content = np.array([image.crc32 for image in images], np.int64)
        image_ids = np.array(task.image_ids)
        rows = []
        prepared: _Prepared = {}
        for model in task.models:
            logits = self._logits(model, images, prepared)
            finite = np.isfinite(logits).all(axis=1)
            for image_id in image_ids[good][~finite].tolist():
                failures.append(Failure(model, image_id, "the model's logits hold NaN or infinity"))
            chosen = np.flatnonzero(good)[finite]
            rows.append(
                rows_of_logits(
                    image_ids[chosen],
                    task.labels[chosen],
                    logits[finite],
                    [None] * len(chosen),
                    keep_logits=self._job.keep_logits,
                    content_crc32=content[finite],
                )
            )
        return Result(task, tuple(rows), tuple(failures))

    def _decode(self, image_id: str, source: Source, geometries: set[InputSpec]) -> _Decoded | str:
        """The image in every geometry, or why it cannot be read."""
        try:
            encoded = source.read()
            refuse_same(image_id, encoded, self._job.calibration)
            image = decode(encoded)
            return _Decoded(crc32(encoded), {geometry: resize_and_crop(image, geometry) for geometry in geometries})
        except ImageError as exc:
            return str(exc)

    def _logits(self, number: int, images: list[_Decoded], prepared: _Prepared) -> NDArray[np.float32]:
        """float32 (n, classes) of n >= 0 decoded images; batches for models with the same input are made once."""
        model = self._job.models[number]
        logits = np.empty((len(images), self.about.classes[number]), np.float32)
        for start in range(0, len(images), model.batch):
            used = min(model.batch, len(images) - start)
            key = (model.input, model.batch, start)
            if key not in prepared:
                crops = [image.crops[model.input.geometry] for image in images[start : start + used]]
                crops += crops[-1:] * (model.batch - used)
                prepared[key] = to_spec(np.stack(crops), model.input)
            logits[start : start + used] = self._runtimes[number].run(prepared[key])[:used]
        return logits


class _Decoded(NamedTuple):
    """An image in every `InputSpec.geometry` that is asked for, and the CRC-32 of what it was decoded from."""

    crc32: int
    crops: dict[InputSpec, Pixels]


#: (input, batch size, first image) -> a batch that is ready to run.
_Prepared = dict[tuple[InputSpec, int, int], NDArray[Any]]


def host() -> dict[str, str]:
    """``machine``, ``system``, ``cpu`` and ``python`` of this computer."""
    return {
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu(),
        "python": platform.python_version(),
    }


def _cpu() -> str:
    """The processor's name from cpuinfo (Linux on x86), or the board's name from its device tree."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    with contextlib.suppress(OSError):
        return Path("/proc/device-tree/model").read_text().rstrip("\0\n")
    return platform.processor() or "unknown"


def serve(connection: Connection) -> None:
    """Be the worker of a parent process until it closes the connection or dies.

    Takes a `Job` and answers `About`, then takes `Task`s and answers a `Result` each; after an error there is nothing.
    """
    warnings.filterwarnings("ignore", module=r"PIL\.")  # damaged EXIF, which is not read here
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            worker = Worker(connection.recv())
            connection.send(worker.about)
            while True:
                connection.send(worker.run(connection.recv()))
        except GhostedgeError as exc:
            connection.send(exc)
    os._exit(0)  # vendor libraries have threads that a normal exit would wait for
