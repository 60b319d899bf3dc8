"""``ghostedge inspect``: what model files hold, as a table or JSON."""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ghostedge.description import Description
    from ghostedge.inspection import ModelSummary, Port

HELP = "show what model files hold: operators, parameters, multiply-adds, inputs, quantisation, XNNPACK coverage"

EPILOG = """\
examples:
  ghostedge inspect build/ghostnetv2_1x.onnx
  ghostedge inspect build/*.tflite
  ghostedge inspect --json model.xml | jq '.models[0].macs'

Files of any origin are read: .mindir, .onnx, .xml (OpenVINO IR) and .tflite. Nothing of the model is run, except that
LiteRT loads a TFLite model, in a process of its own, to see how much of it XNNPACK takes.
"""

_SCHEMA_VERSION = 1
_COLUMNS = 110
_FORMATS = {"mindir": "MindIR", "onnx": "ONNX", "openvino": "OpenVINO IR", "tflite": "TFLite"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("artifacts", nargs="+", type=Path, metavar="A", help=".mindir, .onnx, .xml or .tflite file")


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised, before anything is printed."""
    from ghostedge.inspection import inspect

    summaries = [inspect(path) for path in args.artifacts]
    if args.json:
        document = {"schema_version": _SCHEMA_VERSION, "models": [summary.to_dict() for summary in summaries]}
        print(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        print("\n\n".join(table(summary) for summary in summaries))
    return 0


def table(summary: ModelSummary) -> str:
    """A summary for people: the file, then one line a fact."""
    title = f"{summary.path}: {_FORMATS[summary.format]}, {_megabytes(summary.file_bytes)}"
    facts = list(_facts(summary))
    width = max(len(name) for name, _ in facts)
    lines = [
        textwrap.fill(
            f"  {name:<{width}}  {fact}", _COLUMNS, subsequent_indent=" " * (width + 4), break_on_hyphens=False
        )
        for name, fact in facts
    ]
    return "\n".join([title, *lines])


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
    yield (
        "parameters",
        f"{weights.parameters:,} in {_megabytes(weights.stored_bytes)}" + (f" ({dtypes})" if dtypes else ""),
    )
    yield "multiply-adds", "unknown" if summary.macs is None else f"{summary.macs / 1e6:.1f} million an image"
    yield "quantised", _quantisation(summary)
    kinds = ", ".join(f"{kind} {count}" for kind, count in summary.operators.items())
    yield "operators", f"{sum(summary.operators.values())}: {kinds}"
    if summary.xnnpack is not None:
        covered = summary.xnnpack
        yield "XNNPACK", f"{covered.delegated} of {covered.nodes} operators in {covered.partitions} partition(s)"
        if covered.outside:
            yield "outside XNNPACK", ", ".join(sorted(set(covered.outside)))
        count = len(summary.spatial_transposes)
        yield "transposes", f"{count} of feature maps" + (f": {', '.join(summary.spatial_transposes)}" if count else "")


def _description(description: Description | None) -> Iterator[tuple[str, str]]:
    if description is None:
        yield "input spec", "none embedded"
        return
    spec = description.input
    if spec.range == "normalised":
        values = f"normalised, mean {_numbers(spec.mean)}, std {_numbers(spec.std)}"
    else:
        values = "raw 0..255"
    yield "input spec", f"{spec.layout} {spec.dtype} {spec.colour_order}, {values}"
    yield (
        "",
        f"shorter side resized to {spec.resize} ({spec.resize_rule}), then the centre {spec.height} x {spec.width}",
    )
    yield "precision", description.precision
    labels = description.labels
    yield "labels", f"{len(labels)}: {labels[0]}, ..., {labels[-1]}" if labels else "none embedded"


def _port(port: Port) -> str:
    shape = ", ".join(map(str, port.shape))
    quantised = f", step {port.scale:.6g}, zero point {port.zero_point}" if port.scale else ""
    return f"{port.name}: {port.dtype} ({shape}){quantised}"


def _quantisation(summary: ModelSummary) -> str:
    if not summary.quantised_per_tensor and not summary.quantised_per_channel:
        return "no"
    return f"{summary.quantised_per_channel} tensors per channel, {summary.quantised_per_tensor} per tensor"


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
