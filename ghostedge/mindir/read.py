"""Read a MindIR file: its graph of MindSpore primitives, or only what it says of itself."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, ConvertError
from ghostedge.lazy import require
from ghostedge.mindir.graph import MONAD, Graph, Literal, Node, Operand, Value
from ghostedge.model import KEY, Model
from ghostedge.wire import fields

__all__ = ["ATTRIBUTE_TYPES", "TENSOR_TYPES", "MindIRInfo", "describe_mindir", "model_class", "read_mindir"]

# MindIR is a protobuf (proto2) message. MindSpore carries generated Python code for it, but that code comes with the
# whole of MindSpore and runs under protobuf's Python implementation alone. Field numbers and types are all there is to
# a schema, so those that the reader uses stand here; protobuf skips the others. A test holds them against MindSpore's.
_MESSAGES = {
    "Model": "7 graph Graph, 8 functions Graph*, 10 little_endian bool, 12 primitives Primitive*",
    "Graph": "1 node Node*, 2 name string, 3 parameter Tensor*, 5 input ValueInfo*, 6 output ValueInfo*",
    "Node": (
        "1 input string*, 2 output string*, 3 name string, 4 op_type string, 5 attribute Attribute*, 7 domain string"
    ),
    "Primitive": "1 name string, 2 op_type string, 3 attribute Attribute*",
    "ValueInfo": "1 name string, 2 tensor Tensor*",
    "Attribute": (
        "1 name string, 2 f float, 3 i int64, 4 d double, 5 s bytes, 6 t Tensor, 8 floats float*, 9 doubles double*, "
        "10 ints int64*, 11 strings bytes*, 12 tensors Tensor*, 16 type int32, 17 values Attribute*"
    ),
    "Tensor": (
        "1 dims int64*, 2 data_type int32, 7 name string, 9 raw_data bytes, 12 external_data ExternalData, "
        "13 ref_key string, 16 compression_type int32"
    ),
    "ExternalData": "1 location string",
}

#: ``AttributeProto.AttributeType``: what an attribute holds, as far as a lowering can ask for it.
ATTRIBUTE_TYPES = {
    **dict(enumerate(("FLOAT", "UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "STRING", "BOOL"), start=1)),
    **dict(enumerate(("DOUBLE", "UINT32", "UINT64"), start=11)),
    **dict(enumerate(("TENSORS", "TUPLE", "LIST"), start=19)),
    25: "NONE",
}

#: ``TensorProto.DataType``: the element types that numpy has too.
TENSOR_TYPES = {
    **dict(enumerate(("float32", "uint8", "int8", "uint16", "int16", "int32", "int64"), start=1)),
    **dict(enumerate(("bool", "float16", "float64", "uint32", "uint64"), start=9)),
    17: "float64",
}

# The first byte tells MindSpore's ciphers apart, the other three are the same (export(..., enc_key=...)).
_ENCRYPTED = b"\x5e\x3a\x7f"

#: Attribute types whose value is a number, and the field that carries it.
_INTEGERS = ("UINT8", "INT8", "UINT16", "INT16", "INT32", "INT64", "UINT32", "UINT64", "BOOL")
_NUMBER_FIELDS = {"FLOAT": ("f", "floats"), "DOUBLE": ("d", "doubles"), **dict.fromkeys(_INTEGERS, ("i", "ints"))}


def read_mindir(source: Path | str | bytes) -> Graph:
    """The graph of a MindIR file; nothing but the file is needed.

    Nodes carry MindSpore's primitive names, their inputs as exported (tensors, and `Graph.literals` for numbers, flags
    and tuples), and the attributes of the primitive. Parameters keep their MindSpore names.

    Args:
        source: the path of a ``.mindir`` file, or its bytes.

    Raises:
        ArtifactError: the file cannot be opened.
        ConvertError: the file is empty, truncated, encrypted or not MindIR; it keeps its weights in other files; it was
            exported with a dynamic shape; it has control flow.
        MissingExtraError: protobuf is not installed.
    """
    if isinstance(source, bytes):
        what, data = "the MindIR", source
    else:
        what = str(source)
        try:
            data = Path(source).read_bytes()
        except OSError as exc:
            raise ArtifactError(f"cannot read {source}: {exc.strerror or exc}") from exc
    try:
        return _Reader().read(_parse(data))
    except ConvertError as exc:
        raise ConvertError(f"{what}: {exc}") from exc


@cache
def model_class() -> type[Any]:
    """The message class of a whole file. Raises: MissingExtraError where protobuf is not installed."""
    descriptor_pb2 = require("google.protobuf.descriptor_pb2", "export")
    descriptor_pool = require("google.protobuf.descriptor_pool", "export")
    message_factory = require("google.protobuf.message_factory", "export")
    field = descriptor_pb2.FieldDescriptorProto
    # A package and a pool of our own: MindSpore registers `mind_ir` in the default pool, and names must not clash.
    file = descriptor_pb2.FileDescriptorProto(
        name="ghostedge_mindir.proto", package="ghostedge_mindir", syntax="proto2"
    )
    for message_name, entries in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for line in entries.split(", "):
            number, name, kind = line.split()
            entry = message.field.add(number=int(number), name=name)
            entry.label = field.LABEL_REPEATED if kind.endswith("*") else field.LABEL_OPTIONAL
            kind = kind.rstrip("*")
            if kind in _MESSAGES:
                entry.type, entry.type_name = field.TYPE_MESSAGE, f".ghostedge_mindir.{kind}"
            else:
                entry.type = field.Type.Value(f"TYPE_{kind.upper()}")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    model: type[Any] = message_factory.GetMessageClass(pool.FindMessageTypeByName("ghostedge_mindir.Model"))
    return model


def _parse(data: bytes) -> Any:
    if not data:
        raise ConvertError("the file is empty; export it again")
    if data[1:4] == _ENCRYPTED:
        raise ConvertError("the file is encrypted; export it without enc_key")
    model = model_class()()
    try:
        model.ParseFromString(data)
    except Exception as exc:  # protobuf's Python implementation lets others than its DecodeError through
        raise ConvertError("not a MindIR file, or not a whole one; export it again") from exc
    if not model.graph.output:
        raise ConvertError("not a MindIR file: it holds no graph; export it with mindspore.export(..., 'MINDIR')")
    if model.HasField("little_endian") and not model.little_endian:
        raise ConvertError("the weights are big-endian, which is not supported")
    return model


class _Reader:
    """Collects the parts of one graph; `read` is called once."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}
        self._literals: dict[str, Literal] = {}
        self._tuples: dict[str, tuple[str, ...]] = {}  # a node's output that is a tuple -> the names of its elements
        self._edges: dict[str, str] = {}  # the file's name of a parameter -> its MindSpore name

    def read(self, model: Any) -> Graph:
        graph = model.graph
        if model.functions:
            names = ", ".join(sorted(repr(function.name) for function in model.functions))
            raise ConvertError(f"control flow (if, while, for over tensors) is not supported; subgraphs: {names}")
        for tensor in graph.parameter:
            self._read_parameter(tensor)
        inputs = tuple(self._read_input(info) for info in graph.input)
        primitives = {primitive.name: primitive for primitive in model.primitives}
        nodes = [node for proto in graph.node if (node := self._read_node(proto, primitives))]
        outputs = tuple(name for info in graph.output for name in self._names(self._operand(info.name)))
        return Graph(inputs, outputs, tuple(nodes), self._values, self._literals)

    def _read_parameter(self, tensor: Any) -> None:
        name = tensor.ref_key or tensor.name.rpartition(":")[2]
        if tensor.HasField("external_data") or not (tensor.raw_data or 0 in tensor.dims):
            raise ConvertError(
                f"the weights are outside the file (first: '{name}'); MindSpore does that above 1 GB, such files are "
                "not supported"
            )
        if tensor.compression_type:
            raise ConvertError(f"parameter '{name}' is compressed; export the network without weight compression")
        if name in self._values:
            raise ConvertError(f"two parameters are called '{name}'")
        self._edges[tensor.name] = name
        array = _array(tensor, f"parameter '{name}'")
        self._values[name] = Value.constant(name, array)

    def _read_input(self, info: Any) -> str:
        name: str = info.name
        if len(info.tensor) != 1:
            raise ConvertError(f"input '{name}' is not a tensor; export the network with tensors as inputs")
        self._values[name] = _typed(info.tensor[0], name, f"input '{name.rpartition(':')[2]}'")
        return name

    def _read_node(self, proto: Any, primitives: dict[str, Any]) -> Node | None:
        attributes = {attribute.name: attribute for attribute in proto.attribute}
        where = proto.domain or proto.name
        if len(proto.output) != 1:
            raise ConvertError(f"node '{where}' has {len(proto.output)} outputs; a MindIR node has one (or one tuple)")
        output: str = proto.output[0]
        if proto.op_type == "Constant":
            self._read_constant(output, attributes.get("value"))
            return None
        reference = proto.op_type.removeprefix("REF::")
        if reference not in primitives:
            raise ConvertError(f"node '{where}' calls '{reference}', which is not in the file; export it again")
        primitive = primitives[reference]
        return Node(
            op=primitive.op_type,
            name=where,
            inputs=tuple(self._operand(name) for name in proto.input),
            outputs=self._read_outputs(output, attributes.get("shape"), where),
            attributes={attribute.name: _plain(attribute) for attribute in primitive.attribute},
        )

    def _read_constant(self, name: str, attribute: Any) -> None:
        value = MONAD if attribute is None else _plain(attribute)
        if isinstance(value, np.ndarray):
            self._values[name] = Value.constant(name, value)
        else:
            self._literals[name] = value

    def _read_outputs(self, name: str, attribute: Any, where: str) -> tuple[str, ...]:
        """Note the types of what a node makes; a tuple's elements are called ``name#0``, ``name#1``, ..."""
        kind = ATTRIBUTE_TYPES.get(attribute.type) if attribute is not None else None
        if kind in ("TUPLE", "LIST"):
            names = tuple(f"{name}#{index}" for index in range(len(attribute.values)))
            for element, typed in zip(names, attribute.values, strict=True):
                self._note_type(element, typed, where)
            self._tuples[name] = names
            return names
        self._note_type(name, attribute, where)
        return (name,)

    def _note_type(self, name: str, attribute: Any, where: str) -> None:
        if attribute is not None and len(attribute.tensors) == 1:  # otherwise a chain that orders side effects
            self._values[name] = _typed(attribute.tensors[0], name, f"node '{where}'")

    def _operand(self, name: str) -> Operand:
        return self._tuples.get(name) or self._edges.get(name, name)

    @staticmethod
    def _names(operand: Operand) -> tuple[str, ...]:
        return (operand,) if isinstance(operand, str) else operand


def _typed(tensor: Any, name: str, where: str) -> Value:
    """The dtype and shape that a TensorProto declares."""
    shape = tuple(tensor.dims)
    if any(size < 0 for size in shape):
        raise ConvertError(
            f"{where} has a dynamic shape {shape}; export with a fixed input shape, batch 1 (the ONNX gets a dynamic "
            "batch all the same)"
        )
    return Value(name, _dtype(tensor, where), shape)


def _dtype(tensor: Any, where: str) -> np.dtype[Any]:
    if tensor.data_type not in TENSOR_TYPES:
        raise ConvertError(f"{where} has elements of type {tensor.data_type}, which numpy lacks; export it in float32")
    return np.dtype(TENSOR_TYPES[tensor.data_type])


def _array(tensor: Any, where: str) -> NDArray[Any]:
    """The elements of a TensorProto, read-only."""
    dtype, shape = _dtype(tensor, where), tuple(tensor.dims)
    if any(size < 0 for size in shape) or len(tensor.raw_data) != math.prod(shape) * dtype.itemsize:
        raise ConvertError(
            f"{where} should hold {dtype} {shape} but has {len(tensor.raw_data)} bytes; export the file again"
        )
    return np.frombuffer(tensor.raw_data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)


def _plain(attribute: Any) -> Any:
    """An AttributeProto as a Literal or an array; types that no lowering reads become MONAD."""
    kind = ATTRIBUTE_TYPES.get(attribute.type, "UNDEFINED")
    if kind in ("TUPLE", "LIST"):
        return tuple(_plain(element) for element in attribute.values)
    if kind in _NUMBER_FIELDS:
        single, repeated = _NUMBER_FIELDS[kind]
        numbers = list(getattr(attribute, repeated)) or [getattr(attribute, single)]
        plain = tuple(bool(number) if kind == "BOOL" else number for number in numbers)
        return plain[0] if len(plain) == 1 else plain
    if kind == "STRING":
        return (list(attribute.strings) or [attribute.s])[0].decode(errors="replace")
    if kind == "NONE":
        return None
    if kind == "TENSORS" and len(attribute.tensors) == 1:
        return _array(attribute.tensors[0], f"constant '{attribute.name}'")
    return MONAD


# -- without protobuf --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MindIRInfo:
    """What a MindIR file says of itself.

    Attributes:
        input_shape: of its one input, e.g. ``(1, 3, 224, 224)``.
        output_shape: of its one output, e.g. ``(1, 1000)``.
        description: what ghostedge embedded; None in files of other origin.
    """

    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    description: Model | None


def describe_mindir(path: Path) -> MindIRInfo:
    """Read a MindIR file's shapes and description; neither MindSpore nor protobuf is needed.

    Field numbers are those of MindSpore's ``mind_ir.proto``: ModelProto {graph 7, user_info 14 {key 1, value 2}},
    GraphProto {input 5, output 6}, ValueInfoProto {tensor 2}, TensorProto {dims 1}.

    Raises:
        ArtifactError: there is no such file, it is truncated or not a MindIR file, or it has several inputs or outputs.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror or exc}") from exc
    graph, description = None, None
    try:
        for number, value in fields(memoryview(data)):
            if number == 7 and isinstance(value, memoryview):
                graph = value
            elif number == 14 and isinstance(value, memoryview):
                entry = dict(fields(value))
                if _text(entry.get(1)) == KEY:
                    description = Model.from_json(_text(entry.get(2)), path, "mindir")
        shapes = {5: list[tuple[int, ...]](), 6: list[tuple[int, ...]]()}
        for number, value in fields(graph or memoryview(b"")):
            if number in shapes and isinstance(value, memoryview):
                shapes[number].append(_shape(value))
    except ValueError as exc:
        raise ArtifactError(f"{path} is not a MindIR file, or not a whole one ({exc}); export it again") from exc
    if graph is None or not shapes[5]:
        raise ArtifactError(f"{path} is not a MindIR file: it holds no graph with an input; export it again")
    if len(shapes[5]) > 1 or len(shapes[6]) != 1:
        raise ArtifactError(f"{path} has {len(shapes[5])} inputs and {len(shapes[6])} outputs, not one of each")
    return MindIRInfo(shapes[5][0], shapes[6][0], description)


def _shape(value_info: memoryview) -> tuple[int, ...]:
    tensors = [value for number, value in fields(value_info) if number == 2]
    if not tensors or isinstance(tensors[0], int):
        return ()
    return tuple(value for number, value in fields(tensors[0]) if number == 1 and isinstance(value, int))


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode() if isinstance(value, memoryview) else ""
