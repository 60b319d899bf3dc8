"""``ghostedge inspect``: what model files hold, or what quantisation did to one, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import INPUT_SPEC, Arguments, argument, options_given, warn_of_changed
from ghostedge.console import aligned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostedge.explain import Explanation, LayerError
    from ghostedge.inspection import ModelSummary, Port
    from ghostedge.model import Model

HELP = "show what model files hold (operators, parameters, inputs, quantisation), or what quantisation cost each layer"

EPILOG = """\
examples:
  ghostedge inspect build/ghostnetv2_1x.onnx
  ghostedge inspect build/*.tflite
  ghostedge inspect --json model.xml | jq '.models[0].macs'
  ghostedge inspect build/ghostnetv2_1x_int8.tflite --against build/ghostnetv2_1x_equalised.tflite --report explain.html

Files of any origin are read: .mindir, .onnx, .xml (OpenVINO IR) and .tflite. Nothing of the model is run, except that
LiteRT loads a TFLite model, in a process of its own, to see how much of it XNNPACK takes.

With --against, both models are run on the same images and compared layer by layer, worst first. A layer's *own* SQNR
is that of its output against the float layer run on the quantised model's own inputs: noise of earlier layers cancels.
The *accumulated* SQNR is that against the float model. 'Drop' is what the layer takes from the SQNR that reached it.
"""

_SCHEMA_VERSION = 1
_COLUMNS = 110
_LAYERS = 15
_FORMATS = {"mindir": "MindIR", "onnx": "ONNX", "openvino": "OpenVINO IR", "tflite": "TFLite"}


ARGUMENTS: Arguments = {
    "": [argument("artifacts A...", ".mindir, .onnx, .xml or .tflite file", Path)],
    "what quantisation cost (one quantised .tflite)": [
        argument("--against FLOAT", "the float .tflite that it was made from", Path),
        argument("--images DIR", "photos to run (default: eight of the package's)", Path),
        argument("--report F.html", "write every layer and a plot to a page", Path),
        argument("--layers N", f"how many layers to print (default: {_LAYERS})", int),
        INPUT_SPEC,
    ],
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised, before anything is printed."""
    from ghostedge.errors import UsageError
    from ghostedge.inspection import inspect

    warn_of_changed([*args.artifacts, *([args.against] if args.against else [])])
    if args.against is not None:
        return _explain(args)
    if given := options_given(args, ("images", "report", "layers", "input_spec")):
        raise UsageError(f"{given}: for --against alone, which names the float model; add it")
    summaries = [inspect(path) for path in args.artifacts]
    if args.json:
        document = {"schema_version": _SCHEMA_VERSION, "models": [summary.to_dict() for summary in summaries]}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(map(table, summaries)))
    return 0


def _explain(args: argparse.Namespace) -> int:
    from ghostedge.data.images import list_images
    from ghostedge.errors import UsageError
    from ghostedge.explain import explain_artifact
    from ghostedge.formats import load_input_spec
    from ghostedge.reports import check_report_path, write_page
    from ghostedge.reports.explanation import explanation_html

    if len(args.artifacts) != 1:
        raise UsageError(f"--against explains one quantised model; {len(args.artifacts)} are named")
    layers = _LAYERS if args.layers is None else args.layers
    if layers < 1:
        raise UsageError(f"--layers is {layers}; it must be at least 1")
    if args.report is not None:
        check_report_path(args.report)
    explanation = explain_artifact(
        args.artifacts[0],
        args.against,
        () if args.images is None else list_images(args.images),
        None if args.input_spec is None else load_input_spec(args.input_spec),
    )
    if args.report is not None:
        write_page(args.report, explanation_html(explanation))
    if args.json:
        document = {"schema_version": _SCHEMA_VERSION, "explanation": explanation.to_dict()}
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print(explanation_table(explanation, layers))
    return 0


def explanation_table(explanation: Explanation, most: int) -> str:
    """An explanation for people: the stages, then the `most` worst layers."""
    title = f"{explanation.quantised} against {explanation.against}, {explanation.images} images"
    stages = [f"  {name:<24} {difference}" for name, difference in explanation.stages()]
    header = ("Layer", "Kind", "Own dB", "Accum. dB", "Drop", "Cosine", "Step", "Zero", "Saturated", "Cause")
    layers = [layer for layer in explanation.layers if layer.own_sqnr_db is not None]
    rows = [header, *(_layer(layer) for layer in layers[:most])]
    lines = aligned(rows, right=range(2, 9))
    rest = len(layers) - most
    notes = [f"{rest} more layers; --report or --json has all"] if rest > 0 else []
    if unmatched := len(explanation.unmatched):
        notes.append(f"{unmatched} float activations without a partner are part of the layer after them")
    return "\n".join([title, *stages, "", *lines, *notes])


def _layer(layer: LayerError) -> tuple[str, ...]:
    decibels = (layer.own_sqnr_db, layer.sqnr_db, layer.drop_db)
    return (
        layer.place,
        layer.kind,
        *("-" if value is None else f"{value:.1f}" for value in decibels),
        f"{layer.cosine:.4f}",
        layer.dtype if layer.scale is None else f"{layer.scale:.3g}",
        "-" if layer.zero_point is None else str(layer.zero_point),
        f"{layer.saturated:.2%}",
        layer.cause,
    )


def table(summary: ModelSummary) -> str:
    """A summary for people: the file, then one line a fact; at last what its export measured on each kind of CPU."""
    title = f"{summary.path}: {_FORMATS[summary.format]}, {_megabytes(summary.file_bytes)}"
    facts = list(_facts(summary))
    width = max(len(name) for name, _ in facts)
    wrap = textwrap.TextWrapper(_COLUMNS, subsequent_indent=" " * (width + 4), break_on_hyphens=False)
    return "\n".join([title, *(wrap.fill(f"  {name:<{width}}  {fact}") for name, fact in facts)])


def _facts(summary: ModelSummary) -> Iterator[tuple[str, str]]:
    weights = summary.weights
    if len(summary.files) > 1:
        yield "files", ", ".join(f"{name} {_megabytes(size)}" for name, size in summary.files.items())
    if summary.producer:
        yield "made by", summary.producer
    for name, ports in (("input", summary.inputs), ("output", summary.outputs)):
        for port in ports:
            yield name, _port(port)
    yield from _description(summary.description)
    dtypes = ", ".join(f"{dtype} {count / weights.parameters:.1%}" for dtype, count in weights.dtypes.items())
    stored = f"{weights.parameters:,} in {_megabytes(weights.stored_bytes)}"
    yield "parameters", f"{stored} ({dtypes})" if dtypes else stored
    yield "multiply-adds", "unknown" if summary.macs is None else f"{summary.macs / 1e6:.1f} million an image"
    per_channel, per_tensor = summary.quantised_per_channel, summary.quantised_per_tensor
    quantised = f"{per_channel} tensors per channel, {per_tensor} per tensor"
    yield "quantised", quantised if per_channel or per_tensor else "no"
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary.operators.items())
    yield "operators", f"{sum(summary.operators.values())}: {kinds}"
    if summary.xnnpack is not None:
        covered = summary.xnnpack
        yield "XNNPACK", f"{covered.delegated} of {covered.nodes} operators in {covered.partitions} partition(s)"
        if covered.outside:
            yield "outside XNNPACK", ", ".join(sorted(set(covered.outside)))
        yield "float16", "on CPUs that have it" if summary.allows_float16 else "not allowed"
        count = len(summary.spatial_transposes)
        yield "transposes", f"{count} of feature maps" + (f": {', '.join(summary.spatial_transposes)}" if count else "")
    if (pairs := summary.overflowing_pairs) is not None:
        saturating = f"{pairs:,} pairs of weights may saturate on CPUs without VNNI"
        yield "16-bit sums", saturating if pairs else "never saturate on any CPU"
    for place, (kind, found) in enumerate(summary.cpu_differences.items()):
        yield "at export" if place == 0 else "", f"{kind}: {found}"


def _description(description: Model | None) -> Iterator[tuple[str, str]]:
    from ghostedge.reports.format import values_text

    if description is None:
        yield "input spec", "none embedded"
        return
    spec = description.input
    values = values_text(spec) + (" 0..255" if spec.range == "raw" else "")
    size = f"{spec.height} x {spec.width}"
    yield "input spec", f"{spec.layout} {spec.dtype} {spec.colour_order}, {values}"
    yield "", f"shorter side resized to {spec.resize} ({spec.resize_rule}), then the centre {size}"
    yield "precision", description.precision
    labels = description.labels
    yield "labels", f"{len(labels)}: {labels[0]}, ..., {labels[-1]}" if labels else "none embedded"


def _port(port: Port) -> str:
    shape = ", ".join(map(str, port.shape))
    quantised = f", step {port.scale:.6g}, zero point {port.zero_point}" if port.scale else ""
    return f"{port.name}: {port.dtype} ({shape}){quantised}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
