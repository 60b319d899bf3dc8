"""Write a graph of ONNX operators as an ONNX model, and check it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

import ghostedge
from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.mindir.graph import Graph, Node

__all__ = ["BATCH", "IR_VERSION", "OPSET", "to_onnx"]

#: OpenVINO 2026.4 and onnx2tf 1.29 take this opset whole. From opset 18 on, onnx2tf resizes by half-pixel centres
#: whatever coordinate_transformation_mode says, which is a silent 29 dB here.
OPSET = 17

#: The IR version that came with opset 17; ONNX Runtime 1.23 reads up to 11.
IR_VERSION = 8

#: What the dynamic batch is called in the model.
BATCH = "batch"


def to_onnx(graph: Graph, batch_axes: Mapping[str, int] | None, metadata: Mapping[str, str]) -> Any:
    """An ``onnx.ModelProto`` that holds the whole graph, types of all values included.

    Args:
        graph: ONNX operators, named.
        batch_axes: value -> the axis that carries the dynamic batch; None to keep the fixed batch.
        metadata: becomes ``metadata_props``.

    Raises:
        ConvertError: the model does not pass ONNX's checker or its strict shape inference, or would not pass those of
            another version.
        MissingExtraError: onnx is not installed.
    """
    onnx = require("onnx", "export")
    helper = onnx.helper
    _check_sizes(graph)
    batch = graph.values[graph.inputs[0]].shape[:1]

    def value_info(name: str) -> Any:
        value = graph.values[name]
        shape: list[int | str] = list(value.shape)
        if batch_axes is not None and name in batch_axes:
            axis = batch_axes[name]
            times = value.shape[axis] // batch[0]
            shape[axis] = BATCH if times == 1 else f"{times}*{BATCH}"
        return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), shape)

    used = {name for node in graph.nodes for name in node.reads()}
    constants = [value for value in graph.values.values() if value.data is not None and value.name in used]
    proto = helper.make_graph(
        nodes=[_node(helper, node) for node in graph.nodes],
        name="ghostedge",
        inputs=[value_info(name) for name in graph.inputs],
        outputs=[value_info(name) for name in graph.outputs],
        initializer=[onnx.numpy_helper.from_array(np.ascontiguousarray(v.data), v.name) for v in constants],
        value_info=[value_info(name) for node in graph.nodes for name in node.outputs if name not in graph.outputs],
    )
    model = helper.make_model(
        proto,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="ghostedge",
        producer_version=ghostedge.__version__,
    )
    helper.set_model_props(model, dict(sorted(metadata.items())))
    try:
        onnx.checker.check_model(model, full_check=True)
        # Strict inference works every shape out again and compares it with the ones written above.
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ConvertError(f"the converted model is not valid ONNX, please report it: {_one_line(exc)}") from exc
    return model


def _check_sizes(graph: Graph) -> None:
    """Raise ConvertError for a Resize whose scales give another size in float32 or in double.

    The installed checker computes in one of them, users' runtimes in either: see `ghostedge.mindir.lowerings.resize`.
    """
    for node in graph.nodes:
        if node.op != "Resize":
            continue
        scales = graph.data(str(node.inputs[2]))
        assert scales is not None  # `ghostedge.mindir.lowerings.resize` gives nothing else
        lengths, out = (graph.values[str(name)].shape for name in (node.inputs[0], node.outputs[0]))
        for dtype in (np.float32, np.float64):
            made = np.floor(np.array(lengths, dtype) * scales.astype(dtype)).astype(int)
            if tuple(made) != out:
                raise ConvertError(
                    f"Resize at node '{node.name}' gives {tuple(made.tolist())} computed in {np.dtype(dtype)}, not "
                    f"{out}: some runtimes would refuse it; please report it"
                )


def _node(helper: Any, node: Node) -> Any:
    attributes = {
        name: helper.np_dtype_to_tensor_dtype(value) if isinstance(value, np.dtype) else value
        for name, value in node.attributes.items()
    }
    return helper.make_node(node.op, list(node.inputs), list(node.outputs), name=node.name, **attributes)


def _one_line(exc: Exception) -> str:
    """The first two lines of onnx's message: what it was doing, and the first thing that is wrong."""
    return " ".join(line.strip() for line in str(exc).strip().splitlines()[:2])
