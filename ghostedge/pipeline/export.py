"""Export a checkpoint or a MindIR from Python: choose the recipes, search int8's settings, build, and say what came."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ghostedge.accuracy.statistics import Verdict
from ghostedge.data.calibration import choose_calibration
from ghostedge.data.datasets import Dataset, open_dataset
from ghostedge.data.imagenet import imagenet_labels, load_labels
from ghostedge.data.images import list_images, sample_images
from ghostedge.errors import UsageError
from ghostedge.formats import open_model
from ghostedge.ghostnet.checkpoint import load_checkpoint
from ghostedge.lazy import choose
from ghostedge.manifest import Manifest
from ghostedge.model import CalibrationSet, Model
from ghostedge.pipeline.build import Event, build
from ghostedge.pipeline.plan import ExportRequest, needs_calibration
from ghostedge.pipeline.recipe import Recipe, find_recipe, recipes
from ghostedge.pipeline.stages import STAGES, source_precision
from ghostedge.pipeline.tuning import REMEDIES, Repair, Search, Trial

Paths = Path | str
OnEvent = Callable[[Event], None]


@dataclass(frozen=True)
class Exported:
    """What an export made.

    Attributes:
        folder: where the artifacts and ``manifest.json`` are.
        manifest: the record of all that is there.
        repairs: with `max_drop`: int8 recipe -> the search over its settings.
    """

    folder: Path
    manifest: Manifest
    repairs: Mapping[str, Repair] = field(default_factory=dict)

    @property
    def models(self) -> dict[str, Model]:
        """Recipe name -> its artifact, ready for `ghostedge.predict`, `evaluate` and `benchmark`."""
        records = self.manifest.artifacts.items()
        return {name: open_model(self.folder / record.files[0].name) for name, record in records}

    @property
    def verdict(self) -> Verdict:
        """The worst of `repairs`: whether int8 is shown to lose no more than `max_drop`; PASS where none was asked."""
        found = {repair.chosen.decision.verdict for repair in self.repairs.values()}
        return "FAIL" if "FAIL" in found else "INCONCLUSIVE" if "INCONCLUSIVE" in found else "PASS"


def export(
    *,
    checkpoint: Paths | None = None,
    mindir: Paths | None = None,
    output: Paths = "build",
    target: str | Iterable[str] = "all",
    precision: str | Iterable[str] = (),
    input: Literal["normalised", "raw"] = "normalised",
    recipes: Iterable[str] = (),
    name: str = "",
    labels: Paths | Sequence[str] = (),
    input_size: int | None = None,
    calibration: Paths | CalibrationSet | None = None,
    images: Paths | Sequence[Path] = (),
    max_drop: float | None = None,
    tuning: Paths | Dataset | None = None,
    limit: int | None = None,
    threads: int | None = None,
    force: bool = False,
    on_event: OnEvent = lambda event: None,
) -> Exported:
    """Make verified MindIR, ONNX, OpenVINO IR and TFLite artifacts of a network.

    Every stage is run on real photos beside the stage before. What is there already and unchanged is left alone::

        >>> exported = export(checkpoint="ghostnetv2_1x.ckpt", target="tflite", precision="fp16")  # doctest: +SKIP
        >>> exported.manifest.artifacts["tflite_fp16"].reference_difference.snr_db  # doctest: +SKIP
        66.1
        >>> exported.models["tflite_fp16"].path  # doctest: +SKIP
        PosixPath('build/ghostnetv2_1x_fp16.tflite')

    Args:
        checkpoint: a MindSpore checkpoint of GhostNetV2; this or `mindir`.
        mindir: a MindIR of any feed-forward vision network.
        output: the folder for artifacts and ``manifest.json``.
        target: ``"mindir"``, ``"onnx"``, ``"openvino"``, ``"tflite"``, several of them, or ``"all"``.
        precision: ``"fp32"``, ``"fp16"``, ``"dynamic"``, ``"int8"``, ``"int16x8"`` or several; all that can be made
            where empty.
        input: what TFLite and OpenVINO take: normalised float32, or raw uint8 pixels in NHWC layout.
        recipes: names or ``.toml`` files of recipes, instead of `target` and `precision`.
        name: the artifacts' file names begin with it; the source's name where empty.
        labels: class names, or a file with one a line; ImageNet's for 1,000 classes where empty.
        input_size: rows and columns of the input, pixels.
        calibration: the images int8 and int16x8 are calibrated on: any data set of `ghostedge.data.datasets`, or what
            `ghostedge.data.calibration.choose_calibration` gave.
        images: photos to verify on, or a folder of them; those of the package where empty.
        max_drop: percentage points of top-1 that int8 may lose on `tuning`; its settings are searched until it does
            not: cheap remedies first, then the fewest operators in float.
        tuning: labelled images to measure that on, others than those of `calibration`.
        limit: tune on so many of them, spread evenly.
        threads: threads of the runtimes that verify; all cores where None.
        force: make again what is there and unchanged.
        on_event: told of each step, and of all that a user should know.

    Returns:
        The manifest, and the searches. `Exported.verdict` says whether `max_drop` is shown to be kept.

    Raises:
        UsageError: arguments that make no sense together.
        ParityError: an artifact differs from its source by more than its recipe's bounds; the others were made.
        GhostedgeError: of what could not be read or made, likewise.
    """
    if (checkpoint is None) == (mindir is None):
        raise UsageError("give either a checkpoint or a MindIR to export")
    named, precisions = tuple(recipes), _several(precision)
    wanted = _choose_recipes(named, _several(target), precisions, "mindir" if checkpoint is None else "checkpoint")
    if not named and not precisions and calibration is None:
        wanted = _without_calibrated(wanted, on_event)
    if isinstance(calibration, Paths):
        calibration = choose_calibration(Path(calibration))
    # Held until the end, so that the stages and the runtime that load it do not parse it again.
    content = None if checkpoint is None else load_checkpoint(Path(checkpoint))
    source = open_model(Path(checkpoint or mindir or ""))
    request = ExportRequest(
        source=_described(source, labels, input_size, None if content is None else content.num_classes),
        recipes=tuple(_with_input(recipe, input) for recipe in wanted),
        output=Path(output),
        images=_photos(images),
        name=name or source.path.stem,
        source_info={} if content is None else content.describe(),
        force=force,
        calibration=calibration,
        **({"threads": threads} if threads else {}),
    )
    repairs: dict[str, Repair] = {}
    if max_drop is not None:
        dataset = open_dataset(Path(tuning)) if isinstance(tuning, Paths) else tuning
        repairs = _repair(request, max_drop, dataset, limit, on_event)
        repaired = (_with_options(recipe, repairs.get(recipe.name)) for recipe in request.recipes)
        request = dataclasses.replace(request, recipes=tuple(repaired))
    return Exported(request.output, build(request, on_event), repairs)


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


# -- the source ----------------------------------------------------------------------------------------------


def _described(source: Model, labels: Paths | Sequence[str], size: int | None, classes: int | None) -> Model:
    """`source` with the class names and the input size that the caller wants; `classes` of a checkpoint."""
    if isinstance(labels, Paths):
        names, said = load_labels(Path(labels)), str(labels)
    else:
        names, said = tuple(labels) or source.labels, "labels"
    if classes is not None:
        if not names and classes == len(imagenet_labels()):
            names = imagenet_labels()
        if names and len(names) != classes:
            raise UsageError(f"{said} names {len(names)} classes, but {source.path} has {classes}")
    spec = source.input
    if size:
        resize = round(size * spec.resize / spec.height)  # the same share is cropped away
        spec = dataclasses.replace(spec, height=size, width=size, resize=resize)
    return dataclasses.replace(source, input=spec, labels=names)


def _photos(images: Paths | Sequence[Path]) -> tuple[Path, ...]:
    if isinstance(images, Paths):
        return list_images(Path(images))
    return tuple(images) or sample_images()


# -- the recipes ---------------------------------------------------------------------------------------------


def _choose_recipes(
    named: tuple[str, ...], targets: tuple[str, ...], precisions: tuple[str, ...], source_format: str
) -> tuple[Recipe, ...]:
    """The recipes that are named, or all that fit targets and precisions."""
    if named:
        if targets != ("all",) or precisions:
            raise UsageError("--recipe says target and precision itself; leave --target and --precision out")
        return tuple(find_recipe(name) for name in named)
    for target in targets:
        choose("target", target, [*STAGES, "all"])
    known = [recipe for recipe in recipes().values() if recipe.target != source_format]
    candidates = [recipe for recipe in known if "all" in targets or recipe.target in targets]
    if not precisions:
        if not candidates:
            raise UsageError(f"the source is {source_format} already; choose another --target")
        return tuple(candidates)
    for precision in precisions:
        choose("precision", precision, {recipe.precision for recipe in recipes().values()})
    for target in set(targets) - {"all"}:
        have = {recipe.precision for recipe in candidates if recipe.target == target}
        if have and (lacking := sorted(set(precisions) - have)):
            raise UsageError(
                f"target {target} has no precision '{lacking[0]}'; it is supported by: "
                + ", ".join(sorted({r.target for r in known if r.precision == lacking[0]}))
                + f" ({target} has {', '.join(sorted(have))})"
            )
    return tuple(recipe for recipe in candidates if recipe.precision in precisions)


def _without_calibrated(wanted: tuple[Recipe, ...], on_event: OnEvent) -> tuple[Recipe, ...]:
    """Those that can be made without calibration images, where the caller asked for whatever can be made."""
    if skipped := [recipe.name for recipe in wanted if needs_calibration(recipe)]:
        on_event(Event("skipped", "", f"without --calibration not made: {', '.join(skipped)}"))
    return tuple(recipe for recipe in wanted if recipe.name not in skipped)


def _with_input(recipe: Recipe, kind: str) -> Recipe:
    """`recipe`, its name ending in ``_raw`` and its input raw uint8 where that is asked for and the format has it."""
    choose("input", kind, ("normalised", "raw"))
    if kind != "raw" or recipe.target not in ("openvino", "tflite") or recipe.precision == "equalised":
        return recipe
    raw = {**recipe.input, "layout": "NHWC", "dtype": "uint8", "range": "raw"}
    return dataclasses.replace(recipe, name=f"{recipe.name}_raw", input=raw)


# -- the search ----------------------------------------------------------------------------------------------


def _repair(
    request: ExportRequest, max_drop: float, tuning: Dataset | None, limit: int | None, on_event: OnEvent
) -> dict[str, Repair]:
    """Search the settings of every int8 recipe."""
    searched = [recipe for recipe in request.recipes if recipe.precision == "int8" and recipe.target in REMEDIES]
    if not searched:
        raise UsageError("--max-drop is for int8; there is none among the recipes asked for")
    if tuning is None or request.calibration is None:
        raise UsageError("--max-drop needs --tuning DIR and --calibration DIR, with different images")
    # The float artifacts first: they are verified, and what every trial is measured against.
    sources = {r.name: f"{r.target}_{source_precision(r.target, r.precision)}" for r in searched}
    floats = tuple(find_recipe(name) for name in dict.fromkeys(sources.values()))
    manifest = build(dataclasses.replace(request, recipes=floats), on_event)
    found = {}
    for recipe in searched:

        def tell(trial: Trial, name: str = recipe.name) -> None:
            on_event(Event("trial", name, str(trial)))

        found[recipe.name] = repair = Search(
            source=open_model(request.output / manifest.artifacts[sources[recipe.name]].files[0].name),
            precision=recipe.precision,
            spec=recipe.input_spec(request.source.input),
            calibration=request.calibration,
            tuning=tuning,
            folder=request.output / "repair" / recipe.name,
            max_drop=max_drop,
            limit=limit,
            base=_untouched(recipe),
            on_trial=tell,
        ).run()
        decision = repair.chosen.decision
        if decision.verdict != "PASS":
            message = (
                f"{recipe.name} is not shown to lose at most {max_drop:g} points of top-1: the best of "
                f"{len(repair.trials)} trials is {repair.chosen}"
            )
            if decision.images_to_decide:
                message += f"; about {decision.images_to_decide} tuning images would decide"
            on_event(Event("unmet", recipe.name, message))
    return found


def _untouched(recipe: Recipe) -> dict[str, Any]:
    """The options that no remedy sets."""
    return {key: value for key, value in recipe.options.items() if key not in REMEDIES[recipe.target][0]}


def _with_options(recipe: Recipe, repair: Repair | None) -> Recipe:
    if repair is None:
        return recipe
    return dataclasses.replace(recipe, options={**_untouched(recipe), **repair.chosen.options})
