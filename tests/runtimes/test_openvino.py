"""What is OpenVINO's own: two files, the precision that is really computed with."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.openvino import OpenVinoRuntime

SPEC = InputSpec(height=8, width=8, resize=8)


def artifact(path: Path) -> Model:
    return Model(path, "openvino", SPEC)


def test_it_computes_in_float32(linear_models: dict[str, Path]) -> None:
    with OpenVinoRuntime(artifact(linear_models["openvino"])) as runtime:
        assert runtime.info["inference_precision"] == "f32"
        # In float16 or bfloat16 the mean would be off by 1e-3 or more.
        pixels = np.full((1, 3, 8, 8), 1.2345678, np.float32)
        assert abs(float(runtime.run(pixels)[0, 2]) - (0.3 - 1.2345678)) < 1e-6


def test_float16_weights_are_widened(linear_models: dict[str, Path], tmp_path: Path) -> None:
    openvino = require("openvino", "openvino")
    model = openvino.Core().read_model(linear_models["openvino"])
    openvino.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
    pixels = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    with (
        OpenVinoRuntime(artifact(linear_models["openvino"])) as whole,
        OpenVinoRuntime(artifact(tmp_path / "half.xml")) as half,
    ):
        # The weights are exact in float16, the bias (0.1, -0.2, 0.3) is not: 2^-13 at most.
        difference = np.abs(whole.run(pixels) - half.run(pixels)).max()
    assert 0 < difference < 2**-13


def test_the_weights_are_missing_or_cut(linear_models: dict[str, Path], tmp_path: Path) -> None:
    source, path = linear_models["openvino"], tmp_path / "model.xml"
    shutil.copy(source, path)
    with pytest.raises(ArtifactError, match=r"model\.bin does not exist"):
        OpenVinoRuntime(artifact(path))
    path.with_suffix(".bin").write_bytes(source.with_suffix(".bin").read_bytes()[:-20])
    with pytest.raises(ArtifactError, match="is not an OpenVINO IR that can be loaded") as error:
        OpenVinoRuntime(artifact(path))
    assert "\n" not in str(error.value)
