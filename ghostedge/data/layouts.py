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
"""

from __future__ import annotations

import csv
import io
import os
import re
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.imagenet import imagenet_synsets
from ghostedge.errors import DatasetError, ImageError, first_line
from ghostedge.lazy import require

__all__ = ["NO_LABELS", "Dataset", "labels_for", "open_dataset", "spread"]

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

_HUGGING_FACE_NAME = re.compile(r"(ILSVRC2012_val_\d{8}|n\d{8}_\d+)_n\d{8}(\.\w+)")
_SHARD_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.parquet")
_VALIDATION_NAME = re.compile(r"ILSVRC2012_val_(\d{8})\.\w+")


class Dataset(Protocol):
    """Labelled images in the order in which they are quickest to read. Pickles, so that worker processes can open it.

    Attributes:
        layout: one of the four names above.
        image_ids: str (n,), unique, n >= 1.
        labels: int32 (n,), -1 unknown.
        class_names: the class folders' names in the order of the labels; empty where the labels came as numbers.
        notes: what a reader of the results should know, one line each.
    """

    layout: str
    image_ids: NDArray[np.str_]
    labels: NDArray[np.int32]
    class_names: tuple[str, ...]
    notes: tuple[str, ...]

    def read(self, index: int) -> bytes:
        """The encoded image at `index`. Raises: ImageError where it cannot be read."""
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


def spread(image_ids: NDArray[np.str_], limit: int | None) -> NDArray[np.intp]:
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
            f"image '{dataset.image_ids[worst]}' has label {labels[worst]}, but the model gives {classes} classes "
            f"(0..{classes - 1}): the data set and the model do not belong together"
        )
    return labels


# -- files in folders and tars ----------------------------------------------------------------------------------


class _Folder:
    """Class folders or a flat folder; `Dataset`."""

    def __init__(self, root: Path, label_file: Path | None) -> None:
        self._root = root
        names, folders = _images_below(root)
        self.layout = "class folders" if folders else "flat folder"
        if folders and label_file is None:
            order = sorted(names)
            self.labels, self.class_names, self.notes = _labels_of_folders(order, folders)
        else:
            beside = (root, root.parent)
            order, self.labels, self.notes = _labels_of_file(root, names, label_file, beside)
            self.class_names = ()
        self.image_ids = _image_ids(order)
        self._names = order

    def read(self, index: int) -> bytes:
        """See `Dataset.read`."""
        try:
            return (self._root / self._names[index]).read_bytes()
        except OSError as exc:
            raise ImageError(f"the image cannot be read: {exc.strerror}") from exc


def _images_below(root: Path) -> tuple[list[str], tuple[str, ...]]:
    """The images in `root`, or those in its folders ("folder/name") and these folders; sorted."""
    entries = _scan(root)
    flat = [entry.name for entry in entries if _is_image(entry.name) and entry.is_file()]
    folders = [entry.name for entry in entries if entry.is_dir()]
    inside = [f"{folder}/{entry.name}" for folder in folders for entry in _scan(root / folder) if _is_image(entry.name)]
    if flat and not inside:
        return flat, ()
    if inside and not flat:
        return inside, tuple(folders)
    if flat:
        raise DatasetError(
            f"{root} holds {len(flat)} images beside folders with {len(inside)} more, so their labels are not clear; "
            f"--data takes {_EXPECTED}"
        )
    inner = [folder for folder in folders if any(entry.is_dir() for entry in _scan(root / folder))]
    files = [entry.name for entry in entries if entry.name.endswith(".tar")]
    names = [entry.name for entry in entries]
    raise DatasetError(
        f"{root} holds no images ({_saw(names)}); "
        + (f"give --data {root / (inner + files)[-1]}" if inner or files else f"--data takes {_EXPECTED}")
    )


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)


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
        self._file: io.BufferedReader | None = None
        places = _tar_index(path)
        # Inner folders that all members share ("val/") say nothing.
        parents = {name.rpartition("/")[0] for name in places}
        folders = tuple(sorted(parent.rpartition("/")[2] for parent in parents)) if len(parents) > 1 else ()
        depth = 2 if folders else 1
        places = {"/".join(name.split("/")[-depth:]): place for name, place in places.items()}
        names = sorted(places)
        if folders and label_file is None:
            self.labels, self.class_names, self.notes = _labels_of_folders(names, folders)
        else:
            names, self.labels, self.notes = _labels_of_file(path, names, label_file, (path.parent,))
            self.class_names = ()
        self.image_ids = _image_ids(names)
        self._places = [places[name] for name in names]

    def read(self, index: int) -> bytes:
        """See `Dataset.read`."""
        offset, size = self._places[index]
        try:
            if self._file is None:
                self._file = open(self._path, "rb")  # noqa: SIM115  # stays open for the next image
            return os.pread(self._file.fileno(), size, offset)
        except OSError as exc:
            raise ImageError(f"the image cannot be read: {exc.strerror}") from exc

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None}


def _tar_index(path: Path) -> dict[str, tuple[int, int]]:
    """Name -> (offset, size) of every image in a tar. Raises: DatasetError, also when the tar was cut short."""
    places: dict[str, tuple[int, int]] = {}
    others: list[str] = []
    try:
        with open(path, "rb") as file:
            if file.read(2) == b"\x1f\x8b":
                raise DatasetError(f"{path} is compressed, so it cannot be read in place; run: gunzip {path}")
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:") as tar:
                for member in tar:
                    if member.isfile() and _is_image(member.name):
                        places[os.path.normpath(member.name)] = (member.offset_data, member.size)
                    elif member.isfile():
                        others.append(member.name)
                # Python's reader takes a broken header for the end; the real end is a block of zeros.
                file.seek(tar.offset)
                if file.read(512) != bytes(512):
                    raise tarfile.ReadError(f"no end mark at byte {tar.offset}")
    except tarfile.TarError as exc:
        raise DatasetError(f"{path} is cut short or damaged ({exc}); get the file again") from exc
    if not places:
        raise DatasetError(f"{path} holds no images ({_saw(others)}); --data takes {_EXPECTED}")
    return places


def _image_ids(names: Sequence[str]) -> NDArray[np.str_]:
    """Unique ids of images: file names, with the class folder where file names repeat."""
    try:
        "".join(names).encode()
    except UnicodeEncodeError as exc:
        raise DatasetError(f"the name of an image is not UTF-8 text ({exc}); rename it") from exc
    short = [_HUGGING_FACE_NAME.sub(r"\1\2", name.rpartition("/")[2]) for name in names]
    return np.array(short if len(set(short)) == len(short) else list(names))


# -- labels ---------------------------------------------------------------------------------------------------------


def _labels_of_folders(
    names: Sequence[str], folders: tuple[str, ...]
) -> tuple[NDArray[np.int32], tuple[str, ...], tuple[str, ...]]:
    """Labels, class names and notes of "folder/name" images: a folder's label is its place in alphabetical order."""
    place = {folder: index for index, folder in enumerate(folders)}
    labels = np.array([place[name.split("/")[0]] for name in names], dtype=np.int32)
    empty = [
        folder for folder, count in zip(folders, np.bincount(labels, minlength=len(folders)), strict=True) if not count
    ]
    notes = (f"{len(empty)} class folders hold no image: {', '.join(empty[:3])}",) if empty else ()
    return labels, folders, notes


def _labels_of_file(
    data: Path, names: list[str], label_file: Path | None, beside: Iterable[Path]
) -> tuple[list[str], NDArray[np.int32], tuple[str, ...]]:
    """Names in the order of their ids, labels and notes, from a label file. Raises: DatasetError."""
    names = sorted(names)
    if label_file == NO_LABELS:
        return names, np.full(len(names), -1, np.int32), ("the images have no labels: no accuracy is known",)
    if label_file is None:
        candidates = [folder / name for folder in beside for name in _LABEL_FILES]
        label_file = next((path for path in candidates if path.exists()), None)
    if label_file is None:
        raise DatasetError(
            f"{data} holds {len(names)} images (such as {names[0]}) but there is no label file beside them; put "
            f"val.txt, labels.csv or {_DEVKIT}.tar.gz there, or name one with --ground-truth ('none': no labels)"
        )
    table = _read_labels(label_file)
    # A label file may name images by path; file names are enough where they do not repeat.
    by_name = {name.rpartition("/")[2]: label for name, label in table.items()}
    if len(by_name) < len(table):
        by_name = {}
    found = [table.get(name, by_name.get(name.rpartition("/")[2])) for name in names]
    lacking = [name for name, label in zip(names, found, strict=True) if label is None]
    if lacking:
        raise DatasetError(
            f"{len(lacking)} of {len(names)} images have no label in {label_file}, the first: {lacking[0]}; "
            "complete the file or take the images away"
        )
    partial = f"{label_file.name} lists {len(table):,} images, {len(names):,} are there: accuracies are of those"
    return names, np.array(found, dtype=np.int32), (partial,) if len(table) > len(names) else ()


def _read_labels(path: Path) -> Mapping[str, int]:
    """Image name -> label, from any of the label files of this module's docstring. Raises: DatasetError."""
    if not path.exists():
        raise DatasetError(f"the label file {path} does not exist")
    if path.is_dir() or path.name.endswith((".tar.gz", ".tgz")):
        return _read_devkit(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        raise DatasetError(f"the label file {path} is not UTF-8 text") from exc
    if path.name == _GROUND_TRUTH:
        return _ground_truth(text, path.parent / "meta.mat", path)
    table: dict[str, int] = {}
    for number, name, value in _csv_rows(text, path) if path.suffix == ".csv" else _text_rows(text):
        if not name or not value.isdecimal():
            raise DatasetError(
                f"line {number} of {path} is not an image name and a label from 0 up ('{name}', '{value}'); "
                "a line reads: ILSVRC2012_val_00000001.JPEG 65"
            )
        if table.setdefault(name, int(value)) != int(value):
            raise DatasetError(f"line {number} of {path} gives {name} a second label: {table[name]} and {value}")
    return table


def _text_rows(text: str) -> Iterable[tuple[int, str, str]]:
    """Line number, name and value of each line."""
    for number, line in enumerate(text.rstrip().splitlines(), 1):
        name, value = [*line.rsplit(maxsplit=1), "", ""][:2]
        yield number, name, value


def _csv_rows(text: str, path: Path) -> Iterable[tuple[int, str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if not {"file", "index"} <= set(reader.fieldnames or ()):
        raise DatasetError(f"{path} has the columns {', '.join(reader.fieldnames or ())}; it needs file and index")
    for row in reader:
        yield reader.line_num, row["file"] or "", row["index"] or ""


def _read_devkit(path: Path) -> Mapping[str, int]:
    """The labels of the validation images from the ILSVRC 2012 development kit, packed or unpacked."""
    if path.is_dir():
        truth = path / "data" / _GROUND_TRUTH
        if not truth.is_file():
            raise DatasetError(f"{path} is not the ILSVRC 2012 development kit: it has no data/{_GROUND_TRUTH}")
        return _ground_truth(truth.read_text(), truth.with_name("meta.mat"), path)
    try:
        with tarfile.open(path) as tar:
            members = {name: tar.extractfile(f"{_DEVKIT}/data/{name}") for name in (_GROUND_TRUTH, "meta.mat")}
            text, meta = (file.read() for file in members.values() if file is not None)
    except (tarfile.TarError, OSError, EOFError, KeyError, ValueError) as exc:
        raise DatasetError(f"{path} is not the ILSVRC 2012 development kit, or not a whole one ({exc})") from exc
    return _ground_truth(text.decode(), io.BytesIO(meta), path)


def _ground_truth(text: str, meta: Path | io.BytesIO, source: Path) -> Mapping[str, int]:
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
        ids = [int(line) for line in text.split()]
        return {f"ILSVRC2012_val_{number:08d}.JPEG": order[names[value]] for number, value in enumerate(ids, 1)}
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


class _ParquetShards:
    """Parquet files with the columns image {bytes, path} and label; `Dataset`."""

    layout = "Parquet shards"
    class_names: tuple[str, ...] = ()

    def __init__(self, shards: list[Path], notes: tuple[str, ...], label_file: Path | None) -> None:
        if label_file not in (None, NO_LABELS):
            raise DatasetError(f"Parquet shards carry their labels; leave --ground-truth {label_file} out")
        self._shards = shards
        self._open: tuple[tuple[int, int], Any] | None = None
        # Shard and number of each row group, and the index of its first image.
        self._groups: list[tuple[int, int]] = []
        self._starts: list[int] = []
        self.notes = notes
        names: list[str] = []
        labels: list[NDArray[np.int32]] = []
        for number, shard in enumerate(shards):
            file = _open_shard(shard)
            for group in range(file.num_row_groups):
                self._groups.append((number, group))
                self._starts.append(len(names))
                table = file.read_row_group(group, columns=["image.path", "label"])
                paths = table.column("image").combine_chunks().field("path").to_pylist()
                names += [path or f"{shard.stem}/{len(names) + row:08d}" for row, path in enumerate(paths)]
                labels.append(table.column("label").fill_null(-1).to_numpy().astype(np.int32))
        if not names:
            raise DatasetError(f"{shards[0].parent} holds {len(shards)} Parquet shards without a row")
        self.image_ids = _image_ids(names)
        self.labels = np.concatenate(labels)
        if label_file == NO_LABELS:
            self.labels[:] = -1
        if len(set(names)) < len(names):
            raise DatasetError(f"the shards of {shards[0].parent} name an image twice: {_first_repeated(names)}")

    def read(self, index: int) -> bytes:
        """See `Dataset.read`. A whole row group is read at once and kept until another one is needed."""
        place = int(np.searchsorted(self._starts, index, side="right")) - 1
        if self._open is None or self._open[0] != self._groups[place]:
            shard, group = self._groups[place]
            self._open = None  # frees the last one first
            pa = require("pyarrow", "evaluate")
            try:
                table = _open_shard(self._shards[shard]).read_row_group(group, columns=["image.bytes"])
            except (pa.ArrowException, OSError, DatasetError) as exc:
                raise ImageError(
                    f"the image cannot be read from {self._shards[shard].name}: {first_line(exc)}"
                ) from exc
            self._open = (self._groups[place], table.column("image").combine_chunks().field("bytes"))
        data: bytes | None = self._open[1][index - self._starts[place]].as_py()
        if data is None:
            raise ImageError("the image cannot be read: the shard holds its path, not its bytes")
        return data

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}


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


def _first_repeated(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))  # type: ignore[func-returns-value]
