"""Evaluate models over labelled images by one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

from ghostedge.data.datasets import open_dataset
from ghostedge.errors import UsageError
from ghostedge.evaluation.engines import Engine
from ghostedge.evaluation.run import Evaluation, Options, Progress, subjects_of
from ghostedge.evaluation.run import evaluate as run_subjects
from ghostedge.evaluation.worker import Job
from ghostedge.formats import open_model
from ghostedge.model import Model


def evaluate(
    models: Model | Path | str | Iterable[Model | Path | str],
    data: Path | str,
    output: Path | str,
    *,
    ground_truth: Path | None = None,
    preprocessing: str | None = None,
    float16: bool = False,
    threads: int = 1,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Evaluation, ...]:
    """Run models over labelled images and write a ledger each; every image is decoded once for all of them.

    A run that was killed continues where it stopped; a ledger that is there already is left alone.

    >>> import ghostedge
    >>> [result] = ghostedge.evaluate("model_fp32.tflite", "photos", "ledgers")
    >>> result.images, result.top1, result.ledger.name
    (40, 0.75, 'model_fp32.tflite.parquet')

    Args:
        models: one or several: what `ghostedge.open_model` gave, or the path of a model that describes itself.
        data: a folder of class folders, a flat folder, a ``.tar`` or Parquet shards.
        output: the folder for the ledgers, ``<model's file name>.parquet``.
        ground_truth: the label file; None to look for it beside `data`.
        preprocessing: a resize rule in place of the models' own; see `ghostedge.InputSpec`.
        float16: run ``.tflite`` files that allow it in float16, as CPUs with float16 arithmetic do.
        threads: of one inference.
        options: how many images, processes and more; None for all images, and a process for each core that is left.
        on_progress: called after each batch of images.

    Returns:
        One `Evaluation` a model, in their order; accuracies are fractions, 0..1.

    Raises:
        DatasetError: the images, or their labels, do not fit or cannot be read.
        ArtifactError: a model is missing, damaged or not described; a `RefusedError` where its runtime refuses it and
            takes others: `RefusedError.reasons` names those to leave out.
        UsageError: two models of one file name, or a number that makes no sense.
        MissingExtraError: pyarrow or a runtime is not installed.
    """
    if threads < 1:
        raise UsageError(f"--threads {threads}: at least 1 is needed")
    several = [models] if isinstance(models, Model | Path | str) else models
    opened = [model if isinstance(model, Model) else open_model(model) for model in several]
    subjects = subjects_of(opened, Path(output), preprocessing=preprocessing, threads=threads, float16=float16)
    dataset = open_dataset(Path(data), ground_truth)
    return run_subjects(subjects, dataset, options or Options(workers=workers_for(threads)), on_progress)


def workers_for(threads: int) -> int:
    """How many processes keep every core busy where each computes with `threads`."""
    return max((os.cpu_count() or 1) // threads, 1)


def engine_of(
    engine: Literal["local", "ray"], address: str | None = None, device_target: str = "CPU"
) -> Callable[[Job], Engine] | None:
    """What makes the engine for `Options.engine`: None for processes on this machine.

    Args:
        engine: ``"local"``, or ``"ray"`` for a Ray cluster.
        address: ``HOST:PORT`` of the cluster's head; None for that of this machine.
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``: what a worker of the cluster needs.

    Raises:
        UsageError: an address without a cluster.
    """
    from ghostedge.evaluation.engines.ray import RayEngine

    if engine == "local":
        if address:
            raise UsageError("--address names a Ray cluster; add --engine ray")
        return None
    needs: dict[str, dict[str, Any]] = {"GPU": {"num_gpus": 1}, "Ascend": {"resources": {"NPU": 1}}}
    return lambda job: RayEngine(job, address or "auto", needs.get(device_target))
