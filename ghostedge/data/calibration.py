"""Choose the images on which a quantiser measures activation ranges, and refuse to evaluate the model on them."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import NO_LABELS, Dataset, open_dataset
from ghostedge.data.preprocess import Pixels, decode, resize_and_crop, to_spec
from ghostedge.errors import DatasetError, ImageError, first_line
from ghostedge.files import open_regular
from ghostedge.model import CalibrationImage, CalibrationSet, InputSpec

#: Beyond some hundred images activation ranges hardly move (Nagel et al., A White Paper on Neural Network
#: Quantization, 2021, section 3.1).
DEFAULT_COUNT = 200

#: Below this, the ranges are those of single images.
MINIMUM = 16


def choose_calibration(source: Path, count: int = DEFAULT_COUNT, seed: int = 0) -> CalibrationSet:
    """Choose `count` images by a seeded draw, classes taking turns where they are known.

    Args:
        source: any layout of `ghostedge.data.datasets`, labels or not; or a text file that lists images, one path a
            line, relative to the file.
        count: how many; all there are when there are fewer.
        seed: another seed draws other images.

    Raises:
        DatasetError: no image there, fewer than `MINIMUM`, `count` below that, or an image that cannot be read.
    """
    if count < MINIMUM:
        raise DatasetError(
            f"{count} calibration images are too few; take at least {MINIMUM} (default: {DEFAULT_COUNT})"
        )
    ids, labels, read = _open(source)
    if len(ids) < MINIMUM:
        raise DatasetError(f"{source} holds {len(ids)} image(s); calibration needs at least {MINIMUM}")
    chosen = _draw(labels, count, np.random.default_rng(seed))
    images = []
    for index in chosen:
        try:
            encoded = read(index)
        except (OSError, ImageError) as exc:
            raise DatasetError(
                f"the calibration image {ids[index]} of {source} cannot be read: {first_line(exc)}"
            ) from exc
        images.append(CalibrationImage(ids[index], hashlib.sha256(encoded).hexdigest(), encoded))
    notes = []
    if len(ids) < count:
        notes.append(f"only {len(ids)} images to calibrate on, not {count}")
    known = labels[chosen][labels[chosen] >= 0]
    if len(known) and len(set(known.tolist())) == 1:
        notes.append("all calibration images are of one class; ranges may be too narrow for the others")
    if repeated := len(images) - len({image.sha256 for image in images}):
        notes.append(f"{repeated} calibration image(s) are copies of others")
    return CalibrationSet(source.name, tuple(images), seed, len(ids), tuple(notes))


def calibration_batch(calibration: CalibrationSet, spec: InputSpec) -> Pixels:
    """The images as a model takes them, in their order.

    The last ones decoded are kept as uint8: an export needs the same ones several times (200 images: 30 MB).

    Returns:
        ``spec.dtype``, shape ``spec.shape(n)``, at least one image.

    Raises:
        DatasetError: an image does not decode.
    """
    return to_spec(_cropped(calibration.source, calibration.images, spec.geometry), spec)


@functools.lru_cache(maxsize=1)
def _cropped(source: str, images: tuple[CalibrationImage, ...], geometry: InputSpec) -> Pixels:
    """Decoded, resized and cropped: (n, height, width, 3), RGB, 0..255; not to be written to."""
    cropped = []
    for image in images:
        try:
            cropped.append(resize_and_crop(decode(image.encoded), geometry))
        except ImageError as exc:
            raise DatasetError(
                f"the calibration image {image.image_id} of {source} cannot be read: {first_line(exc)}"
            ) from exc
    batch: Pixels = np.stack(cropped)
    batch.flags.writeable = False
    return batch


_Source = tuple[Sequence[str], NDArray[np.int32], Callable[[int], bytes]]


def _open(source: Path) -> _Source:
    """Ids, labels (-1 where unknown) and how to read image i."""
    if source.suffix == ".txt" and source.is_file():
        return _open_list(source)
    try:
        dataset = open_dataset(source)
    except DatasetError:  # calibration needs no labels
        dataset = open_dataset(source, NO_LABELS)
    names = [name.decode() for name in dataset.image_ids]
    return names, dataset.labels, lambda index: dataset.source(index).read()


def _open_list(source: Path) -> _Source:
    try:
        lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as exc:
        raise DatasetError(f"cannot read the list of calibration images {source}: {exc}") from exc
    names = [line for line in lines if line and not line.startswith("#")]

    def read(index: int) -> bytes:
        with open_regular(source.parent / names[index]) as file:
            return file.read()

    return names, np.full(len(names), -1, np.int32), read


def _draw(labels: NDArray[np.int32], count: int, rng: np.random.Generator) -> list[int]:
    """Up to `count` indices: a random order, in which the classes take turns."""
    shuffled = rng.permutation(len(labels))
    turn = np.zeros(len(labels), np.intp)
    seen: dict[int, int] = {}
    for index in shuffled:
        label = int(labels[index])
        turn[index] = seen[label] = seen.get(label, -1) + 1
    by_turn = shuffled[np.argsort(turn[shuffled], kind="stable")]
    return [int(index) for index in by_turn[:count]]


_ADVICE = "its accuracy there says too much; evaluate on other images, or give --allow-calibration-images"


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
