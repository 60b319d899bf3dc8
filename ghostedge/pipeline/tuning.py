"""Search the cheapest way to quantise a model that keeps its accuracy on images of a tuning set."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.accuracy.parity import paired_drop_of
from ghostedge.accuracy.statistics import Decision, PairedDrop, decide
from ghostedge.compare import compare
from ghostedge.data.calibration import calibration_batch
from ghostedge.data.datasets import Dataset
from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.evaluation.ledger import Ledger, read_ledger
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.explain import explain
from ghostedge.files import atomic_write
from ghostedge.inspection import operator_macs
from ghostedge.model import CalibrationSet, InputSpec, Model, StageOutput
from ghostedge.pipeline.stages import make_stage
from ghostedge.runtimes import open_runtime
from ghostedge.stored import plain

#: Target -> settings to try before any operator is kept in float: they cost neither size nor speed.
REMEDIES: Mapping[str, tuple[Mapping[str, Any], ...]] = {
    "tflite": (
        {"estimator": "mse", "rounding": "compensated"},
        {"estimator": "lp", "rounding": "compensated"},
        {"estimator": "percentile", "rounding": "compensated"},
        {"estimator": "minmax", "rounding": "compensated"},
    ),
    "openvino": (
        {"estimator": "mse", "bias_correction": "fast"},
        {"estimator": "lp", "bias_correction": "fast"},
        {"estimator": "percentile", "bias_correction": "fast"},
        {"estimator": "mse", "bias_correction": "none"},
    ),
}

#: Images on which operators are ranked.
_RANKING_IMAGES = 16

#: Operators that are kept in float together, by the names that the recipe option ``keep_float`` takes.
_Group = tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """One way to quantise, and what it costs on the tuning set.

    Attributes:
        options: of the recipe.
        drop: of top-1 against the float artifact, paired by image.
        decision: what that says about the bound.
        float_macs_percent: the share of all multiply-accumulates that stay in float.
        size_bytes: of the artifact.
        artifact: the file.
    """

    options: Mapping[str, Any]
    drop: PairedDrop
    decision: Decision
    float_macs_percent: float
    size_bytes: int
    artifact: Path

    def __str__(self) -> str:
        settings = ", ".join(f"{key} {value}" for key, value in self.options.items() if key != "keep_float")
        kept = len(self.options.get("keep_float", ()))
        floats = f", {kept} operators in float ({self.float_macs_percent:.1f}% of the MACs)" if kept else ""
        return (
            f"{settings}{floats}: drop {self.drop.drop_points:+.2f} points, at most {self.drop.upper_points:.2f} "
            f"({self.drop.losses} lost, {self.drop.gains} won of {self.drop.images}): {self.decision.verdict}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        rounded = round(self.float_macs_percent, 3)
        return {**plain(self), "float_macs_percent": rounded, "artifact": self.artifact.name}


@dataclass(frozen=True)
class Repair:
    """The result of a search.

    Attributes:
        chosen: what to use: the first trial that meets the bound, else the one with the least drop.
        trials: all, in the order in which they were tried.
        max_drop_points: the bound.
    """

    chosen: Trial
    trials: tuple[Trial, ...]
    max_drop_points: float

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "max_drop_points": self.max_drop_points,
            "chosen": self.trials.index(self.chosen),
            "trials": [trial.to_dict() for trial in self.trials],
        }


@dataclass
class Search:
    """A search for one target and precision.

    The remedies of the target come first. Where none meets the bound, operators are kept in float, those whose own
    quantisation error is largest first (`ghostedge.explain.explain`; OpenVINO: block by block, by the error that
    quantising it adds to the logits), in numbers that double until the bound is met, then halving the last step. The
    bound is met when the upper 95% bound of the paired drop is within it (`ghostedge.accuracy.statistics.decide`).

    Every trial leaves its artifact and its ledger in `folder`; a search that was killed takes up what is there.

    Attributes:
        source: the float32 artifact of the target.
        precision: what to make of it, e.g. ``"int8"``.
        spec: the input of what is made.
        calibration: the images to calibrate on.
        tuning: labelled images to measure on: neither those of the calibration nor those of a later evaluation.
        folder: for artifacts, ledgers and ``repair.json``.
        max_drop: percentage points of top-1 that may be lost.
        max_float_macs: percent of the multiply-accumulates that may stay in float.
        base: options that every trial has.
        limit: measure on this many of the tuning images, spread evenly; None for all.
        on_trial: told of each trial.

    Raises:
        UsageError: another format than those of `REMEDIES`, or tuning images without labels.
    """

    source: Model
    precision: str
    spec: InputSpec
    calibration: CalibrationSet
    tuning: Dataset
    folder: Path
    _: KW_ONLY
    max_drop: float
    max_float_macs: float = 10.0
    base: Mapping[str, Any] = field(default_factory=dict)
    limit: int | None = None
    on_trial: Callable[[Trial], None] = lambda trial: None

    def __post_init__(self) -> None:
        if self.source.format not in REMEDIES:
            raise UsageError(f"--max-drop is for {', '.join(sorted(REMEDIES))}, not for {self.source.format}")
        if int(self.tuning.labels.min()) < 0:
            raise UsageError("the tuning set has images without labels; accuracy cannot be measured on them")
        self.macs = operator_macs(self.source.path)
        self.stage = make_stage(self.source.format, self.precision)
        self.trials: list[Trial] = []
        # A few images suffice to rank operators; the ranking needs no labels.
        self.ranking = replace(self.calibration, images=self.calibration.images[:_RANKING_IMAGES])

    def run(self) -> Repair:
        """Search. Raises: GhostedgeError of a quantisation or an evaluation."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.reference = self._ledger(self.source)
        for remedy in REMEDIES[self.source.format]:
            if self._try(remedy).decision.verdict == "PASS":
                return self._finish()
        self._keep_float(self._least())
        return self._finish()

    def _least(self) -> Trial:
        return min(self.trials, key=lambda trial: trial.drop.upper_points)

    def _keep_float(self, best: Trial) -> None:
        groups = self._affordable(self._ranked(best))
        failed, met, count = 0, None, 1
        while met is None and failed < len(groups):
            count = min(count, len(groups))
            if self._meets(best, groups[:count]):
                met = count
            else:
                failed, count = count, count * 2
        while met is not None and met - failed > 1:
            middle = (failed + met) // 2
            if self._meets(best, groups[:middle]):
                met = middle
            else:
                failed = middle

    def _cost(self, operators: Iterable[str]) -> int:
        """Multiply-accumulates an image."""
        return sum(self.macs.get(name, 0) for name in operators)

    def _affordable(self, groups: Iterable[_Group]) -> list[_Group]:
        """The groups from the top that together stay within `max_float_macs`; one that does not fit is passed over."""
        room, fitting = self.max_float_macs / 100 * self._cost(self.macs), []
        for group in groups:
            if (cost := self._cost(group)) <= room:
                fitting.append(group)
                room -= cost
        return fitting

    def _meets(self, best: Trial, groups: Sequence[_Group]) -> bool:
        try:
            options = self._with_floats(best, list(itertools.chain(*groups)))
            return self._try(options).decision.verdict == "PASS"
        except ConvertError:  # e.g. a bias that the scale of an integer input leaves no room for
            return False

    def _with_floats(self, best: Trial, names: Sequence[str]) -> dict[str, Any]:
        # An operator that is alone in float between integers may lie outside of XNNPACK; accuracy comes first here.
        accepted = {"xnnpack": "report"} if self.source.format == "tflite" else {}
        return {**best.options, **accepted, "keep_float": list(names)}

    def _try(self, options: Mapping[str, Any]) -> Trial:
        artifact = self._build(options)
        drop = paired_drop_of(self.reference, self._ledger(artifact))
        trial = Trial(
            options=dict(options),
            drop=drop,
            decision=decide(drop, self.max_drop),
            float_macs_percent=100 * self._cost(options.get("keep_float", ())) / max(1, self._cost(self.macs)),
            size_bytes=sum(path.stat().st_size for path in artifact.files),
            artifact=artifact.path,
        )
        self.trials.append(trial)
        self.on_trial(trial)
        return trial

    def _build(self, options: Mapping[str, Any]) -> Model:
        everything = {**self.base, **options}
        described = json.dumps([everything, self.spec.to_dict()], sort_keys=True)
        decides = self.source.sha256 + json.dumps(self.calibration.to_dict()) + described
        digest = hashlib.sha256(decides.encode()).hexdigest()[:12]
        path = self.folder / f"{self.precision}-{digest}{self.source.path.suffix}"
        wanted = Model(path, self.source.format, self.spec, self.source.labels, self.precision)
        output = StageOutput(wanted, everything, self.calibration)
        if all(file.is_file() for file in wanted.files):  # whole: stages write beside, then rename
            return output.model
        (built,) = self.stage.build(self.source, (output,))
        return built

    def _ledger(self, artifact: Model) -> Ledger:
        (done,) = evaluate(subjects_of([artifact], self.folder), self.tuning, Options(limit=self.limit))
        return read_ledger(done.ledger)

    # -- the order in which operators leave quantisation -----------------------------------------------------------

    def _ranked(self, best: Trial) -> list[_Group]:
        if self.source.format == "tflite":
            found = explain(
                best.artifact,
                self.source.path,
                calibration_batch(self.ranking, self.source.input).astype(np.float32),
                calibration_batch(self.ranking, self.spec) if self.spec.range == "raw" else None,
            )
            return [(layer.name,) for layer in found.layers if layer.operator]
        return self._ranked_blocks(best)

    def _ranked_blocks(self, best: Trial) -> list[_Group]:
        """Blocks by the SNR of the logits that keeping one in float brings, for its multiply-accumulates."""
        exact = _logits(self.source, self.ranking)

        def noise(artifact: Model) -> float:
            return float(10 ** (-compare(exact, _logits(artifact, self.ranking)).snr_db / 10))

        blocks: dict[str, list[str]] = {}
        for name in self.macs:
            blocks.setdefault(_block(name), []).append(name)
        whole = noise(self._build(best.options))

        def gain(names: _Group) -> float:
            return (whole - noise(self._build(self._with_floats(best, names)))) / max(1, self._cost(names))

        return sorted(map(tuple, blocks.values()), key=gain, reverse=True)

    def _finish(self) -> Repair:
        met = [trial for trial in self.trials if trial.decision.verdict == "PASS"]
        chosen = min(met, key=lambda trial: trial.float_macs_percent) if met else self._least()
        repair = Repair(chosen, tuple(self.trials), self.max_drop)
        atomic_write(self.folder / "repair.json", json.dumps(repair.to_dict(), indent=2) + "\n")
        return repair


def _logits(artifact: Model, images: CalibrationSet) -> NDArray[np.float32]:
    try:
        with open_runtime(artifact) as runtime:
            return np.concatenate([runtime.run(image[None]) for image in calibration_batch(images, runtime.input)])
    except ValueError as exc:
        raise ArtifactError(f"{artifact.path} gives no logits: {exc}") from exc


def _block(name: str) -> str:
    """The block an operator belongs to: its name up to the first number, ``blocks.3`` of ``blocks.3.ghost1...``."""
    parts = name.replace("/", ".").split(".")
    for place, part in enumerate(parts):
        if part.isdigit():
            return ".".join(parts[: place + 1])
    return parts[0]
