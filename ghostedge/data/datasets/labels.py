"""Labels of images: read from the files that come with them, and as indices of a model's logits.

A label file is one of

- ``val.txt``: a line an image, ``ILSVRC2012_val_00000001.JPEG 65``; labels from 0 in alphabetical order of synsets;
- ``labels.csv``: with the columns ``file`` and ``index``;
- the ILSVRC 2012 development kit (``ILSVRC2012_devkit_t12.tar.gz``, or unpacked): its ground truth counts from 1 in an
  order of its own, which its ``meta.mat`` translates.

It is looked for beside the images and one folder above, or named explicitly.
"""

from __future__ import annotations

import csv
import io
import tarfile
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import NO_LABELS, base_names, name_column, repeated
from ghostedge.errors import DatasetError, first_line
from ghostedge.lazy import require

_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKIT = "ILSVRC2012_devkit_t12"
_LABEL_FILES = ("val.txt", "labels.csv", _DEVKIT, f"{_DEVKIT}.tar.gz", _GROUND_TRUTH)
_MOST_CLASSES = np.iinfo(np.int32).max


def empty_folders(labels: NDArray[np.int32], folders: tuple[str, ...]) -> tuple[str, ...]:
    """A note about class folders without an image, if there are any."""
    counts = np.bincount(labels, minlength=len(folders))
    empty = [folder for folder, count in zip(folders, counts, strict=True) if not count]
    return (f"{len(empty)} class folders hold no image: {', '.join(empty[:3])}",) if empty else ()


@dataclass(frozen=True)
class _LabelTable:
    """What a label file says, sorted by name.

    Attributes:
        names: bytes (n,), each once.
        labels: int32 (n,).
    """

    names: NDArray[np.bytes_]
    labels: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.names)

    def of(self, names: NDArray[np.bytes_]) -> NDArray[np.int32]:
        """int32 (m,): the labels of `names`, -1 where there is none."""
        if not len(self):
            return np.full(len(names), -1, np.int32)
        place = np.minimum(np.searchsorted(self.names, names), len(self) - 1)
        return np.where(self.names[place] == names, self.labels[place], np.int32(-1))

    def by_base_name(self) -> _LabelTable:
        """The same by file names, where the file has paths; empty where file names repeat."""
        bases = base_names(self.names)
        order = np.argsort(bases, kind="stable") if repeated(bases) is None else np.empty(0, np.intp)
        return _LabelTable(bases[order], self.labels[order])


def labels_of_file(
    data: Path, names: NDArray[np.bytes_], label_file: Path | None, beside: Iterable[Path]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Read from a label file the labels of the images `names` (paths below the data set), and notes on them.

    Raises: DatasetError.
    """
    if label_file == NO_LABELS:
        return np.full(len(names), -1, np.int32), ("the images have no labels: no accuracy is known",)
    if label_file is None:
        candidates = [folder / name for folder in beside for name in _LABEL_FILES]
        label_file = next((path for path in candidates if path.exists()), None)
    if label_file is None:
        raise DatasetError(
            f"{data} holds {len(names)} images (such as {names[0].decode()}) but there is no label file beside them; "
            f"put val.txt, labels.csv or {_DEVKIT}.tar.gz there, or name one with --ground-truth ('none': no labels)"
        )
    table = _read_labels(label_file)
    labels = table.of(names)
    if (labels < 0).any():  # a label file may name images by path, or have file names for images in folders
        labels = np.where(labels < 0, table.by_base_name().of(base_names(names)), labels)
    lacking = np.flatnonzero(labels < 0)
    if len(lacking):
        raise DatasetError(
            f"{len(lacking)} of {len(names)} images have no label in {label_file}, the first: "
            f"{names[lacking[0]].decode()}; complete the file or take the images away"
        )
    partial = f"{label_file.name} lists {len(table):,} images, {len(names):,} are there: accuracies are of those"
    return labels, (partial,) if len(table) > len(names) else ()


def _read_labels(path: Path) -> _LabelTable:
    """Read any of the label files of this module's docstring. Raises: DatasetError."""
    if not path.exists():
        raise DatasetError(f"the label file {path} does not exist")
    if path.is_dir() or path.name.endswith((".tar.gz", ".tgz")):
        return _read_devkit(path)
    numbers, values = array("q"), array("i")

    def names(file: io.TextIOBase) -> Iterator[str]:
        for number, name, value in _csv_rows(file, path) if path.suffix == ".csv" else _text_rows(file):
            if not name or not value.isdecimal() or len(value) > 10 or int(value) > _MOST_CLASSES:
                raise DatasetError(
                    f"line {number} of {path} is not an image name and a label from 0 up "
                    f"({name[:99]!r}, {value[:30]!r}); a line reads: ILSVRC2012_val_00000001.JPEG 65"
                )
            numbers.append(number)
            values.append(int(value))
            yield name

    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            if path.name == _GROUND_TRUTH:
                return _ground_truth(file, path.parent / "meta.mat", path)
            column = name_column(names(file))
    except UnicodeDecodeError as exc:
        raise DatasetError(f"the label file {path} is not UTF-8 text") from exc
    except csv.Error as exc:
        raise DatasetError(f"the label file {path} is not CSV ({exc})") from exc
    order = np.argsort(column, kind="stable")
    column, labels = column[order], np.frombuffer(values, np.int32)[order]
    first = np.append(True, column[1:] != column[:-1]) if len(column) else np.empty(0, bool)
    if len(other := np.flatnonzero(~first[1:] & (labels[1:] != labels[:-1]))):
        at = other[np.argmin(np.frombuffer(numbers, np.int64)[order[other + 1]])]
        raise DatasetError(
            f"line {numbers[order[at + 1]]} of {path} gives {column[at].decode()} a second label: "
            f"{labels[at]} and {labels[at + 1]}"
        )
    return _LabelTable(column[first], labels[first])


def _text_rows(lines: Iterable[str]) -> Iterator[tuple[int, str, str]]:
    """Line number, name and value of each line; empty lines at the end do not count."""
    empty = 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            empty += 1
            continue
        if empty:
            yield number - empty, "", ""
        name, value = [*line.rsplit(maxsplit=1), "", ""][:2]
        yield number, name, value


def _csv_rows(lines: Iterable[str], path: Path) -> Iterator[tuple[int, str, str]]:
    reader = csv.DictReader(lines)
    if not {"file", "index"} <= set(reader.fieldnames or ()):
        found = ", ".join(reader.fieldnames or ())
        raise DatasetError(f"{path} has the columns {found[:99]!r}; it needs file and index")
    for row in reader:
        yield reader.line_num, row["file"] or "", row["index"] or ""


def _read_devkit(path: Path) -> _LabelTable:
    """The labels of the validation images from the ILSVRC 2012 development kit, packed or unpacked."""
    if path.is_dir():
        truth = path / "data" / _GROUND_TRUTH
        if not truth.is_file():
            raise DatasetError(f"{path} is not the ILSVRC 2012 development kit: it has no data/{_GROUND_TRUTH}")
        with open(truth, encoding="utf-8") as file:
            return _ground_truth(file, truth.with_name("meta.mat"), path)
    try:
        with tarfile.open(path) as tar:
            members = {name: tar.extractfile(f"{_DEVKIT}/data/{name}") for name in (_GROUND_TRUTH, "meta.mat")}
            text, meta = (file.read() for file in members.values() if file is not None)
            lines = io.StringIO(text.decode())
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError, zlib.error) as exc:
        reason = f"it is not the ILSVRC 2012 development kit, or not a whole one ({first_line(exc)})"
        raise DatasetError(f"{path}: {reason}") from exc
    return _ground_truth(lines, io.BytesIO(meta), path)


def _ground_truth(lines: Iterable[str], meta: Path | io.BytesIO, source: Path) -> _LabelTable:
    """Translate the kit's labels: line i is the ILSVRC2012_ID of image i, meta.mat gives that id's synset."""
    if isinstance(meta, Path) and not meta.is_file():
        raise DatasetError(
            f"{source} counts classes in an order of its own and meta.mat is not beside it; use the whole "
            f"{_DEVKIT}.tar.gz, or a val.txt with lines 'ILSVRC2012_val_00000001.JPEG 65'"
        )
    io_module = require("scipy.io", "evaluate")
    try:
        synsets = io_module.loadmat(meta, squeeze_me=True, variable_names=["synsets"])["synsets"]
        # The kit lists inner nodes of WordNet too, after the 1,000 classes; they have children.
        names = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if int(row["num_children"]) == 0}
        order = {synset: index for index, synset in enumerate(sorted(names.values()))}
        labels = np.fromiter((order[names[int(line)]] for line in lines if line.strip()), np.int32)
        images = name_column(f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(labels) + 1))
        return _LabelTable(images, labels)
    except Exception as exc:  # what scipy raises on a damaged file is an open set
        raise DatasetError(
            f"{source} is damaged ({type(exc).__name__}: {first_line(exc)}); get it again, or use a val.txt"
        ) from exc
