"""Verify an artifact: run it on real images beside the model it was made from, and hold it to its recipe's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import Difference, compare
from ghostedge.data.preprocess import preprocess
from ghostedge.errors import ParityError
from ghostedge.model import InputSpec, Model
from ghostedge.pipeline.recipe import Recipe
from ghostedge.pipeline.stages import QUANTISED
from ghostedge.quantize.sanity import check_logits
from ghostedge.runtimes import open_runtime
from ghostedge.runtimes.openvino import NAMES, run_on_other_cpu
from ghostedge.tflite.float16 import allows_float16

Logits = NDArray[np.float32]

#: Below this share of image-dependent power in the logits a verification sees almost nothing.
MIN_SENSITIVITY = 1e-3


@dataclass(frozen=True)
class Verified:
    """What an artifact within its bounds computes; the fields of `ghostedge.manifest.ArtifactRecord` of these names.

    Attributes:
        logits: of the images, float32 (n, classes).
    """

    logits: Logits
    runtime: Mapping[str, Any]
    difference: Difference
    reference_difference: Difference
    float16_difference: Difference | None = None
    cpu_differences: Mapping[str, Difference] = field(default_factory=dict)

    def __str__(self) -> str:
        also = "" if self.float16_difference is None else f"; in float16 {self.float16_difference}"
        also += "".join(f"; {kind} {found.snr_db:.1f} dB" for kind, found in self.cpu_differences.items())
        return f"{self.difference}{also}"


class Verifier:
    """Runs models on the verification images, each preprocessed once for all models that take the same input."""

    def __init__(self, images: tuple[Path, ...], threads: int) -> None:
        self.images, self.threads = images, threads
        self._batches: dict[InputSpec, list[NDArray[Any]]] = {}

    def batches(self, spec: InputSpec) -> list[NDArray[Any]]:
        """The images as a model takes them, one a batch. Raises: ImageError for one that does not decode."""
        if spec not in self._batches:
            self._batches[spec] = [preprocess(path, spec) for path in self.images]
        return self._batches[spec]

    def run(self, model: Model, *, float16: bool = False) -> tuple[Logits, dict[str, Any]]:
        """The logits of the images, and what the runtime says of itself."""
        with open_runtime(model, threads=self.threads, float16=float16) as runtime:
            rows = [runtime.run(batch) for batch in self.batches(runtime.input)]
            return np.concatenate(rows), dict(runtime.info)

    def verify(self, staged: Model, recipe: Recipe, source: Logits, made_from: str, reference: Logits) -> Verified:
        """Run a staged artifact in every way that a device may.

        Args:
            staged: the artifact.
            recipe: whose bounds it must keep to.
            source: the logits of the model it was made from.
            made_from: that model's file name, for messages.
            reference: the logits of the export's first model.

        Raises:
            ParityError: it is over its bounds, or its logits are not finite.
        """
        name = staged.path.name
        logits, info = self.run(staged)
        difference = compare(source, logits)
        if recipe.precision in QUANTISED:
            check_logits(source, logits, name)
        _hold_to(recipe, difference, made_from, name)
        float16 = None
        if staged.format == "tflite" and allows_float16(staged.path):
            in_float16, _ = self.run(staged, float16=True)
            _hold_to(recipe, compare(source, in_float16), made_from, f"{name}, computed in float16,")
            float16 = compare(reference, in_float16)
        cpus: dict[str, Difference] = {}
        if staged.format == "openvino" and recipe.precision in QUANTISED:
            found = run_on_other_cpu(staged, np.concatenate(self.batches(staged.input)), self.threads)
            if found is not None:
                elsewhere = f"{name}, on CPUs {NAMES[found.other]},"
                _hold_to(recipe, compare(source, found.logits), made_from, elsewhere)
                check_logits(source, found.logits, elsewhere.removesuffix(","))
                cpus = {
                    NAMES[found.own]: compare(reference, logits),
                    NAMES[found.other]: compare(reference, found.logits),
                }
        return Verified(logits, info, difference, compare(reference, logits), float16, cpus)


def sensitivity(logits: Logits) -> float:
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
