"""Images in Parquet shards, as Hugging Face has them: the columns ``image`` {bytes, path} and ``label``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.datasets import NO_LABELS, Source, base_names, image_ids, name_column
from ghostedge.errors import DatasetError, ImageError, first_line
from ghostedge.lazy import require

_SHARD_NAME = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.parquet")


def find_shards(folder: Path) -> tuple[list[Path], tuple[str, ...]]:
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
        except (pa.ArrowException, OSError, ValueError, DatasetError) as exc:
            raise ImageError(f"the image cannot be read from {shard.name}: {first_line(exc)}") from exc
        images = _last_group[shard, group] = table.column("image").combine_chunks().field("bytes")
    return images


class ParquetShards:
    """Parquet files with the columns image {bytes, path} and label; `Dataset`."""

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

        pa = require("pyarrow", "evaluate")
        try:
            paths = name_column(names())
        except (pa.ArrowException, OSError, ValueError) as exc:
            reason = f"is damaged ({first_line(exc)}); get it again"
            raise DatasetError(f"a Parquet shard of {shards[0].parent} {reason}") from exc
        if not len(paths):
            raise DatasetError(f"{shards[0].parent} holds {len(shards)} Parquet shards without a row")
        self.image_ids = image_ids(shards[0].parent, base_names(paths), lambda: paths)
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
    except (pa.ArrowException, OSError, ValueError) as exc:
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
