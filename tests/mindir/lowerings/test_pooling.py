"""Pooling: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ConvertError

POOLS = [
    "nn.MaxPool2d(3, 2)",
    "nn.MaxPool2d(3, 2, pad_mode='same')",
    "nn.MaxPool2d((2, 3), (2, 1), pad_mode='same')",
    "nn.MaxPool2d(3, 2, pad_mode='pad', padding=1)",
    "nn.MaxPool2d(3, 2, pad_mode='pad', padding=1, ceil_mode=True)",
    "nn.MaxPool2d(2, 2, pad_mode='pad', ceil_mode=True)",
    "nn.MaxPool2d(3, 2, pad_mode='pad', padding=1, dilation=2)",
    "ops.max_pool2d(x, 3, 2, 1)",
    "ops.max_pool2d(x, (3, 5), (2, 3), (1, 2))",
    "ops.max_pool2d(x, 2, 2, 0, ceil_mode=True)",
    "nn.AvgPool2d(2, 2)",
    "nn.AvgPool2d(3, 2, pad_mode='same')",
    "nn.AvgPool2d(3, 2, pad_mode='pad', padding=1)",
    "nn.AvgPool2d(3, 2, pad_mode='pad', padding=1, count_include_pad=False)",
    "nn.AvgPool2d(2, 2, pad_mode='pad', ceil_mode=True)",
    "nn.AvgPool2d(3, 2, pad_mode='pad', padding=1, ceil_mode=True)",
    "nn.AvgPool2d(3, 2, pad_mode='pad', padding=1, ceil_mode=True, count_include_pad=False)",
    "nn.AvgPool2d(3, 2, pad_mode='pad', padding=1, divisor_override=5)",
    "ops.avg_pool2d(x, (3, 5), (2, 3), (1, 1, 2, 2))",
    "nn.AdaptiveAvgPool2d(1)",
    "nn.AdaptiveAvgPool2d((4, 5))",
    "nn.AdaptiveAvgPool2d((None, 5))",
    "nn.AdaptiveAvgPool2d((8, 10))",
    "nn.AdaptiveMaxPool2d(1)",
    "nn.AdaptiveMaxPool2d((4, 5))",
]


#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.nn.MaxPool2d(3, 2, padding=1)": "ops.max_pool2d(x, 3, 2, 1)",
    "mint.nn.MaxPool2d(3, 2, padding=1, ceil_mode=True)": "ops.max_pool2d(x, 3, 2, 1, ceil_mode=True)",
    "mint.nn.AvgPool2d(3, 2, padding=1)": "ops.avg_pool2d(x, 3, 2, 1)",
    "mint.nn.AvgPool2d((3, 5), (2, 3), (1, 2), count_include_pad=False)": (
        "ops.avg_pool2d(x, (3, 5), (2, 3), (1, 1, 2, 2), count_include_pad=False)"
    ),
    "mint.nn.AdaptiveAvgPool2d((2, 2))": "nn.AdaptiveAvgPool2d((2, 2))",
}


@pytest.fixture
def signs(images: Any) -> Any:
    """Images of four channels, two all negative and two all positive: a zero of the padding is no maximum by luck."""
    return images(4, 8, 10) + np.array([-9, 9, -9, 9], np.float32).reshape(4, 1, 1)


@pytest.mark.parametrize("code", POOLS)
def test_is_what_mindspore_computes(golden: Any, signs: Any, code: str) -> None:
    golden(code, signs)


@pytest.mark.parametrize("code", EQUIVALENT)
def test_without_a_cpu_kernel(golden: Any, signs: Any, code: str) -> None:
    golden(code, signs, reference=EQUIVALENT[code])


def test_padded_pools_do_not_keep_the_third_axis_that_mindspore_gives_them(golden: Any, images: Any) -> None:
    model = golden("nn.MaxPool2d(3, 2, pad_mode='pad', padding=1)", images(4, 8, 10))
    assert [node.op_type for node in model.graph.node] == ["MaxPool"]


def test_unequal_parts_are_refused(golden: Any, images: Any) -> None:
    with pytest.raises(ConvertError, match=r"'AdaptiveAvgPool2D' at node .* cannot pool \(8, 10\) into \(3, 3\)"):
        golden("nn.AdaptiveAvgPool2d(3)", images(4, 8, 10))


def test_the_places_of_the_maxima_are_refused(golden: Any, images: Any) -> None:
    with pytest.raises(ConvertError, match="its output 1 has no ONNX counterpart"):
        golden("ops.max_pool2d(x, 3, 2, 1, return_indices=True)", images(4, 8, 10))
