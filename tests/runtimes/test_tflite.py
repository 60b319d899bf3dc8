"""What is LiteRT's own: integers in and out, what XNNPACK took, the older package."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.tflite import TFLiteRuntime

pytest.importorskip("ai_edge_litert")

MODELS = Path(__file__).parents[1] / "data" / "linear"  # made by make_tflite.py there
SPEC = InputSpec(layout="NHWC", height=8, width=8, resize=8)
PIXELS = InputSpec(layout="NHWC", height=8, width=8, resize=8, dtype="uint8", range="raw")


def artifact(name: str, spec: InputSpec = SPEC) -> Model:
    return Model(MODELS / f"{name}.tflite", "tflite", spec)


def test_int8_input_and_output(linear_logits: Callable[..., NDArray[Any]]) -> None:
    levels = np.random.default_rng(1).random((5, 1, 1, 3)) * 4 - 1
    images = np.broadcast_to(levels, (5, 8, 8, 3)).astype(np.float32)
    with TFLiteRuntime(artifact("int8")) as runtime:
        logits = runtime.run(images)
    assert logits.dtype == np.float32
    # Half a step of the input (0.0157) in three channels, half a step of the output (0.0409), 8-bit weights.
    np.testing.assert_allclose(logits, linear_logits(images), atol=0.05)


def test_values_beyond_the_quantised_range_are_clipped(linear_logits: Callable[..., NDArray[Any]]) -> None:
    extreme = np.full((1, 8, 8, 3), 1000, np.float32)
    extreme[..., 1] = -1000
    # The input's integers -128..127 stand for (q + 64) * 0.01567.
    ends = np.where(extreme > 0, (127 + 64) * 0.01567, (-128 + 64) * 0.01567)
    with TFLiteRuntime(artifact("int8")) as runtime:
        np.testing.assert_allclose(runtime.run(extreme), linear_logits(ends), atol=0.05)


def test_uint8_pixels_go_in_as_they_are(linear_logits: Callable[..., NDArray[Any]]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
    with TFLiteRuntime(artifact("uint8", PIXELS)) as runtime:
        logits = runtime.run(pixels)
    # Half a step of the output (3.3), 8-bit weights, on logits of size 200.
    np.testing.assert_allclose(logits, linear_logits(pixels), atol=3)


def test_pixels_do_not_go_into_an_int8_input() -> None:
    with pytest.raises(ArtifactError, match="takes int8, its input spec says uint8"):
        TFLiteRuntime(artifact("int8", PIXELS))


@pytest.mark.parametrize(
    ("name", "operators", "partitions", "outside"),
    # The same as LiteRT's verbose log: "Replacing 2 out of 3 node(s) with delegate ...".
    [("fp32", 2, 1, {}), ("int8", 2, 1, {}), ("split", 3, 2, {"CUMSUM": 1}), ("uint8", 4, 1, {"QUANTIZE": 2})],
)
def test_what_the_delegate_took(name: str, operators: int, partitions: int, outside: dict[str, int]) -> None:
    with TFLiteRuntime(artifact(name, PIXELS if name == "uint8" else SPEC)) as runtime:
        assert runtime.info | {"name": 0, "version": 0, "threads": 0} == {
            "name": 0,
            "version": 0,
            "threads": 0,
            "operators": operators,
            "delegate": "XNNPACK",
            "delegate_partitions": partitions,
            "operators_outside_delegate": outside,
            "inference_precision": "f32",  # none of these files allows float16
        }


def test_tflite_runtime_is_taken_where_litert_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    from ai_edge_litert.interpreter import Interpreter

    old, interpreter = ModuleType("tflite_runtime"), ModuleType("tflite_runtime.interpreter")
    old.__version__, interpreter.Interpreter = "2.14.0", Interpreter  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tflite_runtime", old)
    monkeypatch.setitem(sys.modules, "tflite_runtime.interpreter", interpreter)
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with TFLiteRuntime(artifact("fp32")) as runtime:
        assert (runtime.info["name"], runtime.info["version"]) == ("tflite-runtime", "2.14.0")
