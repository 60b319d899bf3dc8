"""Lower MindSpore primitives to ONNX operators: one pure function a primitive.

A lowering takes the arguments of its primitive by the names of MindSpore's documentation (see
`ghostedge.mindir.emitter.Lowering`); its docstring says what the primitive computes where that is not plain, and where
the two specifications differ. Tensors are laid out (n, c, h, w). The operators are those of ONNX opset 17
(https://onnx.ai/onnx/operators/). A new file has to be imported here.
"""

from __future__ import annotations

from ghostedge.mindir.lowerings import (
    activation,
    elementwise,
    layout,
    linear,
    normalisation,
    padding,
    pooling,
    reduction,
    resize,
)

__all__ = [
    "activation",
    "elementwise",
    "layout",
    "linear",
    "normalisation",
    "padding",
    "pooling",
    "reduction",
    "resize",
]
