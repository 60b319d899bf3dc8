"""Arithmetic, bounds, comparisons and casts: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.mindir.lowerings.agree import agree

ONE_INPUT = [
    # numbers: scalars and constants on either side
    "x + 1.5",
    "1.5 - x",
    "x - 1.5",
    "x * 3",
    "x / 3.0",
    "x // 2",
    "mint.add(x, 2)",
    "mint.add(x, 2, alpha=3)",
    "mint.sub(x, 2, alpha=3)",
    "mint.mul(x, 2.5)",
    "mint.div(x, 2.5)",
    "x * Tensor(np.arange(4).reshape(4, 1, 1), ms.int32)",
    # one argument
    "-x",
    "ops.abs(x)",
    "ops.square(x)",
    "ops.exp(x)",
    "ops.erf(x)",
    "ops.floor(x)",
    "ops.ceil(x)",
    "ops.round(x)",
    "ops.sign(x)",
    "ops.sin(x) + ops.cos(x)",
    "x**2",
    "ops.pow(x, 3.0)",
    "mint.pow(2.0, x)",
    # bounds
    "ops.clip_by_value(x, -1.0, 2.0)",
    "ops.clamp(x, -1.0, 2.0)",
    "ops.clamp(x, min=-1.0)",
    "ops.clamp(x, max=2.0)",
    "mint.clamp(x, 0, 6)",
    "x.clip(0.0, 1.0)",
    "ops.minimum(x, 1.0)",
    "ops.maximum(1.0, x)",
    # comparisons
    "ops.where(x > 0.5, x, x * 2)",
    "ops.select(x <= 0.5, x, -x)",
    "ops.logical_not(x >= 0)",
    "(x < 1).astype(ms.float32) * (x == x).astype(ms.float32)",
    # casts and copies
    "x.astype(ms.float16)",
    "x.to(ms.int32)",
    "x.astype(ms.float16).astype(ms.float32)",
    "ops.addn([x, x * 2, x * 3])",
    "ops.Identity()(x) + 1",
]

TWO_INPUTS = [
    "x + y",
    "x - y",
    "x * y",
    "x / y",
    "ops.RealDiv()(x, y)",
    "mint.add(x, y, alpha=2)",
    "mint.sub(x, y, alpha=2)",
    "ops.minimum(x, y)",
    "ops.maximum(x, y)",
    "ops.clamp(x, y, y + 1)",
    "ops.pow(ops.abs(x), y)",
    "ops.where(x > y, x, y)",
    "ops.equal(x, y)",
]

POSITIVE = ["ops.sqrt(x)", "ops.rsqrt(x)", "ops.log(x)", "1 / x", "3.0 / x"]

test_one_input = agree(ONE_INPUT, 4, 5, 6)


@pytest.mark.parametrize("code", TWO_INPUTS)
def test_two_inputs_that_broadcast(golden: Any, images: Any, code: str) -> None:
    golden(code, images(4, 5, 6), images(4, 1, 1, seed=1))


@pytest.mark.parametrize("code", POSITIVE)
def test_positive_input(golden: Any, images: Any, code: str) -> None:
    golden(code, np.abs(images(4, 5, 6)) + 0.1)


@pytest.mark.parametrize("code", ["nn.Identity()", "nn.Dropout(p=0.5)", "nn.Dropout2d(p=0.5)", "mint.nn.Dropout(0.5)"])
def test_nothing_happens_in_inference(golden: Any, images: Any, code: str) -> None:
    model = golden(code, images(4, 5, 6))
    assert [node.op_type for node in model.graph.node] == ["Identity"]


def test_two_limits_become_one_clip(golden: Any, images: Any) -> None:
    model = golden("ops.clip_by_value(x, 0.0, 6.0)", images(4, 5, 6))
    assert [node.op_type for node in model.graph.node] == ["Clip"]


def test_a_lower_limit_of_zero_becomes_relu(golden: Any, images: Any) -> None:
    model = golden("ops.maximum(x, 0.0)", images(4, 5, 6))
    assert [node.op_type for node in model.graph.node] == ["Relu"]
