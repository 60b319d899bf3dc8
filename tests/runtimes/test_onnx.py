"""What is ONNX Runtime's own: fixed batches, half precision, models that are no classifiers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.onnx import OnnxRuntime

onnx = pytest.importorskip("onnx")

SPEC = InputSpec(height=2, width=2, resize=2)


def model(path: Path, kind: int, shape: list[int | str], *, outputs: int = 1, axes: tuple[int, ...] = (2, 3)) -> Path:
    """A mean over `axes`, `outputs` times."""
    info, names = onnx.helper.make_tensor_value_info, [f"y{i}" for i in range(outputs)]
    nodes = [onnx.helper.make_node("ReduceMean", ["x"], [name], axes=list(axes), keepdims=0) for name in names]
    graph = onnx.helper.make_graph(nodes, "g", [info("x", kind, shape)], [info(name, kind, None) for name in names])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_fixed_batch_of_one_takes_any_batch(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", onnx.TensorProto.FLOAT, [1, 3, 2, 2])
    pixels = np.arange(36, dtype=np.float32).reshape(3, 3, 2, 2)
    with OnnxRuntime(Model(path, "onnx", SPEC)) as runtime:
        assert runtime.info["providers"] == ["CPUExecutionProvider"]
        assert np.array_equal(runtime.run(pixels), pixels.mean((2, 3)))


def test_a_fixed_batch_of_four_is_refused(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", onnx.TensorProto.FLOAT, [4, 3, 2, 2])
    with pytest.raises(ArtifactError, match=r"takes input of shape \(4, 3, 2, 2\)"):
        OnnxRuntime(Model(path, "onnx", SPEC))


def test_a_half_precision_input_is_given_rounded_values(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", onnx.TensorProto.FLOAT16, ["n", 3, 2, 2])
    pixels = np.full((1, 3, 2, 2), 1 / 3, np.float32)
    with OnnxRuntime(Model(path, "onnx", SPEC)) as runtime:
        logits = runtime.run(pixels)
    assert (logits.dtype, logits[0, 0]) == (np.float32, np.float32(np.float16(1 / 3)))


def test_models_that_are_no_classifiers(tmp_path: Path) -> None:
    two = model(tmp_path / "two.onnx", onnx.TensorProto.FLOAT, ["n", 3, 2, 2], outputs=2)
    with pytest.raises(ArtifactError, match="1 inputs and 2 outputs"):
        OnnxRuntime(Model(two, "onnx", SPEC))
    planes = model(tmp_path / "planes.onnx", onnx.TensorProto.FLOAT, ["n", 3, 2, 2], axes=(1,))
    with pytest.raises(ArtifactError, match=r"a classifier gives \(1, classes\)"):
        OnnxRuntime(Model(planes, "onnx", SPEC))


def test_an_input_type_that_is_not_supported(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", onnx.TensorProto.DOUBLE, ["n", 3, 2, 2])
    with pytest.raises(ArtifactError, match=r"tensor\(double\)"):
        OnnxRuntime(Model(path, "onnx", SPEC))


def test_a_failure_while_running_is_one_line(tmp_path: Path) -> None:
    # Declared for any size, but it reshapes to what 2 x 3 pixels have.
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    shape = onnx.numpy_helper.from_array(np.array([1, 18], np.int64), "shape")
    node = onnx.helper.make_node("Reshape", ["x", "shape"], ["y"], name="flatten")
    graph: Any = onnx.helper.make_graph(
        [node], "g", [info("x", float32, ["n", 3, "h", "w"])], [info("y", float32, None)], [shape]
    )
    opset = onnx.helper.make_opsetid("", 17)
    onnx.save(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8), tmp_path / "m.onnx")
    with (
        OnnxRuntime(Model(tmp_path / "m.onnx", "onnx", SPEC)) as runtime,
        pytest.raises(ArtifactError, match=r"onnxruntime [\d.]+ failed to run") as error,
    ):
        runtime.run(np.zeros((1, 3, 2, 2), np.float32))
    assert "\n" not in str(error.value)
