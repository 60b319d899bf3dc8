"""Export a checkpoint or a MindIR from Python: choose the recipes, search int8's settings, build, and say what came."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from ghostedge.accuracy.statistics import Verdict, check_max_drop, worst_verdict
from ghostedge.data.calibration import choose_calibration
from ghostedge.data.datasets import Dataset, open_dataset
from ghostedge.data.imagenet import load_labels
from ghostedge.data.images import list_images, sample_images
from ghostedge.errors import UsageError
from ghostedge.formats import open_model
from ghostedge.lazy import choose
from ghostedge.manifest import Manifest
from ghostedge.model import CalibrationSet, Model
from ghostedge.networks import Network, load_network
from ghostedge.pipeline.build import Event, build
from ghostedge.pipeline.devices import DEVICES, choose_artifact
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
        return worst_verdict(repair.chosen.decision.verdict for repair in self.repairs.values())


def export(
    *,
    checkpoint: Paths | None = None,
    mindir: Paths | None = None,
    network: str = "",
    output: Paths = "build",
    target: str | Iterable[str] = "all",
    precision: str | Iterable[str] = (),
    input: Literal["normalised", "raw"] = "normalised",
    recipes: Iterable[str] = (),
    device: str | Iterable[str] = (),
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
        >>> exported.models["tflite_fp16"].path  # doctest: +SKIP
        PosixPath('build/ghostnetv2_1x_fp16.tflite')

    Args:
        checkpoint: a MindSpore checkpoint, of GhostNetV2 or of `network`; this or `mindir`.
        mindir: a MindIR of any feed-forward vision network.
        network: of the checkpoint: ``"mindcv:NAME"``, which MindCV builds; empty for GhostNetV2.
        output: the folder for artifacts and ``manifest.json``.
        target: ``"mindir"``, ``"onnx"``, ``"openvino"``, ``"tflite"``, several of them, or ``"all"``.
        precision: ``"fp32"``, ``"fp16"``, ``"dynamic"``, ``"int8"``, ``"int16x8"``, ``"mixed"`` or several; empty: all
            there are.
        input: what TFLite and OpenVINO take: normalised float32, or raw uint8 pixels in NHWC layout.
        recipes: names or ``.toml`` files of recipes, instead of `target` and `precision`.
        device: ``"pi4"``, ``"pi5"``, ``"phone"``, ``"pc"`` or several, instead of these: the artifact that is cheapest
            there, as measured (`ghostedge.pipeline.devices`), of those that can be made.
        name: the artifacts' file names begin with it; the source's name where empty.
        labels: class names, or a file with one a line; ImageNet's for 1,000 classes where empty.
        input_size: rows and columns of the input, pixels.
        calibration: the images int8, int16x8 and mixed are calibrated on: any data set of `ghostedge.data.datasets`, or
            what `ghostedge.data.calibration.choose_calibration` gave.
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
    if mindir is not None and Path(mindir).suffix.lower() != ".mindir":
        raise UsageError(f"{mindir} is no MindIR (.mindir); a checkpoint is given with --checkpoint")
    if name != Path(name).name or name == "..":
        raise UsageError(f"--name {name} cannot begin a file's name; --output says the folder")
    for option, number in (("input-size", input_size), ("threads", threads)):
        if number is not None and number < 1:
            raise UsageError(f"--{option} is {number}; at least 1 is needed")
    if max_drop is not None:
        check_max_drop(max_drop)
    elif not (tuning is None and limit is None):
        raise UsageError("--tuning and --limit are for --max-drop; add it, or leave them out")
    named, targets, precisions, devices = map(_several, (recipes, target, precision, device))
    if devices:
        if named or precisions or targets != ("all",):
            raise UsageError("--for chooses what to make; leave --target, --precision and --recipe out")
        named = _for_devices(devices, calibration is not None, on_event)
    wanted = _choose_recipes(named, targets, precisions, "mindir" if checkpoint is None else "checkpoint")
    if devices and not any(DEVICES[name].float16 for name in devices):
        wanted = tuple(map(_for_float32, wanted))
    if not named and not precisions and calibration is None:
        wanted = _without_calibrated(wanted, on_event)
    if isinstance(calibration, Paths):
        calibration = choose_calibration(Path(calibration))
    # Held until the end, so that the stages and the runtime that load it do not parse it again.
    content = None if checkpoint is None else load_network(Path(checkpoint), network)
    source = _described(open_model(Path(checkpoint or mindir or ""), network=network), labels, input_size, content)
    request = ExportRequest(
        source=source,
        recipes=tuple(_with_input(recipe, input) for recipe in wanted),
        output=Path(output),
        images=list_images(Path(images)) if isinstance(images, Paths) else tuple(map(Path, images)) or sample_images(),
        name=name or source.path.stem,
        source_info={} if content is None else content.describe(),
        force=force,
        threads=threads or os.cpu_count() or 1,
        calibration=calibration,
    )
    if max_drop is None:
        exported = Exported(request.output, build(request, on_event))
    else:
        exported = _repaired(request, max_drop, tuning, limit, on_event)
    if not source.labels:
        last = "0" if content is None else f"{content.num_classes - 1}"
        on_event(
            Event(
                "unnamed",
                "",
                f"{source.path.name} has no class names: predict will print numbers such as 'class {last}'; to embed "
                "names, give the same command again with --labels F, a text file with one a line",
            )
        )
    return exported


def _several(names: str | Iterable[str]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)


# -- the source ----------------------------------------------------------------------------------------------


def _described(source: Model, labels: Paths | Sequence[str], size: int | None, content: Network | None) -> Model:
    """`source` with the class names and the input size that the caller wants; `content` of a checkpoint."""
    if isinstance(labels, Paths):
        names, said = load_labels(Path(labels)), str(labels)
    else:
        names, said = tuple(labels) or source.labels, "labels"
    if content is not None:
        classes = content.num_classes
        if names and len(names) != classes:
            raise UsageError(f"{said} names {len(names)} classes, but {source.path} has {classes}")
    spec = source.input
    if size:
        resize = round(size * spec.resize / spec.height)  # the same share is cropped away
        spec = dataclasses.replace(spec, height=size, width=size, resize=resize)
    return dataclasses.replace(source, input=spec, labels=names)


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


def _for_devices(devices: tuple[str, ...], calibrated: bool, on_event: OnEvent) -> tuple[str, ...]:
    """The names of the recipes that suit these devices, each once; why it is these is told."""
    choices = [choose_artifact(device, calibrated) for device in devices]
    for choice in choices:
        on_event(Event("chosen", choice.recipe, str(choice)))
    return tuple(dict.fromkeys(choice.recipe for choice in choices))


def _for_float32(recipe: Recipe) -> Recipe:
    """`recipe` without the shape of graph that float16 arithmetic wants: it costs other CPUs a twentieth and more."""
    if recipe.options.get("inference_precision") != "f16":
        return recipe
    return dataclasses.replace(recipe, options={**recipe.options, "inference_precision": "f32"})


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


def _repaired(
    request: ExportRequest, max_drop: float, tuning: Paths | Dataset | None, limit: int | None, on_event: OnEvent
) -> Exported:
    """Search the settings of every int8 recipe, and export with the best."""
    dataset = open_dataset(Path(tuning)) if isinstance(tuning, Paths) else tuning
    searched = [recipe for recipe in request.recipes if recipe.precision == "int8" and recipe.target in REMEDIES]
    if not searched:
        raise UsageError("--max-drop is for int8; there is none among the recipes asked for")
    if dataset is None or request.calibration is None:
        raise UsageError("--max-drop needs --tuning DIR and --calibration DIR, with different images")
    # The float artifacts first: they are verified, and what every trial is measured against.
    sources = {r.name: f"{r.target}_{source_precision(r.target, r.precision)}" for r in searched}
    floats = tuple(find_recipe(name) for name in dict.fromkeys(sources.values()))
    manifest = build(dataclasses.replace(request, recipes=floats), on_event)
    found: dict[str, Repair] = {}
    chosen = {recipe.name: recipe for recipe in request.recipes}
    for recipe in searched:

        def tell(trial: Trial, name: str = recipe.name) -> None:
            on_event(Event("trial", name, str(trial)))

        # The options that no remedy sets stay.
        untouched = {key: value for key, value in recipe.options.items() if key not in REMEDIES[recipe.target][0]}
        found[recipe.name] = repair = Search(
            source=open_model(request.output / manifest.artifacts[sources[recipe.name]].files[0].name),
            precision=recipe.precision,
            spec=recipe.input_spec(request.source.input),
            calibration=request.calibration,
            tuning=dataset,
            folder=request.output / "repair" / recipe.name,
            max_drop=max_drop,
            limit=limit,
            base=untouched,
            on_trial=tell,
        ).run()
        chosen[recipe.name] = dataclasses.replace(recipe, options={**untouched, **repair.chosen.options})
        if repair.chosen.decision.verdict != "PASS":
            on_event(Event("unmet", recipe.name, f"{recipe.name} {_unmet(repair)}"))
    return Exported(
        request.output, build(dataclasses.replace(request, recipes=tuple(chosen.values())), on_event), found
    )


def _unmet(repair: Repair) -> str:
    needed = repair.chosen.decision.images_to_decide
    return (
        f"is not shown to lose at most {repair.max_drop_points:g} points of top-1: the best of {len(repair.trials)} "
        f"trials is {repair.chosen}" + (f"; about {needed} tuning images would decide" if needed else "")
    )
