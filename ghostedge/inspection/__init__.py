"""Look into model files without running them: operators, sizes, inputs, quantisation, what runs fast."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from ghostedge.errors import ArtifactError
from ghostedge.formats import FORMATS, read_description
from ghostedge.inspection.summary import ModelSummary, Port, Weights
from ghostedge.lazy import resolve
from ghostedge.model import Format

__all__ = ["ModelSummary", "Port", "Weights", "inspect", "operator_macs"]

#: Format -> the function that reads it.
_READERS: dict[Format | None, str] = {
    "mindir": "ghostedge.inspection.mindir:inspect_mindir",
    "onnx": "ghostedge.inspection.onnx:inspect_onnx",
    "openvino": "ghostedge.inspection.openvino:inspect_openvino",
    "tflite": "ghostedge.inspection.tflite:inspect_tflite",
}


def inspect(path: Path) -> ModelSummary:
    """What the model file at `path` holds.

    Args:
        path: ``.mindir``, ``.onnx``, ``.xml`` (OpenVINO IR, its ``.bin`` beside it) or ``.tflite``, of any origin.

    Raises:
        ArtifactError: it is missing, empty, damaged or not such a model.
        MissingExtraError: the package that reads this format is not installed.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind == "checkpoint":
        raise ArtifactError(f"{path} is a checkpoint: weights without a graph; export it to MindIR and inspect that")
    description = read_description(path)  # refuses what is no model by its name
    try:
        summary: ModelSummary = resolve(_READERS[kind])(path)
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror or exc}") from exc
    return dataclasses.replace(summary, description=description)


#: Format -> the function that counts its operators' multiply-accumulates.
_MACS: dict[Format | None, str] = {
    "openvino": "ghostedge.inspection.openvino:openvino_macs",
    "tflite": "ghostedge.inspection.tflite:tflite_macs",
}


def operator_macs(path: Path) -> dict[str, int]:
    """Multiply-accumulates an image of each operator with weights: by its name (OpenVINO IR), by its output's (TFLite).

    Raises:
        ArtifactError: damaged, or a format whose operators have no names to go by.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind not in _MACS:
        raise ArtifactError(f"{path}: operators are counted one by one in OpenVINO IR and TFLite only")
    counted: dict[str, int] = resolve(_MACS[kind])(path)
    return counted
