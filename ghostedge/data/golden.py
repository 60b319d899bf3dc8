"""Golden vectors: pictures as a network takes them, with the answers that MindSpore gave, in one file beside an export.

With them whatever runs an artifact, on whatever device, can tell on the spot whether it computes the right thing: no
data set, no decoder and no MindSpore is needed there.

The file is NumPy's ``.npz`` without pickles (a zip of ``.npy``):

- ``schema_version``: int, 1.
- ``crops_u8``: uint8 (n, height, width, 3), RGB, after decoding, resizing and cropping, before normalisation.
- ``logits``: float32 (n, classes), of the model that the export began with, run by MindSpore.
- ``names``: str (n,), the photos' file names.
- ``class_names``: str (classes,); (0,) where the model has none.
- ``source_sha256``: str, of the checkpoint or MindIR. Artifacts of the same export carry it as `Model.source_sha256`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.preprocess import decode, resize_and_crop
from ghostedge.errors import ArtifactError, ConvertError
from ghostedge.files import atomic_path
from ghostedge.model import Model

SCHEMA_VERSION = 1

#: What the files are called after their export's name.
SUFFIX = ".golden.npz"

#: A file holds at most so many pictures: at 224 x 224, 150 kB each before compression.
MAX_IMAGES = 32

#: Array -> its dtype in NumPy's letters; of text and whole numbers any size.
_DTYPES = {
    "crops_u8": "u1",
    "logits": "f4",
    "names": "U",
    "class_names": "U",
    "source_sha256": "U",
    "schema_version": "i",
}


@dataclass(frozen=True)
class Golden:
    """Pictures and the right answers to them.

    Attributes:
        crops: uint8 (n, height, width, 3), RGB, n >= 1.
        logits: float32 (n, classes), finite.
        names: one a picture.
        class_names: one a class, or empty.
        source_sha256: of the model that gave the logits, 64 hexadecimal digits.

    Raises:
        ArtifactError: these do not fit together.
    """

    crops: NDArray[np.uint8]
    logits: NDArray[np.float32]
    names: tuple[str, ...]
    class_names: tuple[str, ...]
    source_sha256: str

    def __post_init__(self) -> None:
        count = len(self.names)
        if count < 1 or self.crops.shape[:1] != (count,) or self.crops.ndim != 4 or self.crops.shape[3] != 3:
            raise ArtifactError(f"golden vectors: {count} names with crops of shape {self.crops.shape}")
        if self.logits.ndim != 2 or len(self.logits) != count or not np.isfinite(self.logits).all():
            raise ArtifactError(
                f"golden vectors: {count} names with logits of shape {self.logits.shape}, or not finite"
            )
        if self.class_names and len(self.class_names) != self.logits.shape[1]:
            raise ArtifactError(
                f"golden vectors: {len(self.class_names)} class names with {self.logits.shape[1]} logits"
            )


def spread(count: int, most: int = MAX_IMAGES) -> list[int]:
    """At most `most` of the indices 0..count - 1, evenly spread, the first among them."""
    chosen = min(count, most)
    return [index * count // chosen for index in range(chosen)]


def make_golden(source: Model, images: Sequence[Path], logits: NDArray[np.float32]) -> Golden:
    """The golden vectors of an export that began with `source`: its float32 logits (n, classes) of n photos.

    Raises:
        ConvertError: a logit is not finite.
    """
    if not np.isfinite(logits).all():
        raise ConvertError(f"{source.path.name} gives logits that are NaN or infinite on real images")
    crops = np.stack([resize_and_crop(decode(path), source.input) for path in images]).astype(np.uint8)
    return Golden(crops, logits, tuple(path.name for path in images), source.labels, source.sha256)


def golden_beside(artifact: Path) -> Path | None:
    """The golden file of an artifact's export, in its folder; None where none is clearly its own.

    Of several that whose name the artifact's begins with, the longest such.
    """
    found = sorted(path for path in artifact.parent.glob(f"*{SUFFIX}") if not path.name.startswith("."))
    own = [path for path in found if artifact.name.startswith(path.name.removesuffix(SUFFIX))]
    return max(own, key=lambda path: len(path.name), default=found[0] if len(found) == 1 else None)


def write_golden(path: Path, golden: Golden) -> None:
    """Write `golden` to `path`, whole or not at all; equal vectors give equal bytes. Raises: OutputError."""
    with atomic_path(path) as partial:
        np.savez_compressed(
            partial,
            schema_version=np.array(SCHEMA_VERSION, np.int64),
            crops_u8=np.ascontiguousarray(golden.crops),
            logits=np.ascontiguousarray(golden.logits),
            names=np.array(golden.names),
            class_names=np.array(golden.class_names or np.empty(0, "U1")),
            source_sha256=np.array(golden.source_sha256),
        )


def read_golden(path: Path) -> Golden:
    """Read what `write_golden` wrote.

    Raises:
        ArtifactError: missing, truncated, damaged, of another schema version, or no golden file.
    """
    advice = "copy it again, or run ghostedge export again"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: np.asarray(file[name]) for name in _DTYPES}  # what is no .npy comes as bytes
    except FileNotFoundError as exc:
        raise ArtifactError(
            f"{path} does not exist; ghostedge export writes NAME{SUFFIX} beside the artifacts"
        ) from exc
    except Exception as exc:  # what NumPy and zipfile raise for damaged files is an open set
        raise ArtifactError(f"{path} is not a whole golden file ({exc}); {advice}") from exc
    for name, kind in _DTYPES.items():
        if not arrays[name].dtype.str[1:].startswith(kind):
            raise ArtifactError(f"{path} is not a golden file ({name} is {arrays[name].dtype}); {advice}")
    if (version := arrays["schema_version"]).shape or version != SCHEMA_VERSION:
        raise ArtifactError(f"{path} has schema version {version}, this ghostedge reads {SCHEMA_VERSION}; {advice}")
    try:
        return Golden(
            crops=arrays["crops_u8"],
            logits=arrays["logits"],
            names=tuple(map(str, arrays["names"].reshape(-1))),
            class_names=tuple(map(str, arrays["class_names"].reshape(-1))),
            source_sha256=str(arrays["source_sha256"]),
        )
    except ArtifactError as exc:
        raise ArtifactError(f"{path}: {exc}; {advice}") from exc
