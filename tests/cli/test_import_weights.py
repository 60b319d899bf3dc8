"""``ghostedge import-weights`` writes a checkpoint and says what it recognised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.cli.main import main
from ghostedge.ghostnet.checkpoint import load_checkpoint
from ghostedge.ghostnet.import_weights import PYTORCH_NAMES
from ghostedge.ghostnet.variants import VARIANTS, get_variant, parameter_shapes


@pytest.fixture(scope="module")
def weights(oracle_value: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {PYTORCH_NAMES[k]: oracle_value(k, shape) for k, shape in parameter_shapes(VARIANTS["1.3x"], 7).items()}
    path = tmp_path_factory.mktemp("weights") / "flowers.safetensors"
    safetensors.save_file(tensors | {"bn1.num_batches_tracked": np.array(3)}, path)
    return path


def test_import(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "flowers.ckpt"
    assert main(["import-weights", str(weights), "--output", str(output)]) == 0
    assert capsys.readouterr().out == (
        f"{output}: GhostNetV2 1.3x, 7 classes, nearest gates, from {weights}\n"
        "left out 1 entries that are not weights, such as 'bn1.num_batches_tracked'\n"
    )
    assert load_checkpoint(output).variant == get_variant("1.3x", "nearest")


def test_json_and_another_rule(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "flowers.ckpt"
    rule = ["--gate-upsampling", "bilinear_align_corners"]
    assert main(["import-weights", str(weights), "--output", str(output), *rule, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert (shown["variant"], shown["classes"], shown["ignored_entries"]) == ("1.3x", 7, 1)
    assert shown["gate_upsampling"] == "bilinear_align_corners"
    assert load_checkpoint(output).variant == get_variant("1.3x", "bilinear_align_corners")


def test_a_failure_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-weights", str(tmp_path / "gone.pth"), "--output", str(tmp_path / "x.ckpt")]) == 1
    assert capsys.readouterr().err == f"ghostedge: error: {tmp_path / 'gone.pth'} does not exist\n"
