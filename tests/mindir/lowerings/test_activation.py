"""Activation functions: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ConvertError
from tests.mindir.lowerings.agree import agree

CELLS = [
    "nn.ReLU()",
    "nn.ReLU6()",
    "nn.LeakyReLU(0.1)",
    "nn.PReLU(4)",
    "nn.PReLU(1)",
    "nn.Sigmoid()",
    "nn.LogSigmoid()",
    "nn.HSwish()",
    "nn.HSigmoid()",
    "nn.SiLU()",
    "nn.GELU()",
    "nn.GELU(approximate=False)",
    "nn.ELU()",
    "nn.SeLU()",
    "nn.CELU(0.7)",
    "nn.Mish()",
    "nn.Softsign()",
    "nn.Hardtanh(-1.5, 2.0)",
    "nn.Softmax()",
    "nn.Softmax(axis=1)",
    "nn.LogSoftmax(axis=1)",
    "ops.softplus(x)",
]

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.nn.ReLU6()": "nn.ReLU6()",
    "mint.nn.GELU()": "nn.GELU(approximate=False)",
    "mint.nn.GELU(approximate='tanh')": "nn.GELU()",
    "mint.nn.LogSoftmax(1)": "nn.LogSoftmax(1)",
    "mint.nn.LogSoftmax()": "nn.LogSoftmax(1)",
    "mint.nn.ELU(0.7)": "ops.where(x > 0, x, 0.7 * (ops.exp(x) - 1))",
    "mint.nn.Mish()": "nn.Mish()",
    "mint.nn.functional.leaky_relu(x, 0.2)": "nn.LeakyReLU(0.2)",
    "mint.nn.functional.relu(x * 2, inplace=True)": "ops.relu(x * 2)",
    "mint.nn.functional.relu6(x * 2, inplace=True)": "ops.relu6(x * 2)",
    "mint.nn.functional.silu(x * 2, inplace=True)": "ops.silu(x * 2)",
    "mint.nn.functional.elu(x * 2, inplace=True)": "ops.elu(x * 2)",
}

test_is_what_mindspore_computes = agree(CELLS, 4, 5, 6)
test_without_a_cpu_kernel = agree(EQUIVALENT, 4, 5, 6)
# MindSpore's CPU kernel approximates tanh: it is 0.99992 at 10.
test_tanh = agree(["nn.Tanh()"], 4, 5, 6, tolerance=1e-4)


def operators(model: Any) -> list[str]:
    return [node.op_type for node in model.graph.node]


def test_hard_sigmoid_is_one_operator(golden: Any, images: Any) -> None:
    assert operators(golden("nn.HSigmoid()", images(4, 5, 6))) == ["HardSigmoid"]


def test_leaky_relu_is_one_operator_again(golden: Any, images: Any) -> None:
    """MindSpore writes it as ``max(0.1 * x, x)``."""
    assert operators(golden("nn.LeakyReLU(0.1)", images(4, 5, 6))) == ["LeakyRelu"]


def test_softmax_over_two_axes_is_refused(golden: Any) -> None:
    with pytest.raises(ConvertError, match=r"primitive 'Softmax' at node 'Default/.*': softmax over the axes \(2, 3\)"):
        golden("ops.Softmax(axis=(2, 3))(x)", np.zeros((3, 4, 5, 6), np.float32))
