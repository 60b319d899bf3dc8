"""Make OpenVINO IR from ONNX: float32, or with weights stored as float16."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ghostedge import description
from ghostedge.description import Description
from ghostedge.errors import ConvertError
from ghostedge.files import atomic_path
from ghostedge.lazy import choose, require
from ghostedge.types import Artifact, Format, Stage, StageOutput

__all__ = ["OpenVinoStage"]

_MADE_UP = re.compile(r"(?P<kind>[A-Z][A-Za-z]+)_\d+")


class OpenVinoStage(Stage):
    """ONNX to OpenVINO IR: a graph (``.xml``) and, beside it, its weights (``.bin``).

    Needs: an ONNX model with one input and one output.

    Promises: the same names, input layout and dynamic batch; the `Description` as ``rt_info`` entry ``ghostedge``; the
    same ONNX gives the same bytes. Both files are read back before they take their places.

    With fp16 OpenVINO widens the weights again when it loads them where its plug-in computes in float32 (x86 CPUs).
    """

    source: Format = "onnx"
    target: Format = "openvino"
    precisions: tuple[str, ...] = ("fp32", "fp16")
    packages: tuple[str, ...] = ("openvino",)

    def build(self, source: Artifact, outputs: tuple[StageOutput, ...]) -> tuple[Artifact, ...]:
        """See `ghostedge.types.Stage`."""
        for output in outputs:
            choose("precision", output.precision, self.precisions)
            for option in output.options:
                raise ConvertError(f"cannot make {output.path.name}: target openvino has no option '{option}'")
            if output.input != source.input:
                raise ConvertError(
                    f"cannot make {output.path.name}: its input must be that of {source.path.name} "
                    f"({source.input}), not {output.input}"
                )
        ov = require("openvino", "export")
        try:
            model = ov.convert_model(source.path)
        except Exception as exc:  # OpenVINO raises RuntimeError, its own kinds and bare Exception
            raise ConvertError(f"OpenVINO cannot convert {source.path}: {_last_line(exc)}") from exc
        _number_anonymous(model)
        return tuple(_save(ov, model, output) for output in outputs)


def _number_anonymous(model: Any) -> None:
    """Number the operators that OpenVINO made up, such as ``Reshape_13657``, by their place in the model.

    OpenVINO numbers them by how many it has made since the process began, so the bytes would depend on what else ran.
    """
    for index, operator in enumerate(model.get_ordered_ops()):
        if made_up := _MADE_UP.fullmatch(operator.get_friendly_name()):
            operator.set_friendly_name(f"{made_up['kind']}_{index}")


def _save(ov: Any, model: Any, output: StageOutput) -> Artifact:
    embedded = Description(output.input, output.labels, output.precision).to_json()
    model.set_rt_info(embedded, [description.KEY])
    artifact = Artifact(output.path, "openvino", output.input, output.labels, output.precision)
    xml, weights = artifact.files
    with atomic_path(xml) as partial_xml, atomic_path(weights) as partial_bin:
        written = partial_xml.with_suffix(".bin")  # OpenVINO names the weights after the graph
        try:
            ov.save_model(model, partial_xml, compress_to_fp16=output.precision == "fp16")
            _read_back(ov, model, partial_xml, embedded)
            written.replace(partial_bin)
        except RuntimeError as exc:
            raise ConvertError(f"OpenVINO cannot write {xml}: {_last_line(exc)}") from exc
        finally:
            written.unlink(missing_ok=True)
        # The graph goes last, after an older one of this name: no graph ever stands beside another's weights.
        xml.unlink(missing_ok=True)
    return artifact


def _read_back(ov: Any, model: Any, path: Path, embedded: str) -> None:
    """Raise ConvertError unless the files at `path` hold what was saved; a full disk does not stop OpenVINO."""
    try:
        copy = ov.Core().read_model(path)
        found = copy.get_rt_info([description.KEY]).value
    except RuntimeError as exc:
        raise ConvertError(f"what OpenVINO wrote to {path} is damaged (is the disk full?): {_last_line(exc)}") from exc
    ports = [
        [(sorted(port.get_names()), str(port.get_partial_shape())) for port in (*each.inputs, *each.outputs)]
        for each in (model, copy)
    ]
    if found != embedded or ports[0] != ports[1]:
        raise ConvertError(f"what OpenVINO wrote to {path} reads back differently: {ports[1]}")


def _last_line(exc: Exception) -> str:
    """The last line of an OpenVINO message; the lines before it name OpenVINO's own source files."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    return lines[-1] if lines else type(exc).__name__
