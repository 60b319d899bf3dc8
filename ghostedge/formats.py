"""Open a model file of any origin: find its format, what its input holds and its class names."""

from __future__ import annotations

import dataclasses
import json
import mmap
import zipfile
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from ghostedge.data.imagenet import imagenet_labels
from ghostedge.errors import ArtifactError, UsageError
from ghostedge.files import NOT_REGULAR
from ghostedge.mindir.read import describe_mindir
from ghostedge.model import KEY, OTHER_NETWORK, Format, InputSpec, Model
from ghostedge.networks import input_size, load_network
from ghostedge.stored import parse_json
from ghostedge.wire import fields

#: Extension -> format.
FORMATS: dict[str, Format] = {
    ".ckpt": "checkpoint",
    ".mindir": "mindir",
    ".onnx": "onnx",
    ".xml": "openvino",
    ".tflite": "tflite",
}

_EXAMPLE = json.dumps({"layout": "NHWC", "range": "normalised", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]})

#: onnx.proto: ModelProto.metadata_props, whose entries are 1 key, 2 value.
_METADATA_PROPS = 14


def open_model(
    path: Path | str,
    *,
    input_spec: InputSpec | None = None,
    labels: tuple[str, ...] | None = None,
    network: str = "",
) -> Model:
    """Describe a model file, without loading the model or any vendor's library (but MindCV for its checkpoints).

    The description is read from the file itself: ONNX ``metadata_props``, OpenVINO ``rt_info``, the file
    ``ghostedge.json`` in the archive at the end of a TFLite file, MindIR ``user_info``. A checkpoint, and a MindIR that
    carries none, is taken to be trained as MindSpore's model zoo does: with `InputSpec`'s defaults, at the size of the
    MindIR's input, and on ImageNet if it has 1,000 classes.

    Args:
        path: ``.ckpt``, ``.mindir``, ``.onnx``, ``.xml`` (with its ``.bin`` beside it) or ``.tflite``.
        input_spec: instead of what the file says; needed where it says nothing.
        labels: instead of what the file says.
        network: of a checkpoint: ``"mindcv:NAME"``; empty for GhostNetV2.

    Raises:
        ArtifactError: the file is missing, of another format, damaged, or neither it nor the caller says what its input
            holds.
        CheckpointError: a checkpoint is damaged or of another network.
        UsageError: no such network, or one for a file that is no checkpoint.
        MissingExtraError: MindSpore or MindCV is not installed, for a network of MindCV.
    """
    path = Path(path)
    model = read_description(path)
    if model is None and _format(path) == "checkpoint":
        model = _assumed_of_checkpoint(path, network)
    elif network:
        raise UsageError(f"{path} is no checkpoint, so that it needs no --network; leave it out")
    elif model is None and _format(path) == "mindir":
        model = _assumed_of_mindir(path)
    if model is None:
        if input_spec is None:
            raise ArtifactError(
                f"{path} does not say what its input holds; say it in a JSON file and give that with --input-spec, "
                f"for example {_EXAMPLE}"
            )
        model = Model(path, _format(path), input_spec)
    return dataclasses.replace(
        model,
        input=model.input if input_spec is None else input_spec,
        labels=model.labels if labels is None else labels,
    )


def read_description(path: Path) -> Model | None:
    """What a model file says about itself; None where it says nothing.

    Raises:
        ArtifactError: the file is missing, of another format or damaged.
    """
    return _READERS[_format(path)](path)


def load_input_spec(path: Path) -> InputSpec:
    """Read an `InputSpec` from a JSON object of its fields; those left out keep their defaults.

    Raises:
        ArtifactError: the file is missing, not JSON, or not an `InputSpec`.
    """
    what = f"the input spec {path}"
    try:
        data = parse_json(path.read_bytes(), what, ArtifactError)
        if not isinstance(data, dict):
            raise ArtifactError(f"{what} is not a JSON object")
    except OSError as exc:
        raise ArtifactError(f"cannot read {what}: {exc.strerror}") from exc
    except ArtifactError as exc:
        raise ArtifactError(f"{exc}; an example: {_EXAMPLE}") from exc
    try:
        return InputSpec.from_dict(data)
    except ArtifactError as exc:
        raise ArtifactError(f"{what}: {exc}") from exc


def _format(path: Path) -> Format:
    if path.is_dir():
        raise ArtifactError(f"{path} is a folder; name the model file in it ({', '.join(FORMATS)})")
    if not path.is_file():
        raise ArtifactError(f"{path}: {NOT_REGULAR}" if path.exists() else f"{path} does not exist")
    suffix = path.suffix.lower()
    if suffix == ".bin" and path.with_suffix(".xml").is_file():
        raise ArtifactError(f"{path} holds an OpenVINO model's weights; name {path.with_suffix('.xml')} instead")
    if suffix not in FORMATS:
        raise ArtifactError(f"{path} is not a model file (known extensions: {', '.join(FORMATS)})")
    return FORMATS[suffix]


def _onnx_description(path: Path) -> Model | None:
    """Walk the outermost message alone: a device with onnxruntime need not have onnx, and no weight is parsed."""
    found = None
    try:
        for number, value in fields(memoryview(path.read_bytes())):
            if number == _METADATA_PROPS and isinstance(value, memoryview):
                entry = dict(fields(value))
                key, text = entry.get(1), entry.get(2)
                if isinstance(key, memoryview) and isinstance(text, memoryview) and bytes(key) == KEY.encode():
                    found = bytes(text).decode()
    except ValueError as exc:
        raise ArtifactError(f"{path} is not a whole ONNX model ({exc}); copy or export it again") from exc
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror}") from exc
    return None if found is None else Model.from_json(found, path, "onnx")


def _openvino_description(path: Path) -> Model | None:
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ArtifactError(f"{path} has no weights beside it ({weights.name}); copy both files")
    try:
        root = ElementTree.parse(path).getroot()
    except ElementTree.ParseError as exc:
        raise ArtifactError(f"{path} is not a whole OpenVINO IR ({exc}); copy or export it again") from exc
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror}") from exc
    if root.tag != "net":
        raise ArtifactError(f"{path} is not an OpenVINO IR (its outermost element is <{root.tag}>)")
    entry = root.find(f"rt_info/{KEY}")
    return None if entry is None else Model.from_json(entry.get("value", ""), path, "openvino")


def _tflite_description(path: Path) -> Model | None:
    try:
        with open(path, "rb") as file:
            if file.read(8)[4:] != b"TFL3":
                raise ArtifactError(f"{path} is not a TFLite model (no 'TFL3' in its first bytes)")
            if not zipfile.is_zipfile(file):
                # The model itself lists its files, so that it tells where they are missing.
                with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                    if data.find(f"{KEY}.json".encode()) >= 0:
                        raise ArtifactError(f"{path} is cut short: the files at its end are not whole; copy it again")
                return None
            with zipfile.ZipFile(file) as archive:
                if f"{KEY}.json" not in archive.namelist():
                    return None
                return Model.from_json(archive.read(f"{KEY}.json").decode(), path, "tflite")
    except ArtifactError:
        raise
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror}") from exc
    except Exception as exc:  # what zipfile raises for damaged files is an open set
        raise ArtifactError(f"{path}: the files at its end are damaged ({exc}); copy or export it again") from exc


def _assumed_of_checkpoint(path: Path, network: str) -> Model:
    labels = _model_zoo_labels(load_network(path, network).num_classes)
    size = input_size(network)
    return Model(path, "checkpoint", _spec(size, size), labels, network=network)


def _assumed_of_mindir(path: Path) -> Model:
    found = describe_mindir(path)
    spec = _spec(*found.input_shape[2:]) if len(found.input_shape) == 4 else InputSpec()
    labels = _model_zoo_labels(found.output_shape[-1] if found.output_shape else 0)
    return Model(path, "mindir", spec, labels, network=OTHER_NETWORK)


def _spec(height: int, width: int) -> InputSpec:
    """The same share of the image is cropped away at every size."""
    share = InputSpec.resize / InputSpec.height
    return InputSpec(height=height, width=width, resize=round(max(height, width) * share))


def _model_zoo_labels(classes: int) -> tuple[str, ...]:
    return imagenet_labels() if classes == 1000 else ()


_READERS: dict[Format, Callable[[Path], Model | None]] = {
    "checkpoint": lambda path: None,  # a checkpoint says nothing of its input
    "mindir": lambda path: describe_mindir(path).description,
    "onnx": _onnx_description,
    "openvino": _openvino_description,
    "tflite": _tflite_description,
}
