"""What every model goes through before onnx2tf sees it, and that unknown names of rewrites are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from ghostedge.errors import ConvertError, UsageError
from ghostedge.onnx.rewrites import apply_rewrites, order_dependent, prepare


def test_an_unknown_name_is_refused_before_anything_is_changed(model: Any) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": [2, 2]})], {}, (1, 3, 4, 4))
    with pytest.raises(UsageError, match="pool_as_depthwise"):
        apply_rewrites(pool, ["pool_as_depthwise", "pool_as_depth"])
    assert [node.op_type for node in pool.graph.node] == ["AveragePool"]


def image_graph(*nodes: onnx.NodeProto, shape: tuple[str | int, ...] = ("batch", 2, 4, 4)) -> onnx.ModelProto:
    """A model of `nodes` from ``x`` to ``y``."""
    info, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(list(nodes), "test", [info("x", float32, shape)], [info("y", float32, None)])
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    (y,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    return np.asarray(y)


@pytest.mark.parametrize(("alpha", "beta"), [(1 / 6, 0.5), (0.2, 0.5), (0.5, -0.25)])
def test_hard_sigmoid_becomes_a_scaled_clip_with_the_same_values(alpha: float, beta: float) -> None:
    node = onnx.helper.make_node("HardSigmoid", ["x"], ["y"], "gate", alpha=alpha, beta=beta)
    x = np.linspace(-9, 9, 32, dtype=np.float32).reshape(1, 2, 4, 4)
    expected = run(image_graph(node), x)
    model = prepare(image_graph(node))
    assert [n.op_type for n in model.graph.node] == ["Add", "Clip", "Mul"]
    np.testing.assert_allclose(run(model, x), expected, atol=2e-7)  # one rounding each


def test_the_hard_sigmoid_of_mobile_networks_becomes_a_relu6() -> None:
    node = onnx.helper.make_node("HardSigmoid", ["x"], ["y"], "gate", alpha=1 / 6, beta=0.5)
    model = prepare(image_graph(node))
    constants = {tensor.name: float(onnx.numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    assert (constants["gate/low"], constants["gate/high"]) == (0.0, 6.0)  # exactly: TensorFlow looks for a 6


def test_a_padded_max_pool_after_a_relu_is_padded_with_zeros() -> None:
    relu = onnx.helper.make_node("Relu", ["x"], ["r"], "relu")
    attributes = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 0, 1, 1]}
    pool = onnx.helper.make_node("MaxPool", ["r"], ["y"], "pool", **attributes)
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4), dtype=np.float32) - 1  # some windows hold no positive
    expected = run(image_graph(relu, pool), x)
    model = prepare(image_graph(relu, pool))
    assert [n.op_type for n in model.graph.node] == ["Relu", "Pad", "MaxPool"]
    np.testing.assert_array_equal(run(model, x), expected)
    # Of what may be negative the lowest float is not the same as zero.
    other = prepare(image_graph(onnx.helper.make_node("MaxPool", ["x"], ["y"], "pool", **attributes)))
    assert [n.op_type for n in other.graph.node] == ["MaxPool"]


def test_batch_norm_becomes_a_depthwise_convolution(model: Any) -> None:
    rng = np.random.default_rng(0)
    constants = {name: rng.uniform(0.5, 1.5, 3).astype(np.float32) for name in ("gamma", "beta", "mean", "variance")}
    node = ("BatchNormalization", "x gamma beta mean variance", "y", {"epsilon": 1e-3})
    x = rng.standard_normal((1, 3, 4, 4), dtype=np.float32)
    expected = run(model([node], constants, (1, 3, 4, 4)), x)
    made = prepare(model([node], constants, (1, 3, 4, 4)))
    assert [n.op_type for n in made.graph.node] == ["Conv"]
    np.testing.assert_allclose(run(made, x), expected, atol=1e-6)


@pytest.mark.parametrize(("reader", "kept"), [("Concat", "Sum"), ("Mul", "Sum"), ("Relu", "Add")])
def test_an_addition_that_onnx2tf_would_turn_becomes_a_sum(model: Any, reader: str, kept: str) -> None:
    nodes = [
        ("Relu", "x", "r"),
        ("Add", "x r", "a"),
        (reader, "a" if reader == "Relu" else "a r", "b", {"axis": 1} if reader == "Concat" else {}),
        ("Add", "b one", "c"),
        ("Sigmoid", "c", "y"),
    ]

    def make() -> onnx.ModelProto:
        return model(nodes, {"one": np.ones(1, np.float32)}, (1, 2, 4, 4))

    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4), dtype=np.float32)
    made = prepare(make())
    assert [n.op_type for n in made.graph.node] == ["Relu", kept, reader, "Add", "Sigmoid"]
    np.testing.assert_array_equal(run(made, x), run(make(), x))


def test_a_gather_of_channels_becomes_a_convolution_at_last(model: Any) -> None:
    """After the rewrite that would widen it to a whole tile of channels."""
    order = np.array([*range(1, 20, 2), *range(0, 20, 2)])
    gather = model([("Gather", "x order", "y", {"axis": 1})], {"order": order}, (1, 20, 4, 4))
    x = np.random.default_rng(0).standard_normal((1, 20, 4, 4), dtype=np.float32)
    made = apply_rewrites(prepare(gather), ["round_up_channels"])
    assert [n.op_type for n in made.graph.node] == ["Conv"]
    np.testing.assert_array_equal(run(made, x), x[:, order])
    rows = model([("Gather", "x order", "y", {"axis": 2})], {"order": np.array([1, 0])}, (1, 20, 4, 4))
    assert [n.op_type for n in apply_rewrites(prepare(rows), []).graph.node] == ["Gather"]


def test_a_mean_that_drops_rows_and_columns_is_pooled_and_flattened() -> None:
    def mean(**attributes: object) -> onnx.ModelProto:
        return image_graph(onnx.helper.make_node("ReduceMean", ["x"], ["y"], "mean", **attributes))

    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4), dtype=np.float32)
    expected = run(mean(axes=[2, 3], keepdims=0), x)
    model = prepare(mean(axes=[2, 3], keepdims=0))
    assert [n.op_type for n in model.graph.node] == ["GlobalAveragePool", "Flatten"]
    assert order_dependent(model) == ()  # of one pixel, the order does not matter
    np.testing.assert_allclose(run(model, x), expected, rtol=1e-6)
    for other in ({"axes": [2, 3], "keepdims": 1}, {"axes": [1], "keepdims": 0}, {"keepdims": 0}):
        assert [n.op_type for n in prepare(mean(**other)).graph.node] == ["ReduceMean"]


def test_the_batch_becomes_one_and_every_shape_known(tiny_onnx: Path) -> None:
    model = prepare(onnx.load(tiny_onnx))
    for value in (*model.graph.input, *model.graph.value_info, *model.graph.output):
        assert all(dim.dim_value > 0 for dim in value.type.tensor_type.shape.dim), value.name
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1


def test_only_nodes_that_depend_on_the_order_of_a_feature_map_are_named(tiny_onnx: Path) -> None:
    # The tiny network flattens (n, 16, 1, 1), which is the same in either layout.
    assert order_dependent(prepare(onnx.load(tiny_onnx))) == ()
    flatten = onnx.helper.make_node("Flatten", ["x"], ["y"], "head/flatten")
    assert order_dependent(prepare(image_graph(flatten))) == ("head/flatten",)


def test_a_model_of_another_kind_is_refused() -> None:
    relu = onnx.helper.make_node("Relu", ["x"], ["y"])
    with pytest.raises(ConvertError, match=r"\['batch', 2, 'height', 4\]"):
        prepare(image_graph(relu, shape=("batch", 2, "height", 4)))
    with pytest.raises(ConvertError, match=r"\[1, 8\]"):
        prepare(image_graph(relu, shape=(1, 8)))
    two = image_graph(relu)
    two.graph.output.add().name = "x"
    with pytest.raises(ConvertError, match="1 inputs and 2 outputs"):
        prepare(two)
