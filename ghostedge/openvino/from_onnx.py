"""Make OpenVINO IR from ONNX: float32, or with weights stored as float16."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from ghostedge.errors import ConvertError, last_line
from ghostedge.files import atomic_path
from ghostedge.lazy import choose, require
from ghostedge.model import KEY, Format, InputSpec, Model, Stage, StageOutput

__all__ = ["OpenVinoStage", "check_input", "finish"]

_MADE_UP = re.compile(r"(?P<kind>[A-Z][A-Za-z]+)_\d+")


class OpenVinoStage(Stage):
    """ONNX to OpenVINO IR: a graph (``.xml``) and, beside it, its weights (``.bin``).

    Needs: an ONNX model with one input and one output.

    Promises: the same names and dynamic batch; the input as the ONNX takes it, or raw: uint8 pixels in NHWC layout,
    normalised inside; `Model.to_json` as ``rt_info`` entry ``ghostedge``; the same ONNX gives the same bytes. Both
    files are read back before they take their places.

    Equalised is float32 made of an equalised ONNX. With fp16 OpenVINO widens the weights again when it loads them where
    its plug-in computes in float32 (x86 CPUs).
    """

    source: Format = "onnx"
    target: Format = "openvino"
    precisions: tuple[str, ...] = ("fp32", "fp16", "equalised")
    packages: tuple[str, ...] = ("openvino",)

    def check(self, output: StageOutput) -> None:
        """See `ghostedge.model.Stage`."""
        choose("precision", output.precision, self.precisions)
        for option in output.options:
            raise ConvertError(f"cannot make {output.path.name}: target openvino has no option '{option}'")

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """See `ghostedge.model.Stage`."""
        for output in outputs:
            self.check(output)
            check_input(output, source)
        ov = require("openvino", "export")
        try:
            model = ov.convert_model(source.path)
        except Exception as exc:  # OpenVINO raises RuntimeError, its own kinds and bare Exception
            raise ConvertError(f"OpenVINO cannot convert {source.path}: {last_line(exc)}") from exc
        return tuple(finish(ov, model, output, source.input) for output in outputs)


def check_input(output: StageOutput, source: Model) -> None:
    """Raise ConvertError unless the output's input is the source's, or raw uint8 pixels in NHWC layout for it."""
    if output.input not in (source.input, replace(source.input, layout="NHWC", range="raw", dtype="uint8")):
        raise ConvertError(
            f"cannot make {output.path.name}: its input must be that of {source.path.name} ({source.input}), "
            f"or raw uint8 in NHWC layout, not {output.input}"
        )


def finish(ov: Any, model: Any, output: StageOutput, spec: InputSpec) -> Model:
    """Give a model the output's input and description, and put its two files in their places.

    Args:
        ov: the module openvino.
        model: an `openvino.Model`; it is left as it is.
        output: where it shall be and what it is.
        spec: what `model` itself takes.

    Raises:
        ConvertError: OpenVINO cannot write it, or reads it back differently.
        OutputError: a file cannot be written.
    """
    model = model.clone()
    if output.input != spec:
        model = _take_raw(ov, model, spec)
    # OpenVINO numbers the operators that it makes up, such as ``Reshape_13657``, by how many it has made since the
    # process began, so the bytes would depend on what else ran; here they are numbered by their place in the model.
    for index, operator in enumerate(model.get_ordered_ops()):
        if made_up := _MADE_UP.fullmatch(operator.get_friendly_name()):
            operator.set_friendly_name(f"{made_up['kind']}_{index}")
    return _save(ov, model, output)


def _take_raw(ov: Any, model: Any, spec: InputSpec) -> Any:
    """Put what makes `spec` of uint8 NHWC pixels in front of a model; ``colour_order`` stays.

    In front of, not into the first convolution: that one pads with zeros, which mean the average colour, not black.
    """
    mean, std = ([255 * value for value in values] for values in (spec.mean, spec.std))
    if spec.colour_order == "BGR":
        mean, std = mean[::-1], std[::-1]
    builder = ov.preprocess.PrePostProcessor(model)
    builder.input().tensor().set_element_type(ov.Type.u8).set_layout(ov.Layout("NHWC"))
    builder.input().model().set_layout(ov.Layout(spec.layout))
    steps = builder.input().preprocess().convert_element_type(ov.Type.f32)
    if spec.range == "normalised":
        steps.mean(mean).scale(std)
    return builder.build()


def _save(ov: Any, model: Any, output: StageOutput) -> Model:
    artifact = output.model
    embedded = artifact.to_json()
    model.set_rt_info(embedded, [KEY])
    xml, weights = artifact.files
    with atomic_path(xml) as partial_xml, atomic_path(weights) as partial_bin:
        written = partial_xml.with_suffix(".bin")  # OpenVINO names the weights after the graph
        try:
            ov.save_model(model, partial_xml, compress_to_fp16=output.precision == "fp16")
            _read_back(ov, model, partial_xml, embedded)
            written.replace(partial_bin)
        except RuntimeError as exc:
            raise ConvertError(f"OpenVINO cannot write {xml}: {last_line(exc)}") from exc
        finally:
            written.unlink(missing_ok=True)
        # The graph goes last, after an older one of this name: no graph ever stands beside another's weights.
        xml.unlink(missing_ok=True)
    return artifact


def _read_back(ov: Any, model: Any, path: Path, embedded: str) -> None:
    """Raise ConvertError unless the files at `path` hold what was saved; a full disk does not stop OpenVINO."""
    try:
        copy = ov.Core().read_model(path)
        found = copy.get_rt_info([KEY]).value
    except RuntimeError as exc:
        raise ConvertError(f"what OpenVINO wrote to {path} is damaged (is the disk full?): {last_line(exc)}") from exc
    ports = [
        [(sorted(port.get_names()), str(port.get_partial_shape())) for port in (*each.inputs, *each.outputs)]
        for each in (model, copy)
    ]
    if found != embedded or ports[0] != ports[1]:
        raise ConvertError(f"what OpenVINO wrote to {path} reads back differently: {ports[1]}")
