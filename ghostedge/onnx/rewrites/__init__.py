"""Rewrites of an ONNX graph that make LiteRT's XNNPACK execute less, one a file; each keeps what the graph computes.

Each is a function on a `ghostedge.onnx.graph.View`, and says in its docstring when it does not apply.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ghostedge.lazy import choose, require
from ghostedge.onnx.graph import View
from ghostedge.onnx.rewrites.depthwise_before_concat import depthwise_before_concat
from ghostedge.onnx.rewrites.pool_as_depthwise import pool_as_depthwise
from ghostedge.onnx.rewrites.pool_as_resize import pool_as_resize
from ghostedge.onnx.rewrites.round_up_channels import round_up_channels
from ghostedge.onnx.rewrites.sigmoid_as_tanh import sigmoid_as_tanh
from ghostedge.onnx.rewrites.split_concat_conv import split_concat_conv

__all__ = ["FLOAT16_REWRITES", "INT8_REWRITES", "REWRITES", "apply_rewrites"]

#: Name, as recipes give it -> the rewrite; in the order in which they are applied.
REWRITES: dict[str, Callable[[View], None]] = {
    "depthwise_before_concat": depthwise_before_concat,
    "split_concat_conv": split_concat_conv,
    "pool_as_resize": pool_as_resize,
    "pool_as_depthwise": pool_as_depthwise,
    "sigmoid_as_tanh": sigmoid_as_tanh,
    "round_up_channels": round_up_channels,
}

#: What int8 gains from. `round_up_channels` and `sigmoid_as_tanh`, which float gains from, cost it requantisations;
#: `pool_as_resize` costs a tenth of its accuracy's margin, `split_concat_conv` nothing and saves nothing.
INT8_REWRITES = ("depthwise_before_concat", "pool_as_depthwise")

#: What a model gains from that is computed in float16 where the CPU can: XNNPACK's float16 tiles are of 16 channels,
#: which `round_up_channels` does not fill, and its slices are copies.
FLOAT16_REWRITES = tuple(name for name in REWRITES if name != "round_up_channels")


def apply_rewrites(model: Any, names: Sequence[str]) -> Any:
    """Apply the rewrites of these names, in the order of `REWRITES`.

    Args:
        model: ``onnx.ModelProto`` with inferred shapes, changed in place.
        names: keys of `REWRITES`.

    Returns:
        The model with the shapes of its new values.

    Raises:
        UsageError: a name that is not a rewrite's.
    """
    onnx = require("onnx", "export")
    for name in names:
        choose("rewrite", name, REWRITES)
    for name, rewrite in REWRITES.items():
        if name in names:
            rewrite(View(model.graph))
            del model.graph.value_info[:]
            model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    _drop_unread_constants(model.graph)
    return model


def _drop_unread_constants(graph: Any) -> None:
    read = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)
