"""Run the stages of an export in order, have each verified on real images, and put in place only what agrees."""

from __future__ import annotations

import contextlib
import dataclasses
import platform
import resource
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ghostedge
from ghostedge.data.calibration import calibration_batch
from ghostedge.data.golden import SUFFIX, make_golden, spread, write_golden
from ghostedge.errors import ConvertError, GhostedgeError, OutputError, ParityError, RecipeError, UsageError
from ghostedge.files import locked, output_error, scratch_folder, sha256_file
from ghostedge.formats import open_model
from ghostedge.lazy import require
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import Model, StageOutput
from ghostedge.pipeline.plan import ExportRequest, Step, plan, versions_of
from ghostedge.pipeline.recipe import Recipe
from ghostedge.pipeline.verify import MIN_SENSITIVITY, Logits, Verified, Verifier, sensitivity
from ghostedge.quantize.sanity import check_batch
from ghostedge.stored import digest, plain

_LOCK = ".lock"
_STAGING = ".staging"
_REJECTED = "rejected"


@dataclass(frozen=True)
class Event:
    """One step of an export, for progress displays.

    Attributes:
        kind: ``"start"`` (a stage begins to build), ``"verify"``, ``"done"``, ``"unchanged"``, ``"failed"`` or
            ``"warning"``; of `ghostedge.pipeline.export` also ``"chosen"`` (a device's recipe), ``"skipped"``
            (recipes left out), ``"trial"`` (int8 settings measured), ``"unmet"`` (no settings are shown to keep the
            accuracy) and ``"unnamed"`` (the artifacts hold no class names).
        recipe: the recipe's name; empty where the event is about the whole.
        message: one line for people.
        record: of ``"done"`` and ``"unchanged"``.
    """

    kind: Literal[
        "start", "verify", "done", "unchanged", "failed", "warning", "chosen", "skipped", "trial", "unmet", "unnamed"
    ]
    recipe: str
    message: str
    record: ArtifactRecord | None = None


def build(request: ExportRequest, on_event: Callable[[Event], None] = lambda event: None) -> Manifest:
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
    return _Build(request, on_event).run()


class _Build:
    """The state of one export: the verified models, their logits, the manifest so far."""

    def __init__(self, request: ExportRequest, on_event: Callable[[Event], None]) -> None:
        # A copy, which does not know the hash of what an earlier export found at the path.
        self.request = dataclasses.replace(request, source=dataclasses.replace(request.source))
        self.on_event = on_event
        self.verifier = Verifier(request.images, request.threads)
        self.images = tuple({"name": path.name, "sha256": sha256_file(path)} for path in request.images)
        self.models: dict[str | None, Model] = {None: self.request.source}
        self.logits: dict[str | None, Logits] = {}
        self.errors: list[GhostedgeError] = []
        self.manifest = Manifest(source={}, images=())

    def run(self) -> Manifest:
        steps = plan(self.request.recipes, self.request.source.format)
        self._check(steps)
        with _staging_folder(self.request.output) as staging:
            found = Manifest.read(self.request.output)
            self.manifest = self._continued(found)
            if any(self.request.calibration_of(step, recipe) for step in steps for recipe in step.recipes):
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
            if self.manifest != found:
                self.manifest = dataclasses.replace(self.manifest, peak_memory_mib=_peak_memory_mib())
                self.manifest.write(self.request.output)
        if self.errors:
            raise _first_and_rest(self.errors)
        return self.manifest

    # -- before anything is made -----------------------------------------------------------------------------

    def _check(self, steps: tuple[Step, ...]) -> None:
        """Refuse what cannot be made, and images that do not decode."""
        if not self.request.images:
            raise UsageError("there is no image to verify the artifacts on; give a folder with --images")
        for step in steps:
            for recipe in step.recipes:
                if self.request.calibration is None and recipe.precision in step.stage.calibrated:
                    raise UsageError(f"{recipe.name} needs images to calibrate on; give a folder with --calibration")
                try:
                    step.stage.check(self.request.output_of(step, recipe, self.request.output))
                except GhostedgeError as exc:
                    raise RecipeError(f"recipe {recipe.origin}: {exc}") from exc
        self.verifier.batches(self.request.source.input)

    def _check_calibration(self) -> None:
        assert self.request.calibration is not None
        spec = self.request.source.input
        notes = check_batch(calibration_batch(self.request.calibration, spec), spec)
        for note in (*self.request.calibration.notes, *notes):
            self._warn(note)

    def _continued(self, found: Manifest | None) -> Manifest:
        """The manifest to begin with: what `found` holds of the same source, in a record of this run."""
        request = self.request
        source = {
            "file": request.source.path.name,
            "format": request.source.format,
            "sha256": request.source.sha256,
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
        if found is None:
            return new
        if found.source.get("sha256") != source["sha256"]:
            message = (
                f"{request.output} holds artifacts of {found.source.get('file')} with other weights; "
                "those made now take their place in the manifest"
            )
            self.on_event(Event("warning", "", message))
            return new
        same_run = found.images == self.images and not request.force
        return dataclasses.replace(
            new,
            artifacts=found.artifacts,
            warnings=found.warnings if same_run else (),
            peak_memory_mib=found.peak_memory_mib,
            golden=found.golden,
            golden_key=found.golden_key,
        )

    # -- building --------------------------------------------------------------------------------------------

    def _build_all(self, steps: tuple[Step, ...], staging: Path) -> list[Step]:
        """Build and verify each step once its source is there, side by side; return those that never could be."""
        waiting, running = list(steps), dict[Future[Any], tuple[Step, tuple[StageOutput, ...], float]]()
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
                        outputs = tuple(self.request.output_of(step, recipe, staging) for recipe in step.recipes)
                        running[self._submit(pool, step, outputs)] = (step, outputs, time.monotonic())
                if not running:
                    return waiting
                step, outputs, started = running.pop(future := next(as_completed(running)))
                self._finish(step, outputs, future, time.monotonic() - started)
        finally:
            for step in steps:
                step.stage.close()
            pool.shutdown(wait=False, cancel_futures=True)

    def _missing(self, step: Step) -> tuple[Recipe, ...]:
        """The recipes of `step` that must be built; the others are registered as they are."""
        missing = []
        for recipe in step.recipes:
            record = self.manifest.artifacts.get(recipe.name)
            if (
                record is None
                or self.request.force
                or (record.build_key, record.verify_key) != self._keys(step, recipe)
                or not record.intact(self.request.output)
                or record.files[0].name != self.request.output_of(step, recipe, self.request.output).path.name
            ):
                missing.append(recipe)
                continue
            self.models[recipe.name] = self.request.output_of(step, recipe, self.request.output).model
            self.on_event(Event("unchanged", recipe.name, f"{record.files[0].name} is up to date", record))
        return tuple(missing)

    def _submit(self, pool: ThreadPoolExecutor, step: Step, outputs: tuple[StageOutput, ...]) -> Future[Any]:
        for recipe, output in zip(step.recipes, outputs, strict=True):
            self.on_event(Event("start", recipe.name, f"making {output.path.name}"))
        return pool.submit(step.stage.build, self.models[step.source], outputs)

    def _finish(self, step: Step, outputs: tuple[StageOutput, ...], future: Future[Any], seconds: float) -> None:
        try:
            built: tuple[Model, ...] = future.result()
        except GhostedgeError as exc:
            for recipe in step.recipes:
                self.on_event(Event("failed", recipe.name, str(exc)))
            self.errors.append(exc)
            return
        for recipe, output, staged in zip(step.recipes, outputs, built, strict=True):
            for note in output.notes:
                self._warn(note)
            try:
                self._admit(step, recipe, staged, seconds)
            except GhostedgeError as exc:
                self.on_event(Event("failed", recipe.name, str(exc)))
                self.errors.append(exc)

    def _admit(self, step: Step, recipe: Recipe, staged: Model, seconds: float) -> None:
        """Verify a staged artifact; move it into place and record it, or into ``rejected/``."""
        name = staged.path.name
        self.on_event(Event("verify", recipe.name, f"running {name} on {len(self.images)} images"))
        source, made_from = self._logits_of(step.source), self.models[step.source].path.name
        try:
            # Read back from the file, so that what is verified is what the file says of itself.
            staged = open_model(staged.path)
            _refuse_other(staged, self.request.output_of(step, recipe, staged.path.parent).model)
            verified = self.verifier.verify(staged, recipe, source, made_from, self._logits_of(None))
        except ParityError as exc:
            kept = _move(staged, self.request.output / _REJECTED)
            raise ParityError(f"{exc}; the file is kept as {kept.path}") from exc
        model = _move(staged, self.request.output)
        record = self._record(step, recipe, model, verified, seconds)
        self.models[recipe.name] = model
        self.logits[recipe.name] = verified.logits
        self.manifest = self.manifest.with_artifact(record)
        self.manifest.write(self.request.output)
        self.on_event(Event("done", recipe.name, f"{name}: {verified}", record))

    # -- what is recorded ------------------------------------------------------------------------------------

    def _record(self, step: Step, recipe: Recipe, model: Model, verified: Verified, seconds: float) -> ArtifactRecord:
        build_key, verify_key = self._keys(step, recipe)
        calibration = self.request.calibration_of(step, recipe)
        return ArtifactRecord(
            recipe=recipe.name,
            recipe_sha256=recipe.sha256,
            target=recipe.target,
            precision=recipe.precision,
            source=self.models[step.source].path.name,
            classes=verified.logits.shape[1],
            build_key=build_key,
            verify_key=verify_key,
            packages=versions_of(step.stage),
            build_seconds=round(seconds, 2),
            runtime=verified.runtime,
            difference=verified.difference,
            reference_difference=verified.reference_difference,
            bounds=plain(recipe.bounds),
            calibration={} if calibration is None else calibration.to_dict(),
            float16_difference=verified.float16_difference,
            cpu_differences=verified.cpu_differences,
            files=tuple(FileRecord.of(path) for path in model.files),
            input=model.input,
        )

    def _keys(self, step: Step, recipe: Recipe) -> tuple[str, str]:
        """The hashes of everything that decides an artifact's bytes, and of everything that decides its difference."""
        build_key = self.request.build_key(step, recipe, self.models[step.source].sha256)
        decides_difference = {
            "build": build_key,
            "images": [image["sha256"] for image in self.images],
            "bounds": plain(recipe.bounds),
            "reference": self.request.source.sha256,
        }
        return build_key, digest(decides_difference)

    def _write_golden(self) -> None:
        """Write the verification photos with the source's logits beside the artifacts, unless they are there."""
        source = self.request.source
        path = self.request.output / f"{self.request.name}{SUFFIX}"
        chosen = spread(len(self.images))
        key = digest(
            {
                "source": source.sha256,
                "images": [self.images[index] for index in chosen],
                "input": source.input.to_dict(),
                "labels": source.labels,
                "ghostedge": ghostedge.__version__,
            }
        )
        there = self.manifest.golden
        if there and self.manifest.golden_key == key and there.name == path.name and there.matches(path.parent):
            return
        if source.input.resize_rule == "tensorflow_bilinear":
            self._warn("no golden vectors are written: tensorflow_bilinear gives pixels that are no whole grey levels")
            return
        write_golden(path, make_golden(source, [self.request.images[i] for i in chosen], self._logits_of(None)[chosen]))
        self.manifest = dataclasses.replace(self.manifest, golden=FileRecord.of(path), golden_key=key)
        self.manifest.write(self.request.output)

    # -- running models --------------------------------------------------------------------------------------

    def _logits_of(self, name: str | None) -> Logits:
        if name not in self.logits:
            logits, _ = self.verifier.run(self.models[name])
            self.logits[name] = logits
            if name is None and len(logits) > 1 and (share := sensitivity(logits)) < MIN_SENSITIVITY:
                self._warn(
                    f"only {share:.1e} of the logits' power depends on the image: the weights look untrained, "
                    "and a verification on them cannot see most faults"
                )
        return self.logits[name]

    def _warn(self, message: str) -> None:
        if message in self.manifest.warnings:
            return
        self.on_event(Event("warning", "", message))
        self.manifest = dataclasses.replace(self.manifest, warnings=(*self.manifest.warnings, message))


@contextlib.contextmanager
def _staging_folder(output: Path) -> Iterator[Path]:
    """Hold `output` for this process alone and give an empty staging folder inside it.

    Raises:
        OutputError: another process holds it, or it cannot be written to.
    """
    busy = OutputError(f"another export is writing to {output}; wait for it or choose another --output")
    with locked(output / _LOCK, busy), scratch_folder(output / _STAGING) as staging:
        yield staging


def _refuse_other(staged: Model, wanted: Model) -> None:
    """Raise ConvertError where a file describes another model than was asked for."""
    said, asked = plain(staged), plain(wanted)
    if other := [name for name in asked if said[name] != asked[name]]:
        raise ConvertError(f"{staged.path.name} was written with another {', '.join(other)} than asked for")


def _move(staged: Model, folder: Path) -> Model:
    """Move every file of a model; the one that names it comes last, so that it is never there alone."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in reversed(staged.files):
            path.replace(folder / path.name)
    except OSError as exc:
        raise output_error(folder, exc) from exc
    return dataclasses.replace(staged, path=folder / staged.path.name)


def _first_and_rest(errors: list[GhostedgeError]) -> GhostedgeError:
    """One error for all: of the first failure's kind, its message naming the others too."""
    first = errors[0]
    if len(errors) == 1:
        return first
    # str() of the subclasses is their message; Exception's own copy would lose the subclass's fields.
    kind = ParityError if all(isinstance(error, ParityError) for error in errors) else GhostedgeError
    return kind("; ".join(dict.fromkeys(str(error) for error in errors)))


def _peak_memory_mib() -> dict[str, int]:
    """The most memory that this process, and the largest of its children, held at any time, in MiB."""
    return {
        "process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "largest_child": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
    }
