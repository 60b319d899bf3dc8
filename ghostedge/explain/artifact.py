"""Explain a quantised .tflite file beside the float one, on photos prepared as the two files describe."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from ghostedge.compare import Difference
from ghostedge.data.images import sample_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.errors import ArtifactError, ManifestError, UsageError
from ghostedge.explain.explain import Explanation, explain
from ghostedge.formats import FORMATS, read_description
from ghostedge.manifest import Manifest
from ghostedge.model import InputSpec

__all__ = ["explain_artifact"]


def explain_artifact(
    quantised: Path, against: Path, images: Sequence[Path] = (), input_spec: InputSpec | None = None
) -> Explanation:
    """What quantisation cost, stage by stage and layer by layer.

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
            raise UsageError(f"{path} is no .tflite; --against explains a quantised TFLite model beside its float one")
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
    found = explain(
        quantised,
        against,
        preprocess_batch(paths, exact),
        None if own == exact else preprocess_batch(paths, own),
    )
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
