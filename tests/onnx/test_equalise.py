"""Equalisation changes the widths of channels, and the logits by no more than float32 rounds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ConvertError
from ghostedge.onnx.equalise import channel_ranges, equalise

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

Net = tuple[Any, NDArray[np.float32]]


class Maker:
    """Writes a small network: three input channels of 8 x 8, then what a test adds."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(3)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any, dtype: type[Any] = np.float32) -> str:
        name = f"constant_{len(self.constants)}"
        self.constants.append(onnx.numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, *inputs: str, **fields: Any) -> str:
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(onnx.helper.make_node(kind, list(inputs), [output], output, **fields))
        return output

    def conv(self, x: str, inputs: int, outputs: int, size: int = 1, group: int = 1) -> str:
        weight = self.rng.standard_normal((outputs, inputs // group, size, size))
        weight *= np.exp2(self.rng.integers(-4, 4, (outputs, 1, 1, 1)))  # channels of quite different width
        bias = self.constant(self.rng.standard_normal(outputs))
        return self.node("Conv", x, self.constant(weight), bias, group=group, pads=[size // 2] * 4)

    def finish(self, x: str) -> Net:
        self.nodes.append(onnx.helper.make_node("Identity", [x], ["logits"]))
        make, kind = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
        graph = onnx.helper.make_graph(
            self.nodes, "net", [make("image", kind, ["n", 3, 8, 8])], [make("logits", kind, None)], self.constants
        )
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
        return model, self.rng.standard_normal((6, 3, 8, 8)).astype(np.float32)


def run(model: Any, images: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (logits,) = session.run(None, {session.get_inputs()[0].name: images})
    return np.asarray(logits)


def spread(ranges: dict[str, NDArray[np.float64]], name: str) -> float:
    """How many octaves lie between the widest channel of an activation and the mean one that is not dead."""
    value = ranges[name][ranges[name] > 0]
    return float(np.log2(value.max() / value).mean())


def test_a_narrow_channel_is_widened_where_it_is_made_and_narrowed_where_it_is_read() -> None:
    make = Maker()
    first = make.constant(np.array([[8, 0, 0], [0, 1, 0]], np.float32).reshape(2, 3, 1, 1))
    bias = make.constant([0.5, 0.25])
    hidden = make.node("Relu", make.node("Conv", "image", first, bias))
    second = make.constant(np.ones((1, 2, 1, 1)))
    model, images = make.finish(make.node("Conv", hidden, second))
    before = run(model, images)
    ranges = {"image": np.ones(3), "Conv_0": np.array([8.0, 1.0]), hidden: np.array([8.0, 1.0])}
    ranges |= {"Conv_2": np.ones(1), "logits": np.ones(1)}
    factors = equalise(model, ranges, strength=1)
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert values[first][:, :, 0, 0].tolist() == [[8, 0, 0], [0, 8, 0]]
    assert values[bias].tolist() == [0.5, 2]
    assert values[second].ravel().tolist() == [1, 0.125]
    assert {name: factor.tolist() for name, factor in factors.items() if (factor != 1).any()} == {
        "Conv_0": [1, 8],
        hidden: [1, 8],
    }
    assert np.array_equal(run(model, images), before)


def plain(make: Maker) -> str:
    return make.conv(make.node("Relu", make.conv("image", 3, 8)), 8, 4)


def ghost(make: Maker) -> str:
    """A ghost module with its gate, and a residual addition."""
    stem = make.node("Relu", make.conv("image", 3, 16))
    primary = make.node("Relu", make.conv(stem, 16, 8))
    both = make.node("Concat", primary, make.node("Relu", make.conv(primary, 8, 8, 3, group=8)), axis=1)
    pooled = make.node("AveragePool", stem, kernel_shape=[2, 2], strides=[2, 2])
    small = make.node("Sigmoid", make.conv(make.conv(pooled, 16, 16), 16, 16, 3, group=16))
    scales = make.constant([1, 1, 2, 2])
    gate = make.node("Resize", small, "", scales, mode="linear", coordinate_transformation_mode="align_corners")
    gated = make.node("Mul", both, gate)
    return make.conv(make.node("Add", make.conv(gated, 16, 16), stem), 16, 4)


def squeeze_excite(make: Maker) -> str:
    wide = make.node("Relu", make.conv("image", 3, 8))
    mean = make.node("GlobalAveragePool", wide)
    reduced = make.node("Relu", make.conv(mean, 8, 4))
    shifted = make.node("Add", make.conv(reduced, 4, 8), make.constant(3.0))
    clipped = make.node("Clip", shifted, make.constant(0.0), make.constant(6.0))
    scale = make.node("Mul", clipped, make.constant(np.float32(1 / 6)))
    pooled = make.node("Flatten", make.node("GlobalAveragePool", make.node("Mul", wide, scale)))
    weight, bias = make.constant(make.rng.standard_normal((5, 8))), make.constant(np.ones(5))
    return make.node("Gemm", pooled, weight, bias, transB=1)


def shuffle(make: Maker) -> str:
    """Channels shuffled, split and cut, of which each keeps its factor."""
    wide = make.node("Relu", make.conv("image", 3, 8))
    order = make.constant([0, 4, 1, 5, 2, 6, 3, 7], np.int64)
    halves = make.node("Split", make.node("Gather", wide, order, axis=1), make.constant([4, 4], np.int64), axis=1)
    make.nodes[-1].output.append("other")
    bounds = [make.constant([value], np.int64) for value in (1, 4, 1, 2)]
    cut = make.conv(make.node("Slice", halves, *bounds), 2, 4)
    return make.conv(make.node("Concat", cut, make.conv("other", 4, 4), axis=1), 8, 4)


def not_homogeneous(make: Maker) -> str:
    """What must not be scaled through: swish, a shift, ReLU6, tanh, sigmoid, softmax over channels, a transpose."""
    swish = make.conv("image", 3, 8)
    swish = make.node("Mul", swish, make.node("Sigmoid", swish))
    shifted = make.node("Add", make.conv(swish, 8, 8), make.constant(1.0))
    relu6 = make.node("Clip", make.conv(shifted, 8, 8), make.constant(0.0), make.constant(6.0))
    curved = make.node("Sigmoid", make.conv(make.node("Tanh", make.conv(relu6, 8, 8)), 8, 8))
    soft = make.node("Softmax", make.conv(curved, 8, 8), axis=1)
    turned = make.node("Transpose", make.conv(soft, 8, 8), perm=[0, 2, 3, 1])
    squared = make.conv(make.node("Transpose", turned, perm=[0, 3, 1, 2]), 8, 8)
    return make.conv(make.node("Mul", squared, squared), 8, 4)


def shared(make: Maker) -> str:
    """Two convolutions with one weight; a convolution of two groups; a difference; a maximum."""
    weight = make.constant(make.rng.standard_normal((8, 8, 1, 1)))
    x = make.node("LeakyRelu", make.conv("image", 3, 8))
    x = make.node("Sub", make.node("Conv", x, weight), make.node("Conv", make.conv(x, 8, 8), weight))
    grouped = make.conv(x, 8, 8, 3, group=2)
    return make.conv(make.node("MaxPool", make.node("Max", grouped, x), kernel_shape=[2, 2]), 8, 4)


@pytest.mark.parametrize("build", [plain, ghost, squeeze_excite, shuffle, not_homogeneous, shared])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_logits_stay_what_they_are(build: Callable[[Maker], str], strength: float) -> None:
    make = Maker()
    model, images = make.finish(build(make))
    before = run(model, images)
    factors = equalise(model, channel_ranges(model, images), strength)
    assert compare(before, run(model, images)).snr_db > 110
    if build in (plain, ghost, squeeze_excite, shuffle):
        assert any((factor != 1).any() for factor in factors.values())


def test_a_channel_keeps_its_factor_when_it_is_moved() -> None:
    make = Maker()
    model, images = make.finish(shuffle(make))
    factors = equalise(model, channel_ranges(model, images), strength=1)
    wide, shuffled = factors["Relu_1"], np.concatenate([factors["Split_3"], factors["other"]])
    assert np.array_equal(wide[[0, 4, 1, 5, 2, 6, 3, 7]], shuffled)
    assert np.array_equal(factors["Slice_4"], shuffled[1:4:2])
    assert len(np.unique(wide)) > 4


def test_channels_of_an_activation_become_alike() -> None:
    make = Maker()
    model, images = make.finish(ghost(make))
    before = channel_ranges(model, images)
    equalise(model, before, strength=1)
    after = channel_ranges(model, images)
    free = [name for name in before if name.startswith(("Relu", "Concat", "Mul")) and spread(before, name) > 0.5]
    assert free
    assert sum(spread(after, name) for name in free) < 0.7 * sum(spread(before, name) for name in free)
    gates = [name for name in before if name.startswith(("Sigmoid", "Resize"))]
    assert all(np.allclose(before[name], after[name], rtol=1e-5) for name in gates)


def test_without_strength_or_room_nothing_is_changed() -> None:
    make = Maker()
    model, images = make.finish(ghost(make))
    original, ranges = model.SerializeToString(), channel_ranges(model, images)
    for nothing in (equalise(model, ranges, strength=0), equalise(model, ranges, limit=1)):
        assert all((factor == 1).all() for factor in nothing.values())
    assert model.SerializeToString() == original
    every = np.concatenate(list(equalise(model, ranges, strength=1, limit=4).values()))
    assert np.maximum(every, 1 / every).max() == 4


def test_a_dead_channel_is_left_alone() -> None:
    make = Maker()
    weight = make.constant(np.array([[1, 1, 1], [0, 0, 0]], np.float32).reshape(2, 3, 1, 1))
    model, images = make.finish(make.conv(make.node("Relu", make.node("Conv", "image", weight)), 2, 4))
    before = run(model, images)
    equalise(model, channel_ranges(model, images), strength=1)
    assert compare(before, run(model, images)).snr_db > 110


def test_a_number_that_is_not_finite_is_named_with_its_image() -> None:
    make = Maker()
    model, images = make.finish(plain(make))
    images[2, 0, 3, 3] = np.inf
    with pytest.raises(ConvertError, match=r"activation '.*' is not finite on calibration image 3"):
        channel_ranges(model, images)
    with pytest.raises(ConvertError, match="no calibration image"):
        channel_ranges(model, images[:0])
