from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.ghostnet.checkpoint import save_checkpoint
from ghostedge.ghostnet.variants import get_variant

pytest.importorskip("timm", reason="left out: the training recipe needs timm")


import chain


@pytest.fixture(scope="module")
def oracle_network(
    oracle_names: dict[str, list[int]], oracle_value: Callable[..., NDArray[np.float32]], tmp_path_factory: Any
) -> Any:
    path: Path = tmp_path_factory.mktemp("oracle") / "oracle.ckpt"
    weights = {name: oracle_value(name, tuple(shape)) for name, shape in oracle_names.items()}
    save_checkpoint(path, weights, get_variant("1x"))
    return chain.load_network(path)


def test_the_trained_network_is_the_official_one(
    oracle_network: Any, oracle_inputs: NDArray[np.float32], oracle_logits: dict[str, NDArray[np.float32]]
) -> None:
    logits = chain.logits_of(oracle_network, oracle_inputs.transpose(0, 2, 3, 1))
    # Two float32 implementations with another order of summation; logits have a standard deviation of about 1.
    np.testing.assert_allclose(logits, oracle_logits["1x"], atol=1e-4)


@pytest.mark.parametrize("fault", chain.NETWORK_FAULTS)
def test_each_fault_of_the_network_changes_its_logits(
    fault: str, oracle_network: Any, oracle_inputs: NDArray[np.float32], oracle_logits: dict[str, NDArray[np.float32]]
) -> None:
    broken = chain.NETWORK_FAULTS[fault](oracle_network)
    logits = chain.logits_of(broken, oracle_inputs.transpose(0, 2, 3, 1))
    chain.set_gates(oracle_network)
    assert np.abs(logits - oracle_logits["1x"]).max() > 0.01


@pytest.mark.parametrize("fault", chain.INPUT_FAULTS)
def test_each_fault_of_the_input_changes_the_pixels(fault: str) -> None:
    spec, to_input = chain.INPUT_FAULTS[fault]
    noise = np.random.default_rng(0).integers(0, 256, (400, 500, 3), np.uint8)
    sound = chain.normalise(chain.resize_and_crop(noise, chain.SPEC), chain.SPEC)
    resized: Any = chain.resize_and_crop(noise, spec)
    assert np.abs(to_input(resized) - sound).mean() > 0.1
