"""Images that are files: in class folders, in a flat folder, or in a tar that is read in place."""

from __future__ import annotations

import os
import tarfile
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import CHUNK, EXPECTED, Source, base_names, image_ids, name_column
from ghostedge.data.datasets.labels import empty_folders, labels_of_file
from ghostedge.errors import DatasetError, ImageError
from ghostedge.files import open_regular

#: Files that count as images, the unreadable kinds too: those are reported as errors, not passed over.
_IMAGE_SUFFIXES = (".jpeg", ".jpg", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".heic", ".heif", ".avif")


@dataclass(frozen=True)
class _File:
    """An image that is a file, or `size` bytes of one from `offset` on; `Source`."""

    path: str
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """See `Source.read`."""
        try:
            with open_regular(self.path) as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as exc:
            raise ImageError(f"the image cannot be read: {exc.strerror}") from exc


class Folder:
    """Class folders or a flat folder; `Dataset`."""

    def __init__(self, root: Path, label_file: Path | None) -> None:
        self._root = root
        self._folders, self._places, self._names = _images_below(root)
        self.class_names: tuple[str, ...] = ()
        if self._folders and label_file is None:
            self.labels, self.class_names = self._places, self._folders
            self.notes = empty_folders(self.labels, self._folders)
        else:
            self.labels, self.notes = labels_of_file(root, self._paths(), label_file, (root, root.parent))
        self.image_ids = image_ids(root, self._names, self._paths)

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
    """Find the images in `root` or its folders: the folders (none: right in `root`), each image's folder and name."""
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
            f"--data takes {EXPECTED}"
        )
    inner = [folder for folder in folders if any(entry.is_dir() for entry in _scan(root / folder))]
    names = sorted(entry.name for entry in _scan(root))
    files = [name for name in names if name.endswith(".tar")]
    raise DatasetError(
        f"{root} holds no images ({_saw(names)}); "
        + (f"give --data {root / (inner + files)[-1]}" if inner or files else f"--data takes {EXPECTED}")
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


class Tar:
    """An uncompressed tar, read in place; `Dataset`."""

    def __init__(self, path: Path, label_file: Path | None) -> None:
        self._path = path
        names, self._offsets, self._sizes = _tar_index(path)
        # Inner folders that all members share ("val/") say nothing.
        parents = {_folder(name) for name in names}
        folders = tuple(sorted({parent.rpartition("/")[2] for parent in parents})) if len(parents) > 1 else ()
        if "" in folders:
            raise DatasetError(
                f"{path} holds images beside folders with more, so their labels are not clear; --data takes {EXPECTED}"
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
            self.class_names, self.notes = folders, empty_folders(self.labels, folders)
        else:
            self.labels, self.notes = labels_of_file(path, names, label_file, (path.parent,))
        self.image_ids = image_ids(path, base_names(names), lambda: names)

    def source(self, index: int) -> Source:
        """See `Dataset.source`."""
        return _File(str(self._path), int(self._offsets[index]), int(self._sizes[index]))


def _tar_index(path: Path) -> tuple[NDArray[np.bytes_], NDArray[np.int64], NDArray[np.int64]]:
    """Names, offsets and sizes of the images in a tar, sorted by name; the later of two of one name, as tar unpacks.

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
            elif member.isfile() and len(others) < CHUNK:
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
        raise DatasetError(f"{path} holds no images ({_saw(others)}); --data takes {EXPECTED}")
    order = np.argsort(names, kind="stable")
    sorted_names = names[order]
    order = order[np.append(sorted_names[1:] != sorted_names[:-1], True)]
    table = np.frombuffer(places, np.int64).reshape(-1, 2)
    return names[order], table[order, 0], table[order, 1]


def _folder(name: bytes) -> str:
    return name.decode().rpartition("/")[0]
