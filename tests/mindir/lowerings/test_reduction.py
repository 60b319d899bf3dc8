"""Reductions: each converts to ONNX that computes what MindSpore computes."""

from __future__ import annotations

from tests.mindir.lowerings.agree import agree

CODES = [
    "ops.mean(x, (2, 3))",
    "ops.mean(x, (2, 3), True)",
    "x.mean((-1, -2))",
    "x.mean(1)",
    "mint.mean(x, (2, 3))",
    "mint.mean(x, (2, 3), True)",
    "ops.sum(x, (2, 3))",
    "ops.ReduceSum(keep_dims=True)(x, (2, 3))",
    "mint.sum(x, (2, 3), True)",
    "ops.amax(x, (2, 3))",
    "ops.amin(x, 1, True)",
    "ops.ReduceProd()(x, 1)",
    "ops.prod(x, 1)",
    "x.max(axis=1)",
    "x.min(axis=1)",
    "ops.max(x, axis=1)",
    "ops.min(x, axis=-1, keepdims=True)",
    "mint.max(x, 1)",
    "mint.min(x, 2)",
    "x.argmax(axis=1)",
    "x.std((2, 3))",
]

test_is_what_mindspore_computes = agree(CODES, 4, 5, 6)
#: Over the images too, which is right for a fixed batch alone.
OVER_IMAGES = ["x.mean()", "mint.max(x)", "x.sum()", "ops.mean(x, 0)"]
test_a_reduction_over_the_images_converts_for_a_fixed_batch = agree(OVER_IMAGES, 4, 5, 6, dynamic_batch=False)
