"""The part of MindIR's file format that the reader needs, as a protobuf schema that is built when it is first used."""

from __future__ import annotations

from functools import cache
from typing import Any

from ghostedge.lazy import require

__all__ = ["ATTRIBUTE_TYPES", "TENSOR_TYPES", "model_class"]

# MindIR is a protobuf (proto2) message. MindSpore carries generated Python code for it, but that code comes with the
# whole of MindSpore and runs under protobuf's Python implementation alone. Field numbers and types are all there is to
# a schema, so those that the reader uses stand here; protobuf skips the others. A test holds them against MindSpore's.
_MESSAGES: dict[str, str] = {
    "Model": """
        7 graph Graph
        8 functions Graph*
        10 little_endian bool
        12 primitives Primitive*
    """,
    "Graph": """
        1 node Node*
        2 name string
        3 parameter Tensor*
        5 input ValueInfo*
        6 output ValueInfo*
    """,
    "Node": """
        1 input string*
        2 output string*
        3 name string
        4 op_type string
        5 attribute Attribute*
        7 domain string
    """,
    "Primitive": """
        1 name string
        2 op_type string
        3 attribute Attribute*
    """,
    "ValueInfo": """
        1 name string
        2 tensor Tensor*
    """,
    "Attribute": """
        1 name string
        2 f float
        3 i int64
        4 d double
        5 s bytes
        6 t Tensor
        8 floats float*
        9 doubles double*
        10 ints int64*
        11 strings bytes*
        12 tensors Tensor*
        16 type int32
        17 values Attribute*
    """,
    "Tensor": """
        1 dims int64*
        2 data_type int32
        7 name string
        9 raw_data bytes
        12 external_data ExternalData
        13 ref_key string
        16 compression_type int32
    """,
    "ExternalData": """
        1 location string
    """,
}

#: ``AttributeProto.AttributeType``: what an attribute holds, as far as a lowering can ask for it.
ATTRIBUTE_TYPES: dict[int, str] = {
    1: "FLOAT",
    2: "UINT8",
    3: "INT8",
    4: "UINT16",
    5: "INT16",
    6: "INT32",
    7: "INT64",
    8: "STRING",
    9: "BOOL",
    11: "DOUBLE",
    12: "UINT32",
    13: "UINT64",
    19: "TENSORS",
    20: "TUPLE",
    21: "LIST",
    25: "NONE",
}

#: ``TensorProto.DataType``: the element types that numpy has too.
TENSOR_TYPES: dict[int, str] = {
    1: "float32",
    2: "uint8",
    3: "int8",
    4: "uint16",
    5: "int16",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    11: "float64",
    12: "uint32",
    13: "uint64",
    17: "float64",
}


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
    for message_name, lines in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for line in lines.strip().splitlines():
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
