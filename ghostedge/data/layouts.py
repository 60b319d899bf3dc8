"""Labelled images as people have them on disk: class folders, a flat folder, a tar, Parquet shards.

====================  ===========================================================================================
layout                what it looks like
====================  ===========================================================================================
``class folders``     ``D/n01440764/x.JPEG``; the label is the place of the folder in alphabetical order
``flat folder``       ``D/ILSVRC2012_val_00000001.JPEG`` ... and a label file
``tar``               ``ILSVRC2012_img_val.tar`` as downloaded (read in place) and a label file; or class folders
``Parquet shards``    ``D/validation-00000-of-00014.parquet`` ..., columns ``image`` {bytes, path} and ``label``
====================  ===========================================================================================

A label file is one of

- ``val.txt``: a line an image, ``ILSVRC2012_val_00000001.JPEG 65``; labels from 0 in alphabetical order of synsets;
- ``labels.csv``: with the columns ``file`` and ``index``;
- the ILSVRC 2012 development kit (``ILSVRC2012_devkit_t12.tar.gz``, or unpacked): its ground truth counts from 1 in an
  order of its own, which its ``meta.mat`` translates.

It is looked for beside the images and one folder above, or named explicitly.

An image's id is its file name, which all layouts have in common; with its class folder where file names repeat.
Hugging Face appends the synset to ImageNet's file names (``ILSVRC2012_val_00000293_n02110627.JPEG``); it is taken off.

A data set may have millions of images, so that what is known of each is kept in columns and not in objects: names as
UTF-8 in fixed-width bytes, which sort as the text does and take a quarter of NumPy's ``str``.
"""

from __future__ import annotations

import csv
import io
import itertools
import os
import re
import tarfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.imagenet import imagenet_synsets
from ghostedge.errors import DatasetError, ImageError, first_line
from ghostedge.lazy import require

__all__ = ["NO_LABELS", "Dataset", "Source", "labels_for", "name_column", "open_dataset", "spread"]

#: In the place of a label file: the images have no labels.
NO_LABELS = Path("none")

_EXPECTED = (
    "class folders (D/<class>/<image>), a flat folder or a tar of images with val.txt or labels.csv, "
    "or Parquet shards with the columns image and label"
)

#: Files that count as images, the unreadable kinds too: those are reported as errors, not passed over.
_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")
_GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
_DEVKIT = "ILSVRC2012_devkit_t12"
_LABEL_FILES = ("val.txt", "labels.csv", _DEVKIT, f"{_DEVKIT}.tar.gz", _GROUND_TRUTH)

_MOST_CLASSES = np.iinfo(np.int32).max

_HUGGING_FACE_NAME = re.compile(r"(ILSVRC2012_val_\d{8}|n\d{8}_\d+)_n\d{8}(\.\w+)")
_SHARD_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.parquet")
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")


#: Names that are made into a column at a time.
_CHUNK = 4096


class Source(Protocol):
    """Where one encoded image is. Pickles, so that another process or computer that sees the same files can read it."""

    def read(self) -> bytes:
        """The encoded image. Raises: ImageError where it cannot be read."""
        ...


class Dataset(Protocol):
    """Labelled images in the order in which they are quickest to read.

    Attributes:
        layout: one of the four names above.
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
        raise DatasetError(f"{path} does not exist; --data takes {_EXPECTED}")
    try:
        if path.is_file():
            if path.suffix == ".parquet":
                return _ParquetShards([path], (), labels)
            if path.name.endswith((".tar", ".tar.gz", ".tgz")):
                return _Tar(path, labels)
            raise DatasetError(f"{path} is a file, neither a .tar nor a .parquet; --data takes {_EXPECTED}")
        shards, notes = _find_shards(path)
        return _ParquetShards(shards, notes, labels) if shards else _Folder(path, labels)
    except OSError as exc:
        raise DatasetError(f"{exc.filename or path} cannot be read: {exc.strerror}") from exc


def name_column(names: Iterable[str]) -> NDArray[np.bytes_]:
    """Names as one column of UTF-8: bytes (n,), as wide as the longest. Raises: DatasetError for what is not text."""
    left = iter(names)
    chunks = []
    try:
        # One chunk after the other, so that the names are not all there as objects.
        while chunk := [name.encode() for name in itertools.islice(left, _CHUNK)]:
            chunks.append(np.array(chunk))
    except UnicodeEncodeError as exc:
        raise DatasetError(f"the name of an image is not UTF-8 text ({exc}); rename it") from exc
    return np.concatenate(chunks) if chunks else np.empty(0, "S1")


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


# -- files in folders and tars ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _File:
    """An image that is a file, or `size` bytes of one from `offset` on; `Source`."""

    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """See `Source.read`."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as exc:
            raise ImageError(f"the image cannot be read: {exc.strerror}") from exc


class _Folder:
    """Class folders or a flat folder; `Dataset`."""

    def __init__(self, root: Path, label_file: Path | None) -> None:
        self._root = root
        self._folders, self._places, self._names = _images_below(root)
        self.class_names: tuple[str, ...] = ()
        if self._folders and label_file is None:
            self.layout, self.labels, self.class_names = "class folders", self._places, self._folders
            self.notes = _empty_folders(self.labels, self._folders)
        else:
            self.layout = "class folders" if self._folders else "flat folder"
            beside = (root, root.parent)
            self.labels, self.notes = _labels_of_file(root, self._paths(), label_file, beside)
        self.image_ids = _image_ids(root, self._names, self._paths)

    def _path(self, index: int) -> str:
        """The path below the root."""
        name: str = self._names[index].decode()
        return f"{self._folders[self._places[index]]}/{name}" if self._folders else name

    def _paths(self) -> NDArray[np.bytes_]:
        return name_column(map(self._path, range(len(self._names)))) if self._folders else self._names

    def source(self, index: int) -> Source:
        """See `Dataset.source`."""
        return _File(f"{self._root}/{self._path(index)}")


def _images_below(root: Path) -> tuple[tuple[str, ...], NDArray[np.int32], NDArray[np.bytes_]]:
    """The images in `root` or in its folders: the folders (none: directly in `root`), of each its folder and name."""
    folders = tuple(sorted(entry.name for entry in _scan(root) if entry.is_dir()))
    flat = np.sort(name_column(entry.name for entry in _scan(root) if _is_image(entry.name) and entry.is_file()))
    inside = [
        np.sort(name_column(entry.name for entry in _scan(root / folder) if _is_image(entry.name)))
        for folder in folders
    ]
    count = sum(map(len, inside))
    if len(flat) and not count:
        return (), np.zeros(0, np.int32), flat
    if count and not len(flat):
        places = np.repeat(np.arange(len(folders), dtype=np.int32), [len(names) for names in inside])
        return folders, places, np.concatenate(inside)
    if count:
        raise DatasetError(
            f"{root} holds {len(flat)} images beside folders with {count} more, so their labels are not clear; "
            f"--data takes {_EXPECTED}"
        )
    inner = [folder for folder in folders if any(entry.is_dir() for entry in _scan(root / folder))]
    names = sorted(entry.name for entry in _scan(root))
    files = [name for name in names if name.endswith(".tar")]
    raise DatasetError(
        f"{root} holds no images ({_saw(names)}); "
        + (f"give --data {root / (inner + files)[-1]}" if inner or files else f"--data takes {_EXPECTED}")
    )


def _scan(folder: Path) -> Iterator[os.DirEntry[str]]:
    """What is in a folder, without the hidden entries, in any order."""
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _saw(names: Sequence[str]) -> str:
    return f"it has {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}" if names else "it is empty"


def _is_image(name: str) -> bool:
    base = name.rpartition("/")[2]
    return base.lower().endswith(_IMAGE_SUFFIXES) and not base.startswith(".")


class _Tar:
    """An uncompressed tar, read in place; `Dataset`."""

    layout = "tar"

    def __init__(self, path: Path, label_file: Path | None) -> None:
        self._path = path
        names, self._offsets, self._sizes = _tar_index(path)
        # Inner folders that all members share ("val/") say nothing.
        parents = {_folder(name) for name in names}
        folders = tuple(sorted({parent.rpartition("/")[2] for parent in parents})) if len(parents) > 1 else ()
        if "" in folders:
            raise DatasetError(
                f"{path} holds images beside folders with more, so their labels are not clear; --data takes {_EXPECTED}"
            )
        if max(map(len, parents)):
            depth = 2 if folders else 1
            names = name_column("/".join(name.decode().split("/")[-depth:]) for name in names)
            order = np.argsort(names, kind="stable")
            names, self._offsets, self._sizes = names[order], self._offsets[order], self._sizes[order]
        self.class_names: tuple[str, ...] = ()
        if folders and label_file is None:
            place = {folder: index for index, folder in enumerate(folders)}
            self.labels = np.fromiter((place[_folder(name)] for name in names), np.int32, len(names))
            self.class_names, self.notes = folders, _empty_folders(self.labels, folders)
        else:
            self.labels, self.notes = _labels_of_file(path, names, label_file, (path.parent,))
        self.image_ids = _image_ids(path, _base_names(names), lambda: names)

    def source(self, index: int) -> Source:
        """See `Dataset.source`."""
        return _File(str(self._path), int(self._offsets[index]), int(self._sizes[index]))


def _tar_index(path: Path) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64]]:
    """Names, offsets and sizes of the images in a tar, sorted by name; of two of one name the later, as tar unpacks.

    Raises: DatasetError, also when the tar was cut short.
    """
    places = array("q")
    others: list[str] = []

    def images(tar: tarfile.TarFile) -> Iterator[str]:
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]  # it would keep them all
            if member.isfile() and _is_image(member.name):
                places.extend((member.offset_data, member.size))
                yield os.path.normpath(member.name)
            elif member.isfile() and len(others) < _CHUNK:
                others.append(member.name)

    try:
        with open(path, "rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise DatasetError(f"{path} is compressed, so it cannot be read in place; run: gunzip {path}")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                names = name_column(images(tar))
                # Python's reader takes a broken header for the end; the real end is a block of zeros.
                file.seek(tar.offset)
                if file.read(512) != bytes(512):
                    raise tarfile.ReadError(f"no end mark at byte {tar.offset}")
    except tarfile.TarError as exc:
        raise DatasetError(f"{path} is cut short or damaged ({exc}); get the file again") from exc
    if not len(names):
        raise DatasetError(f"{path} holds no images ({_saw(others)}); --data takes {_EXPECTED}")
    order = np.argsort(names, kind="stable")
    sorted_names = names[order]
    order = order[np.append(sorted_names[1:] != sorted_names[:-1], True)]
    table = np.frombuffer(places, np.int64).reshape(-1, 2)
    return names[order], table[order, 0], table[order, 1]


def _folder(name: bytes) -> str:
    return name.decode().rpartition("/")[0]


def _base_names(names: NDArray[np.bytes_]) -> NDArray[np.bytes_]:
    return name_column(name.decode().rpartition("/")[2] for name in names)


def _image_ids(data: Path, names: NDArray[np.bytes_], paths: Callable[[], NDArray[np.bytes_]]) -> NDArray[np.bytes_]:
    """Unique ids of images: file names, with the class folder where file names repeat. Raises: DatasetError."""
    short = name_column(_HUGGING_FACE_NAME.sub(r"\1\2", name.decode()) for name in names)
    if _repeated(short) is None:
        return names if np.array_equal(short, names) else short  # one column for both
    whole = paths()
    if (twice := _repeated(whole)) is not None:
        raise DatasetError(f"{data} names an image twice: {twice}")
    return whole


def _repeated(names: NDArray[np.bytes_]) -> str | None:
    """A name that is there twice."""
    ordered = np.sort(names)
    twice = np.flatnonzero(ordered[1:] == ordered[:-1])
    return ordered[twice[0]].decode() if len(twice) else None


# -- labels ---------------------------------------------------------------------------------------------------------


def _empty_folders(labels: NDArray[np.int32], folders: tuple[str, ...]) -> tuple[str, ...]:
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
        bases = _base_names(self.names)
        order = np.argsort(bases, kind="stable") if _repeated(bases) is None else np.empty(0, np.intp)
        return _LabelTable(bases[order], self.labels[order])


def _labels_of_file(
    data: Path, names: NDArray[np.bytes_], label_file: Path | None, beside: Iterable[Path]
) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Labels of the images `names` (paths below the data set) and notes, from a label file. Raises: DatasetError."""
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
        labels = np.where(labels < 0, table.by_base_name().of(_base_names(names)), labels)
    lacking = np.flatnonzero(labels < 0)
    if len(lacking):
        raise DatasetError(
            f"{len(lacking)} of {len(names)} images have no label in {label_file}, the first: "
            f"{names[lacking[0]].decode()}; complete the file or take the images away"
        )
    partial = f"{label_file.name} lists {len(table):,} images, {len(names):,} are there: accuracies are of those"
    return labels, (partial,) if len(table) > len(names) else ()


def _read_labels(path: Path) -> _LabelTable:
    """The labels from any of the label files of this module's docstring. Raises: DatasetError."""
    if not path.exists():
        raise DatasetError(f"the label file {path} does not exist")
    if path.is_dir() or path.name.endswith((".tar.gz", ".tgz")):
        return _read_devkit(path)
    numbers, values = array("q"), array("i")

    def names(file: io.TextIOBase) -> Iterator[str]:
        for number, name, value in _csv_rows(file, path) if path.suffix == ".csv" else _text_rows(file):
            if not name or not value.isdecimal() or int(value) > _MOST_CLASSES:
                raise DatasetError(
                    f"line {number} of {path} is not an image name and a label from 0 up ('{name}', '{value}'); "
                    "a line reads: ILSVRC2012_val_00000001.JPEG 65"
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
    """Line number, name and value of each line; empty lines at the end are none."""
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
        raise DatasetError(f"{path} has the columns {', '.join(reader.fieldnames or ())}; it needs file and index")
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
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as exc:
        raise DatasetError(f"{path} is not the ILSVRC 2012 development kit, or not a whole one ({exc})") from exc
    return _ground_truth(io.StringIO(text.decode()), io.BytesIO(meta), path)


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
            f"{source} is damaged ({type(exc).__name__}: {exc}); get it again, or use a val.txt"
        ) from exc


# -- Parquet ----------------------------------------------------------------------------------------------------------


def _find_shards(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The Parquet shards of one split in `folder` or `folder`/data, and a note if there are other splits."""
    files = next((found for place in (folder, folder / "data") if (found := sorted(place.glob("*.parquet")))), [])
    splits: dict[str, list[Path]] = {}
    for file in files:
        match = _SHARD_NAME.fullmatch(file.name)
        splits.setdefault(match[1] if match else "", []).append(file)
    if len(splits) <= 1:
        chosen, note = files, ""
    else:
        split = next((name for name in ("validation", "val") if name in splits), None)
        if split is None:
            raise DatasetError(
                f"{folder} holds several sets of shards ({', '.join(sorted(name or 'unnamed' for name in splits))}); "
                "put the one to evaluate into a folder of its own"
            )
        chosen, note = splits[split], f"of the splits {', '.join(sorted(splits))} the shards of '{split}' are taken"
    if chosen and (match := _SHARD_NAME.fullmatch(chosen[0].name)) and len(chosen) != int(match[3]):
        raise DatasetError(f"{folder} holds {len(chosen)} of {int(match[3])} shards of '{match[1]}'; get the others")
    return chosen, (note,) if note else ()


@dataclass(frozen=True)
class _Cell:
    """An image in a row of a row group of a Parquet shard; `Source`."""

    shard: Path
    group: int
    row: int

    def read(self) -> bytes:
        """See `Source.read`."""
        data: bytes | None = _row_group(self.shard, self.group)[self.row].as_py()
        if data is None:
            raise ImageError("the image cannot be read: the shard holds its path, not its bytes")
        return data


#: The row group that this process read last.
_last_group: dict[tuple[Path, int], Any] = {}


def _row_group(shard: Path, group: int) -> Any:
    """The encoded images of a row group. It is read as a whole and kept until another one is needed."""
    images = _last_group.get((shard, group))
    if images is None:
        pa = require("pyarrow", "evaluate")
        _last_group.clear()  # frees the last one first
        try:
            table = _open_shard(shard).read_row_group(group, columns=["image.bytes"])
        except (pa.ArrowException, OSError, DatasetError) as exc:
            raise ImageError(f"the image cannot be read from {shard.name}: {first_line(exc)}") from exc
        images = _last_group[shard, group] = table.column("image").combine_chunks().field("bytes")
    return images


class _ParquetShards:
    """Parquet files with the columns image {bytes, path} and label; `Dataset`."""

    layout = "Parquet shards"
    class_names: tuple[str, ...] = ()

    def __init__(self, shards: list[Path], notes: tuple[str, ...], label_file: Path | None) -> None:
        if label_file not in (None, NO_LABELS):
            raise DatasetError(f"Parquet shards carry their labels; leave --ground-truth {label_file} out")
        _last_group.clear()  # the files may have changed
        self.notes = notes
        # Shard and number of each row group, and the index of its first image.
        self._groups: list[tuple[Path, int]] = []
        self._starts: list[int] = []
        labels: list[NDArray[np.int32]] = []

        def names() -> Iterator[str]:
            count = 0
            for shard in shards:
                file = _open_shard(shard)
                for group in range(file.num_row_groups):
                    self._groups.append((shard, group))
                    self._starts.append(count)
                    table = file.read_row_group(group, columns=["image.path", "label"])
                    labels.append(table.column("label").fill_null(-1).to_numpy().astype(np.int32))
                    for path in table.column("image").combine_chunks().field("path").to_pylist():
                        yield path or f"{shard.stem}/{count:08d}"
                        count += 1

        paths = name_column(names())
        if not len(paths):
            raise DatasetError(f"{shards[0].parent} holds {len(shards)} Parquet shards without a row")
        self.image_ids = _image_ids(shards[0].parent, _base_names(paths), lambda: paths)
        self.labels = np.concatenate(labels)
        if label_file == NO_LABELS:
            self.labels[:] = -1

    def source(self, index: int) -> Source:
        """See `Dataset.source`."""
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        return _Cell(*self._groups[place], int(index) - self._starts[place])


def _open_shard(path: Path) -> Any:
    pa, parquet = require("pyarrow", "evaluate"), require("pyarrow.parquet", "evaluate")
    try:
        file = parquet.ParquetFile(path)
        schema = file.schema_arrow
        columns = {field.name: field.type for field in schema}
    except (pa.ArrowException, OSError) as exc:
        raise DatasetError(f"{path} is cut short or not Parquet ({first_line(exc)}); get it again") from exc
    image, label = columns.get("image"), columns.get("label")
    if image is None or label is None or not _holds_images(image) or not pa.types.is_integer(label):
        have = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        raise DatasetError(f"{path} has the columns {have}; it needs image {{bytes, path}} and an integer label")
    return file


def _holds_images(kind: Any) -> bool:
    """Whether an Arrow type is a struct with the fields bytes and path."""
    pa = require("pyarrow", "evaluate")
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {field.name for field in kind}
