"""ADD_N of two tensors becomes ADD: the same values, all of it on XNNPACK."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.lazy import require
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.edit import add_tensor, make_operator
from ghostedge.tflite.model import ints, operator_name, pack, unpack
from ghostedge.tflite.rewrites.add_n_to_add import sums_to_additions

pytest.importorskip("ai_edge_litert")

LINEAR = Path(__file__).parents[2] / "data" / "linear" / "fp32.tflite"


def with_a_sum(parts: int) -> bytes:
    """The linear model, its logits summed `parts` times."""
    model = unpack(LINEAR.read_bytes(), LINEAR.name)
    graph = model.subgraphs[0]
    (logits,) = ints(graph.outputs)
    total = add_tensor(graph, ints(graph.tensors[logits].shape), "FLOAT32", "total")
    graph.operators.append(make_operator(model, "ADD_N", [logits] * parts, [total]))
    graph.outputs = [total]
    model.signatureDefs = None
    return pack(model)


def run(data: bytes) -> np.ndarray:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=data)
    interpreter.allocate_tensors()
    image = np.random.default_rng(0).standard_normal((1, 8, 8, 3), dtype=np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))


def test_a_sum_of_two_becomes_an_addition(tmp_path: Path) -> None:
    before = with_a_sum(2)
    model = unpack(before, "sum")
    assert sums_to_additions(model) == 1
    after = tmp_path / "added.tflite"
    after.write_bytes(pack(model))
    np.testing.assert_array_equal(run(after.read_bytes()), run(before))
    assert coverage(after).whole


def test_a_sum_of_three_stays() -> None:
    model = unpack(with_a_sum(3), "sum")
    assert sums_to_additions(model) == 0
    assert operator_name(model, model.subgraphs[0].operators[-1]) == "ADD_N"
