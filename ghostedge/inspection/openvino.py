"""Inspect OpenVINO IR, from its two files alone."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np

from ghostedge.errors import ArtifactError
from ghostedge.inspection import ModelSummary, Port, Weights, damage_of, macs, total
from ghostedge.openvino.weights import WEIGHTED, overflowing, pairs, to_rows

#: Element types of the IR -> numpy's names.
_DTYPES = {
    "f64": "float64", "f32": "float32", "f16": "float16", "bf16": "bfloat16", "i64": "int64", "i32": "int32",
    "i16": "int16", "i8": "int8", "i4": "int4", "u8": "uint8", "u4": "uint4", "boolean": "bool",
}  # fmt: skip

#: Integers this wide are shapes, axes and indices, not weights.
_INDEX_TYPES = ("i64", "i32", "boolean")


def inspect_openvino(path: Path) -> ModelSummary:
    """See `ghostedge.inspection.inspect`."""
    try:
        root = ET.parse(path).getroot()
    except (ET.ParseError, UnicodeDecodeError, ValueError) as exc:
        raise ArtifactError(f"{path} is not OpenVINO IR, or not a whole one ({exc}); export it again") from exc
    if root.tag != "net" or root.find("layers") is None:
        raise ArtifactError(f"{path} is not OpenVINO IR (its root element is <{root.tag}>, not <net>)")
    weights = path.with_suffix(".bin")
    if not weights.is_file():
        raise ArtifactError(f"{path} has no weights beside it: {weights.name} is missing; copy both files")
    with damage_of(path):
        return _summary(path, root, weights)


def openvino_macs(path: Path) -> dict[str, int | None]:
    """See `ghostedge.inspection.operator_macs`."""
    try:
        return {layer.attrib["name"]: _macs(layer) for layer in ET.parse(path).getroot().findall("./layers/layer")}
    except (ET.ParseError, KeyError, ValueError, IndexError) as exc:
        raise ArtifactError(f"{path} is not OpenVINO IR, or not a whole one ({exc}); export it again") from exc


def _summary(path: Path, root: ET.Element, weights: Path) -> ModelSummary:
    layers = root.findall("./layers/layer")
    size = weights.stat().st_size
    for layer in layers:
        if layer.get("type") == "Const":
            start, end = _int(layer, "offset"), _int(layer, "offset") + _int(layer, "size")
            if not 0 <= start <= end:
                raise ArtifactError(f"{path} is damaged: '{layer.get('name')}' lies before its weights begin")
            if end > size:
                raise ArtifactError(f"{weights} is cut short: it has {size} bytes, '{layer.get('name')}' ends at {end}")
    kinds = (layer.attrib["type"] for layer in layers)
    operators = Counter(kind for kind in kinds if kind not in ("Const", "Parameter", "Result"))
    fake = [layer for layer in layers if layer.get("type") == "FakeQuantize"]
    per_channel = sum(math.prod(_input(layer, 1)) > 1 for layer in fake)
    version = root.find("./rt_info/Runtime_version")
    return ModelSummary(
        path=path,
        format="openvino",
        files={path.name: path.stat().st_size, weights.name: size},
        producer=f"OpenVINO {version.attrib['value']}" if version is not None else "",
        inputs=tuple(_port(layer, "./output/port") for layer in layers if layer.get("type") == "Parameter"),
        outputs=_outputs(root, layers),
        operators=dict(operators.most_common()),
        weights=Weights.of(_constants(layers)),
        macs=total(_macs(layer) for layer in layers),
        quantised_per_tensor=len(fake) - per_channel,
        quantised_per_channel=per_channel,
        overflowing_pairs=_overflowing_pairs(root, weights),
    )


def _overflowing_pairs(root: ET.Element, file: Path) -> int | None:
    """Pairs of int8 weights that saturate on CPUs without VNNI; None where no operator has int8 weights."""
    by_id = {layer.attrib["id"]: layer for layer in root.findall("./layers/layer")}
    sources = {
        (edge.attrib["to-layer"], edge.attrib["to-port"]): by_id[edge.attrib["from-layer"]]
        for edge in root.findall("./edges/edge")
    }
    count = None
    with open(file, "rb") as data:
        for layer in by_id.values():
            if layer.attrib["type"] not in WEIGHTED:
                continue
            constant = sources[layer.attrib["id"], "1"]
            while constant.get("type") in ("Multiply", "FakeQuantize", "Convert"):  # from the steps to the integers
                constant = sources[constant.attrib["id"], "0"]
            if constant.get("type") != "Const" or _data(constant)["element_type"] != "i8":
                continue
            shape = tuple(int(size) for size in _data(constant)["shape"].split(","))
            data.seek(_int(constant, "offset"))
            integers = np.frombuffer(data.read(_int(constant, "size")), np.int8).reshape(shape)
            kind = layer.attrib["type"]
            count = (count or 0) + overflowing(to_rows(integers, kind), pairs(kind, shape))
    return count


def _data(layer: ET.Element) -> dict[str, str]:
    data = layer.find("data")
    return {} if data is None else data.attrib


def _int(layer: ET.Element, attribute: str) -> int:
    return int(_data(layer)[attribute])


def _dims(port: ET.Element) -> tuple[int, ...]:
    return tuple(int(dim.text or "") for dim in port.findall("dim"))


def _input(layer: ET.Element, index: int) -> tuple[int, ...]:
    return _dims(layer.findall("./input/port")[index])


def _port(layer: ET.Element, where: str) -> Port:
    port = layer.findall(where)[0]
    dtype = _DTYPES.get(port.get("precision", _data(layer).get("element_type", "")).lower().replace("fp", "f"), "?")
    names = port.get("names", "").split(",")
    return Port(names[0] or layer.attrib["name"], dtype, tuple("?" if size < 0 else size for size in _dims(port)))


def _outputs(root: ET.Element, layers: list[ET.Element]) -> tuple[Port, ...]:
    """The ports that feed the Result layers; those themselves have only their producer's name."""
    by_id = {layer.attrib["id"]: layer for layer in layers}
    ports = []
    for edge in root.findall("./edges/edge"):
        if by_id[edge.attrib["to-layer"]].get("type") == "Result":
            source = by_id[edge.attrib["from-layer"]]
            ports.append(_port(source, f"./output/port[@id='{edge.attrib['from-port']}']"))
    return tuple(ports)


def _constants(layers: list[ET.Element]) -> Iterator[tuple[str, int, int]]:
    for layer in layers:
        if layer.get("type") == "Const" and (kind := _data(layer)["element_type"]) not in _INDEX_TYPES:
            shape = [int(size) for size in _data(layer)["shape"].split(",") if size.strip()]
            yield _DTYPES.get(kind, kind), math.prod(shape), _int(layer, "size")


def _macs(layer: ET.Element) -> int | None:
    kind = layer.get("type")
    if kind in ("Convolution", "GroupConvolution"):
        return macs(_dims(layer.findall("./output/port")[0])[2:], _input(layer, 1))
    if kind in ("ConvolutionBackpropData", "GroupConvolutionBackpropData"):
        return macs(_input(layer, 0)[2:], _input(layer, 1))
    if kind == "MatMul":
        inner = _input(layer, 0)[-2 if _data(layer).get("transpose_a") == "true" else -1]
        result = _dims(layer.findall("./output/port")[0])
        return macs([1 if axis == 0 and size < 0 else size for axis, size in enumerate(result)], [inner])
    return 0
