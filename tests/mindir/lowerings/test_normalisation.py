"""Normalisations: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.errors import ConvertError
from tests.mindir.lowerings.agree import agree

CELLS = [
    "nn.BatchNorm2d(4)",
    "nn.BatchNorm2d(4, eps=0.1)",
    "nn.BatchNorm2d(4, affine=False)",
    "nn.LayerNorm((6,))",
    "nn.LayerNorm((5, 6), begin_norm_axis=2, begin_params_axis=2)",
    "nn.GroupNorm(2, 4)",
    "mint.nn.GroupNorm(2, 4)",
    "mint.nn.GroupNorm(2, 4, affine=False)",
]

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.nn.BatchNorm2d(4)": "nn.BatchNorm2d(4)",
    "mint.nn.LayerNorm((5, 6), eps=1e-3)": "nn.LayerNorm((5, 6), 2, 2, epsilon=1e-3)",
    "mint.nn.LayerNorm((6,), elementwise_affine=False)": "(x - x.mean(3, True)) * ops.rsqrt(x.var(3, 0, True) + 1e-5)",
}

test_is_what_mindspore_computes = agree(CELLS, 4, 5, 6)
test_without_a_cpu_kernel = agree(EQUIVALENT, 4, 5, 6)
test_batch_norm_of_vectors = agree(["nn.BatchNorm1d(6)"], 6)


def test_statistics_of_the_batch_are_refused(golden: Any, images: Any) -> None:
    with pytest.raises(ConvertError, match=r"set_train\(False\)"):
        golden("nn.BatchNorm2d(4, use_batch_statistics=True)", images(4, 5, 6))
