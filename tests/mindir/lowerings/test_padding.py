"""Padding: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.errors import ConvertError
from tests.mindir.lowerings.agree import agree

CODES = [
    "ops.pad(x, (1, 2, 3, 4))",
    "ops.pad(x, (1, 2, 3, 4), mode='constant', value=2.0)",
    "ops.pad(x, (1, 2, 3, 3), mode='reflect')",
    "ops.pad(x, (1, 2, 3, 4), mode='replicate')",
    "ops.Pad(((0, 0), (0, 1), (1, 2), (3, 4)))(x)",
    "nn.Pad(((0, 0), (0, 0), (1, 2), (2, 1)))",
    "nn.Pad(((0, 0), (0, 0), (1, 2), (2, 1)), mode='REFLECT')",
    "nn.ReflectionPad2d((1, 2, 3, 1))",
    "nn.ZeroPad2d((1, 2, 3, 4))",
    "nn.ConstantPad2d((1, 2, 3, 4), 1.5)",
]
test_is_what_mindspore_computes = agree(CODES, 4, 5, 6)

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.nn.functional.pad(x, (1, 2, 3, 4))": "ops.pad(x, (1, 2, 3, 4))",
    "mint.nn.functional.pad(x, (1, 2, 3, 4), value=1.5)": "nn.ConstantPad2d((1, 2, 3, 4), 1.5)",
    "mint.nn.ReflectionPad2d((1, 2, 3, 1))": "nn.ReflectionPad2d((1, 2, 3, 1))",
    "mint.nn.ReplicationPad2d((1, 2, 3, 1))": "nn.ReplicationPad2d((1, 2, 3, 1))",
}

test_without_a_cpu_kernel = agree(EQUIVALENT, 4, 5, 6)


def test_a_repeated_border_pixel_is_refused(golden: Any, images: Any) -> None:
    with pytest.raises(ConvertError, match="SYMMETRIC"):
        golden("nn.Pad(((0, 0), (0, 0), (1, 2), (2, 1)), mode='SYMMETRIC')", images(4, 5, 6))
