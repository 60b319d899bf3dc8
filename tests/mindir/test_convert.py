"""The whole conversion: GhostNetV2, two networks of MindCV, and what every ONNX that comes out has in common."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ConvertError, UnsupportedPrimitiveError
from ghostedge.lazy import require
from ghostedge.mindir.conversion import convert, supported_primitives
from ghostedge.mindir.emitter import LOWERINGS, Emitter
from ghostedge.mindir.graph import Value
from ghostedge.mindir.lowerings import linear, resize

Array = NDArray[Any]

#: A right conversion is 1e-6 away on logits of size 1; the mildest fault that is planted below 2e-3.
TOLERANCE = 1e-4


def run(model: Any, x: Array) -> Array:
    session = require("onnxruntime", "onnx").InferenceSession(model.SerializeToString())
    logits: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return logits


# -- GhostNetV2 --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ghostnet(oracle_mindir: Path) -> Any:
    """GhostNetV2 1x with the oracle's weights."""
    return convert(oracle_mindir)


@pytest.mark.parametrize("images", [1, 3])
def test_ghostnetv2_gives_the_official_logits(
    ghostnet: Any, oracle_inputs: Array, oracle_logits: dict[str, Array], images: int
) -> None:
    difference = np.abs(run(ghostnet, oracle_inputs[:images]) - oracle_logits["1x"][:images])
    assert difference.max() < TOLERANCE


@pytest.mark.oracle
def test_ghostnetv2_with_nearest_gates(
    ms: Any, export: Any, oracle_weights: dict[str, Array], oracle_inputs: Array
) -> None:
    """The gates of timm's weights; the last ones grow from 3 x 3 to 7 x 7, which is no whole number."""
    from ghostedge.ghostnet.cell import build_cell
    from ghostedge.ghostnet.variants import get_variant

    cell = build_cell(get_variant("1x", "nearest"), oracle_weights)
    model = convert(export(cell, oracle_inputs[:1]))
    expected = cell(ms.Tensor(oracle_inputs)).asnumpy()
    assert np.abs(run(model, oracle_inputs) - expected).max() < TOLERANCE
    assert Counter(node.op_type for node in model.graph.node)["Resize"] == 14


def test_ghostnetv2_has_nothing_in_it_that_a_phone_would_wait_for(ghostnet: Any) -> None:
    """No BatchNorm, no shape arithmetic, no layout changes; the shift of the hard sigmoid is in the bias before it."""
    assert Counter(node.op_type for node in ghostnet.graph.node) == {
        "Conv": 137,
        "Relu": 42,
        "Concat": 32,
        "Mul": 28,
        "Add": 16,
        "AveragePool": 14,
        "Resize": 14,
        "Sigmoid": 14,
        "GlobalAveragePool": 8,
        "Clip": 7,
        "Flatten": 1,
        "Gemm": 1,
    }


def test_nodes_and_parameters_are_called_as_in_mindspore(ghostnet: Any) -> None:
    nodes = {node.name: node for node in ghostnet.graph.node}
    assert list(nodes["blocks.2.ghost1.short_conv.1.conv"].input) == [
        "blocks.2.ghost1.short_conv.0.conv",
        "blocks.2.ghost1.short_conv.1.conv.weight",
        "blocks.2.ghost1.short_conv.1.conv.bias",
    ]
    assert {"conv_stem", "act1", "blocks.15", "blocks.15.se.conv_reduce", "conv_head", "classifier"} <= set(nodes)
    assert len(nodes) == len(ghostnet.graph.node)


# -- faults that the comparison must see ------------------------------------------------------------------------------


def nearest(g: Emitter, image: Value, size: Any, align_corners: bool, half_pixel_centers: bool) -> Value:
    return resize._nearest(g, image, False, False)


def half_pixel(g: Emitter, image: Value, size: Any, align_corners: bool, half_pixel_centers: bool) -> Value:
    return resize._bilinear(g, image, False, True)


def wrong_resize(rule: Callable[..., Value]) -> Callable[[pytest.MonkeyPatch], None]:
    return lambda patch: patch.setitem(LOWERINGS, "ResizeBilinearV2", rule)


def pads_in_mindspores_order(patch: pytest.MonkeyPatch) -> None:
    right = linear._conv_attributes

    def wrong(g: Emitter, pad_mode: str, pads: Any, *rest: Any) -> dict[str, Any]:
        attributes = right(g, pad_mode, pads, *rest)
        return attributes | ({"pads": list(pads)} if "pads" in attributes else {})

    patch.setattr(linear, "_conv_attributes", wrong)


def wrong_epsilon(patch: pytest.MonkeyPatch) -> None:
    right = LOWERINGS["BatchNorm"]

    def wrong(
        g: Emitter,
        x: Value,
        scale: Value,
        bias: Value,
        mean: Value,
        variance: Value,
        is_training: bool,
        epsilon: float,
        momentum: float,
        data_format: int,
    ) -> Any:
        return right(g, x, scale, bias, mean, variance, is_training, 1e-3, momentum, data_format)

    patch.setitem(LOWERINGS, "BatchNorm", wrong)


def a_missing_relu(patch: pytest.MonkeyPatch) -> None:
    right = LOWERINGS["ReLU"]

    def wrong(g: Emitter, x: Value) -> Any:
        return x if "/14-" in g.node.name else right(g, x)

    patch.setitem(LOWERINGS, "ReLU", wrong)


FAULTS = {
    "nearest for bilinear": wrong_resize(nearest),
    "half-pixel for align_corners": wrong_resize(half_pixel),
    "BatchNorm epsilon": wrong_epsilon,
    "a missing ReLU": a_missing_relu,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_sees_a_fault(
    oracle_mindir: Path,
    oracle_inputs: Array,
    oracle_logits: dict[str, Array],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    FAULTS[fault](monkeypatch)
    difference = np.abs(run(convert(oracle_mindir), oracle_inputs) - oracle_logits["1x"])
    assert difference.max() > 10 * TOLERANCE


def test_the_conversion_itself_sees_pads_in_mindspores_order(
    oracle_mindir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They give other shapes than the MindIR declares."""
    pads_in_mindspores_order(monkeypatch)
    with pytest.raises(ConvertError, match=r"Inferred shape and existing shape differ in dimension 2"):
        convert(oracle_mindir)


def test_the_conversion_sees_a_scale_that_newer_runtimes_refuse(
    oracle_mindir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float32(7 / 3): the pinned onnx multiplies in float32 and takes it."""
    monkeypatch.setattr(resize, "_scale", lambda length, out: np.float32(out / length))
    with pytest.raises(ConvertError, match=r"Resize at node 'blocks\..*' gives \(1, .*, 6, 6\) computed in float64"):
        convert(oracle_mindir)


def test_the_comparison_sees_pads_in_mindspores_order(
    ghostnet: Any, oracle_inputs: Array, oracle_logits: dict[str, Array]
) -> None:
    """Without the declared shapes nothing else does: 1 x 5 makes the image taller, 5 x 1 lower again."""
    faulty = type(ghostnet).FromString(ghostnet.SerializeToString())
    del faulty.graph.value_info[:]
    for node in faulty.graph.node:
        for attribute in node.attribute:
            if attribute.name == "pads":
                top, left, bottom, right = attribute.ints
                attribute.ints[:] = [top, bottom, left, right]
    difference = np.abs(run(faulty, oracle_inputs) - oracle_logits["1x"])
    assert difference.max() > 10 * TOLERANCE


# -- other networks ---------------------------------------------------------------------------------------------------


@pytest.mark.oracle
@pytest.mark.parametrize(("name", "gain"), [("ghostnet_100", 1.0), ("mobilenet_v3_small_100", 1.5)])
def test_networks_of_mindcv(
    ms: Any, export: Any, oracle_value: Any, oracle_inputs: Array, name: str, gain: float
) -> None:
    """`gain` on all kernels: without it hard swish shrinks the signal until all images get the same logits."""
    mindcv = pytest.importorskip("mindcv", reason="MindCV is not installed")
    net = mindcv.create_model(name, pretrained=False).set_train(False)
    for parameter in net.get_parameters():
        weights = oracle_value(parameter.name, parameter.shape)
        parameter.set_data(ms.Tensor(weights * np.float32(gain) if weights.ndim > 1 else weights))
    model = convert(export(net, oracle_inputs[:1]))
    expected = net(ms.Tensor(oracle_inputs[:3])).asnumpy()
    assert expected.std(axis=0).mean() > 0.05
    for images in (1, 3):
        assert np.abs(run(model, oracle_inputs[:images]) - expected[:images]).max() < TOLERANCE


# -- what all have in common ------------------------------------------------------------------------------------------


@pytest.fixture
def small(of_mindspore: Any) -> Path:
    """The MindIR of a convolution, BatchNorm, pool and dense layer, 3 x 16 x 16 to 5 logits."""
    path: Path = of_mindspore.mindir(
        "nn.SequentialCell(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Dense(8, 5))",
        np.zeros((1, 3, 16, 16), np.float32),
    )
    return path


def dims(value: Any) -> list[Any]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def test_the_batch_is_dynamic_unless_it_is_told_otherwise(small: Path) -> None:
    dynamic, fixed = convert(small).graph, convert(small, dynamic_batch=False).graph
    assert (dims(dynamic.input[0]), dims(dynamic.output[0])) == (["batch", 3, 16, 16], ["batch", 5])
    assert (dims(fixed.input[0]), dims(fixed.output[0])) == ([1, 3, 16, 16], [1, 5])
    assert {dims(value)[0] for value in dynamic.value_info} == {"batch"}


def test_versions_names_and_metadata(small: Path) -> None:
    model = convert(small, metadata={"key": "value", "another": "grün"})
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert [value.name for value in (*model.graph.input, *model.graph.output)] == ["input", "logits"]
    assert {entry.key: entry.value for entry in model.metadata_props} == {"key": "value", "another": "grün"}


def test_the_same_file_gives_the_same_bytes_in_every_process(small: Path) -> None:
    program = (
        "import sys; from ghostedge.mindir.conversion import convert; "
        "sys.stdout.buffer.write(convert(sys.argv[1]).SerializeToString())"
    )
    digests = set()
    for seed in ("1", "2"):  # the order of sets depends on it
        environment = os.environ | {"PYTHONHASHSEED": seed}
        output = subprocess.run(
            [sys.executable, "-c", program, small], env=environment, capture_output=True, check=True
        )
        digests.add(hashlib.sha256(output.stdout).hexdigest())
    digests.add(hashlib.sha256(convert(small).SerializeToString()).hexdigest())
    assert len(digests) == 1


def test_mindspore_is_not_needed(small: Path) -> None:
    program = (
        "import sys; from ghostedge.mindir.conversion import convert; convert(sys.argv[1]); "
        "print([name for name in ('mindspore', 'tensorflow', 'torch') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program, small], capture_output=True, text=True, check=True)
    assert output.stdout == "[]\n"


def test_all_unknown_primitives_are_named_with_their_nodes(of_mindspore: Any) -> None:
    path = of_mindspore.mindir("ops.cumsum(x, 1) + ops.atanh(x) + ops.cumsum(x, 2)", np.zeros((1, 4, 5), np.float32))
    with pytest.raises(UnsupportedPrimitiveError) as caught:
        convert(path)
    assert caught.value.nodes == {
        "CumSum": ("Default/CumSum-op0", "Default/CumSum-op1"),
        "Atanh": ("Default/Atanh-op0",),
    }
    assert caught.value.supported == supported_primitives()
    assert "CumSum" in str(caught.value)
    assert "Atanh" in str(caught.value)


def test_the_error_of_an_attribute_names_file_primitive_and_node(of_mindspore: Any) -> None:
    path = of_mindspore.mindir("ops.Softmax(axis=(1, 2))(x)", np.zeros((1, 4, 5), np.float32))
    with pytest.raises(ConvertError, match=rf"{path}: primitive 'Softmax' at node 'Default/Softmax-op0': softmax over"):
        convert(path)


def test_a_primitive_of_another_mindspore_version_is_not_guessed_at(
    of_mindspore: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = of_mindspore.mindir("nn.ReLU6()", np.zeros((1, 4), np.float32))

    def with_more_arguments(g: Emitter, x: Value, limit: float) -> Value:
        raise AssertionError("it must not be called")

    monkeypatch.setitem(LOWERINGS, "ReLU6", with_more_arguments)
    with pytest.raises(ConvertError, match=r"'ReLU6' at node .* has no argument 'limit'; another MindSpore version"):
        convert(path)


def test_a_lowering_that_gives_another_shape_is_found_out(of_mindspore: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = of_mindspore.mindir("nn.ReLU6()", np.zeros((1, 4), np.float32))

    def wrong(g: Emitter, x: Value) -> Value:
        return g.emit("ReduceMean", x, shape=(1, 1), axes=[1], keepdims=1)

    monkeypatch.setitem(LOWERINGS, "ReLU6", wrong)
    with pytest.raises(ConvertError, match=r"lowered to float32 \(1, 1\), but MindSpore says float32 \(1, 4\)"):
        convert(path)
