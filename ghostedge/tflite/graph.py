"""The graph of a .tflite model: its operators and tensors, what makes and reads each, and how to change them."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require

__all__ = ["ACTIVATIONS", "CONVERSIONS", "SAME", "VALID", "Graph", "Operator", "ints", "options", "schema", "text"]

#: Operators that change how a tensor is stored and not what it says.
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})

#: schema.fbs, enum Padding.
SAME, VALID = 0, 1

#: schema.fbs, enum ActivationFunctionType -> the operator that does the same.
ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6"}

_DTYPES = {"FLOAT32": np.float32, "FLOAT16": np.float16, "INT8": np.int8, "UINT8": np.uint8, "INT32": np.int32}

#: The version of an operator from which LiteRT takes it on the types it is given here.
_VERSIONS = {"QUANTIZE": 2, "DEQUANTIZE": 2, "CONCATENATION": 2}


def schema() -> Any:
    """The Python classes of tensorflow/lite/schema/schema.fbs, which come with LiteRT."""
    return require("ai_edge_litert.schema_py_generated", "tflite")


@functools.cache
def _names(enum: str) -> dict[int, str]:
    return {code: name for name, code in vars(getattr(schema(), enum)).items() if isinstance(code, int)}


def ints(vector: Iterable[int] | None) -> tuple[int, ...]:
    """A vector of the flatbuffer as Python integers; an absent one is empty."""
    return () if vector is None else tuple(int(value) for value in vector)


def text(value: bytes | str | None) -> str:
    """A string of the flatbuffer; an absent one is empty."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


def options(kind: str, **fields: Any) -> Any:
    """An operator's options, e.g. of ``"Conv2D"``: the schema's ``Conv2DOptionsT`` with these fields."""
    made = getattr(schema(), f"{kind}OptionsT")()
    for name, value in fields.items():
        getattr(made, name)  # a name that is not a field's would be written nowhere
        setattr(made, name, value)
    return made


class Operator:
    """An operator of a `Graph`. It equals itself alone.

    Attributes:
        kind: its name in the schema, e.g. ``"CONV_2D"``; a custom operator's own name.
        raw: the schema's ``OperatorT``.
    """

    def __init__(self, graph: Graph, raw: Any) -> None:
        self.raw, self._graph = raw, graph
        code = graph.model.operatorCodes[raw.opcodeIndex]
        # Models from before schema 3a keep the code in the narrower, deprecated field.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        self.kind: str = text(code.customCode) or _names("BuiltinOperator").get(number, f"BUILTIN_{number}")

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tensors it reads; -1 stands for an optional one that is left out."""
        return ints(self.raw.inputs)

    @inputs.setter
    def inputs(self, tensors: Iterable[int]) -> None:
        self.raw.inputs = np.array([*tensors], np.int32)
        self._graph.changed()

    @property
    def outputs(self) -> tuple[int, ...]:
        """The tensors it makes."""
        return ints(self.raw.outputs)

    @outputs.setter
    def outputs(self, tensors: Iterable[int]) -> None:
        self.raw.outputs = np.array([*tensors], np.int32)
        self._graph.changed()

    @property
    def reads(self) -> tuple[int, ...]:
        """The tensors it reads, without optional ones that are left out."""
        return tuple(tensor for tensor in self.inputs if tensor != -1)

    @property
    def activations(self) -> tuple[int, ...]:
        """Those of them that depend on the graph's input."""
        return tuple(tensor for tensor in self.reads if tensor in self._graph.computed)

    @property
    def output(self) -> int:
        """The first tensor it makes."""
        return int(self.raw.outputs[0])

    @property
    def name(self) -> str:
        """The name of the first tensor it makes."""
        return self._graph.name(self.output)

    @property
    def options(self) -> Any:
        """The schema's ``...OptionsT`` object of its kind; None where it has none."""
        return self.raw.builtinOptions


@dataclass
class _Links:
    producer: dict[int, Operator] = field(default_factory=dict)
    readers: dict[int, list[Operator]] = field(default_factory=dict)
    computed: set[int] = field(default_factory=set)


class Graph:
    """A .tflite model with its first subgraph; tensors go by their index in it.

    Args:
        model: the schema's ``ModelT``; changes of the graph change it.

    Attributes:
        tensors: the schema's ``TensorT`` objects.
    """

    def __init__(self, model: Any) -> None:
        self.model, self._raw = model, model.subgraphs[0]
        self.tensors: list[Any] = self._raw.tensors
        self._operators = tuple(Operator(self, raw) for raw in self._raw.operators)
        self._links: _Links | None = None

    # -- what there is ------------------------------------------------------------------------------------------

    @property
    def operators(self) -> tuple[Operator, ...]:
        """All operators in execution order."""
        return self._operators

    @operators.setter
    def operators(self, operators: Iterable[Operator]) -> None:
        self._operators = tuple(operators)
        self._raw.operators = [operator.raw for operator in self._operators]
        self.changed()

    @property
    def inputs(self) -> tuple[int, ...]:
        """The tensors that the model is given."""
        return ints(self._raw.inputs)

    @inputs.setter
    def inputs(self, tensors: Iterable[int]) -> None:
        self._raw.inputs = np.array([*tensors], np.int32)
        self.changed()

    @property
    def outputs(self) -> tuple[int, ...]:
        """The tensors that the model gives."""
        return ints(self._raw.outputs)

    @outputs.setter
    def outputs(self, tensors: Iterable[int]) -> None:
        self._raw.outputs = np.array([*tensors], np.int32)

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return text(self.tensors[tensor].name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """A tensor's shape."""
        return ints(self.tensors[tensor].shape)

    def dtype(self, tensor: int) -> str:
        """A tensor's element type, e.g. ``"INT8"``."""
        number = self.tensors[tensor].type
        return _names("TensorType").get(number, f"TYPE_{number}")

    def scales(self, tensor: int) -> tuple[float, ...]:
        """A tensor's scales: none, one, or one a channel."""
        quantisation = self.tensors[tensor].quantization
        absent = quantisation is None or quantisation.scale is None
        return () if absent else tuple(float(scale) for scale in quantisation.scale)

    def zero_points(self, tensor: int) -> tuple[int, ...]:
        """A tensor's zero points, as `scales`; none where all are 0 and not stored."""
        quantisation = self.tensors[tensor].quantization
        return () if quantisation is None else ints(quantisation.zeroPoint)

    def stored(self, tensor: int) -> bytes | None:
        """The bytes of a constant tensor; None for one that is computed."""
        data = self.model.buffers[self.tensors[tensor].buffer].data
        return None if data is None or len(data) == 0 else bytes(data)

    def constant(self, tensor: int) -> NDArray[Any] | None:
        """The value of a constant tensor, in its shape; None for one that is computed, or of a type not known here."""
        data, dtype = self.stored(tensor), _DTYPES.get(self.dtype(tensor))
        return None if data is None or dtype is None else np.frombuffer(data, dtype).reshape(self.shape(tensor))

    # -- what is connected --------------------------------------------------------------------------------------

    def changed(self) -> None:
        """Forget what makes and reads each tensor; what changes the graph calls it."""
        self._links = None

    def _linked(self) -> _Links:
        if self._links is None:
            links = self._links = _Links(computed=set(self.inputs))
            for operator in self._operators:
                reads, outputs = operator.reads, operator.outputs
                for tensor in dict.fromkeys(reads):
                    links.readers.setdefault(tensor, []).append(operator)
                links.producer |= dict.fromkeys(outputs, operator)
                if links.computed.intersection(reads):
                    links.computed.update(outputs)
        return self._links

    @property
    def computed(self) -> set[int]:
        """The graph's inputs and every tensor that depends on one.

        All others are constants, stored or computed from stored ones (a float16 model's DEQUANTIZE).
        """
        return self._linked().computed

    def producer(self, tensor: int) -> Operator | None:
        """The operator that makes a tensor."""
        return self._linked().producer.get(tensor)

    def readers(self, tensor: int) -> tuple[Operator, ...]:
        """The operators that read a tensor, in execution order."""
        return tuple(self._linked().readers.get(tensor, ()))

    def back(self, tensor: int, through: Collection[str] = CONVERSIONS) -> int:
        """The tensor that `tensor` is made of, before all operators of the kinds `through`."""
        while (operator := self.producer(tensor)) is not None and operator.kind in through:
            tensor = operator.reads[0]
        return tensor

    def spatial_transposes(self) -> tuple[str, ...]:
        """The names of the tensors that a TRANSPOSE makes by moving data of a feature map.

        A transpose of four or more axes counts when the order of the axes longer than 1 changes; (n, 1, 1, c) to
        (n, c, 1, 1) moves nothing.
        """
        names = []
        for operator in self._operators:
            if operator.kind != "TRANSPOSE":
                continue
            shape, order = self.shape(operator.inputs[0]), self.constant(operator.inputs[1])
            moved = [axis for axis in ints(order) if axis < len(shape) and shape[axis] != 1]
            if len(shape) >= 4 and moved != sorted(moved):
                names.append(operator.name)
        return tuple(names)

    # -- how it is changed --------------------------------------------------------------------------------------

    def make(self, kind: str, inputs: Iterable[int], outputs: Iterable[int], options: Any = None) -> Operator:
        """A built-in operator such as ``"QUANTIZE"``, not yet in the graph; `options` as the function of that name."""
        codes, raw = self.model.operatorCodes, schema().OperatorT()
        number = getattr(schema().BuiltinOperator, kind)
        known = (i for i, code in enumerate(codes) if max(code.builtinCode, code.deprecatedBuiltinCode) == number)
        raw.opcodeIndex = next(known, len(codes))
        if raw.opcodeIndex == len(codes):
            code = schema().OperatorCodeT()
            code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
            code.version = _VERSIONS.get(kind, 1)
            codes.append(code)
        raw.inputs, raw.outputs = (np.array([*tensors], np.int32) for tensors in (inputs, outputs))
        if options is not None:
            raw.builtinOptions = options
            raw.builtinOptionsType = getattr(schema().BuiltinOptions, type(options).__name__.removesuffix("T"))
        return Operator(self, raw)

    def replace(self, operator: Operator, others: Iterable[Operator]) -> None:
        """Put `others` where `operator` is; it may be one of them."""
        place = self._operators.index(operator)
        self.operators = (*self._operators[:place], *others, *self._operators[place + 1 :])

    def add_tensor(
        self, shape: Sequence[int], dtype: str, name: str, quantised: tuple[float, int] | None = None
    ) -> int:
        """Add a computed tensor, e.g. of type ``"UINT8"`` with (scale, zero point). Returns: its index."""
        tensor = schema().TensorT()
        tensor.shape, tensor.type = np.array(shape, np.int32), getattr(schema().TensorType, dtype)
        tensor.name = name.encode()
        if quantised is not None:
            parameters = tensor.quantization = schema().QuantizationParametersT()
            parameters.scale = np.array([quantised[0]], np.float32)
            parameters.zeroPoint = np.array([quantised[1]], np.int64)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def add_constant(self, value: NDArray[Any], name: str) -> int:
        """Add a constant tensor. Returns: its index."""
        dtype = next(name for name, known in _DTYPES.items() if known == value.dtype)
        tensor = self.add_tensor(value.shape, dtype, name)
        self.set_constant(tensor, value)
        return tensor

    def set_constant(self, tensor: int, value: NDArray[Any]) -> None:
        """Give a constant tensor another value of the same shape and type, in a buffer of its own."""
        # Another tensor may share the old one.
        self.tensors[tensor].buffer = self._add_buffer(np.ascontiguousarray(value).tobytes())

    def set_shape(self, tensor: int, shape: Sequence[int]) -> None:
        """Give a computed tensor another shape."""
        self.tensors[tensor].shape, self.tensors[tensor].shapeSignature = np.array(shape, np.int32), None

    def set_metadata(self, name: str, data: bytes) -> None:
        """Put an entry into the model's metadata, in the place of one of its name."""
        entry = schema().MetadataT()
        entry.name, entry.buffer = name, self._add_buffer(data)
        self.model.metadata = [*(other for other in self.model.metadata or [] if text(other.name) != name), entry]

    def _add_buffer(self, data: bytes) -> int:
        buffer = schema().BufferT()
        buffer.data = np.frombuffer(data, np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1
