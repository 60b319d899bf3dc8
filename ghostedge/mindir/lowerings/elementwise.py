"""Lower what works element by element: copies, casts, arithmetic, comparisons and activations; softmax, too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from ghostedge.mindir.emitter import Emitter, Number, lowers, lowers_table
from ghostedge.mindir.graph import Value


@lowers("Identity", "Contiguous", "StopGradient")
def identity(g: Emitter, input: Value) -> Value:
    """The input itself."""
    return input


#: MindSpore's numbers of dtypes (``mindspore._c_expression.typing``).
_DTYPES = {
    30: "bool",
    **dict(enumerate(("int8", "int16", "int32", "int64"), start=32)),
    **dict(enumerate(("uint8", "uint16", "uint32", "uint64"), start=37)),
    **dict(enumerate(("float16", "float32", "float64"), start=42)),
}


@lowers("Cast")
def cast(g: Emitter, input_x: Value, dtype: int) -> Value:
    """Floats become integers by dropping the fraction, in both specifications."""
    if dtype not in _DTYPES:
        raise g.error(f"dtype {dtype} is not supported")
    return g.cast(input_x, _DTYPES[dtype])


def _unary(g: Emitter, input: Value, *, operator: str) -> Value:
    """One operator that means the same in both specifications."""
    return g.elementwise(operator, input)


_SAME_NAME = "Abs Ceil Cos Erf Neg Reciprocal Sign Sin Softplus Softsign Sqrt"
lowers_table(
    _unary,
    {name: name for name in _SAME_NAME.split()}
    | {name: f"{name} Inplace{name}" for name in ("Exp", "Floor", "Sigmoid", "Tanh")}
    | {"HardSwish": "HSwish", "Not": "LogicalNot", "Relu": "ReLU InplaceReLU", "Selu": "SeLU SeLUExt"},
)


@lowers("Log")
def log(g: Emitter, input: Value, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """The natural logarithm."""
    if (base, scale, shift) != (-1.0, 1.0, 0.0):
        raise g.error(f"base {base}, scale {scale}, shift {shift} are not supported, only the natural logarithm is")
    return g.elementwise("Log", input)


#: Primitives of one input that ONNX has several operators for, or one by other attributes.
_FORMULAS: dict[str, Callable[[Emitter, Value], Value]] = {
    "HSigmoid": lambda g, x: g.emit("HardSigmoid", x, alpha=1 / 6, beta=0.5),
    "Mish MishExt": lambda g, x: g.emit("Mul", x, g.emit("Tanh", g.emit("Softplus", x))),
    "ReLU6": lambda g, x: g.clip(x, 0, 6),
    "Rsqrt": lambda g, x: g.emit("Reciprocal", g.emit("Sqrt", x)),
    "SiLU InplaceSiLU": lambda g, x: g.emit("Mul", x, g.emit("Sigmoid", x)),
    "Square": lambda g, x: g.emit("Mul", x, x),
}

for _primitives, _formula in _FORMULAS.items():
    lowers(*_primitives.split())(_formula)


@lowers("Round")
def round_(g: Emitter, input: Value, decimals: int = 0) -> Value:
    """To the nearest integer, halves to the even one, in both specifications."""
    if decimals != 0:
        raise g.error(f"decimals={decimals} is not supported, only 0 is")
    return g.emit("Round", input)


def _binary(g: Emitter, input: Value | Number, other: Value | Number, *, operator: str) -> Value:
    """One operator that means the same in both specifications; MindSpore broadcasts and casts to the output's dtype."""
    return g.elementwise(operator, input, other)


lowers_table(
    _binary,
    {
        "Add": "Add",
        "Sub": "Sub",
        "Mul": "Mul Muls InplaceMul InplaceMuls",
        "Div": "Div RealDiv Divs InplaceDiv InplaceDivs",
    },
)


def _scaled(g: Emitter, input: Value, other: Value | Number, alpha: Number = 1, *, operator: str) -> Value:
    """``input + alpha * other``, or with a minus."""
    if alpha != 1:
        dtype = g.out.dtype
        other = g.emit("Mul", g.cast(other, dtype), g.constant(alpha, dtype))
    return g.elementwise(operator, input, other)


lowers_table(
    _scaled,
    {"Add": "AddExt AddScalar InplaceAddExt InplaceAddsExt", "Sub": "SubExt SubScalar InplaceSubExt InplaceSubScalar"},
)


@lowers("AddN")
def add_n(g: Emitter, x: tuple[Value, ...]) -> Value:
    """The sum of all inputs."""
    return g.emit("Sum", *x, shape=g.out.shape)


@lowers("FloorDiv")
def floor_div(g: Emitter, input: Value | Number, other: Value | Number) -> Value:
    """``floor(input / other)``; ONNX's Div of integers rounds toward zero, so floats only."""
    if not np.issubdtype(g.out.dtype, np.floating):
        raise g.error(f"floor division of {g.out.dtype} is not supported, only of floats")
    return g.emit("Floor", g.elementwise("Div", input, other))


@lowers("Pow", "PowTensorScalar", "PowScalarTensor")
def pow_(g: Emitter, input: Value | Number, exponent: Value | Number) -> Value:
    """``input ** exponent``; the square becomes a product, which every runtime has a fast kernel for."""
    number = exponent.data if isinstance(exponent, Value) else exponent
    if number is not None and np.size(number) == 1 and float(np.reshape(number, ())) == 2:
        x = g.cast(input, g.out.dtype)
        return g.emit("Mul", x, x, shape=g.out.shape)
    return g.elementwise("Pow", input, exponent)


def _bound(g: Emitter, input: Value | Number, other: Value | Number, *, operator: str) -> Value:
    """``Min`` or ``Max`` of two; with a constant number for one, the operator Clip, which runtimes fuse."""
    dtype, shape = g.out.dtype, g.out.shape
    x, y = g.cast(input, dtype), g.cast(other, dtype)
    if x.data is not None:
        x, y = y, x
    if y.data is not None and y.data.size == 1 and x.shape == shape:
        limit = y.data.item()
        return g.clip(x, None, limit) if operator == "Min" else g.clip(x, limit, None)
    return g.emit(operator, x, y, shape=shape)


lowers_table(_bound, {"Min": "Minimum", "Max": "Maximum"})


@lowers("ClampScalar", "InplaceClampScalar")
def clamp_scalar(g: Emitter, input: Value, min: Number | None = None, max: Number | None = None) -> Value:
    """Either limit may be None."""
    return g.clip(g.cast(input, g.out.dtype), min, max)


@lowers("ClampTensor", "InplaceClampTensor")
def clamp_tensor(g: Emitter, input: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """Either limit may be None; the upper one wins where they cross."""
    x = input
    if min is not None:
        x = _bound(g, x, min, operator="Max")
    return x if max is None else _bound(g, x, max, operator="Min")


def _compare(g: Emitter, input: Value | Number, other: Value | Number, *, operator: str) -> Value:
    """A comparison; both sides are cast to the dtype that numpy would compare them in."""
    dtype = np.result_type(*(x.dtype for x in (input, other) if isinstance(x, Value)))
    return g.emit(operator, g.cast(input, dtype), g.cast(other, dtype), shape=g.out.shape, dtype=np.bool_)


lowers_table(
    _compare,
    {
        "Equal": "Equal EqScalar",
        "Greater": "Greater",
        "GreaterOrEqual": "GreaterEqual GreaterEqualScalar",
        "Less": "Less LessScalar",
        "LessOrEqual": "LessEqual",
    },
)


@lowers("Select")
def select(g: Emitter, condition: Value, input: Value | Number, other: Value | Number) -> Value:
    """`input` where `condition` holds, `other` elsewhere."""
    dtype, shape = g.out.dtype, g.out.shape
    return g.emit("Where", condition, g.cast(input, dtype), g.cast(other, dtype), shape=shape, dtype=dtype)


@lowers("Hardtanh", "InplaceHardtanh")
def hardtanh(g: Emitter, input: Value, min_val: Number, max_val: Number) -> Value:
    """``min(max(x, min_val), max_val)``."""
    return g.clip(input, min_val, max_val)


@lowers("LeakyReLUExt")
def leaky_relu_ext(g: Emitter, input: Value, negative_slope: Number) -> Value:
    """``x`` above zero, ``negative_slope * x`` below."""
    return g.emit("LeakyRelu", input, alpha=float(negative_slope))


@lowers("PReLU")
def prelu(g: Emitter, x: Value, weight: Value) -> Value:
    """``x`` above zero, ``weight * x`` below; `weight` is (c,) or (1,). ONNX broadcasts it from the last axis."""
    return g.emit("PRelu", x, g.per_channel(weight, len(x.shape)), shape=x.shape)


def _with_alpha(g: Emitter, input: Value, alpha: Number = 1.0, *, operator: str) -> Value:
    """Below zero ``alpha * (exp(x) - 1)``, for Celu ``alpha * (exp(x / alpha) - 1)``."""
    return g.emit(operator, input, alpha=float(alpha))


lowers_table(_with_alpha, {"Elu": "Elu EluExt InplaceElu", "Celu": "CeLU"})


@lowers("GeLU", "GeluExt")
def gelu(g: Emitter, input: Value, approximate: int = 1) -> Value:
    """``0.5 x (1 + f(x))``.

    `approximate`: 0 is ``"none"``, ``f = erf(x / sqrt(2))``; 1 is ``"tanh"``, and MindSpore's older GeLU, ``f =
    tanh(sqrt(2 / pi) (x + 0.044715 x^3))``.
    """
    x, dtype = input, input.dtype
    if approximate == 1:
        cube = g.emit("Mul", g.emit("Mul", x, x), x)
        inner = g.emit("Add", x, g.emit("Mul", cube, g.constant(0.044715, dtype)))
        part = g.emit("Tanh", g.emit("Mul", inner, g.constant(math.sqrt(2 / math.pi), dtype)))
    else:
        part = g.emit("Erf", g.emit("Mul", x, g.constant(math.sqrt(0.5), dtype)))
    return g.emit("Mul", g.emit("Mul", x, g.emit("Add", part, g.constant(1, dtype))), g.constant(0.5, dtype))


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
    return g.emit("LogSoftmax", g.cast(input, g.out.dtype), axis=axis)
