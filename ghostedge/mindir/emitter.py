"""What a lowering works with: the table it enters itself into, and the hand that writes ONNX operators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ghostedge.errors import ConvertError, GhostedgeError
from ghostedge.mindir.graph import Graph, Node, Value

Number: TypeAlias = bool | int | float

#: One number for all spatial axes, one a spatial axis, or one an axis.
Sizes: TypeAlias = "int | Sequence[int]"

#: One of MindSpore's enumerations: a number, or in older primitives the word.
Choice: TypeAlias = "int | str"

#: What MindSpore's enumerations mean where an argument is a number.
_FORMATS = {0: "NCHW", 1: "NHWC", "NCHW": "NCHW", "NHWC": "NHWC", "NCDHW": "NCHW", 4: "NCHW"}
_PAD_MODES = {0: "pad", 1: "same", 2: "valid"}

#: A function that writes one MindSpore primitive with ONNX operators. After the emitter it takes the arguments of the
#: primitive by the names that MindSpore documents, whether the MindIR carries them as inputs or as attributes: `Value`
#: for a tensor, plain Python for a number, flag, string, tuple or None. It returns the primitive's outputs in order;
#: None for one that it cannot give.
Lowering = Callable[..., "Value | Sequence[Value | None]"]

#: Primitive -> the function that lowers it.
LOWERINGS: dict[str, Lowering] = {}

_F = TypeVar("_F", bound=Lowering)


def lowers(*primitives: str) -> Callable[[_F], _F]:
    """Enter the decorated function into `LOWERINGS` under these names."""

    def enter(function: _F) -> _F:
        for primitive in primitives:
            if primitive in LOWERINGS:
                raise ValueError(f"primitive {primitive!r} has two lowerings")
            LOWERINGS[primitive] = function
        return function

    return enter


def lowers_table(function: Lowering, table: Mapping[str, str]) -> None:
    """Enter a function for many primitives: ONNX operator (or mode), its keyword `operator` -> the primitives."""
    for operator, primitives in table.items():
        lowers(*primitives.split())(partial(function, operator=operator))


class Emitter:
    """Writes the operators of one primitive after another.

    Attributes:
        node: the primitive that is being lowered.
        outputs: what MindSpore says that it makes; None for an output that nobody reads.
    """

    node: Node
    outputs: tuple[Value | None, ...]

    def __init__(self, graph: Graph) -> None:
        self._source = graph
        self._read = graph.uses()
        self._values: dict[str, Value] = {
            name: value for name, value in graph.values.items() if value.data is not None or name in graph.inputs
        }
        #: MindIR name -> what it became; a literal stays what it is.
        self._lowered: dict[str, Any] = {**graph.literals, **self._values}
        self._nodes: list[Node] = []
        self._count = 0

    def lower(self, node: Node) -> None:
        """Call the lowering of `node` and hold its result to the shapes and dtypes that MindSpore declared.

        Raises:
            ConvertError: an argument is missing or cannot be lowered; the result has another shape or dtype.
        """
        self.node = node
        self.outputs = tuple(self._source.values[name] if self._read[name] else None for name in node.outputs)
        lowering = LOWERINGS[node.op]
        arguments = self._arguments(lowering, node)
        try:
            result = lowering(self, **arguments)
        except GhostedgeError:
            raise
        except Exception as exc:  # what the file holds is not what MindSpore documents for this primitive
            raise self.error(f"its arguments have an unknown form ({exc!r}); another MindSpore version?") from exc
        results: Sequence[Value | None] = (result,) if isinstance(result, Value) else result
        for index, output in enumerate(self.outputs):
            if output is None:
                continue
            made = results[index] if index < len(results) else None
            if made is None:
                raise self.error(f"its output {index} has no ONNX counterpart")
            if (made.dtype, made.shape) != (output.dtype, output.shape):
                raise self.error(
                    f"lowered to {made.dtype} {made.shape}, but MindSpore says {output.dtype} {output.shape}; "
                    "its lowering is wrong, please report it"
                )
            self._lowered[output.name] = made

    def graph(self) -> Graph:
        """What has been written, as a graph of ONNX operators."""
        source = self._source
        return Graph(
            inputs=source.inputs,
            outputs=tuple(self._lowered[name].name for name in source.outputs),
            nodes=tuple(self._nodes),
            values=self._values,
        )

    @property
    def declared(self) -> tuple[Value, ...]:
        """All that MindSpore says that it makes, read or not."""
        return tuple(self._source.values[name] for name in self.node.outputs)

    @property
    def out(self) -> Value:
        """The first output, as MindSpore declares it. Only for primitives whose first output is always read."""
        output = self.outputs[0]
        if output is None:
            raise self.error("its first output is not used")
        return output

    def error(self, reason: str) -> ConvertError:
        """The error that says where: ``primitive 'X' at node 'Y': reason``."""
        return ConvertError(f"primitive '{self.node.op}' at node '{self.node.name}': {reason}")

    def emit(
        self,
        op: str,
        *inputs: Value | None,
        shape: tuple[int, ...] | None = None,
        dtype: Any = None,
        **attributes: Any,
    ) -> Value:
        """Write one ONNX operator with one output and return it.

        Args:
            op: name in the ONNX operator set.
            inputs: in its order; None for an optional one that is absent.
            shape: of the output; without it, the inputs are broadcast as elementwise operators do.
            dtype: of the output; without it, that of the first input.
            attributes: of the operator.
        """
        if shape is None:
            shape = np.broadcast_shapes(*(value.shape for value in inputs if value is not None))
        (value,) = self.emit_many(op, *inputs, shapes=(shape,), dtype=dtype, **attributes)
        return value

    def emit_many(
        self,
        op: str,
        *inputs: Value | None,
        shapes: Sequence[tuple[int, ...]],
        dtype: Any = None,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """Write one ONNX operator with an output of each of `shapes`."""
        if dtype is None:
            first = next(value for value in inputs if value is not None)
            dtype = first.dtype
        for name in ("kernel_shape", "strides", "dilations"):
            if min(attributes.get(name, [1])) < 1:  # onnx divides by them without a look, and takes the process along
                raise self.error(f"{name} {tuple(attributes[name])} must be at least 1")
        outputs = tuple(Value(self._fresh(), np.dtype(dtype), tuple(shape)) for shape in shapes)
        names = ["" if value is None else value.name for value in inputs]
        while not names[-1]:
            names.pop()  # ONNX lets optional inputs at the end be left out, and OpenVINO insists on it
        self._nodes.append(Node(op, self.node.name, tuple(names), tuple(value.name for value in outputs), attributes))
        self._values.update((value.name, value) for value in outputs)
        return outputs

    def constant(self, array: ArrayLike, dtype: Any = None) -> Value:
        """A constant. `dtype` is needed for plain numbers."""
        value = Value.constant(self._fresh(), np.asarray(array, dtype))
        self._values[value.name] = value
        return value

    def cast(self, x: Value | Number, dtype: Any) -> Value:
        """A tensor or number as a tensor of `dtype`, constants at once."""
        dtype = np.dtype(dtype)
        if not isinstance(x, Value):
            return self.constant(x, dtype)
        if x.dtype == dtype:
            return x
        if x.data is not None:
            return self.constant(x.data, dtype)
        return self.emit("Cast", x, dtype=dtype, to=dtype)

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """`x` in another shape, constants at once."""
        shape = tuple(shape)
        if x.shape == shape:
            return x
        if x.data is not None:
            return self.constant(x.data.reshape(shape))
        return self.emit("Reshape", x, self.constant(shape, np.int64), shape=shape)

    def transpose(self, x: Value, perm: Sequence[int]) -> Value:
        """`x` with axis ``perm[i]`` as axis i, constants at once."""
        if list(perm) == list(range(len(perm))):
            return x
        if x.data is not None:
            return self.constant(x.data.transpose(perm))
        return self.emit("Transpose", x, shape=tuple(x.shape[p] for p in perm), perm=list(perm))

    def per_channel(self, x: Value, rank: int) -> Value:
        """A vector (c,), as it broadcasts over (n, c, ...)."""
        return self.reshape(x, (x.shape[0],) + (1,) * (rank - 2))

    def elementwise(self, op: str, *inputs: Value | Number) -> Value:
        """An operator on inputs of the output's dtype: MindSpore casts each to it by itself."""
        return self.emit(op, *(self.cast(x, self.out.dtype) for x in inputs), shape=self.out.shape)

    def clip(self, x: Value, low: Number | None, high: Number | None) -> Value:
        """``min(max(x, low), high)``; None leaves a limit out."""
        limits = (None if limit is None else self.constant(limit, x.dtype) for limit in (low, high))
        return self.emit("Clip", x, *limits, shape=x.shape)

    def require_nchw(self, data_format: Choice) -> None:
        """Raise ConvertError for any other layout than (n, c, ...)."""
        if _FORMATS.get(data_format) != "NCHW":
            raise self.error(f"data format {data_format!r} is not supported, only NCHW is")

    def pad_mode(self, mode: Choice) -> str:
        """``"pad"``, ``"same"`` or ``"valid"``."""
        name = mode.lower() if isinstance(mode, str) else _PAD_MODES.get(mode)
        if name not in ("pad", "same", "valid"):
            raise self.error(f"pad_mode {mode!r} is not supported; known: pad, same, valid")
        return name

    def _fresh(self) -> str:
        self._count += 1
        return f"%{self._count}"  # unlike any MindSpore name; `assign_names` gives the final ones

    def _arguments(self, lowering: Lowering, node: Node) -> dict[str, Any]:
        """What to call `lowering` with: its parameters, from the inputs in order, then from attributes by name."""
        parameters = list(inspect.signature(lowering).parameters.values())[1:]
        if len(node.inputs) > len(parameters):
            raise self.error(
                f"has {len(node.inputs)} inputs, only {len(parameters)} are known; another MindSpore version?"
            )
        arguments: dict[str, Any] = {}
        for index, parameter in enumerate(parameters):
            if index < len(node.inputs):
                operand = node.inputs[index]
                found = self._lowered
                arguments[parameter.name] = (
                    found[operand] if isinstance(operand, str) else tuple(found[name] for name in operand)
                )
            elif parameter.name in node.attributes:
                arguments[parameter.name] = node.attributes[parameter.name]
            elif parameter.default is parameter.empty:
                raise self.error(f"has no argument '{parameter.name}'; another MindSpore version?")
        return arguments


def spatial(sizes: Sizes, rank: int = 2) -> list[int]:
    """A size for each of the `rank` spatial axes."""
    if isinstance(sizes, int):
        return [sizes] * rank
    return list(sizes[-rank:]) if len(sizes) >= rank else [sizes[0]] * rank


def axes_of(axis: int | Sequence[int] | None, rank: int) -> list[int]:
    """Axes counted from the front, sorted; all of them for None and ``()``."""
    if axis is None or axis == ():
        return list(range(rank))
    return sorted(a % rank for a in ((axis,) if isinstance(axis, int) else axis))
