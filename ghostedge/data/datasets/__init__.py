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
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets.dataset import EXPECTED, Dataset, Source, name_column
from ghostedge.data.datasets.files import Folder, Tar
from ghostedge.data.datasets.labels import NO_LABELS, labels_for
from ghostedge.data.datasets.parquet import ParquetShards, find_shards
from ghostedge.errors import DatasetError

__all__ = ["NO_LABELS", "Dataset", "Source", "labels_for", "name_column", "open_dataset", "spread"]


def open_dataset(path: Path, labels: Path | None = None) -> Dataset:
    """Recognise the layout of `path` and index it.

    Args:
        path: a folder, a ``.tar`` or a ``.parquet``.
        labels: the label file or the development kit; `NO_LABELS` for images without labels; None to look for one.

    Raises:
        DatasetError: no such path, no known layout, no image, no label for an image, a tar that was cut short.
        MissingExtraError: Parquet without pyarrow, the development kit without scipy.
    """
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
