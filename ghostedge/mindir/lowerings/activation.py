"""Lower activation functions."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Number, cast_to, clip_to, per_channel

__all__: list[str] = []


@lowers("ReLU6")
def relu6(g: Emitter, x: Value) -> Value:
    """``min(max(x, 0), 6)``."""
    return clip_to(g, x, 0, 6)


@lowers("Hardtanh", "InplaceHardtanh")
def hardtanh(g: Emitter, input: Value, min_val: Number, max_val: Number) -> Value:
    """``min(max(x, min_val), max_val)``."""
    return clip_to(g, input, min_val, max_val)


@lowers("LeakyReLUExt")
def leaky_relu_ext(g: Emitter, input: Value, negative_slope: Number) -> Value:
    """``x`` above zero, ``negative_slope * x`` below."""
    return g.emit("LeakyRelu", input, alpha=float(negative_slope))


@lowers("PReLU")
def prelu(g: Emitter, x: Value, weight: Value) -> Value:
    """``x`` above zero, ``weight * x`` below; `weight` is (c,) or (1,). ONNX broadcasts it from the last axis."""
    return g.emit("PRelu", x, per_channel(g, weight, len(x.shape)), shape=x.shape)


@lowers("Elu", "EluExt", "InplaceElu")
def elu(g: Emitter, input_x: Value, alpha: Number = 1.0) -> Value:
    """``alpha * (exp(x) - 1)`` below zero."""
    return g.emit("Elu", input_x, alpha=float(alpha))


@lowers("SeLU", "SeLUExt")
def selu(g: Emitter, input_x: Value) -> Value:
    """The constants are the same in both specifications."""
    return g.emit("Selu", input_x)


@lowers("CeLU")
def celu(g: Emitter, x: Value, alpha: Number = 1.0) -> Value:
    """``max(0, x) + min(0, alpha * (exp(x / alpha) - 1))``."""
    return g.emit("Celu", x, alpha=float(alpha))


@lowers("HSigmoid")
def hsigmoid(g: Emitter, input_x: Value) -> Value:
    """``max(0, min(1, x / 6 + 0.5))``."""
    return g.emit("HardSigmoid", input_x, alpha=1 / 6, beta=0.5)


@lowers("HSwish")
def hswish(g: Emitter, input_x: Value) -> Value:
    """``x * max(0, min(1, x / 6 + 0.5))``."""
    return g.emit("HardSwish", input_x)


@lowers("SiLU", "InplaceSiLU")
def silu(g: Emitter, input: Value) -> Value:
    """``x * sigmoid(x)``."""
    return g.emit("Mul", input, g.emit("Sigmoid", input))


@lowers("Mish", "MishExt")
def mish(g: Emitter, input: Value) -> Value:
    """``x * tanh(softplus(x))``."""
    return g.emit("Mul", input, g.emit("Tanh", g.emit("Softplus", input)))


def _gelu_erf(g: Emitter, x: Value) -> Value:
    scaled = g.emit("Mul", x, g.constant(math.sqrt(0.5), x.dtype))
    factor = g.emit("Add", g.emit("Erf", scaled), g.constant(1, x.dtype))
    return g.emit("Mul", g.emit("Mul", x, factor), g.constant(0.5, x.dtype))


@lowers("GeLU")
def gelu(g: Emitter, input_x: Value) -> Value:
    """``0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))``: MindSpore's GeLU is the approximation by tanh."""
    x = input_x
    cube = g.emit("Mul", g.emit("Mul", x, x), x)
    inner = g.emit("Add", x, g.emit("Mul", cube, g.constant(0.044715, x.dtype)))
    tanh = g.emit("Tanh", g.emit("Mul", inner, g.constant(math.sqrt(2 / math.pi), x.dtype)))
    return g.emit("Mul", g.emit("Mul", x, g.emit("Add", tanh, g.constant(1, x.dtype))), g.constant(0.5, x.dtype))


@lowers("GeluExt")
def gelu_ext(g: Emitter, input: Value, approximate: int) -> Value:
    """`approximate`: 0 is ``"none"`` (``x * Phi(x)``, by erf), 1 is ``"tanh"``."""
    return gelu(g, input) if approximate == 1 else _gelu_erf(g, input)


@lowers("Softmax")
def softmax(g: Emitter, input: Value, axis: int | Sequence[int] = -1) -> Value:
    """Over one axis; MindSpore takes several, ONNX does not."""
    axes = [axis] if isinstance(axis, int) else list(axis)
    if len(axes) != 1:
        raise g.error(f"softmax over the axes {tuple(axes)} at once is not supported, only over one")
    return g.emit("Softmax", input, axis=axes[0] % len(input.shape))


@lowers("LogSoftmax")
def log_softmax(g: Emitter, logits: Value, axis: int = -1) -> Value:
    """Over one axis."""
    return g.emit("LogSoftmax", logits, axis=axis % len(logits.shape))


@lowers("LogSoftmaxExt")
def log_softmax_ext(g: Emitter, input: Value, dim: int | None = None, dtype: int | None = None) -> Value:
    """Over `dim`, which is guessed from the rank where it is None; the input is cast to `dtype` first."""
    rank = len(input.shape)
    axis = (0 if rank in (0, 1, 3) else 1) if dim is None else dim % rank
    return g.emit("LogSoftmax", cast_to(g, input, g.out.dtype), axis=axis)
