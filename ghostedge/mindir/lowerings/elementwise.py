"""Lower what works element by element: copies, casts, arithmetic, bounds and comparisons."""

from __future__ import annotations

from functools import partial

import numpy as np

from ghostedge.mindir.emitter import Emitter, lowers
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings.common import Number, as_tensor, cast_to, clip_to, elementwise

__all__: list[str] = []


@lowers("Identity", "Contiguous", "StopGradient")
def identity(g: Emitter, input: Value) -> Value:
    """The input itself."""
    return input


#: MindSpore's numbers of dtypes (``mindspore._c_expression.typing``).
_DTYPES = {
    30: "bool",
    32: "int8",
    33: "int16",
    34: "int32",
    35: "int64",
    37: "uint8",
    38: "uint16",
    39: "uint32",
    40: "uint64",
    42: "float16",
    43: "float32",
    44: "float64",
}


@lowers("Cast")
def cast(g: Emitter, input_x: Value, dtype: int) -> Value:
    """Floats become integers by dropping the fraction, in both specifications."""
    if dtype not in _DTYPES:
        raise g.error(f"dtype {dtype} is not supported")
    return cast_to(g, input_x, _DTYPES[dtype])


def _unary(g: Emitter, input: Value, *, operator: str) -> Value:
    """One operator that means the same in both specifications."""
    return elementwise(g, operator, input)


_UNARY = "Abs Ceil Cos Erf Exp Floor LogicalNot Neg Reciprocal ReLU Sigmoid Sign Sin Softplus Softsign Sqrt Tanh"

for _primitive in _UNARY.split():
    _operator = {"LogicalNot": "Not", "ReLU": "Relu"}.get(_primitive, _primitive)
    _inplace = (f"Inplace{_primitive}",) if _primitive in ("Exp", "Floor", "ReLU", "Sigmoid", "Tanh") else ()
    lowers(_primitive, *_inplace)(partial(_unary, operator=_operator))


@lowers("Log")
def log(g: Emitter, input: Value, base: float = -1.0, scale: float = 1.0, shift: float = 0.0) -> Value:
    """The natural logarithm."""
    if (base, scale, shift) != (-1.0, 1.0, 0.0):
        raise g.error(f"base {base}, scale {scale}, shift {shift} are not supported, only the natural logarithm is")
    return elementwise(g, "Log", input)


@lowers("Rsqrt")
def rsqrt(g: Emitter, input: Value) -> Value:
    """``1 / sqrt(x)``."""
    return g.emit("Reciprocal", g.emit("Sqrt", input))


@lowers("Square")
def square(g: Emitter, input: Value) -> Value:
    """``x * x``."""
    return g.emit("Mul", input, input)


@lowers("Round")
def round_(g: Emitter, input: Value, decimals: int = 0) -> Value:
    """To the nearest integer, halves to the even one, in both specifications."""
    if decimals != 0:
        raise g.error(f"decimals={decimals} is not supported, only 0 is")
    return g.emit("Round", input)


def _binary(g: Emitter, input: Value | Number, other: Value | Number, *, operator: str) -> Value:
    """One operator that means the same in both specifications; MindSpore broadcasts and casts to the output's dtype."""
    return elementwise(g, operator, input, other)


for _operator, _primitives in {
    "Add": ("Add",),
    "Sub": ("Sub",),
    "Mul": ("Mul", "Muls", "InplaceMul", "InplaceMuls"),
    "Div": ("Div", "RealDiv", "Divs", "InplaceDiv", "InplaceDivs"),
}.items():
    lowers(*_primitives)(partial(_binary, operator=_operator))


def _scaled(g: Emitter, input: Value, other: Value | Number, alpha: Number = 1, *, operator: str) -> Value:
    """``input + alpha * other``, or with a minus."""
    dtype = g.out.dtype
    if alpha != 1:
        other = g.emit("Mul", as_tensor(g, other, dtype), g.constant(alpha, dtype))
    return elementwise(g, operator, input, other)


lowers("AddExt", "AddScalar", "InplaceAddExt", "InplaceAddsExt")(partial(_scaled, operator="Add"))
lowers("SubExt", "SubScalar", "InplaceSubExt", "InplaceSubScalar")(partial(_scaled, operator="Sub"))


@lowers("AddN")
def add_n(g: Emitter, x: tuple[Value, ...]) -> Value:
    """The sum of all inputs."""
    return g.emit("Sum", *x, shape=g.out.shape)


@lowers("FloorDiv")
def floor_div(g: Emitter, input: Value | Number, other: Value | Number) -> Value:
    """``floor(input / other)``; ONNX's Div of integers rounds toward zero, so floats only."""
    if not np.issubdtype(g.out.dtype, np.floating):
        raise g.error(f"floor division of {g.out.dtype} is not supported, only of floats")
    return g.emit("Floor", elementwise(g, "Div", input, other))


@lowers("Pow", "PowTensorScalar", "PowScalarTensor")
def pow_(g: Emitter, input: Value | Number, exponent: Value | Number) -> Value:
    """``input ** exponent``; the square becomes a product, which every runtime has a fast kernel for."""
    number = exponent.data if isinstance(exponent, Value) else exponent
    if number is not None and np.size(number) == 1 and float(np.reshape(number, ())) == 2:
        x = as_tensor(g, input, g.out.dtype)
        return g.emit("Mul", x, x, shape=g.out.shape)
    return elementwise(g, "Pow", input, exponent)


def _bound(g: Emitter, input: Value | Number, other: Value | Number, *, upper: bool) -> Value:
    """``min`` or ``max`` of two; with a constant number for one, the operator Clip, which runtimes fuse."""
    dtype, shape = g.out.dtype, g.out.shape
    x, y = as_tensor(g, input, dtype), as_tensor(g, other, dtype)
    if x.data is not None:
        x, y = y, x
    if y.data is not None and y.data.size == 1 and x.shape == shape:
        limit = y.data.item()
        return clip_to(g, x, None if upper else limit, limit if upper else None)
    return g.emit("Min" if upper else "Max", x, y, shape=shape)


lowers("Minimum")(partial(_bound, upper=True))
lowers("Maximum")(partial(_bound, upper=False))


@lowers("ClampScalar", "InplaceClampScalar")
def clamp_scalar(g: Emitter, input: Value, min: Number | None = None, max: Number | None = None) -> Value:
    """Either limit may be None."""
    return clip_to(g, cast_to(g, input, g.out.dtype), min, max)


@lowers("ClampTensor", "InplaceClampTensor")
def clamp_tensor(g: Emitter, input: Value, min: Value | None = None, max: Value | None = None) -> Value:
    """Either limit may be None; the upper one wins where they cross."""
    x = input
    if min is not None:
        x = _bound(g, x, min, upper=False)
    return x if max is None else _bound(g, x, max, upper=True)


def _compare(g: Emitter, input: Value | Number, other: Value | Number, *, operator: str) -> Value:
    """A comparison; both sides are cast to the dtype that numpy would compare them in."""
    dtypes = [x.dtype for x in (input, other) if isinstance(x, Value)]
    dtype = np.result_type(*dtypes)
    return g.emit(operator, as_tensor(g, input, dtype), as_tensor(g, other, dtype), shape=g.out.shape, dtype=np.bool_)


for _operator, _primitives in {
    "Equal": ("Equal", "EqScalar"),
    "Greater": ("Greater",),
    "GreaterOrEqual": ("GreaterEqual", "GreaterEqualScalar"),
    "Less": ("Less", "LessScalar"),
    "LessOrEqual": ("LessEqual",),
}.items():
    lowers(*_primitives)(partial(_compare, operator=_operator))


@lowers("Select")
def select(g: Emitter, condition: Value, input: Value | Number, other: Value | Number) -> Value:
    """`input` where `condition` holds, `other` elsewhere."""
    dtype = g.out.dtype
    return g.emit(
        "Where", condition, as_tensor(g, input, dtype), as_tensor(g, other, dtype), shape=g.out.shape, dtype=dtype
    )
