"""Each operator of a cut model runs on the inputs it is given, and not on what came before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.tflite.interpreter import inspecting_interpreter
from ghostedge.tflite.model import pack, unpack
from ghostedge.tflite.split_at_activations import cut
from ghostedge.tflite.wiring import Wiring

pytest.importorskip("ai_edge_litert")

SPLIT = Path(__file__).parents[1] / "data" / "linear" / "split.tflite"  # MEAN, CUMSUM, FULLY_CONNECTED


@pytest.mark.parametrize("names", [("Mean", "Cumsum", "PartitionedCall:0"), ("Mean", "PartitionedCall:0")])
def test_operators_between_two_cuts_stay_together(names: tuple[str, ...]) -> None:
    model = unpack(SPLIT.read_bytes(), "split")
    wiring = Wiring(model)
    index = {wiring.name(tensor): tensor for tensor in range(len(wiring.graph.tensors))}
    fed = cut(model, [index[name] for name in names])
    assert index["PartitionedCall:0"] not in fed  # nothing reads it
    interpreter = inspecting_interpreter(pack(model), keep=False)
    rng = np.random.default_rng(0)
    image = rng.random((1, 8, 8, 3), np.float32)
    given = {name: rng.random((1, 3), np.float32) for name in names[:-1]}
    interpreter.set_tensor(0, image)
    for name, value in given.items():
        interpreter.set_tensor(fed[index[name]], value)
    interpreter.invoke()
    np.testing.assert_allclose(interpreter.get_tensor(index["Mean"]), image.mean((1, 2)), rtol=1e-5)
    if "Cumsum" in names:
        np.testing.assert_allclose(interpreter.get_tensor(index["Cumsum"]), given["Mean"].cumsum(1), rtol=1e-6)
    last = given.get("Cumsum", given["Mean"].cumsum(1))
    weights = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)
    wanted = last @ weights + np.array([0.1, -0.2, 0.3, 0.0], np.float32)
    np.testing.assert_allclose(interpreter.get_tensor(index["PartitionedCall:0"]), wanted, rtol=1e-5, atol=1e-6)
