"""Convolutions and matrix products: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.mindir.lowerings.agree import agree

CONVOLUTIONS = [
    "nn.Conv2d(4, 8, 3)",  # pad_mode same, stride 1
    "nn.Conv2d(4, 8, 3, stride=2)",  # same: the odd pixel is at the bottom and right
    "nn.Conv2d(4, 8, (2, 5), stride=(1, 3))",
    "nn.Conv2d(4, 8, 3, dilation=2)",
    "nn.Conv2d(4, 8, 3, stride=2, pad_mode='valid')",
    "nn.Conv2d(4, 8, 3, pad_mode='pad', padding=1)",
    "nn.Conv2d(4, 8, 3, pad_mode='pad', padding=(1, 2, 0, 3))",  # top, bottom, left, right: all different
    "nn.Conv2d(4, 4, (1, 5), pad_mode='pad', padding=(0, 0, 2, 2), group=4)",  # the two of a DFC gate
    "nn.Conv2d(4, 4, (5, 1), pad_mode='pad', padding=(2, 2, 0, 0), group=4)",
    "nn.Conv2d(4, 8, 3, pad_mode='pad', padding=2, dilation=(2, 1), group=2)",
    "nn.Conv2d(4, 8, 1, has_bias=True)",
    "ops.conv2d(x, Tensor(np.ones((2, 4, 3, 3), np.float32)), pad_mode='pad', padding=1)",
    "nn.Conv2dTranspose(4, 8, 3, stride=2)",
    "nn.Conv2dTranspose(4, 8, 2, stride=2, pad_mode='valid', has_bias=True)",
    "nn.Conv2dTranspose(4, 8, 3, stride=2, pad_mode='pad', padding=1, output_padding=1)",
    "nn.Conv2dTranspose(4, 8, 3, pad_mode='pad', padding=(1, 0, 2, 1), group=2)",
]

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.nn.Conv2d(4, 8, 3, stride=2, padding=1, bias=True)": (
        "nn.Conv2d(4, 8, 3, stride=2, pad_mode='pad', padding=1, has_bias=True)"
    ),
    "mint.nn.Conv2d(4, 8, 3, padding=(1, 2), dilation=2, groups=2, bias=False)": (
        "nn.Conv2d(4, 8, 3, pad_mode='pad', padding=(1, 1, 2, 2), dilation=2, group=2)"
    ),
}

SEQUENCES = ["nn.Conv1d(4, 8, 3)", "nn.Conv1d(4, 8, 3, stride=2, pad_mode='pad', padding=1)"]

test_convolution = agree(CONVOLUTIONS, 4, 8, 9)
test_convolution_of_mint = agree(EQUIVALENT, 4, 8, 9)
test_convolution_of_sequences = agree(SEQUENCES, 4, 9)


def test_the_padding_same_needs_no_operator_of_its_own_in_tflite(golden: Any, images: Any) -> None:
    (conv,) = golden("nn.Conv2d(4, 8, 3, stride=2)", images(4, 8, 8)).graph.node
    assert {a.name: a.s for a in conv.attribute if a.name == "auto_pad"} == {"auto_pad": b"SAME_UPPER"}


def test_an_absent_bias_is_left_out(golden: Any, images: Any) -> None:
    """OpenVINO refuses the empty name that ONNX allows in its place."""
    (gemm,) = golden("mint.nn.Linear(6, 3, bias=False)", images(6)).graph.node
    assert len(gemm.input) == 2


DENSE = [
    "nn.Dense(6, 3)",
    "nn.Dense(6, 3, has_bias=False)",
    "nn.Dense(6, 3, activation='relu')",
    "mint.nn.Linear(6, 3)",
    "mint.nn.Linear(6, 3, bias=False)",
]
test_dense_over_the_last_axis = agree(DENSE, 4, 6)


@pytest.mark.parametrize("code", DENSE)
def test_dense_of_vectors_is_one_gemm(golden: Any, images: Any, code: str) -> None:
    model = golden(code, images(6))
    assert [node.op_type for node in model.graph.node if node.op_type != "Relu"] == ["Gemm"]


PRODUCTS = [
    "ops.matmul(x, y)",
    "ops.BatchMatMul(transpose_b=True)(x, y.swapaxes(1, 2))",
    "ops.BatchMatMul(transpose_a=True)(x.swapaxes(1, 2), y)",
    "mint.matmul(x, y)",
]


@pytest.mark.parametrize("code", PRODUCTS)
def test_matrix_product(golden: Any, images: Any, code: str) -> None:
    golden(code, images(5, 6), images(6, 3, seed=1))


WITH_CONSTANTS = [
    "ops.matmul(x, Tensor(np.arange(18).reshape(6, 3), ms.float32))",
    "ops.matmul(Tensor(np.arange(10).reshape(2, 5), ms.float32), x)",
    "ops.bias_add(x, Tensor(np.arange(5), ms.float32))",
]
# Sums of constants of size 10: the same relative rounding at larger values.
test_product_with_a_constant = agree(WITH_CONSTANTS, 5, 6, tolerance=1e-4)
