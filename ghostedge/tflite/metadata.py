"""Embed TFLite's standard metadata, and ghostedge's own description, in a .tflite model.

The metadata is a flatbuffer of its own (tflite-support's and MediaPipe's metadata_schema.fbs 1.x, file identifier
``M001``) in a buffer of the model that the metadata entry ``TFLITE_METADATA`` names. The files it speaks of follow the
model as an uncompressed zip archive, so that ``zipfile.ZipFile("model.tflite")`` reads them. MediaPipe, the Task
Library and Netron read labels and normalisation from there.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.model import KEY, Model
from ghostedge.tflite.flatbuffer import pack
from ghostedge.tflite.graph import Graph, schema

__all__ = ["DESCRIPTION_FILE", "LABEL_FILE", "embed", "metadata"]

#: One class name a line, in the order of the logits.
LABEL_FILE = "labels.txt"
#: `Model.to_json`.
DESCRIPTION_FILE = f"{KEY}.json"

_ENTRY = "TFLITE_METADATA"
_IDENTIFIER = b"M001"
_SIGNATURE = "serving_default"

# Values of metadata_schema.fbs.
_ASSOCIATED_DESCRIPTIONS, _ASSOCIATED_AXIS_LABELS = 1, 2  # enum AssociatedFileType
_CONTENT_FEATURE, _CONTENT_IMAGE = 1, 2  # union ContentProperties
_COLOUR_UNKNOWN, _COLOUR_RGB = 0, 1  # enum ColorSpaceType
_OPTIONS_NORMALISATION = 1  # union ProcessUnitOptions


def embed(graph: Graph, description: Model, name: str, input_name: str, output_name: str) -> bytes:
    """Name the tensors of a model with one input and one output, and put the metadata in.

    Args:
        graph: changed in place; its output's shape is (n, classes).
        description: what the model's input holds, its labels, its precision.
        name: the model's.
        input_name: the input tensor's, and the input's in the model's signature.
        output_name: likewise.

    Returns:
        The file's bytes; equal arguments give equal bytes.

    Raises:
        ConvertError: the labels do not fit the output, or the input does not fit the description.
    """
    (image,), (logits,) = graph.inputs, graph.outputs
    _check(description, name, graph.shape(image), graph.shape(logits))
    graph.tensors[image].name = input_name
    graph.tensors[logits].name = output_name
    signature = schema().SignatureDefT()
    signature.signatureKey = _SIGNATURE
    signature.inputs, signature.outputs = [_named(input_name, image)], [_named(output_name, logits)]
    graph.model.signatureDefs = [signature]
    graph.set_metadata(_ENTRY, metadata(description, name, input_name, output_name))
    files = {DESCRIPTION_FILE: description.to_json()}
    if description.labels:
        files[LABEL_FILE] = "".join(f"{label}\n" for label in description.labels)
    return _with_files(pack(graph), files)


def _check(description: Model, name: str, image: tuple[int, ...], logits: tuple[int, ...]) -> None:
    wanted = description.input.shape(1)
    if image != wanted:
        raise ConvertError(f"{name}: the converted model's input is {image}, not {wanted}")
    if len(logits) != 2:
        raise ConvertError(f"{name}: the converted model's output is {logits}, not (n, classes)")
    if description.labels and len(description.labels) != logits[1]:
        raise ConvertError(f"{name}: {len(description.labels)} labels for {logits[1]} classes")
    if any(len(label.splitlines()) > 1 for label in description.labels):
        raise ConvertError(f"{name}: a label holds a line break; {LABEL_FILE} has one label a line")


def _named(name: str, tensor: int) -> Any:
    entry = schema().TensorMapT()
    entry.name, entry.tensorIndex = name, tensor
    return entry


def _with_files(model: bytes, files: dict[str, str]) -> bytes:
    """`model` followed by a zip archive whose offsets count from the first byte of the whole."""
    whole = io.BytesIO(model)
    with zipfile.ZipFile(whole, "a", zipfile.ZIP_STORED) as archive:
        for name, text in files.items():
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))  # no clock in the bytes
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.encode())
    return whole.getvalue()


def metadata(description: Model, name: str, input_name: str, output_name: str) -> bytes:
    """The ``ModelMetadata`` flatbuffer of an image classifier.

    Mean and standard deviation are in grey levels, 0..255, in the channel order of the tensor: the schema's
    normalisation is ``(x - mean) / std``.
    """
    builder = _Builder()
    spec = description.input
    mean, std = np.zeros(3, np.float32), np.ones(3, np.float32)
    if spec.range == "normalised":
        mean, std = np.array(spec.mean, np.float32) * 255, np.array(spec.std, np.float32) * 255
    if spec.colour_order == "BGR":
        mean, std = mean[::-1], std[::-1]
    image = builder.tensor(
        input_name,
        f"Image, {spec.width} x {spec.height}, {spec.colour_order}",
        content_type=_CONTENT_IMAGE,
        content=builder.table({0: ("int8", _COLOUR_RGB if spec.colour_order == "RGB" else _COLOUR_UNKNOWN)}),
        process_units=[
            builder.table(
                {
                    0: ("uint8", _OPTIONS_NORMALISATION),
                    1: ("offset", builder.table({0: builder.floats(mean), 1: builder.floats(std)})),
                }
            )
        ],
        stats=builder.table({0: builder.floats((255 - mean) / std), 1: builder.floats((0 - mean) / std)}),
    )
    labels = builder.file(LABEL_FILE, "Class names in the order of the logits", _ASSOCIATED_AXIS_LABELS)
    logits = builder.tensor(
        output_name,
        "Logits, one a class",
        content_type=_CONTENT_FEATURE,
        content=builder.table({}),
        files=[labels] if description.labels else [],
    )
    graph = builder.table({2: builder.offsets([image]), 3: builder.offsets([logits])})
    own = builder.file(DESCRIPTION_FILE, "ghostedge: input, labels and precision", _ASSOCIATED_DESCRIPTIONS)
    root = builder.table(
        {
            0: builder.text(name),
            1: builder.text(f"Image classifier, {description.precision}, exported by ghostedge"),
            3: builder.offsets([graph]),
            6: builder.offsets([own]),
            7: builder.text("1.0.0"),  # min_parser_version: nothing here is newer
        }
    )
    return builder.finish(root)


#: What a table's field holds, and its value; an offset points to a table, a vector or a text made before.
_Field = tuple[str, int]


class _Builder:
    """A flatbuffer from the bottom up: what a table points to is made before the table.

    Tables are given as field number -> `_Field`; the numbers are the fields' positions in metadata_schema.fbs.
    """

    def __init__(self) -> None:
        self._builder = require("flatbuffers", "export").Builder(1024)

    def text(self, value: str) -> _Field:
        return "offset", self._builder.CreateString(value)

    def floats(self, values: Sequence[float] | np.ndarray[Any, Any]) -> _Field:
        return "offset", self._builder.CreateNumpyVector(np.ascontiguousarray(values, np.float32))

    def offsets(self, values: Sequence[int]) -> _Field:
        self._builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self._builder.PrependUOffsetTRelative(value)
        return "offset", self._builder.EndVector()

    def table(self, fields: dict[int, _Field]) -> int:
        prepend = {
            "offset": self._builder.PrependUOffsetTRelativeSlot,
            "int8": self._builder.PrependInt8Slot,
            "uint8": self._builder.PrependUint8Slot,
        }
        self._builder.StartObject(max(fields, default=-1) + 1)
        for number, (kind, value) in fields.items():
            prepend[kind](number, value, 0)
        offset: int = self._builder.EndObject()
        return offset

    def file(self, name: str, description: str, kind: int) -> int:
        """``AssociatedFile``."""
        return self.table({0: self.text(name), 1: self.text(description), 2: ("int8", kind)})

    def tensor(
        self,
        name: str,
        description: str,
        content_type: int,
        content: int,
        process_units: Sequence[int] = (),
        stats: int | None = None,
        files: Sequence[int] = (),
    ) -> int:
        """``TensorMetadata``."""
        fields = {
            0: self.text(name),
            1: self.text(description),
            3: ("offset", self.table({0: ("uint8", content_type), 1: ("offset", content)})),
        }
        if process_units:
            fields[4] = self.offsets(process_units)
        if stats is not None:
            fields[5] = ("offset", stats)
        if files:
            fields[6] = self.offsets(files)
        return self.table(fields)

    def finish(self, root: int) -> bytes:
        self._builder.Finish(root, _IDENTIFIER)
        return bytes(self._builder.Output())
