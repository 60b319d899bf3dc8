"""Reading and writing the .tflite flatbuffer: whole, aligned, and damaged files refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.model import Model
from ghostedge.tflite.model import ints, operator_name, pack, unpack


def infer(model: bytes) -> NDArray[np.float32]:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=model)
    interpreter.allocate_tensors()
    image = np.random.default_rng(1).standard_normal((1, 32, 32, 3), dtype=np.float32)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    logits: NDArray[np.float32] = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    return logits


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_repacked_model_computes_the_same_and_its_weights_are_aligned(
    tiny_tflite: dict[str, Model], precision: str
) -> None:
    data = tiny_tflite[precision].path.read_bytes()
    packed = pack(unpack(data, "tiny"))
    np.testing.assert_array_equal(infer(packed), infer(data))
    schema = require("ai_edge_litert.schema_py_generated", "tflite")
    model = schema.Model.GetRootAs(packed, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    # Where a vector's elements begin, counted from the first byte of the file; 4 is the field's place in the vtable.
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(starts) > 10
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_operators_are_named(tiny_tflite: dict[str, Model]) -> None:
    model = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    names = [operator_name(model, operator) for operator in model.subgraphs[0].operators]
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "RESIZE_BILINEAR", "FULLY_CONNECTED"} <= set(names)
    model.operatorCodes[0].customCode = b"TFLite_Own"
    assert "TFLite_Own" in [operator_name(model, operator) for operator in model.subgraphs[0].operators]


def test_a_model_cut_short_anywhere_is_refused(tiny_tflite: dict[str, Model]) -> None:
    data = pack(unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny"))
    for size in range(8, len(data), len(data) // 50):
        with pytest.raises(ArtifactError, match=r"^cut\.tflite is damaged or cut short"):
            unpack(data[:size], "cut.tflite")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04" + bytes(100), b"\x00" * 4 + b"TFL3"])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^other is (not a TFLite model|damaged)"):
        unpack(content, "other")


def test_an_index_that_leads_nowhere_is_refused(tiny_tflite: dict[str, Model]) -> None:
    model = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    model.subgraphs[0].operators[0].inputs = [len(model.subgraphs[0].tensors)]
    with pytest.raises(ArtifactError, match="damaged"):
        unpack(pack(model), "tiny")


def test_absent_vectors_are_empty() -> None:
    assert ints(None) == ()
    assert ints(np.array([1, -1], np.int32)) == (1, -1)


def test_the_file_of_the_stage_is_a_model_and_an_archive(tiny_tflite: dict[str, Model], tmp_path: Path) -> None:
    data = tiny_tflite["fp16"].path.read_bytes()
    np.testing.assert_array_equal(infer(data), infer(pack(unpack(data, "tiny"))))  # what follows the model does no harm
