"""What `inspect` counts in a MindIR graph."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.inspection import mindir
from ghostedge.inspection.mindir import inspect_mindir
from ghostedge.mindir.graph import Graph, Node, Value

F32 = np.dtype(np.float32)


def test_products_are_counted_for_one_image_and_bookkeeping_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def weight(name: str, *shape: int) -> Value:
        return Value(name, F32, shape, np.ones(shape, np.float32))

    values = [
        Value("net:x", F32, (2, 3, 8, 8)),
        weight("conv", 4, 3, 3, 3),
        Value("net:a", F32, (2, 4, 6, 6)),
        Value("net:b", F32, (2, 4)),
        weight("dense", 5, 4),
        Value("net:logits", F32, (2, 5)),
    ]
    graph = Graph(
        inputs=("net:x",),
        outputs=("net:logits",),
        nodes=(
            Node("Load", "load", ("conv",), ("loaded",)),
            Node("Conv2D", "conv", ("net:x", "conv"), ("net:a",)),
            Node("ReduceMean", "mean", ("net:a",), ("net:b",)),
            Node("MatMul", "dense", ("net:b", "dense"), ("net:logits",), {"transpose_b": True}),
        ),
        values={value.name: value for value in values},
    )
    path = tmp_path / "net.mindir"
    path.write_bytes(b"12345")
    monkeypatch.setattr(mindir, "read_mindir", lambda source: graph)
    summary = inspect_mindir(path)
    assert summary.macs == 6 * 6 * (4 * 3 * 3 * 3) + 4 * 5
    assert summary.operators == {"Conv2D": 1, "ReduceMean": 1, "MatMul": 1}
    assert summary.weights.parameters == 4 * 3 * 3 * 3 + 5 * 4
    assert [port.name for port in (*summary.inputs, *summary.outputs)] == ["x", "logits"]
    assert summary.file_bytes == 5
