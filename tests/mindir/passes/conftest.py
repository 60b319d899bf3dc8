"""Fixtures of the passes' tests: graphs of ONNX operators from a few lines, and their outputs in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.lazy import require
from ghostedge.mindir.graph import Graph, Node, Value
from ghostedge.mindir.to_onnx import to_onnx

#: ``(output, operator, inputs...)``, with a dict of attributes at the end if there are any.
Line = tuple[Any, ...]


@pytest.fixture(scope="session")
def graph_of() -> Callable[..., Graph]:
    """`graph_of(shape, constants, *lines, outputs=None)`: a graph over the input ``x`` (float32) of that shape.

    A line is ``(output, operator, inputs...)``, with a dict of attributes at the end if there are any.

    Its output is the last line's, or `outputs`. Nodes lie in the scope ``Default/net-Net``. Shapes come from ONNX.
    """
    onnx = require("onnx", "export")

    def make(
        shape: tuple[int, ...], constants: Mapping[str, Any], *lines: Line, outputs: tuple[str, ...] | None = None
    ) -> Graph:
        arrays = {name: np.asarray(array) for name, array in constants.items()}
        nodes = tuple(_node(*line) for line in lines)
        proto = onnx.helper.make_graph(
            [onnx.helper.make_node(n.op, n.inputs, n.outputs, **n.attributes) for n in nodes],
            "shapes",
            [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
            [],
            [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()],
        )
        model = onnx.helper.make_model(proto, opset_imports=[onnx.helper.make_opsetid("", 17)])
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph.value_info
        values = {name: Value(name, array.dtype, array.shape, array) for name, array in arrays.items()}
        values["x"] = Value("x", np.dtype(np.float32), shape)
        for info in inferred:
            dtype = onnx.helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type)
            dims = tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)
            values[info.name] = Value(info.name, dtype, dims)
        return Graph(("x",), outputs or (lines[-1][0],), nodes, values)

    return make


def _node(output: str, op: str, *inputs: Any) -> Node:
    attributes = inputs[-1] if isinstance(inputs[-1], dict) else {}
    names = tuple(name for name in inputs if name is not attributes)
    return Node(op, f"Default/net-Net/{op}-op0", names, (output,), attributes)


@pytest.fixture(scope="session")
def run() -> Callable[..., list[NDArray[Any]]]:
    """`run(graph, x, batch_axes=None)`: its outputs in ONNX Runtime."""
    onnxruntime = require("onnxruntime", "onnx")

    def outputs(graph: Graph, x: NDArray[Any], batch_axes: Mapping[str, int] | None = None) -> list[NDArray[Any]]:
        numbered = [replace(node, name=str(index)) for index, node in enumerate(graph.nodes)]
        model = to_onnx(replace(graph, nodes=tuple(numbered)), batch_axes, {})
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        found: list[NDArray[Any]] = session.run(None, {"x": x})
        return found

    return outputs
