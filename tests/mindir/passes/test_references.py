"""References, tuples and in-place changes, as MindSpore's own run of the MindIR sees them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.mindir.conversion import convert

BODIES = {
    "chain": "y = ops.relu(x)\ny -= 1.0\ny *= x\ny /= 3.0\ny += x\ny *= 2.0\ny -= x\nreturn y",
    "read before the change": "y = ops.relu(x)\nz = y * 2\ny += x\nreturn z + y",
    "another name of the changed tensor": "y = ops.relu(x)\nw = y\ny += x\nreturn w * 3 + y",
    "a copy made before the change": "y = ops.relu(x)\nw = y.swapaxes(2, 3)\ny += x\nreturn w * 3 + y.swapaxes(2, 3)",
    "the result under the old name": "y = x * 2\ny.mul_(2.0)\nreturn y",
    "the input itself": "x += 1.0\nreturn x * 2",
    "tuples": "a, b = ops.split(x, 2, 1)\nc = (b, (a, b))\nreturn c[1][0] - c[0]",
}


@pytest.mark.parametrize("body", BODIES)
def test_the_onnx_does_what_the_mindir_does(of_mindspore: Any, request: Any, images: Any, body: str) -> None:
    """Not what eager Python does: compiled, MindSpore changes a tensor under all of its names."""
    x = (images(4, 5, 5) / 3)[:1]
    path = of_mindspore.mindir(BODIES[body], x)

    def run() -> Any:
        ms = request.getfixturevalue("ms")
        return ms.nn.GraphCell(ms.load(str(path)))(ms.Tensor(x))

    tolerance = 1e-6  # one or two roundings apart
    (want,) = of_mindspore.answers(BODIES[body], 1, run, tolerance)
    session = require("onnxruntime", "onnx").InferenceSession(convert(path).SerializeToString())
    np.testing.assert_allclose(session.run(None, {"input": x})[0], want, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    "body",
    [
        "y = ops.relu(x)\nw = mint.transpose(y, 2, 3)\ny += x\nreturn w * 3 + y",
        "y = ops.relu(x)\nw = mint.transpose(y, 2, 3)\nw += x\nreturn w * 3 + y",
    ],
    ids=["the base changes", "the view changes"],
)
def test_a_view_of_a_changed_tensor_is_refused(of_mindspore: Any, images: Any, body: str) -> None:
    path = of_mindspore.mindir(body, images(4, 5, 5)[:1])
    with pytest.raises(
        ConvertError, match=r"reads a view of a tensor that 'Default/InplaceAddExt-op0' changed in place"
    ):
        convert(path)


def test_a_second_change_under_the_old_name_is_refused(of_mindspore: Any, images: Any) -> None:
    """MindSpore 2.9 computes 3 x on the CPU where the program says 4 x."""
    path = of_mindspore.mindir("y = x * 2\ny.add_(x)\ny.add_(x)\nreturn y", images(4, 5, 5)[:1])
    with pytest.raises(
        ConvertError, match=r"'Default/InplaceAddExt-op1' \(InplaceAddExt\) changes a tensor in place, under"
    ):
        convert(path)
