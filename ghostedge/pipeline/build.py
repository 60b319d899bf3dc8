"""Run the stages of an export in order, verify each on real images, and put in place only what agrees."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import resource
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import ghostedge
from ghostedge.compare import Difference, compare
from ghostedge.data.calibration import calibration_batch
from ghostedge.data.golden import SUFFIX, Golden, spread, write_golden
from ghostedge.data.preprocess import decode, preprocess, resize_and_crop
from ghostedge.errors import ConvertError, GhostedgeError, OutputError, ParityError, UsageError
from ghostedge.files import output_error, sha256_file
from ghostedge.formats import open_model
from ghostedge.lazy import require
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import CalibrationSet, InputSpec, Model, Stage, StageOutput
from ghostedge.pipeline.recipe import Recipe, recipes
from ghostedge.pipeline.stages import QUANTISED, make_stage, source_precision
from ghostedge.quantize.sanity import check_batch, check_logits
from ghostedge.runtimes import open_runtime
from ghostedge.runtimes.openvino_isa import NAMES, run_on_other_cpu
from ghostedge.tflite.float16 import allows_float16

__all__ = ["Event", "ExportRequest", "export", "needs_calibration", "plan"]

_SUFFIXES = {"mindir": ".mindir", "onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}
_STAGING = ".staging"
_REJECTED = "rejected"

#: Below this share of image-dependent power in the logits a verification sees almost nothing.
_MIN_SENSITIVITY = 1e-3


@dataclass(frozen=True)
class Event:
    """One step of an export, for progress displays.

    Attributes:
        kind: ``"start"`` (a stage begins to build), ``"verify"``, ``"done"``, ``"unchanged"``, ``"failed"`` or
            ``"warning"``.
        recipe: the recipe's name; empty for warnings about the whole.
        message: one line for people.
        record: of ``"done"`` and ``"unchanged"``.
    """

    kind: Literal["start", "verify", "done", "unchanged", "failed", "warning"]
    recipe: str
    message: str
    record: ArtifactRecord | None = None


@dataclass(frozen=True)
class ExportRequest:
    """What to make from what.

    Attributes:
        source: a checkpoint or a MindIR.
        recipes: the artifacts to make; what they are made from is made too.
        output: the folder for artifacts and manifest.
        images: the photos on which every stage is verified, at least one.
        name: the artifacts' file names begin with it.
        source_info: what was recognised in the source, for the manifest.
        force: build even what is there and unchanged.
        threads: threads of the runtimes that verify.
        calibration: the images that quantised artifacts are calibrated on.
    """

    source: Model
    recipes: tuple[Recipe, ...]
    output: Path
    images: tuple[Path, ...]
    name: str
    source_info: Mapping[str, Any] = field(default_factory=dict)
    force: bool = False
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    calibration: CalibrationSet | None = None


@dataclass(frozen=True)
class Step:
    """One stage with the recipes it shall make from one source recipe (None: from the export's own source)."""

    stage: Stage
    recipes: tuple[Recipe, ...]
    source: str | None


def plan(wanted: tuple[Recipe, ...], source_format: str) -> tuple[Step, ...]:
    """The steps that make `wanted`, sources before what is made from them.

    What a stage reads is `Stage.source` in the precision `ghostedge.pipeline.stages.source_precision`; its recipe is
    added where it was not asked for.

    Raises:
        UsageError: nothing was asked for, or it cannot be made from `source_format`.
    """
    if not wanted:
        raise UsageError("no recipe was asked for")
    bundled = recipes()
    # (target, format and precision of the source) -> stage, recipes, depth
    steps: dict[tuple[str, str, str], tuple[Stage, dict[str, Recipe], int]] = {}

    def find(target: str, precision: str) -> tuple[Recipe, int] | None:
        for _, members, depth in steps.values():
            for recipe in members.values():
                if (recipe.target, recipe.precision) == (target, precision) and _is_source(recipe):
                    return recipe, depth
        return None

    def add(recipe: Recipe) -> int:
        if (recipe.target, recipe.precision) == (source_format, "fp32"):
            raise UsageError(f"the source is {source_format} already; --target must be something made from it")
        stage = make_stage(recipe.target, recipe.precision)
        if recipe.precision not in stage.precisions:
            raise UsageError(
                f"recipe {recipe.name}: target {recipe.target} has no precision '{recipe.precision}'; "
                f"available: {', '.join(stage.precisions)}"
            )
        key = (recipe.target, stage.source, source_precision(recipe.target, recipe.precision))
        if key not in steps:
            depth = 0
            if key[1:] != (source_format, "fp32"):
                if stage.source not in _SUFFIXES:
                    raise UsageError(f"{recipe.target} cannot be made from a {source_format}")
                found = find(*key[1:])
                depth = 1 + (found[1] if found else add(bundled["_".join(key[1:])]))
            steps[key] = (stage, {}, depth)
        steps[key][1][recipe.name] = recipe
        return steps[key][2]

    # What others are made from comes first, so that none of it is added twice.
    for recipe in sorted(wanted, key=lambda recipe: not _is_source(recipe)):
        add(recipe)
    planned = []
    for key, (stage, members, _) in sorted(steps.items(), key=lambda item: item[1][2]):
        source = find(*key[1:])
        planned.append(Step(stage, tuple(members.values()), source[0].name if source else None))
    return tuple(planned)


def needs_calibration(recipe: Recipe) -> bool:
    """Whether a recipe's artifact can be made only with calibration images."""
    steps = plan((recipe,), "checkpoint")
    return any(needed.precision in step.stage.calibrated for step in steps for needed in step.recipes)


def _is_source(recipe: Recipe) -> bool:
    """Whether other artifacts are made from this recipe's: float32, input as the network itself takes it."""
    float32 = recipe.precision in ("equalised", "fp32")
    return float32 and recipe.input.get("range", "normalised") == "normalised"


def export(request: ExportRequest, on_event: Callable[[Event], None] = lambda event: None) -> Manifest:
    """Make what `request` asks for, verify it, and record it in ``manifest.json``.

    An artifact is built in a staging folder, run on the verification images beside the model it was made from, and
    takes its name in ``request.output`` only when the difference is within the recipe's bounds; one that is not is
    kept in ``rejected/``. The manifest is rewritten after each artifact. What is already there and unchanged (same
    source, recipe, tools and bytes) is left alone, so an export that was killed continues where it stopped.

    Returns:
        The manifest as written.

    Raises:
        ParityError: an artifact is over its bounds; everything that does not depend on it was still made.
        GhostedgeError: of a stage that failed, likewise after the others; or before anything was made.
    """
    return _Export(request, on_event).run()


class _Export:
    """The state of one export: the verified models, their logits, the manifest so far."""

    def __init__(self, request: ExportRequest, on_event: Callable[[Event], None]) -> None:
        self.request = request
        self.on_event = on_event
        self.images = tuple({"name": path.name, "sha256": sha256_file(path)} for path in request.images)
        self.models: dict[str | None, Model] = {None: request.source}
        self.hashes: dict[str | None, str] = {None: sha256_file(request.source.path)}
        self.batches: dict[InputSpec, list[NDArray[Any]]] = {}
        self.logits: dict[str | None, NDArray[np.float32]] = {}
        self.errors: list[GhostedgeError] = []
        self.found: Manifest | None = None
        self.manifest = Manifest(source={}, images=())

    def run(self) -> Manifest:
        steps = plan(self.request.recipes, self.request.source.format)
        if not self.request.images:
            raise UsageError("there is no image to verify the artifacts on; give a folder with --images")
        for step in steps:
            for recipe in step.recipes:
                if self.request.calibration is None and recipe.precision in step.stage.calibrated:
                    raise UsageError(f"{recipe.name} needs images to calibrate on; give a folder with --calibration")
        self._batches(self.request.source.input)  # a damaged image shows before the work, not after it
        with _locked(self.request.output) as staging:
            self.manifest = self._open_manifest()
            if any(self._calibration(step, recipe) for step in steps for recipe in step.recipes):
                self._check_calibration()
            # Steps run side by side: BLAS of each on one thread, since threads of several would wait for each other.
            with require("threadpoolctl", "export").threadpool_limits(1, user_api="blas"):
                waiting = self._build_all(steps, staging)
            for step in waiting:
                for recipe in step.recipes:
                    self.on_event(Event("failed", recipe.name, f"not made: {step.source} failed"))
            try:
                self._write_golden()
            except GhostedgeError as exc:
                self.errors.append(exc)
            if self.manifest != self.found:
                self.manifest = dataclasses.replace(self.manifest, peak_memory_mib=_peak_memory_mib())
                self.manifest.write(self.request.output)
        if self.errors:
            raise _first_and_rest(self.errors)
        return self.manifest

    def _build_all(self, steps: tuple[Step, ...], staging: Path) -> list[Step]:
        """Build and verify each step once its source is there, side by side; return those that never could be."""
        waiting, running = list(steps), dict[Future[Any], tuple[Step, float]]()
        pool = ThreadPoolExecutor(max_workers=len(steps))
        try:
            while True:
                # One at a time: a step that is up to date makes the next ones ready at once.
                while ready := next((step for step in waiting if step.source in self.models), None):
                    waiting.remove(ready)
                    if missing := self._missing(ready):
                        step = dataclasses.replace(ready, recipes=missing)
                        for later in waiting:
                            later.stage.prepare()
                        running[self._submit(pool, step, staging)] = (step, time.monotonic())
                if not running:
                    return waiting
                step, started = running.pop(future := next(as_completed(running)))
                self._finish(step, future, time.monotonic() - started)
        finally:
            for step in steps:
                step.stage.close()
            pool.shutdown(wait=False, cancel_futures=True)

    def _submit(self, pool: ThreadPoolExecutor, step: Step, staging: Path) -> Future[Any]:
        for recipe in step.recipes:
            self.on_event(Event("start", recipe.name, f"making {self._path(recipe).name}"))
        outputs = tuple(self._output(step, recipe, staging) for recipe in step.recipes)
        return pool.submit(step.stage.build, self.models[step.source], outputs)

    # -- what is there already ---------------------------------------------------------------------

    def _check_calibration(self) -> None:
        assert self.request.calibration is not None
        spec = self.request.source.input
        notes = check_batch(calibration_batch(self.request.calibration, spec), spec)
        for note in (*self.request.calibration.notes, *notes):
            self._warn(note)

    def _open_manifest(self) -> Manifest:
        request = self.request
        source = {
            "file": request.source.path.name,
            "format": request.source.format,
            "sha256": self.hashes[None],
            "size_bytes": request.source.path.stat().st_size,
            **request.source_info,
        }
        environment = {
            "ghostedge": ghostedge.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "machine": platform.machine(),
        }
        new = Manifest(source=source, images=self.images, environment=environment)
        old = self.found = Manifest.read(request.output)
        if old is None:
            return new
        if old.source.get("sha256") != source["sha256"]:
            self.on_event(
                Event(
                    "warning",
                    "",
                    f"{request.output} holds artifacts of {old.source.get('file')} with other weights; "
                    "those made now take their place in the manifest",
                )
            )
            return new
        same_run = old.images == self.images and not request.force
        return dataclasses.replace(
            new,
            artifacts=old.artifacts,
            warnings=old.warnings if same_run else (),
            peak_memory_mib=old.peak_memory_mib,
            golden=old.golden,
            golden_key=old.golden_key,
        )

    def _missing(self, step: Step) -> tuple[Recipe, ...]:
        """The recipes of `step` that must be built; the others are registered as they are."""
        missing = []
        for recipe in step.recipes:
            record = self.manifest.artifacts.get(recipe.name)
            if (
                record is None
                or self.request.force
                or record.build_key != self._build_key(step, recipe)
                or record.verify_key != self._verify_key(record.build_key, recipe)
                or not record.intact(self.request.output)
            ):
                missing.append(recipe)
                continue
            self.models[recipe.name] = self._artifact(recipe, self._path(recipe))
            self.hashes[recipe.name] = record.files[0].sha256
            self.on_event(Event("unchanged", recipe.name, f"{record.files[0].name} is up to date", record))
        return tuple(missing)

    def _build_key(self, step: Step, recipe: Recipe) -> str:
        calibration = self._calibration(step, recipe)
        return _digest(
            {
                "source": self.hashes[step.source],
                "recipe": recipe.sha256,
                "input": self._input(recipe).to_dict(),
                "labels": self.request.source.labels,
                "packages": _versions(step.stage),
                "calibration": None if calibration is None else calibration.to_dict(),
            }
        )

    def _verify_key(self, build_key: str, recipe: Recipe) -> str:
        return _digest(
            {
                "build": build_key,
                "images": [image["sha256"] for image in self.images],
                "bounds": vars(recipe.bounds),
                "reference": self.hashes[None],
            }
        )

    # -- names ------------------------------------------------------------------------------------------

    def _input(self, recipe: Recipe) -> InputSpec:
        return recipe.input_spec(self.request.source.input)

    def _path(self, recipe: Recipe) -> Path:
        single = recipe.target in ("mindir", "onnx") and recipe.precision == "fp32"
        stem = self.request.name if single else f"{self.request.name}_{recipe.precision}"
        if self._input(recipe).range == "raw":
            stem += "_raw"
        return self.request.output / f"{stem}{_SUFFIXES[recipe.target]}"

    def _artifact(self, recipe: Recipe, path: Path) -> Model:
        return Model(
            path=path,
            format=recipe.target,  # type: ignore[arg-type]  # recipes only name formats
            input=self._input(recipe),
            labels=self.request.source.labels,
            precision=recipe.precision,
        )

    def _calibration(self, step: Step, recipe: Recipe) -> CalibrationSet | None:
        return self.request.calibration if recipe.precision in step.stage.calibrated else None

    def _output(self, step: Step, recipe: Recipe, staging: Path) -> StageOutput:
        return StageOutput(
            path=staging / self._path(recipe).name,
            precision=recipe.precision,
            input=self._input(recipe),
            labels=self.request.source.labels,
            options=recipe.options,
            calibration=self._calibration(step, recipe),
            source_sha256=self.hashes[None],
            bounds=vars(recipe.bounds),
        )

    # -- golden vectors --------------------------------------------------------------------------------------

    def _write_golden(self) -> None:
        """Write the verification photos with the source's logits beside the artifacts, unless they are there."""
        spec = self.request.source.input
        path = self.request.output / f"{self.request.name}{SUFFIX}"
        chosen = spread(len(self.images))
        key = _digest(
            {
                "source": self.hashes[None],
                "images": [self.images[index] for index in chosen],
                "input": spec.to_dict(),
                "labels": self.request.source.labels,
                "ghostedge": ghostedge.__version__,
            }
        )
        there = self.manifest.golden
        if there and self.manifest.golden_key == key and there.name == path.name and there.matches(path.parent):
            return
        if spec.resize_rule == "tensorflow_bilinear":
            self._warn("no golden vectors are written: tensorflow_bilinear gives pixels that are no whole grey levels")
            return
        logits = self._logits_of(None)[chosen]
        if not np.isfinite(logits).all():
            raise ConvertError(f"{self.request.source.path.name} gives logits that are NaN or infinite on real images")
        crops = [resize_and_crop(decode(self.request.images[index]), spec) for index in chosen]
        names, labels = tuple(self.images[index]["name"] for index in chosen), self.request.source.labels
        write_golden(path, Golden(np.stack(crops).astype(np.uint8), logits, names, labels, self.hashes[None]))
        self.manifest = dataclasses.replace(self.manifest, golden=FileRecord.of(path), golden_key=key)
        self.manifest.write(self.request.output)

    # -- after a build -------------------------------------------------------------------------------------

    def _finish(self, step: Step, future: Future[Any], seconds: float) -> None:
        try:
            built: tuple[Model, ...] = future.result()
        except GhostedgeError as exc:
            for recipe in step.recipes:
                self.on_event(Event("failed", recipe.name, str(exc)))
            self.errors.append(exc)
            return
        for recipe, artifact in zip(step.recipes, built, strict=True):
            try:
                self._admit(step, recipe, artifact, seconds)
            except GhostedgeError as exc:
                self.on_event(Event("failed", recipe.name, str(exc)))
                self.errors.append(exc)

    def _admit(self, step: Step, recipe: Recipe, staged: Model, seconds: float) -> None:
        """Verify a staged artifact; move it into place and record it, or into ``rejected/``."""
        self.on_event(Event("verify", recipe.name, f"running {self._path(recipe).name} on {len(self.images)} images"))
        source = self._logits_of(step.source)
        try:
            # Read back from the file, so that what is verified is what the file says of itself.
            staged = open_model(staged.path)
            if staged.input != self._input(recipe) or staged.labels != self.request.source.labels:
                raise ConvertError(
                    f"{staged.path.name} was written with another InputSpec or other labels than asked for"
                )
            logits, info = self._run(staged)
            difference = compare(source, logits)
            if recipe.precision in QUANTISED:
                check_logits(source, logits, staged.path.name)
            made_from = self.models[step.source].path.name
            _hold_to(recipe, difference, made_from, staged.path.name)
            float16 = None
            if staged.format == "tflite" and allows_float16(staged.path):
                in_float16, _ = self._run(staged, float16=True)
                _hold_to(recipe, compare(source, in_float16), made_from, f"{staged.path.name}, computed in float16,")
                float16 = compare(self._logits_of(None), in_float16)
            of_cpus: dict[str, Difference] = {}
            if staged.format == "openvino" and recipe.precision in QUANTISED:
                of_cpus = self._on_both_cpus(staged, recipe, source, logits, made_from)
        except ParityError as exc:
            kept = self._move(staged, self.request.output / _REJECTED)
            raise ParityError(f"{exc}; the file is kept as {kept.path}") from exc
        artifact = self._move(staged, self.request.output)
        build_key = self._build_key(step, recipe)
        record = ArtifactRecord(
            recipe=recipe.name,
            recipe_sha256=recipe.sha256,
            target=recipe.target,
            precision=recipe.precision,
            files=tuple(FileRecord.of(path) for path in artifact.files),
            source=self.models[step.source].path.name,
            input=artifact.input,
            classes=logits.shape[1],
            build_key=build_key,
            verify_key=self._verify_key(build_key, recipe),
            packages=_versions(step.stage),
            build_seconds=round(seconds, 2),
            runtime=info,
            difference=difference,
            reference_difference=compare(self._logits_of(None), logits),
            bounds=vars(recipe.bounds),
            calibration={} if (calibration := self._calibration(step, recipe)) is None else calibration.to_dict(),
            float16_difference=float16,
            cpu_differences=of_cpus,
        )
        self.models[recipe.name] = artifact
        self.hashes[recipe.name] = record.files[0].sha256
        self.logits[recipe.name] = logits
        self.manifest = self.manifest.with_artifact(record)
        self.manifest.write(self.request.output)
        also = "" if float16 is None else f"; in float16 {float16}"
        also += "".join(f"; {kind} {found.snr_db:.1f} dB" for kind, found in of_cpus.items())
        self.on_event(Event("done", recipe.name, f"{artifact.path.name}: {difference}{also}", record))

    def _on_both_cpus(
        self,
        staged: Model,
        recipe: Recipe,
        source: NDArray[np.float32],
        logits: NDArray[np.float32],
        made_from: str,
    ) -> dict[str, Difference]:
        """Kind of x86 CPU -> difference to the reference; the kind that this one is not is held to the bounds here."""
        batch = np.concatenate(self._batches(staged.input))
        found = run_on_other_cpu(staged, batch, self.request.threads)
        if found is None:
            return {}
        own, other = NAMES[found.own], NAMES[found.other]
        _hold_to(recipe, compare(source, found.logits), made_from, f"{staged.path.name}, on CPUs {other},")
        check_logits(source, found.logits, f"{staged.path.name}, on CPUs {other}")
        exact = self._logits_of(None)
        return {own: compare(exact, logits), other: compare(exact, found.logits)}

    def _move(self, staged: Model, folder: Path) -> Model:
        """Move every file of an artifact; the one that names it comes last, so that it is never there alone."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for path in reversed(staged.files):
                path.replace(folder / path.name)
        except OSError as exc:
            raise output_error(folder, exc) from exc
        return dataclasses.replace(staged, path=folder / staged.path.name)

    # -- running models ----------------------------------------------------------------------------------------

    def _logits_of(self, name: str | None) -> NDArray[np.float32]:
        if name not in self.logits:
            self.logits[name], _ = self._run(self.models[name])
            if name is None:
                self._warn_if_insensitive(self.logits[None])
        return self.logits[name]

    def _run(self, artifact: Model, *, float16: bool = False) -> tuple[NDArray[np.float32], dict[str, Any]]:
        with open_runtime(artifact, threads=self.request.threads, float16=float16) as runtime:
            rows = [runtime.run(batch) for batch in self._batches(runtime.input)]
            return np.concatenate(rows), dict(runtime.info)

    def _batches(self, spec: InputSpec) -> list[NDArray[Any]]:
        if spec not in self.batches:
            self.batches[spec] = [preprocess(path, spec) for path in self.request.images]
        return self.batches[spec]

    def _warn_if_insensitive(self, logits: NDArray[np.float32]) -> None:
        if len(logits) > 1 and (share := sensitivity(logits)) < _MIN_SENSITIVITY:
            self._warn(
                f"only {share:.1e} of the logits' power depends on the image: the weights look untrained, "
                "and a verification on them cannot see most faults"
            )

    def _warn(self, message: str) -> None:
        if message in self.manifest.warnings:
            return
        self.on_event(Event("warning", "", message))
        self.manifest = dataclasses.replace(self.manifest, warnings=(*self.manifest.warnings, message))


def sensitivity(logits: NDArray[np.float32]) -> float:
    """The share of the logits' power that depends on the image, 0..1; float (n, classes), n >= 2.

    A freshly initialised GhostNetV2 answers every image alike (its gates are all about 0.5), so that even a wrong
    upsampling rule moves its logits by no more than 4e-7.
    """
    power = float((logits.astype(np.float64) ** 2).mean())
    return float(logits.astype(np.float64).var(axis=0).mean()) / power if power else 0.0


def _hold_to(recipe: Recipe, difference: Difference, source: str, artifact: str) -> None:
    bounds = recipe.bounds
    broken = []
    if not difference.snr_db >= bounds.min_snr_db:
        broken.append(f"SNR {difference.snr_db:.1f} dB is below {bounds.min_snr_db:g} dB")
    if not difference.top1_agreement >= bounds.min_top1_agreement:
        broken.append(f"top-1 agreement {difference.top1_agreement:.1%} is below {bounds.min_top1_agreement:.1%}")
    if broken:
        raise ParityError(
            f"{artifact} differs from {source} on {difference.images} images: {' and '.join(broken)} "
            f"(max abs {difference.max_abs:.2g})"
        )


def _first_and_rest(errors: list[GhostedgeError]) -> GhostedgeError:
    """One error for all: of the first failure's kind, its message naming the others too."""
    first = errors[0]
    if len(errors) == 1:
        return first
    # str() of the subclasses is their message; Exception's own copy would lose the subclass's fields.
    kind = ParityError if all(isinstance(error, ParityError) for error in errors) else GhostedgeError
    return kind("; ".join(dict.fromkeys(str(error) for error in errors)))


def _versions(stage: Stage) -> dict[str, str]:
    versions = {"ghostedge": ghostedge.__version__}
    for package in stage.packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def _peak_memory_mib() -> dict[str, int]:
    """The most memory that this process, and the largest of its children, held at any time, in MiB."""
    return {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "largest_child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@contextlib.contextmanager
def _locked(output: Path) -> Iterator[Path]:
    """Hold `output` for this process alone and give an empty staging folder inside it.

    The lock is the kernel's (flock on the folder itself), so a killed process leaves none behind.
    """
    staging = output / _STAGING
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock = os.open(output, os.O_RDONLY)
    except OSError as exc:
        raise output_error(output, exc) from exc
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            raise OutputError(f"another export is writing to {output}; wait for it or choose another --output") from exc
        shutil.rmtree(staging, ignore_errors=True)  # what a killed export left
        try:
            staging.mkdir()
        except OSError as exc:
            raise output_error(output, exc) from exc
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)
    finally:
        os.close(lock)
