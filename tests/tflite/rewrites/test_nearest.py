"""Nearest upsampling becomes copies: equal to the bit, all of it on XNNPACK, in float and in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.edit import add_constant, add_tensor, make_operator
from ghostedge.tflite.model import ints, operator_name, pack, unpack
from ghostedge.tflite.rewrites.nearest import nearest_to_copies

pytest.importorskip("ai_edge_litert")

LINEAR = Path(__file__).parents[2] / "data" / "linear" / "fp32.tflite"
RULES = [(False, False), (True, False), (False, True)]
CHANNELS = 4


def resizing(before: tuple[int, int], after: tuple[int, int], aligned: bool = False, centred: bool = False) -> Any:
    """A model of one resize: (1, *before, 4) -> (1, *after, 4)."""
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = unpack(LINEAR.read_bytes(), LINEAR.name)
    graph = model.subgraphs[0]
    graph.tensors, graph.operators, model.signatureDefs, model.metadata = [], [], None, None
    image = add_tensor(graph, (1, *before, CHANNELS), "FLOAT32", "image")
    large = add_tensor(graph, (1, *after, CHANNELS), "FLOAT32", "large")
    size = add_constant(model, graph, np.array(after, np.int32), "size")
    options = schema.ResizeNearestNeighborOptionsT()
    options.alignCorners, options.halfPixelCenters = aligned, centred
    graph.operators.append(make_operator(model, "RESIZE_NEAREST_NEIGHBOR", [image, size], [large], options))
    graph.inputs, graph.outputs = [image], [large]
    return model


def run(data: bytes, images: int = 1) -> np.ndarray:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=data)
    (entry,), (out,) = interpreter.get_input_details(), interpreter.get_output_details()
    shape = (images, *entry["shape"][1:])
    interpreter.resize_tensor_input(entry["index"], shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(entry["index"], np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(out["index"]))


@pytest.mark.parametrize(("aligned", "centred"), RULES)
@pytest.mark.parametrize(
    ("before", "after"),
    [((3, 3), (7, 7)), ((7, 7), (14, 14)), ((2, 5), (6, 5)), ((5, 4), (7, 11)), ((9, 8), (19, 23)), ((1, 1), (3, 2))],
)
def test_it_is_what_litert_resizes(
    before: tuple[int, int], after: tuple[int, int], aligned: bool, centred: bool, tmp_path: Path
) -> None:
    model = resizing(before, after, aligned, centred)
    expected = [run(pack(model), images) for images in (1, 3)]
    assert nearest_to_copies(model) == 1
    path = tmp_path / "copies.tflite"
    path.write_bytes(pack(model))
    assert "large" in {tensor.name.decode() for tensor in unpack(path.read_bytes(), "copies").subgraphs[0].tensors}
    for images, batch in zip((1, 3), expected, strict=True):
        np.testing.assert_array_equal(run(path.read_bytes(), images), batch)
    assert coverage(path).whole


def test_a_gate_of_ghostnetv2_takes_six_operators() -> None:
    """The first of 3 x 3 is cut out of the doubled ones, once for the rows and once for the columns."""
    model = resizing((3, 3), (7, 7))
    nearest_to_copies(model)
    graph = model.subgraphs[0]
    assert [operator_name(model, operator) for operator in graph.operators] == [
        *["CONCATENATION", "RESHAPE"] * 2,
        *["STRIDED_SLICE", "CONCATENATION"] * 2,
    ]
    used = {index for operator in graph.operators for index in (*ints(operator.inputs), *ints(operator.outputs))}
    assert len(used) == len(graph.tensors) - 1  # the size of the resize is left


@pytest.mark.parametrize(("before", "after"), [((4, 4), (2, 8)), ((4, 4), (3, 3)), ((4, 4), (4, 4))])
def test_what_does_not_enlarge_stays(before: tuple[int, int], after: tuple[int, int]) -> None:
    model = resizing(before, after)
    assert nearest_to_copies(model) == 0
    assert [operator_name(model, operator) for operator in model.subgraphs[0].operators] == ["RESIZE_NEAREST_NEIGHBOR"]
