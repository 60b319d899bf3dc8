"""Convolutions of other pieces give the same values; they stay whole where that gains nothing."""

from __future__ import annotations

from typing import Any

import pytest


def network(model: Any, weights: Any, channels: int = 4, **fields: Any) -> Any:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y", fields)]
    constants = {"w": weights(2 * channels, 2 * channels // fields["group"], 3, 3), "b": weights(2 * channels)}
    return model(nodes, constants, (1, channels, 6, 6))


def test_the_parts_are_convolved_depthwise_and_then_put_together(model: Any, rewritten: Any, weights: Any) -> None:
    strided = network(model, weights, group=8, strides=[2, 2], pads=[1, 1, 1, 1])
    operators, difference = rewritten(strided, "depthwise_before_concat")
    assert operators == ["Relu", "Conv", "Conv", "Concat"]
    assert difference == 0


@pytest.mark.parametrize(
    ("channels", "fields"),
    [
        (4, {"group": 8, "strides": [1, 1]}),
        (4, {"group": 4, "strides": [2, 2]}),  # not depthwise
        (6, {"group": 12, "strides": [2, 2]}),  # no multiple of four
    ],
)
def test_a_depthwise_convolution_that_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, channels: int, fields: Any
) -> None:
    operators, difference = rewritten(network(model, weights, channels, **fields), "depthwise_before_concat")
    assert operators == ["Relu", "Concat", "Conv"]
    assert difference == 0


def test_the_parts_are_convolved_apart_and_added(model: Any, rewritten: Any, weights: Any) -> None:
    nodes = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w b", "y")]
    network = model(nodes, {"w": weights(8, 16, 1, 1), "b": weights(8)}, (1, 8, 4, 4))
    operators, difference = rewritten(network, "split_concat_conv")
    assert operators == ["Relu", "Conv", "Conv", "Sum"]
    assert difference < 2e-6  # 16 products are summed in two halves


@pytest.mark.parametrize(
    ("channels", "outputs", "kept"),
    [
        (8, 12, False),  # too many outputs
        (24, 8, False),  # too many inputs
        (6, 4, False),  # no multiple of four
        (8, 8, True),  # the concatenation is needed anyway
    ],
)
def test_a_pointwise_convolution_that_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, channels: int, outputs: int, kept: bool
) -> None:
    nodes: list[Any] = [("Relu", "x", "r"), ("Concat", "x r", "k", {"axis": 1}), ("Conv", "k w", "c" if kept else "y")]
    if kept:
        nodes += [("Relu", "k", "s"), ("Concat", "c s", "y", {"axis": 1})]
    constants = {"w": weights(outputs, 2 * channels, 1, 1)}
    operators, difference = rewritten(model(nodes, constants, (1, channels, 4, 4)), "split_concat_conv")
    assert operators == [node[0] for node in nodes]
    assert difference == 0


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("relu", [True, False])
def test_four_more_are_computed_and_dropped(model: Any, rewritten: Any, weights: Any, bias: bool, relu: bool) -> None:
    constants = {"w": weights(20, 16, 1, 1)} | ({"b": weights(20)} if bias else {})
    nodes: list[Any] = [("Conv", " ".join(["x", *constants]), "c" if relu else "y")]
    if relu:
        nodes.append(("Relu", "c", "y"))
    network = model(nodes, constants, (1, 16, 3, 3))
    operators, difference = rewritten(network, "round_up_channels")
    assert operators == (["Conv", "Relu", "Slice"] if relu else ["Conv", "Slice"])
    assert difference < 1e-6  # ONNX Runtime may sum more channels in another order
    widths = {tensor.dims[0] for tensor in network.graph.initializer if "wide" in tensor.name}
    assert widths == {24}


def test_a_relu_that_is_not_the_only_reader_reads_the_slice(model: Any, rewritten: Any, weights: Any) -> None:
    nodes = [("Conv", "x w", "c"), ("Relu", "c", "r"), ("Add", "c r", "y")]
    operators, difference = rewritten(model(nodes, {"w": weights(12, 16, 1, 1)}, (1, 16, 3, 3)), "round_up_channels")
    assert operators == ["Conv", "Slice", "Relu", "Add"]
    assert difference < 1e-6


@pytest.mark.parametrize(
    ("shape", "weight", "fields"),
    [
        ((1, 16, 3, 3), (24, 16, 1, 1), {}),  # whole tiles
        ((1, 16, 3, 3), (4, 16, 1, 1), {}),
        ((1, 8, 3, 3), (20, 8, 1, 1), {}),
        ((1, 16, 1, 1), (20, 16, 1, 1), {}),
        ((1, 16, 5, 5), (20, 16, 3, 3), {}),
        ((1, 32, 3, 3), (20, 16, 1, 1), {"group": 2}),
        ((1, 16, 4, 4), (20, 16, 1, 1), {"strides": [2, 2]}),
    ],
)
def test_what_gains_nothing_stays(
    model: Any, rewritten: Any, weights: Any, shape: Any, weight: Any, fields: Any
) -> None:
    operators, _ = rewritten(model([("Conv", "x w", "y", fields)], {"w": weights(*weight)}, shape), "round_up_channels")
    assert operators == ["Conv"]
