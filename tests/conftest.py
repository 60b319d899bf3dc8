"""Fixtures that the whole suite shares: the oracle's weights and inputs, the photos, one checkpoint made from the oracle."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

DATA = Path(__file__).parent / "data"
SHARED = Path(__file__).resolve().parents[2] / "shared"


def _load_rule() -> ModuleType:
    spec = importlib.util.spec_from_file_location("oracle_rule", DATA / "oracle" / "rule.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def oracle_value() -> Callable[[str, tuple[int, ...]], NDArray[np.float32]]:
    """`value(name, shape)`: the oracle's weight of a parameter, float32."""
    return _load_rule().value


@pytest.fixture(scope="session")
def oracle_inputs() -> NDArray[np.float32]:
    """The oracle's four inputs: float32 (4, 3, 224, 224)."""
    inputs: NDArray[np.float32] = _load_rule().inputs()
    return inputs


@pytest.fixture(scope="session")
def oracle_names() -> dict[str, list[int]]:
    """Official parameter name -> shape, of the 1x network."""
    pairs: list[tuple[str, list[int]]] = json.loads((DATA / "oracle" / "names_1x.json").read_text())
    return dict(pairs)


@pytest.fixture(scope="session")
def oracle_logits() -> dict[str, NDArray[np.float32]]:
    """Network name (``1x``, ``nose_1x``, ``ghostnetv2_100``, ...) -> logits float32 (4, 1000) of the oracle's inputs."""
    merged: dict[str, Any] = {}
    for file in ("official.npz", "timm.npz"):
        with np.load(DATA / "oracle" / file) as archive:
            merged |= {key: archive[key] for key in archive.files}
    return merged


@pytest.fixture(scope="session")
def photo_dir() -> Path:
    """The folder of real ImageNet photos that lies beside the project; the test is skipped where it is absent."""
    folder = SHARED / "images"
    if not folder.is_dir():
        pytest.skip("left out: the ImageNet photos (../shared/images) are not here")
    return folder


@pytest.fixture(scope="session")
def photos(photo_dir: Path) -> list[Path]:
    """The 66 photos, sorted by name."""
    return sorted(photo_dir.glob("*.JPEG"))
