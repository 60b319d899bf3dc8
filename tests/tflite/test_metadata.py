"""The metadata in a .tflite file, read as others read it: tables by their field numbers, files with zipfile."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from flatbuffers.number_types import Float32Flags, Int8Flags, Uint8Flags

from ghostedge.errors import ConvertError
from ghostedge.model import InputSpec, Model
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.metadata import embed, metadata

SPEC = InputSpec(layout="NHWC", height=32, width=32, resize=36)


class Table:
    """A flatbuffer table; its fields by their position in metadata_schema.fbs."""

    def __init__(self, table: flatbuffers.table.Table) -> None:
        self._table = table

    @classmethod
    def root(cls, data: bytes) -> Table:
        assert data[4:8] == b"M001"
        return cls(flatbuffers.table.Table(data, flatbuffers.encode.Get(flatbuffers.packer.uoffset, data, 0)))

    def _at(self, field: int) -> int:
        return int(self._table.Offset(4 + 2 * field))

    def text(self, field: int) -> str:
        return str(self._table.String(self._at(field) + self._table.Pos).decode())

    def number(self, field: int, flags: Any) -> int:
        return int(self._table.Get(flags, self._at(field) + self._table.Pos)) if self._at(field) else 0

    def table(self, field: int) -> Table:
        return Table(
            flatbuffers.table.Table(self._table.Bytes, self._table.Indirect(self._at(field) + self._table.Pos))
        )

    def tables(self, field: int) -> list[Table]:
        if not self._at(field):
            return []
        start, count = self._table.Vector(self._at(field)), self._table.VectorLen(self._at(field))
        places = [self._table.Indirect(start + 4 * index) for index in range(count)]
        return [Table(flatbuffers.table.Table(self._table.Bytes, place)) for place in places]

    def floats(self, field: int) -> list[float]:
        return [float(value) for value in self._table.GetVectorAsNumpy(Float32Flags, self._at(field))]


def described(spec: InputSpec, labels: tuple[str, ...] = ()) -> Model:
    return Model(Path("net.tflite"), "tflite", spec, labels)


def ports(data: bytes) -> tuple[Table, Table]:
    """``TensorMetadata`` of the input and of the output."""
    (graph,) = Table.root(data).tables(3)
    (image,), (logits,) = graph.tables(2), graph.tables(3)
    return image, logits


def test_the_input_is_an_rgb_image_normalised_in_grey_levels() -> None:
    image, _ = ports(metadata(described(SPEC), "net", "input", "logits"))
    assert image.text(0) == "input"
    content, (unit,) = image.table(3), image.tables(4)
    assert content.number(0, Uint8Flags) == 2  # ContentProperties.ImageProperties
    assert content.table(1).number(0, Int8Flags) == 1  # ColorSpaceType.RGB
    assert unit.number(0, Uint8Flags) == 1  # ProcessUnitOptions.NormalizationOptions
    mean, std = unit.table(1).floats(0), unit.table(1).floats(1)
    np.testing.assert_allclose(mean, [123.675, 116.28, 103.53], rtol=1e-6)
    np.testing.assert_allclose(std, [58.395, 57.12, 57.375], rtol=1e-6)
    # Statistics: what white and black become.
    np.testing.assert_allclose(image.table(5).floats(0), (255 - np.array(mean)) / std, rtol=1e-6)
    np.testing.assert_allclose(image.table(5).floats(1), -np.array(mean) / std, rtol=1e-6)


def test_raw_pixels_are_not_normalised() -> None:
    image, _ = ports(metadata(described(dataclasses.replace(SPEC, range="raw")), "net", "input", "logits"))
    options = image.tables(4)[0].table(1)
    assert (options.floats(0), options.floats(1)) == ([0, 0, 0], [1, 1, 1])
    assert (image.table(5).floats(0), image.table(5).floats(1)) == ([255, 255, 255], [0, 0, 0])


def test_blue_comes_first_where_the_tensor_has_it_first() -> None:
    image, _ = ports(metadata(described(dataclasses.replace(SPEC, colour_order="BGR")), "net", "input", "logits"))
    assert image.table(3).table(1).number(0, Int8Flags) == 0  # the schema knows no BGR
    np.testing.assert_allclose(image.tables(4)[0].table(1).floats(0), [103.53, 116.28, 123.675], rtol=1e-6)


def test_the_output_names_its_label_file_if_there_are_labels() -> None:
    _, logits = ports(metadata(described(SPEC, ("cat", "dog")), "net", "input", "logits"))
    (file,) = logits.tables(6)
    assert (file.text(0), file.number(2, Int8Flags)) == ("labels.txt", 2)  # AssociatedFileType.TENSOR_AXIS_LABELS
    _, unlabelled = ports(metadata(described(SPEC), "net", "input", "logits"))
    assert unlabelled.tables(6) == []


def test_a_file_carries_metadata_labels_and_description(tiny_tflite: dict[str, Model]) -> None:
    artifact = tiny_tflite["fp16"]
    model = unpack(artifact.path.read_bytes(), "tiny").model
    (entry,) = (entry for entry in model.metadata if entry.name == b"TFLITE_METADATA")
    image, logits = ports(bytes(model.buffers[entry.buffer].data))
    assert (image.text(0), logits.text(0)) == ("input", "logits")
    with zipfile.ZipFile(artifact.path) as archive:
        assert archive.testzip() is None
        assert archive.read("labels.txt").decode().splitlines() == list(artifact.labels)
        found = Model.from_json(archive.read("ghostedge.json").decode(), artifact.path, "tflite")
        assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
    assert found == artifact


def test_labels_and_input_have_to_fit_the_model(tiny_tflite: dict[str, Model]) -> None:
    data = pack(unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny"))

    def run(spec: InputSpec, *labels: str) -> None:
        embed(unpack(data, "tiny"), described(spec, labels), "tiny", "input", "logits")

    with pytest.raises(ConvertError, match="4 labels for 5 classes"):
        run(SPEC, "a", "b", "c", "d")
    with pytest.raises(ConvertError, match="one label a line"):
        run(SPEC, "a", "b", "c", "d", "e\nf")
    with pytest.raises(ConvertError, match=r"input is \(1, 32, 32, 3\), not \(1, 48, 48, 3\)"):
        run(dataclasses.replace(SPEC, height=48, width=48, resize=54))
