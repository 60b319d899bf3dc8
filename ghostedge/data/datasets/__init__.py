"""Labelled images as people have them on disk: class folders, a flat folder, a tar, Parquet shards.

====================  ===========================================================================================
layout                what it looks like
====================  ===========================================================================================
``class folders``     ``D/n01440764/x.JPEG``; the label is the place of the folder in alphabetical order
``flat folder``       ``D/ILSVRC2012_val_00000001.JPEG`` ... and a label file
``tar``               ``ILSVRC2012_img_val.tar`` as downloaded (read in place) and a label file; or class folders
``Parquet shards``    ``D/validation-00000-of-00014.parquet`` ..., columns ``image`` {bytes, path} and ``label``
====================  ===========================================================================================

What can be a label file is in `ghostedge.data.datasets.labels`.

An image's id is its file name, which all layouts have in common; with its class folder where file names repeat.
Hugging Face appends the synset to ImageNet's file names (``ILSVRC2012_val_00000293_n02110627.JPEG``); it is taken off.

A data set may have millions of images, so what is known of each is kept in columns and not in objects: names are
UTF-8 in fixed-width bytes, which sort as the text does and take a quarter of NumPy's ``str``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.imagenet import imagenet_synsets
from ghostedge.errors import DatasetError

#: Given in place of a label file, this says that the images have no labels.
NO_LABELS = Path("none")

#: What messages say can be a data set.
EXPECTED = (
    "class folders (D/<class>/<image>), a flat folder or a tar of images with val.txt or labels.csv, "
    "or Parquet shards with the columns image and label"
)

_HUGGING_FACE_NAME = re.compile(r"(ILSVRC2012_val_\d{8}|n\d{8}_\d+)_n\d{8}(\.\w+)")

#: So many names are made into a column at a time.
CHUNK = 4096


class Source(Protocol):
    """Where one encoded image is. Pickles, so that another process or computer that sees the same files can read it."""

    def read(self) -> bytes:
        """The encoded image. Raises: ImageError where it cannot be read."""
        ...


class Dataset(Protocol):
    """Labelled images in the order in which they are quickest to read.

    Attributes:
        image_ids: bytes (n,), UTF-8, unique, n >= 1; see `name_column`.
        labels: int32 (n,), -1 unknown.
        class_names: the class folders' names in the order of the labels; empty where the labels came as numbers.
        notes: what a reader of the results should know, one line each.
    """

    image_ids: NDArray[np.bytes_]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def source(self, index: int) -> Source:
        """Where the image at `index` is."""
        ...


def open_dataset(path: Path, labels: Path | None = None) -> Dataset:
    """Recognise the layout of `path` and index it.

    Args:
        path: a folder, a ``.tar`` or a ``.parquet``.
        labels: the label file or the development kit; `NO_LABELS` for images without labels; None to look for one.

    Raises:
        DatasetError: no such path, no known layout, no image, no label for an image, a tar that was cut short.
        MissingExtraError: Parquet without pyarrow, the development kit without scipy.
    """
    from ghostedge.data.datasets.files import Folder, Tar
    from ghostedge.data.datasets.parquet import ParquetShards, find_shards

    if not path.exists():
        raise DatasetError(f"{path} does not exist; --data takes {EXPECTED}")
    try:
        if path.is_file():
            if path.suffix == ".parquet":
                return ParquetShards([path], (), labels)
            if path.name.endswith((".tar", ".tar.gz", ".tgz")):
                return Tar(path, labels)
            raise DatasetError(f"{path} is a file, neither a .tar nor a .parquet; --data takes {EXPECTED}")
        shards, notes = find_shards(path)
        return ParquetShards(shards, notes, labels) if shards else Folder(path, labels)
    except OSError as exc:
        raise DatasetError(f"{exc.filename or path} cannot be read: {exc.strerror}") from exc


def spread(image_ids: NDArray[np.bytes_], limit: int | None) -> NDArray[np.intp]:
    """Which images to take: all, or `limit` of them spread evenly over the sorted ids.

    The first N of a sorted set would be the first classes. The choice depends on the ids alone, not on the layout.

    Returns:
        intp (min(n, limit),), ascending: indices in the data set's own order.

    Raises:
        DatasetError: `limit` is below 1.
    """
    count = len(image_ids)
    if limit is not None and limit < 1:
        raise DatasetError(f"--limit {limit} leaves no image; give at least 1")
    if limit is None or limit >= count:
        return np.arange(count)
    by_id = np.argsort(image_ids, kind="stable")
    return np.sort(by_id[(2 * np.arange(limit) + 1) * count // (2 * limit)])


def labels_for(dataset: Dataset, classes: int, names: Sequence[str] = ()) -> NDArray[np.int32]:
    """The data set's labels as indices of a model's logits.

    Class folders are matched by name where the model knows the names; otherwise the model must have as many classes as
    there are folders, or be one of ImageNet's 1,000 classes with the folders some of their synsets.

    Args:
        classes: logits of the model.
        names: the model's class names in the order of the logits, where they are known.

    Returns:
        int32 (n,), below `classes`.

    Raises:
        DatasetError: the labels cannot be those of this model.
    """
    folders = dataset.class_names
    labels = dataset.labels
    known = set(names)
    order: Sequence[str] = folders
    if folders and known.issuperset(folders):
        order = names
    elif folders and len(folders) != classes:
        if classes != len(imagenet_synsets()) or not set(imagenet_synsets()).issuperset(folders):
            raise DatasetError(
                f"the data set has {len(folders)} class folders ({', '.join(folders[:3])}, ...) but the model gives "
                f"{classes} classes; give --ground-truth with a file of 'name index' lines"
            )
        order = imagenet_synsets()
    if order is not folders:
        place = np.array([order.index(name) for name in folders], dtype=np.int32)
        labels = place[labels]
    if labels.max() >= classes:
        worst = int(labels.argmax())
        raise DatasetError(
            f"image '{dataset.image_ids[worst].decode()}' has label {labels[worst]}, but the model gives {classes} "
            f"classes (0..{classes - 1}): the data set and the model do not belong together"
        )
    return labels


# -- what the layouts share ------------------------------------------------------------------------------------


def name_column(names: Iterable[str]) -> NDArray[np.bytes_]:
    """Names as one column of UTF-8: bytes (n,), as wide as the longest. Raises: DatasetError for what is not text."""
    left = iter(names)
    chunks = []
    try:
        # One chunk after the other, so that the names are not all there as objects.
        while chunk := [name.encode() for name in itertools.islice(left, CHUNK)]:
            chunks.append(np.array(chunk))
    except UnicodeEncodeError as exc:
        raise DatasetError(f"the name of the image {exc.object!a} is not UTF-8 text; rename it") from exc
    return np.concatenate(chunks) if chunks else np.empty(0, "S1")


def base_names(names: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    """The file names of paths."""
    return name_column(name.decode().rpartition("/")[2] for name in names)


def image_ids(data: Path, names: NDArray[np.bytes_], paths: Callable[[], NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """Unique ids of images: file names, with the class folder where file names repeat. Raises: DatasetError."""
    short = name_column(_HUGGING_FACE_NAME.sub(r"\1\2", name.decode()) for name in names)
    if repeated(short) is None:
        return names if np.array_equal(short, names) else short  # one column for both
    whole = paths()
    if (twice := repeated(whole)) is not None:
        raise DatasetError(f"{data} names an image twice: {twice}")
    return whole


def repeated(names: NDArray[np.bytes_]) -> str | None:
    """A name that is there twice."""
    ordered = np.sort(names)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    return ordered[twice[0]].decode() if len(twice) else None
