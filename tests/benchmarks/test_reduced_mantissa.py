"""The emulation of formats with fewer bits rounds to just those bits, in NumPy and in MindSpore."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.scripts import load_script

script = load_script(Path(__file__).parents[2] / "benchmarks" / "reduced_mantissa.py")

VALUES = (np.random.default_rng(0).standard_normal(20_000) * 3).astype(np.float32)


@pytest.mark.parametrize("name", ["hf32", "tf32", "float16"])
def test_what_is_kept_is_the_nearest_number_of_so_many_bits(name: str) -> None:
    found, bits = script.rounded(VALUES, name), script.BITS[name]
    dropped = np.uint32(2 ** (23 - bits) - 1)
    assert not (found.view(np.uint32) & dropped)[np.abs(found) > 1e-4].any(), "float16 has fewer below 6e-5"
    step = 2.0 ** (np.floor(np.log2(np.abs(VALUES))) - bits)
    assert (np.abs(found - VALUES) <= np.maximum(step / 2, 2.0**-25)).all()
    assert (found != VALUES).mean() > 0.99
    assert np.array_equal(script.rounded(found, name), found)


def test_only_float16_has_less_range() -> None:
    far = np.array([1e6, 1e-9], np.float32)
    assert np.isinf(script.rounded(far, "float16")[0])
    assert script.rounded(far, "float16")[1] == 0
    assert np.allclose(script.rounded(far, "hf32"), far, rtol=2**-12)


@pytest.mark.parametrize("name", ["hf32", "tf32", "float16"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "graph"])
def test_mindspores_convolution_sees_just_these_numbers(name: str, compiled: bool, ms: Any) -> None:
    """The graph's compiler could have simplified ``large - (large - x)`` to x."""
    plain, reduced = (ms.nn.Conv2d(4, 6, 3, pad_mode="pad", padding=1, weight_init="zeros") for _ in range(2))
    weights = VALUES[:216].reshape(6, 4, 3, 3)
    x = VALUES[1000:1784].reshape(1, 4, 14, 14)
    plain.weight.set_data(ms.Tensor(script.rounded(weights, name)))
    reduced.weight.set_data(ms.Tensor(weights))
    script.round_layer(reduced, name)
    run = ms.jit(reduced) if compiled else reduced
    expected = plain(ms.Tensor(script.rounded(x, name))).asnumpy()
    np.testing.assert_array_equal(run(ms.Tensor(x)).asnumpy(), expected)
    assert not np.array_equal(plain(ms.Tensor(x)).asnumpy(), expected)


@pytest.fixture
def ms() -> Any:
    return pytest.importorskip("mindspore")
