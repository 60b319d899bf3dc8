"""Refuse to evaluate a quantised artifact on the images that it was calibrated on."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import Dataset
from ghostedge.errors import ArtifactError, DatasetError, ImageError
from ghostedge.formats import read_description
from ghostedge.model import Model

_ADVICE = "its accuracy there says too much; evaluate on other images, or give --allow-calibration-images"


def calibration_images(artifacts: Iterable[Model]) -> dict[str, tuple[str, str]]:
    """The images that the artifacts' files name as calibration images: SHA-256 -> (image id, artifact's file name)."""
    found = {}
    for artifact in artifacts:
        description = None
        with contextlib.suppress(ArtifactError):  # loading it will say what is wrong with the file
            description = read_description(artifact.path)
        for image_id, digest in ({} if description is None else description.calibration).items():
            found[digest] = (image_id, artifact.path.name)
    return found


def refuse_known(dataset: Dataset, chosen: NDArray[np.intp], calibration: Mapping[str, tuple[str, str]]) -> None:
    """Look, before any work, at the images that have the id of a calibration image.

    Raises:
        DatasetError: some of them are the same, byte for byte; the message names the first and counts them.
    """
    known = {image_id.encode() for image_id, _ in calibration.values()}
    same = []
    for index in chosen:
        if (name := dataset.image_ids[index]) in known:
            try:
                digest = hashlib.sha256(dataset.source(index).read()).hexdigest()
            except ImageError:
                continue  # the evaluation itself reports images that cannot be read
            if digest in calibration:
                same.append((name.decode(), calibration[digest][1]))
    if same:
        image_id, artifact = same[0]
        raise DatasetError(
            f"{len(same)} of the {len(chosen)} images, the first '{image_id}', are among those that {artifact} was "
            f"calibrated on; {_ADVICE}"
        )


def refuse_same(image_id: str, encoded: bytes, calibration: Mapping[str, tuple[str, str]]) -> None:
    """Refuse, while images are read, a calibration image under another name. Raises: DatasetError."""
    if calibration and (found := calibration.get(hashlib.sha256(encoded).hexdigest())):
        raise DatasetError(f"image '{image_id}' is '{found[0]}', on which {found[1]} was calibrated; {_ADVICE}")
