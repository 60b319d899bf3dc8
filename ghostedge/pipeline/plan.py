"""Plan an export: what is asked for, and the stages that make it, sources before what is made from them."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ghostedge
from ghostedge.errors import UsageError
from ghostedge.model import CalibrationSet, Model, Stage, StageOutput
from ghostedge.pipeline.recipe import Recipe, recipes
from ghostedge.pipeline.stages import STAGES, make_stage, source_precision
from ghostedge.stored import digest, plain

_SUFFIXES = {"mindir": ".mindir", "onnx": ".onnx", "openvino": ".xml", "tflite": ".tflite"}


@dataclass(frozen=True)
class Step:
    """One stage with the recipes it shall make from one source recipe (None: from the export's own source)."""

    stage: Stage
    recipes: tuple[Recipe, ...]
    source: str | None


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

    def calibration_of(self, step: Step, recipe: Recipe) -> CalibrationSet | None:
        """The images that a recipe's artifact is calibrated on, if it is."""
        return self.calibration if recipe.precision in step.stage.calibrated else None

    def output_of(self, step: Step, recipe: Recipe, folder: Path) -> StageOutput:
        """What `step` is asked to make for a recipe, in `folder`."""
        spec = recipe.input_spec(self.source.input)
        single = recipe.target in ("mindir", "onnx") and recipe.precision == "fp32"
        stem = self.name if single else f"{self.name}_{recipe.precision}"
        raw = "_raw" if spec.range == "raw" else ""
        model = Model(
            path=folder / f"{stem}{raw}{_SUFFIXES[recipe.target]}",
            format=step.stage.target,
            input=spec,
            labels=self.source.labels,
            precision=recipe.precision,
            source_sha256=self.source.sha256,
            bounds=plain(recipe.bounds),
            network=self.source.network,
        )
        # What XNNPACK cannot run whole is refused of GhostNetV2, where it is a fault, and delivered of other networks.
        lenient = {"xnnpack": "report"} if self.source.network and recipe.target == "tflite" else {}
        return StageOutput(model, {**lenient, **recipe.options}, self.calibration_of(step, recipe))

    def build_key(self, step: Step, recipe: Recipe, source_sha256: str) -> str:
        """The hash of everything that decides an artifact's bytes, of what it is made from too."""
        calibration = self.calibration_of(step, recipe)
        return digest(
            {
                "source": source_sha256,
                "recipe": recipe.sha256,
                "input": recipe.input_spec(self.source.input).to_dict(),
                "labels": self.source.labels,
                "packages": versions_of(step.stage),
                "calibration": None if calibration is None else calibration.to_dict(),
                **({"network": self.source.network} if self.source.network else {}),
            }
        )


def versions_of(stage: Stage) -> dict[str, str]:
    """Distribution -> version of what decides what a stage makes."""
    versions = {"ghostedge": ghostedge.__version__}
    for package in stage.packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def plan(wanted: tuple[Recipe, ...], source_format: str) -> tuple[Step, ...]:
    """The steps that make `wanted`, sources before what is made from them.

    What a stage reads is `Stage.source` in the precision `ghostedge.pipeline.stages.source_precision`; its recipe is
    added where it was not asked for.

    Raises:
        UsageError: nothing was asked for, or it cannot be made from `source_format`.
    """
    if not wanted:
        raise UsageError("no recipe was asked for")
    planned = _Plan(source_format)
    # What others are made from comes first, so that none of it is added twice.
    for recipe in sorted(wanted, key=lambda recipe: not _is_source(recipe)):
        planned.add(recipe)
    return tuple(step for _, step in sorted(planned.steps.values(), key=lambda entry: entry[0]))


def needs_calibration(recipe: Recipe) -> bool:
    """Whether a recipe's artifact can be made only with calibration images."""
    steps = plan((recipe,), "checkpoint")
    return any(needed.precision in step.stage.calibrated for step in steps for needed in step.recipes)


def _is_source(recipe: Recipe) -> bool:
    """Whether other artifacts are made from this recipe's: float32, input as the network itself takes it."""
    float32 = recipe.precision in ("equalised", "fp32")
    return float32 and recipe.input.get("range", "normalised") == "normalised"


class _Plan:
    """Steps under construction: target, format and precision of what is read -> how many steps come before, and it."""

    def __init__(self, source_format: str) -> None:
        self.source_format = source_format
        self.steps: dict[tuple[str, str, str], tuple[int, Step]] = {}

    def add(self, recipe: Recipe) -> int:
        """Add a recipe, and what it is made from. Returns: how many steps come before its own."""
        if (recipe.target, recipe.precision) == (self.source_format, "fp32"):
            raise UsageError(f"the source is {self.source_format} already; --target must be something made from it")
        stage = make_stage(recipe.target, recipe.precision)
        if recipe.precision not in stage.precisions:
            raise UsageError(
                f"recipe {recipe.origin}: target {recipe.target} has no precision '{recipe.precision}'; "
                f"available: {', '.join(stage.precisions)}"
            )
        key = (recipe.target, stage.source, source_precision(recipe.target, recipe.precision))
        if key not in self.steps:
            depth, source = self._source(*key)
            self.steps[key] = depth, Step(stage, (), source)
        depth, step = self.steps[key]
        members = {member.name: member for member in step.recipes} | {recipe.name: recipe}
        self.steps[key] = depth, dataclasses.replace(step, recipes=tuple(members.values()))
        return depth

    def _source(self, target: str, made_from: str, precision: str) -> tuple[int, str | None]:
        """How many steps come before one that reads `made_from` in `precision`, and the recipe of what it reads."""
        if (made_from, precision) == (self.source_format, "fp32"):
            return 0, None
        if made_from not in STAGES:
            raise UsageError(f"{target} cannot be made from a {self.source_format}")
        for depth, step in self.steps.values():
            for recipe in step.recipes:
                if (recipe.target, recipe.precision) == (made_from, precision) and _is_source(recipe):
                    return depth + 1, recipe.name
        needed = recipes()[f"{made_from}_{precision}"]
        return self.add(needed) + 1, needed.name
