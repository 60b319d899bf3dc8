"""What every data set is: named, labelled images, and where each of them is.

A data set may have millions of images, so what is known of each is kept in columns and not in objects: names are
UTF-8 in fixed-width bytes, which sort as the text does and take a quarter of NumPy's ``str``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import DatasetError

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
        layout: one of the four names in `ghostedge.data.datasets`.
        image_ids: bytes (n,), UTF-8, unique, n >= 1; see `name_column`.
        labels: int32 (n,), -1 unknown.
        class_names: the class folders' names in the order of the labels; empty where the labels came as numbers.
        notes: what a reader of the results should know, one line each.
    """

    layout: str
    image_ids: NDArray[np.bytes_]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def source(self, index: int) -> Source:
        """Where the image at `index` is."""
        ...


def name_column(names: Iterable[str]) -> NDArray[np.bytes_]:
    """Names as one column of UTF-8: bytes (n,), as wide as the longest. Raises: DatasetError for what is not text."""
    left = iter(names)
    chunks = []
    try:
        # One chunk after the other, so that the names are not all there as objects.
        while chunk := [name.encode() for name in itertools.islice(left, CHUNK)]:
            chunks.append(np.array(chunk))
    except UnicodeEncodeError as exc:
        raise DatasetError(f"the name of an image is not UTF-8 text ({exc}); rename it") from exc
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
