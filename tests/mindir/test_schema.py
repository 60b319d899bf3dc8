"""The schema of our own says of each field what MindSpore's says."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.mindir.read import ATTRIBUTE_TYPES, TENSOR_TYPES, model_class


@pytest.fixture(scope="module")
def theirs(ms: Any) -> Any:
    from mindspore.train import mind_ir_pb2

    return mind_ir_pb2


def repeated(field: Any) -> bool:
    """Protobuf 7 says it so, older ones by a label."""
    found = getattr(field, "is_repeated", None)
    return bool(field.label == field.LABEL_REPEATED if found is None else found)


def test_every_field_has_mindspores_number_and_type(theirs: Any) -> None:
    ours = model_class().DESCRIPTOR.file.message_types_by_name
    for name, message in ours.items():
        original = theirs.TensorProto if name == "ExternalData" else getattr(theirs, f"{name}Proto")
        original = original.ExternalDataProto if name == "ExternalData" else original
        for field in message.fields:
            other = original.DESCRIPTOR.fields_by_name[field.name]
            enum_as_number = field.TYPE_INT32 if other.type == field.TYPE_ENUM else other.type
            assert (field.number, field.type, repeated(field)) == (other.number, enum_as_number, repeated(other))


def test_the_types_of_attributes_and_tensors_have_mindspores_numbers(theirs: Any) -> None:
    for number, name in ATTRIBUTE_TYPES.items():
        assert theirs.AttributeProto.AttributeType.Name(number) == name
    aliases = {"FLOAT": "float32", "DOUBLE": "float64"}
    for number, name in TENSOR_TYPES.items():
        original = theirs.TensorProto.DataType.Name(number)
        assert aliases.get(original, original.lower()) == name


def test_a_file_of_mindspore_reads_the_same_with_both(theirs: Any, network: Any, export: Any, images: Any) -> None:
    data = export(network("nn.Conv2d(3, 4, 3, has_bias=True)"), images(3, 8, 8)[:1]).read_bytes()
    mine, original = model_class()(), theirs.ModelProto()
    mine.ParseFromString(data)
    original.ParseFromString(data)
    assert [node.op_type for node in mine.graph.node] == [node.op_type for node in original.graph.node]
    assert [p.raw_data for p in mine.graph.parameter] == [p.raw_data for p in original.graph.parameter]
