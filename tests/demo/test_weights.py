"""The demo's weights are the oracle's, for which others computed the logits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ghostedge.demo.weights import demo_weight, write_demo_checkpoint
from ghostedge.models.checkpoint import load_checkpoint


def test_every_weight_equals_the_oracles(
    oracle_value: Callable[[str, tuple[int, ...]], NDArray[np.float32]], oracle_names: dict[str, list[int]]
) -> None:
    for name, shape in oracle_names.items():
        np.testing.assert_array_equal(demo_weight(name, tuple(shape)), oracle_value(name, tuple(shape)))


def test_the_checkpoint_is_an_official_1x(tmp_path: Path, oracle_names: dict[str, list[int]]) -> None:
    write_demo_checkpoint(tmp_path / "demo.ckpt")
    checkpoint = load_checkpoint(tmp_path / "demo.ckpt")
    assert checkpoint.variant.name == "1x"
    assert checkpoint.variant.gate_upsampling == "bilinear_align_corners"
    assert {name: list(array.shape) for name, array in checkpoint.weights.items()} == oracle_names
