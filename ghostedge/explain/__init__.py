"""Explain what quantisation cost each layer of a .tflite model, beside the float model it was made from.

Two errors are told apart. With x a layer's output in the float model, y in the quantised model (dequantised), and f(·)
the float layer run on the *quantised model's* own inputs of that layer:

accumulated
    y - x: all that went wrong up to here. It grows along the network, so the last layers look worst, guilty or not.
own
    y - f(·): what this layer added. The noise that came in through its inputs is in f(·) as well as in y, and cancels.

The own error is split once more, with g(·) the float layer with the dequantised weights, run on the same inputs:
g(·) - f(·) is what the weights cost, y - g(·) what the output's range and its steps cost.

What lies between two activations that both models have counts as one layer: a QUANTIZE that a quantiser has put before
an operator belongs to that operator, and a layer that it has merged away belongs to the next one.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import Difference
from ghostedge.data.images import sample_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.errors import ArtifactError, ManifestError, UsageError
from ghostedge.files import scratch_folder
from ghostedge.formats import FORMATS, read_description
from ghostedge.isolate import ChildError, run_module
from ghostedge.manifest import Manifest
from ghostedge.model import InputSpec
from ghostedge.tflite.flatbuffer import check_packages, check_tflite

__all__ = ["Explanation", "LayerError", "explain", "explain_artifact"]

#: GhostNetV2 takes a tenth of a second an image; a damaged file can make LiteRT hang.
_TIMEOUT_S = 600.0

_CHILD = "ghostedge.explain.layer_errors"


@dataclass(frozen=True)
class LayerError:
    """What quantisation did to one activation. SQNRs are in dB, and None where there is no error at all.

    Attributes:
        name: of the tensor that the layer makes.
        place: where the layer is, in the checkpoint's manner; the end of `name` where that is unknown.
        kind: what it is; see `ghostedge.explain.roles.Role`. ``"input"`` for the image itself.
        operator: the float model's operator.
        dtype: of the activation in the quantised model, e.g. ``"int8"``.
        scale: of one step of it; None where it is not quantised.
        zero_point: None where it is not quantised.
        sqnr_db: accumulated, ``10 log10(sum x^2 / sum (y - x)^2)`` over all images.
        mse: accumulated, mean of ``(y - x)^2``.
        cosine: of x and y, -1..1; 1 where both are zero.
        own_sqnr_db: ``10 log10(sum f^2 / sum (y - f)^2)``; layers are ranked by it.
        drop_db: the SQNR that this layer loses: that of f against x (the noise that arrived, seen at the output)
            less `sqnr_db`. Negative where the layer's error happens to cancel some that arrived.
        weights_share: the part of the own error that the weights alone make, ``sum (g - f)^2 / sum (y - f)^2``.
        clipped_share: the part of the own error in values that the range cuts off.
        offset_share: the part of the own error that is one and the same shift of a channel.
        step_excess: the squared error y - g over ``scale^2 / 12``, which even rounding makes; about 1 in a sound layer.
        ends: the share of values at either end of the integer range; a ReLU's zeros are among them.
        saturated: the share of values at an end while f lies beyond it by more than half a step.
        worst_channel: the channel (last axis) with the largest own error.
        worst_channel_share: its part of the own error, 0..1.
        cause: what makes most of the own error: ``"range"`` (cut off), ``"weights"``, ``"offset"``, ``"rounding"`` (the
            steps themselves: too wide a range for the signal, or simply eight bits), ``"input"`` (quantised as the
            layer runs, where activations are float), ``"arithmetic"`` (none of them) or ``"none"``.
    """

    name: str
    place: str
    kind: str
    operator: str
    dtype: str
    scale: float | None
    zero_point: int | None
    sqnr_db: float | None
    mse: float
    cosine: float
    own_sqnr_db: float | None
    drop_db: float | None
    weights_share: float
    clipped_share: float
    offset_share: float
    step_excess: float | None
    ends: float
    saturated: float
    worst_channel: int
    worst_channel_share: float
    cause: str


@dataclass(frozen=True)
class Explanation:
    """A quantised model beside its float one.

    Attributes:
        quantised: the quantised file.
        against: the float file.
        images: how many were run.
        layers: worst own SQNR first.
        weights: the logits of the float model with dequantised weights, against the float model's.
        activations: the quantised model's, against those of the float model with dequantised weights.
        whole: the quantised model's, against the float model's.
        weight_operators: how many operators' weights were put back into the float model.
        unmatched: the float model's activations that the quantised model does not have, merged into the layer after.
        conversion: the float model's logits against MindSpore's, as the manifest beside it says; None without one.
    """

    quantised: Path
    against: Path
    images: int
    layers: tuple[LayerError, ...]
    weights: Difference
    activations: Difference
    whole: Difference
    weight_operators: int
    unmatched: tuple[str, ...]
    conversion: Difference | None = None

    def stages(self) -> tuple[tuple[str, Difference], ...]:
        """What each stage costs: its name and the difference it makes to the logits."""
        known = () if self.conversion is None else (("float conversion", self.conversion),)
        return (
            *known,
            ("weight quantisation", self.weights),
            ("activation quantisation", self.activations),
            ("both", self.whole),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "quantised": str(self.quantised),
            "against": str(self.against),
            "images": self.images,
            "stages": {name.replace(" ", "_"): difference.to_dict() for name, difference in self.stages()},
            "weight_operators": self.weight_operators,
            "unmatched": list(self.unmatched),
            "layers": [vars(layer) for layer in self.layers],
        }


def explain(
    quantised: Path, against: Path, batch: NDArray[Any], quantised_batch: NDArray[Any] | None = None
) -> Explanation:
    """Run both models on the same prepared images and compare them layer by layer.

    LiteRT runs in a process of its own, on its own kernels and one thread: a damaged file can crash it.

    Args:
        quantised: a .tflite with quantised weights, and activations in whole, in part or not at all.
        against: the float .tflite it was made from.
        batch: the float model's input of each image, float32 (n, h, w, 3), n >= 1.
        quantised_batch: the quantised model's input of the same images where it takes other numbers (raw pixels);
            float32 is quantised by the input's own scale.

    Raises:
        ArtifactError: a file is damaged, the first is not quantised, the second is, they are not of one network, or an
            activation is not finite.
        MissingExtraError: ai-edge-litert or flatbuffers is not installed.
    """
    check_packages()
    for path in (quantised, against):
        check_tflite(path)
    with scratch_folder() as folder:
        images = folder / "images.npz"
        np.savez(images, batch=batch, **({} if quantised_batch is None else {"quantised": quantised_batch}))
        files = [str(path.absolute()) for path in (quantised, against, images)]
        try:
            found: dict[str, Any] = json.loads(run_module(_CHILD, files, timeout_s=_TIMEOUT_S))
        except ChildError as exc:
            if exc.deliberate:
                raise ArtifactError(str(exc)) from exc
            hint = "; is a file damaged, or are the images too many?" if exc.returncode is None else ""
            raise ArtifactError(f"{quantised} and {against} cannot be compared in LiteRT: {exc}{hint}") from exc
    layers = [LayerError(**layer) for layer in found["layers"]]
    layers.sort(key=lambda layer: np.inf if layer.own_sqnr_db is None else layer.own_sqnr_db)
    stages = {name: Difference.from_dict(found[name]) for name in ("weights", "activations", "whole")}
    return Explanation(
        quantised,
        against,
        len(batch),
        tuple(layers),
        **stages,
        weight_operators=found["weight_operators"],
        unmatched=tuple(found["unmatched"]),
    )


def explain_artifact(
    quantised: Path, against: Path, images: Sequence[Path] = (), input_spec: InputSpec | None = None
) -> Explanation:
    """Explain a quantised file beside the float one, on photos prepared as the two files describe.

    Args:
        quantised: a quantised .tflite.
        against: the float .tflite it was made from; a ``manifest.json`` beside it gives the cost of the stages before.
        images: what to run; without any, the photos of this package.
        input_spec: of the float model, and of the quantised one where that does not describe itself.

    Raises:
        ArtifactError: a file is missing or damaged, or they are not a float and a quantised model of one network.
        ImageError: an image cannot be read.
        UsageError: a file is not a .tflite.
        MissingExtraError: a package is not installed.
    """
    for path in (quantised, against):
        if FORMATS.get(path.suffix.lower()) not in ("tflite", None):
            raise UsageError(
                f"{path} is not a .tflite; --against explains a quantised TFLite model beside its float one"
            )
    described = [read_description(path) for path in (quantised, against)]
    own, exact = (None if one is None else one.input for one in described)
    exact = input_spec or exact or own
    if exact is None:
        raise ArtifactError(
            f"neither {quantised} nor {against} says what its input holds; say it in a JSON file and give that with "
            "--input-spec"
        )
    own = own or exact
    paths = list(images) or list(sample_images())
    own_batch = None if own == exact else preprocess_batch(paths, own)
    found = explain(quantised, against, preprocess_batch(paths, exact), own_batch)
    return dataclasses.replace(found, conversion=_conversion(against))


def _conversion(path: Path) -> Difference | None:
    """How far the manifest beside `path` says it is from MindSpore's own run; None where it does not know the file."""
    try:
        manifest = Manifest.read(path.parent)
    except ManifestError:  # of an export by another version; it is not what was asked for
        return None
    for record in manifest.artifacts.values() if manifest else ():
        if record.files[0].name == path.name and record.intact(path.parent):
            return record.reference_difference
    return None
