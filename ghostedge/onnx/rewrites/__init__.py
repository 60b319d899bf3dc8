"""Rewrites of an ONNX graph for LiteRT's XNNPACK; each keeps what the graph computes.

Each is a function on a `ghostedge.onnx.graph.OnnxGraph`, and says in its docstring what stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ghostedge.errors import ConvertError
from ghostedge.lazy import choose, require
from ghostedge.onnx.graph import OnnxGraph, name_of
from ghostedge.onnx.rewrites.convolutions import depthwise_before_concat, round_up_channels, split_concat_conv
from ghostedge.onnx.rewrites.operators import (
    add_as_sum,
    batch_norm_as_depthwise,
    gather_as_convolution,
    hard_sigmoid_as_clip,
    mean_as_pool,
    pad_before_max_pool,
    pool_as_depthwise,
    pool_as_resize,
    sigmoid_as_tanh,
)

__all__ = ["FLOAT16_REWRITES", "INT8_REWRITES", "REWRITES", "apply_rewrites", "order_dependent", "prepare"]

#: Name, as recipes give it -> the rewrite that makes XNNPACK execute less; in the order in which they are applied.
REWRITES: dict[str, Callable[[OnnxGraph], None]] = {
    "depthwise_before_concat": depthwise_before_concat,
    "split_concat_conv": split_concat_conv,
    "pool_as_resize": pool_as_resize,
    "pool_as_depthwise": pool_as_depthwise,
    "sigmoid_as_tanh": sigmoid_as_tanh,
    "round_up_channels": round_up_channels,
}

#: The rewrites that make int8 faster. `round_up_channels` and `sigmoid_as_tanh` make float faster, but cost int8
#: requantisations; `pool_as_resize` costs a tenth of its accuracy's margin; `split_concat_conv` saves nothing.
INT8_REWRITES = ("depthwise_before_concat", "pool_as_depthwise")

#: The rewrites that make a model faster which the CPU may compute in float16: XNNPACK's float16 tiles are of 16
#: channels, which `round_up_channels` does not fill, and its slices are copies.
FLOAT16_REWRITES = tuple(name for name in REWRITES if name != "round_up_channels")

#: The rewrites without which XNNPACK would not have all operators.
_ALWAYS = (add_as_sum, batch_norm_as_depthwise, hard_sigmoid_as_clip, pad_before_max_pool, mean_as_pool)

#: ONNX operators whose result depends on the order of a tensor in memory; of an NCHW feature map they have no
#: NHWC equivalent without a transpose.
_ORDER_DEPENDENT = ("Flatten", "MatMul", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def prepare(model: Any) -> Any:
    """Make of an ONNX model one of one image that becomes pure NHWC operators which XNNPACK has.

    The batch is set to 1: sizes computed from it become constants, and phones' delegates want static shapes; LiteRT can
    still resize the input. Operators are written as others, with the same values, where onnx2tf or TensorFlow would
    make of them what XNNPACK does not have.

    Args:
        model: ``onnx.ModelProto``, changed in place.

    Returns:
        The model with inferred shapes.

    Raises:
        ConvertError: the model is not one image in, one row of logits out, with every size but the batch's known.
    """
    proto = model.graph
    if len(proto.input) != 1 or len(proto.output) != 1:
        raise ConvertError(
            f"the ONNX model has {len(proto.input)} inputs and {len(proto.output)} outputs, not one each"
        )
    dims = proto.input[0].type.tensor_type.shape.dim
    if len(dims) != 4 or not all(dim.dim_value > 0 for dim in dims[1:]):
        shape = [dim.dim_value or dim.dim_param or "?" for dim in dims]
        raise ConvertError(f"the ONNX input has shape {shape}, not (batch, channels, height, width) of known size")
    dims[0].dim_value = 1
    proto.output[0].type.tensor_type.ClearField("shape")
    model = _with_shapes(model)
    graph = OnnxGraph(model.graph)
    for rewrite in _ALWAYS:
        rewrite(graph)
    return _with_shapes(model)


def apply_rewrites(model: Any, names: Sequence[str]) -> Any:
    """Apply the rewrites of these names, in the order of `REWRITES`, and write Gather as what converts.

    Args:
        model: ``onnx.ModelProto`` with inferred shapes, changed in place.
        names: keys of `REWRITES`.

    Returns:
        The model with the shapes of its new values.

    Raises:
        UsageError: a name that is not a rewrite's.
    """
    for name in names:
        choose("rewrite", name, REWRITES)
    for name, rewrite in REWRITES.items():
        if name in names:
            rewrite(OnnxGraph(model.graph))
            model = _with_shapes(model)
    graph = OnnxGraph(model.graph)
    gather_as_convolution(graph)  # after the others, which would take it for a convolution like others
    graph.remove_unread_constants()
    return model


def order_dependent(model: Any) -> tuple[str, ...]:
    """The names of the nodes that need a feature map in NCHW order.

    Args:
        model: ``onnx.ModelProto`` with inferred shapes.
    """
    graph = OnnxGraph(model.graph)

    def is_feature_map(name: str) -> bool:
        shape = graph.shape(name)
        return not graph.is_constant(name) and len(shape) >= 4 and any(size != 1 for size in shape[2:])

    nodes = graph.nodes(*_ORDER_DEPENDENT)
    return tuple(name_of(node) for node in nodes if any(map(is_feature_map, (*node.input, *node.output))))


def _with_shapes(model: Any) -> Any:
    del model.graph.value_info[:]
    return require("onnx", "export").shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
