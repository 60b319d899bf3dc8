"""Folding scales and shifts into the convolution or product before them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.mindir.passes.simplify import fold_affine

RNG = np.random.default_rng(0)


def normal(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


X = normal(2, 4, 5, 6)
STATISTICS = {"gamma": normal(6), "beta": normal(6), "mean": normal(6), "variance": np.abs(normal(6))}

#: What may stand before: operator, its attributes, its weights.
PRODUCTS = {
    "Conv": ({"pads": [1, 1, 1, 1]}, normal(6, 4, 3, 3)),
    "Conv of two groups": ({"group": 2}, normal(6, 2, 3, 3)),
    "ConvTranspose": ({"strides": [2, 2]}, normal(4, 6, 2, 2)),
    "ConvTranspose of two groups": ({"group": 2}, normal(4, 3, 2, 2)),
}

#: What is folded into it: a line that reads ``a``, and its constants.
AFFINES = {
    "BatchNormalization": (("y", "BatchNormalization", "a", *STATISTICS, {"epsilon": 1e-3}), STATISTICS),
    "Mul": (("y", "Mul", "a", "c"), {"c": normal(6, 1, 1)}),
    "Mul by a number": (("y", "Mul", "c", "a"), {"c": np.float32(1.7)}),
    "Div": (("y", "Div", "a", "c"), {"c": normal(1, 6, 1, 1)}),
    "Add": (("y", "Add", "c", "a"), {"c": normal(6, 1, 1)}),
    "Sub": (("y", "Sub", "a", "c"), {"c": np.full(1, 1.7, np.float32)}),
}


def ops(graph: Any) -> list[str]:
    return [node.op for node in graph.nodes]


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("affine", AFFINES)
@pytest.mark.parametrize("product", PRODUCTS)
def test_it_computes_the_same_in_one_node(graph_of: Any, run: Any, product: str, affine: str, bias: bool) -> None:
    attributes, weights = PRODUCTS[product]
    line, constants = AFFINES[affine]
    inputs = ("x", "w", "b") if bias else ("x", "w")
    all_constants = {"w": weights, "b": normal(6), **constants}
    graph = graph_of(X.shape, all_constants, ("a", product.split()[0], *inputs, attributes), line)
    folded = fold_affine(graph).without_dead_code()
    assert ops(folded) == [product.split()[0]]
    # The weights are rounded once more, 2^-24 of values near 10.
    np.testing.assert_allclose(run(folded, X)[0], run(graph, X)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transposed", [0, 1])
def test_a_dense_layer_takes_its_bias_and_scale(graph_of: Any, run: Any, transposed: int) -> None:
    x, w = normal(3, 4), normal(5, 4) if transposed else normal(4, 5)
    graph = graph_of(
        x.shape,
        {"w": w, "s": normal(5), "t": normal(1, 5)},
        ("a", "Gemm", "x", "w", {"transB": transposed}),
        ("b", "Mul", "a", "s"),
        ("y", "Add", "b", "t"),
    )
    folded = fold_affine(graph).without_dead_code()
    assert ops(folded) == ["Gemm"]
    np.testing.assert_allclose(run(folded, x)[0], run(graph, x)[0], rtol=1e-5, atol=1e-5)


def conv(*more: Any, **constants: Any) -> Any:
    return X.shape, {"w": normal(6, 4, 3, 3), "c": normal(6, 1, 1), **constants}, ("a", "Conv", "x", "w"), *more


@pytest.mark.parametrize(
    "arguments",
    [
        conv(("b", "Add", "a", "c"), ("y", "Add", "b", "a")),  # somebody else reads what is shifted
        conv(("y", "Add", "a", "map"), map=normal(3, 4)),  # one number a pixel
        conv(("y", "Add", "a", "map"), map=normal(1, 6, 3, 1)),
        conv(("y", "Div", "c", "a")),  # the constant is divided
        conv(("y", "Sub", "c", "a")),
        conv(("y", "Add", "a", "a")),
        conv(("r", "Relu", "a"), ("y", "Mul", "r", "c")),  # something stands between
        conv(("y", "Mul", "a", "x"), w=normal(1, 4, 1, 1)),  # no constant
    ],
)
def test_what_must_stay(graph_of: Any, arguments: Any) -> None:
    graph = graph_of(*arguments)
    assert ops(fold_affine(graph).without_dead_code()) == ops(graph)


def test_an_output_of_the_network_is_not_changed(graph_of: Any, run: Any) -> None:
    graph = graph_of(*conv(("y", "Add", "a", "c")), outputs=("a", "y"))
    folded = fold_affine(graph).without_dead_code()
    for got, want in zip(run(folded, X), run(graph, X), strict=True):
        np.testing.assert_array_equal(got, want)


def test_shared_weights_are_scaled_for_one_reader_alone(graph_of: Any, run: Any) -> None:
    graph = graph_of(*conv(("b", "Conv", "x", "w"), ("d", "Mul", "a", "c"), ("y", "Sub", "d", "b")))
    folded = fold_affine(graph).without_dead_code()
    assert ops(folded) == ["Conv", "Conv", "Sub"]
    np.testing.assert_allclose(run(folded, X)[0], run(graph, X)[0], rtol=1e-5, atol=1e-5)
