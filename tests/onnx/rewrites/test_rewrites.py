"""Which rewrites there are, and that unknown names are refused."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.errors import UsageError
from ghostedge.onnx.rewrites import apply_rewrites


def test_an_unknown_name_is_refused_before_anything_is_changed(model: Any) -> None:
    pool = model([("AveragePool", "x", "y", {"kernel_shape": [2, 2]})], {}, (1, 3, 4, 4))
    with pytest.raises(UsageError, match="pool_as_depthwise"):
        apply_rewrites(pool, ["pool_as_depthwise", "pool_as_depth"])
    assert [node.op_type for node in pool.graph.node] == ["AveragePool"]
