"""Small ONNX models, and what ONNX Runtime computes of them before and after a rewrite."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from ghostedge.onnx.rewrites import apply_rewrites

Constants = dict[str, NDArray[Any]]
Model = Callable[..., onnx.ModelProto]


@pytest.fixture
def model() -> Model:
    """`model(nodes, constants, shape)`: from ``x``, of `shape`, to ``y``.

    A node is ``(operator, inputs, output, attributes)``, its inputs in one string, the attributes optional.
    """

    def make(nodes: list[tuple[Any, ...]], constants: Constants, shape: tuple[int, ...]) -> onnx.ModelProto:
        made = [
            onnx.helper.make_node(op, inputs.split(), [output], f"{output}_node", **(rest[0] if rest else {}))
            for op, inputs, output, *rest in nodes
        ]
        info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        tensors = [onnx.numpy_helper.from_array(data, name) for name, data in constants.items()]
        graph = onnx.helper.make_graph(made, "test", [info("x", float32, shape)], [info("y", float32, None)], tensors)
        whole = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        return onnx.shape_inference.infer_shapes(whole, strict_mode=True, data_prop=True)

    return make


@pytest.fixture
def rewritten() -> Callable[[onnx.ModelProto, str], tuple[list[str], float]]:
    """`rewritten(model, name)`: the operators after one rewrite, and the largest difference of the output."""

    def apply(model: onnx.ModelProto, name: str) -> tuple[list[str], float]:
        shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
        x = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
        before = _run(model, x)
        model = apply_rewrites(model, [name])
        onnx.checker.check_model(model, full_check=True)
        return [node.op_type for node in model.graph.node], float(np.abs(_run(model, x) - before).max())

    return apply


def _run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    (y,) = onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"x": x})
    return np.asarray(y)


@pytest.fixture
def weights() -> Callable[..., NDArray[np.float32]]:
    """`weights(*shape)`: normal numbers, others at each call."""
    rng = np.random.default_rng(0)
    return lambda *shape: rng.standard_normal(shape).astype(np.float32)
