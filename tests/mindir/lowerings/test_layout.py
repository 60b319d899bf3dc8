"""Reshapes, transposes, slices, joins and splits: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.errors import ConvertError
from tests.mindir.lowerings.agree import agree

CODES = [
    "nn.Flatten()",
    "mint.nn.Flatten()",
    "mint.flatten(x, 2, 3)",
    "x.reshape((x.shape[0], -1))",
    "x.view(x.shape[0], 2, 2, 5, 6)",
    "x.reshape((-1, 4, 30))",
    "ops.transpose(x, (0, 2, 3, 1))",
    "x.transpose(1, 0, 3, 2)",
    "x.swapaxes(1, 2)",
    "mint.transpose(x, 1, -1)",
    "mint.permute(x, (0, 2, 3, 1))",
    "ops.expand_dims(x, 1)",
    "x[:, :, None]",
    "mint.unsqueeze(x, 2)",
    "ops.squeeze(x.mean((2, 3), keep_dims=True), (2, 3))",
    "mint.squeeze(x.mean(1, keep_dims=True), 1)",
    "x[:, 1:3, ::2, :5]",
    "x[:, 0]",
    "x[..., 1:, :-1]",
    "x[:, -1]",
    "ops.narrow(x, 1, 1, 2)",
    "mint.narrow(x, 1, 1, 2)",
    "ops.flip(x, (2,))",
    "ops.cat((x, x * 2), 1)",
    "mint.cat((x, x * 2), -1)",
    "ops.stack((x, x * 2), 1)",
    "ops.split(x, 2, 1)",
    "ops.split(x, [1, 3], 1)",
    "ops.chunk(x, 2, 1)",
    "ops.unstack(x, 1)",
    "mint.split(x, 3, 1)",
    "mint.split(x, (1, 3), 1)",
    "mint.chunk(x, 3, 1)",
    "mint.unbind(x, 1)",
    "ops.tile(x, (1, 2, 1, 3))",
    "ops.broadcast_to(x.mean((2, 3), keep_dims=True), (-1, 4, 5, 6))",
    "ops.gather(x, Tensor([0, 2], ms.int32), 1)",
    "ops.gather(x, Tensor([[0, 2], [1, 1]], ms.int32), 2)",
    "ops.pixel_shuffle(x, 2)",
    "ops.channel_shuffle(x, 2)",
    # ShuffleNetV2's: the even channels, and the odd ones.
    "y = x.reshape((x.shape[0] * 2, 2, 30)).transpose(1, 0, 2).reshape((2, -1, 2, 5, 6))\nreturn y[0] - 2 * y[1]",
    # ReXNet's.
    "x[:, 0:3] += 2 * x[:, 1:4]\nreturn x",
]

#: Operations without a CPU kernel, and what they compute.
EQUIVALENT = {
    "mint.stack((x, x * 2), -1)": "ops.stack((x, x * 2), -1)",
    "mint.index_select(x, 1, Tensor([0, 2], ms.int32))": "ops.gather(x, Tensor([0, 2], ms.int32), 1)",
}

test_is_what_mindspore_computes = agree(CODES, 4, 5, 6)
test_without_a_cpu_kernel = agree(EQUIVALENT, 4, 5, 6)


def test_an_index_of_the_batch_is_refused_unless_it_is_fixed(golden: Any, images: Any) -> None:
    golden("x[0]", images(4, 5, 6), dynamic_batch=False)
    with pytest.raises(ConvertError, match=r"'Squeeze' at node .* works along axis 0, which carries the batch"):
        golden("x[0]", images(4, 5, 6))
