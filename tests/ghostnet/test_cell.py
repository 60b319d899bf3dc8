"""The Cell is the network that nobody in this project wrote: it gives the oracle's logits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.ghostnet.cell import build_cell
from ghostedge.ghostnet.variants import MIN_INPUT_SIZE, VARIANTS, Variant, get_variant, parameter_shapes

ms = pytest.importorskip("mindspore")

# Float32 arithmetic in another order: 2e-6 measured; the smallest fault of the gates costs 3e-2.
TOLERANCE = 1e-5

Value = Callable[[str, tuple[int, ...]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def logits(oracle_value: Value) -> Callable[[Variant, NDArray[np.float32], int], NDArray[np.float32]]:
    """`logits(variant, images, classes)` with the oracle's weights."""

    def run(variant: Variant, images: NDArray[np.float32], classes: int = 1000) -> NDArray[np.float32]:
        weights = {name: oracle_value(name, shape) for name, shape in parameter_shapes(variant, classes).items()}
        found: NDArray[np.float32] = build_cell(variant, weights)(ms.Tensor(images)).asnumpy()
        return found

    return run


@pytest.mark.parametrize("name", ["1x", "nose_1x"])
def test_it_gives_the_official_logits(
    name: str, logits: Any, oracle_inputs: NDArray[np.float32], oracle_logits: dict[str, NDArray[np.float32]]
) -> None:
    found = logits(VARIANTS[name], oracle_inputs)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, oracle_logits[name], rtol=0, atol=TOLERANCE)


def test_nearest_gates_are_seen(
    logits: Any, oracle_inputs: NDArray[np.float32], oracle_logits: dict[str, NDArray[np.float32]]
) -> None:
    found = logits(get_variant("1x", "nearest"), oracle_inputs[:1])
    assert np.abs(found - oracle_logits["1x"][:1]).max() > 0.05


@pytest.mark.parametrize("name", VARIANTS)
def test_the_cell_has_the_parameters_that_the_data_says(name: str, oracle_value: Value) -> None:
    shapes = parameter_shapes(VARIANTS[name], 7)
    cell = build_cell(VARIANTS[name], {key: np.zeros(shape, np.float32) for key, shape in shapes.items()})
    assert [(key, parameter.shape) for key, parameter in cell.parameters_dict().items()] == list(shapes.items())


def test_the_smallest_input_and_one_image_alone(oracle_value: Value, oracle_inputs: NDArray[np.float32]) -> None:
    shapes = parameter_shapes(VARIANTS["1x"], 10)
    cell = build_cell(VARIANTS["1x"], {name: oracle_value(name, shape) for name, shape in shapes.items()})
    images = np.ascontiguousarray(oracle_inputs[:2, :, :MIN_INPUT_SIZE, :MIN_INPUT_SIZE])
    both = cell(ms.Tensor(images)).asnumpy()
    assert both.shape == (2, 10)
    assert np.abs(both[0] - both[1]).max() > 0.01
    np.testing.assert_allclose(cell(ms.Tensor(images[1:])).asnumpy(), both[1:], rtol=0, atol=TOLERANCE)
