"""The parts of GhostNetV2 are found in a graph without names: gate, SE, ghost modules, shortcut, stem and head."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from ghostedge.explain.roles import Role, roles
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.graph import Graph, schema
from tests.tflite.graphs import DATA

pytest.importorskip("ai_edge_litert")

#: One block with everything: operator, its output, its activations, the shape of its weight (OHWI), if it has one.
Line = tuple[str, str, list[str], tuple[int, ...] | None]
BLOCK: list[Line] = [
    ("PAD", "padded", ["image"], None),
    ("CONV_2D", "stem", ["padded"], (16, 3, 3, 3)),
    ("CONV_2D", "primary", ["stem"], (8, 1, 1, 16)),
    ("DEPTHWISE_CONV_2D", "cheap", ["primary"], (1, 3, 3, 8)),
    ("CONCATENATION", "ghost", ["primary", "cheap"], None),
    ("AVERAGE_POOL_2D", "pool", ["stem"], None),
    ("CONV_2D", "gate0", ["pool"], (16, 1, 1, 16)),
    ("DEPTHWISE_CONV_2D", "gate1", ["gate0"], (1, 1, 5, 16)),
    ("DEPTHWISE_CONV_2D", "gate2", ["gate1"], (1, 5, 1, 16)),
    ("LOGISTIC", "sigmoid", ["gate2"], None),
    ("RESIZE_BILINEAR", "upsampled", ["sigmoid"], None),
    ("MUL", "gated", ["ghost", "upsampled"], None),
    ("DEPTHWISE_CONV_2D", "dw", ["gated"], (1, 3, 3, 16)),
    ("MEAN", "squeezed", ["dw"], None),
    ("CONV_2D", "reduced", ["squeezed"], (4, 1, 1, 16)),
    ("CONV_2D", "expanded", ["reduced"], (16, 1, 1, 4)),
    ("MUL", "sixth", ["expanded"], (1, 1, 1, 1)),
    ("MUL", "weighed", ["dw", "sixth"], None),
    ("CONV_2D", "primary2", ["weighed"], (8, 1, 1, 16)),
    ("DEPTHWISE_CONV_2D", "cheap2", ["primary2"], (1, 3, 3, 8)),
    ("CONCATENATION", "ghost2", ["primary2", "cheap2"], None),
    ("CONV_2D", "short0", ["stem"], (16, 3, 3, 1)),  # a grouped convolution is depthwise too
    ("CONV_2D", "short1", ["short0"], (16, 1, 1, 16)),
    ("ADD", "sum", ["short1", "ghost2"], None),
    ("CONV_2D", "last", ["sum"], (32, 1, 1, 16)),
    ("MEAN", "pooled", ["last"], None),
    ("CONV_2D", "hidden", ["pooled"], (64, 1, 1, 32)),
    ("FULLY_CONNECTED", "logits", ["hidden"], (10, 64)),
]

EXPECTED = {
    "padded": Role("pad"),
    "stem": Role("stem", "conv_stem"),
    "primary": Role("primary", "blocks.0.ghost1.primary_conv"),
    "cheap": Role("cheap", "blocks.0.ghost1.cheap_operation"),
    "ghost": Role("concat", "blocks.0.ghost1.concat"),
    "pool": Role("gate pool", "blocks.0.ghost1.pool"),
    "gate0": Role("gate 1x1", "blocks.0.ghost1.short_conv.0"),
    "gate1": Role("gate 1x5", "blocks.0.ghost1.short_conv.1"),
    "gate2": Role("gate 5x1", "blocks.0.ghost1.short_conv.2"),
    "sigmoid": Role("gate sigmoid", "blocks.0.ghost1.sigmoid"),
    "upsampled": Role("gate resize", "blocks.0.ghost1.upsample"),
    "gated": Role("gate mul", "blocks.0.ghost1.mul"),
    "dw": Role("depthwise", "blocks.0.dw"),
    "squeezed": Role("SE mean", "blocks.0.se.mean"),
    "reduced": Role("SE reduce", "blocks.0.se.conv_reduce"),
    "expanded": Role("SE expand", "blocks.0.se.conv_expand"),
    "sixth": Role("SE scale", "blocks.0.se.scale"),
    "weighed": Role("SE mul", "blocks.0.se.mul"),
    "primary2": Role("primary", "blocks.0.ghost2.primary_conv"),
    "cheap2": Role("cheap", "blocks.0.ghost2.cheap_operation"),
    "ghost2": Role("concat", "blocks.0.ghost2.concat"),
    "short0": Role("shortcut", "blocks.0.shortcut.0"),
    "short1": Role("shortcut", "blocks.0.shortcut.1"),
    "sum": Role("shortcut add", "blocks.0.add"),
    "last": Role("head", "blocks.1"),
    "pooled": Role("head", "mean"),
    "hidden": Role("head", "conv_head"),
    "logits": Role("head", "classifier"),
}


def graph_of(lines: list[Line]) -> Graph:
    """A graph of these operators; the first tensor is its input ``image``."""
    tensors = [SimpleNamespace(name=b"image", shape=(1, 8, 8, 3), quantization=None)]
    index, operators = {"image": 0}, []

    def add(name: str, shape: tuple[int, ...]) -> int:
        tensors.append(SimpleNamespace(name=name.encode(), shape=shape, quantization=None))
        return index.setdefault(name, len(tensors) - 1)

    for place, (_, output, activations, weight) in enumerate(lines):
        inputs = [index[name] for name in activations]
        if weight is not None:
            inputs.append(add(f"{output}/weight", weight))
        operators.append(
            SimpleNamespace(
                opcodeIndex=place, inputs=inputs, outputs=[add(output, (1, 8, 8, weight[0] if weight else 16))]
            )
        )
    graph = SimpleNamespace(tensors=tensors, operators=operators, inputs=[0], outputs=[len(tensors) - 1])
    numbers = [getattr(schema().BuiltinOperator, kind) for kind, *_ in lines]
    codes = [SimpleNamespace(customCode=None, builtinCode=number, deprecatedBuiltinCode=0) for number in numbers]
    return Graph(SimpleNamespace(subgraphs=[graph], operatorCodes=codes))


def found(lines: list[Line]) -> dict[str, Role]:
    return {operator.name: role for operator, role in roles(graph_of(lines)).items()}


def test_every_part_of_a_block_is_found() -> None:
    assert found(BLOCK) == EXPECTED


@pytest.mark.parametrize("written", [("DEPTHWISE_CONV_2D", (1, 2, 2, 16)), ("RESIZE_BILINEAR", None)])
def test_a_pool_that_is_written_otherwise_is_one(written: tuple[str, tuple[int, ...] | None]) -> None:
    kind, weight = written
    lines = [(kind, *line[1:3], weight) if line[1] == "pool" else line for line in BLOCK]
    assert found(lines) == EXPECTED


def test_what_a_quantiser_puts_between_changes_nothing() -> None:
    lines: list[Line] = []
    for kind, output, activations, weight in BLOCK:
        if output in ("ghost", "gated", "weighed", "sum"):
            lines.append(("QUANTIZE", f"{activations[0]}/q", activations[:1], None))
            activations = [f"{activations[0]}/q", *activations[1:]]
        lines.append((kind, output, activations, weight))
    assert {name: role for name, role in found(lines).items() if not name.endswith("/q")} == EXPECTED


def test_copies_that_upsample_a_gate_are_one_and_no_ghost_module() -> None:
    """What `ghostedge.tflite.rewrites.for_xnnpack` makes of a gate of 3 x 3."""
    at = next(place for place, line in enumerate(BLOCK) if line[1] == "upsampled")
    copies: list[Line] = [
        ("CONCATENATION", "wide", ["sigmoid", "sigmoid"], None),
        ("RESHAPE", "doubled", ["wide"], None),
        ("STRIDED_SLICE", "first", ["doubled"], None),
        ("CONCATENATION", "taller", ["first", "doubled"], None),
        ("RESHAPE", "upsampled", ["taller"], None),
    ]
    upsampling = dict.fromkeys(("wide", "doubled", "first", "taller"), EXPECTED["upsampled"])
    assert found([*BLOCK[:at], *copies, *BLOCK[at + 1 :]]) == EXPECTED | upsampling


def test_an_identity_shortcut_is_none() -> None:
    lines = [
        ("ADD", "sum", ["stem", "ghost2"], None) if line[1] == "sum" else line
        for line in BLOCK
        if not line[1].startswith("short")
    ]
    assert found(lines) == {name: role for name, role in EXPECTED.items() if not name.startswith("short")}


def test_another_network_keeps_the_kinds_of_its_operators() -> None:
    data = (DATA / "tiny" / "tiny_fp32.tflite").read_bytes()
    assert [role.kind for role in roles(unpack(data, "tiny")).values()] == ["conv", "mean", "fully_connected"]
