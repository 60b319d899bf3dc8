"""Checkpoints load whole and right, or say in one line what is wrong with which tensor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError
from ghostedge.ghostnet.checkpoint import RECORD_KEY, load_checkpoint, recognise, save_checkpoint
from ghostedge.ghostnet.ckpt_format import CkptContent, parse_ckpt, write_ckpt
from ghostedge.ghostnet.variants import VARIANTS, get_variant, parameter_shapes

Weights = dict[str, NDArray[Any]]


@pytest.fixture
def save(tmp_path: Path, oracle_weights: Weights) -> Callable[..., Path]:
    """`save(changes)`: a checkpoint with the oracle's weights, `changes` put in; those set to None are left out."""

    def write(changes: dict[str, Any] | None = None, texts: dict[str, str] | None = None) -> Path:
        merged = oracle_weights | (changes or {})
        path = tmp_path / "model.ckpt"
        write_ckpt(path, {name: array for name, array in merged.items() if array is not None}, texts or {})
        return path

    return write


def error_of(path: Path, num_classes: int | None = None) -> str:
    """The one line that loading `path` fails with."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path, num_classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_official_checkpoint(oracle_checkpoint: Path, oracle_weights: Weights) -> None:
    checkpoint = load_checkpoint(oracle_checkpoint)
    assert checkpoint.variant == VARIANTS["1x"]
    assert (checkpoint.num_classes, checkpoint.ignored) == (1000, ())
    assert checkpoint.sha256 == hashlib.sha256(oracle_checkpoint.read_bytes()).hexdigest()
    assert checkpoint.weights.keys() == oracle_weights.keys()
    for name, array in checkpoint.weights.items():
        np.testing.assert_array_equal(array, oracle_weights[name])
    # The paper says 6.1 M parameters, of 1x with 1000 classes.
    assert checkpoint.describe() == {
        "network": "GhostNetV2",
        "variant": "1x",
        "gate_upsampling": "bilinear_align_corners",
        "gate_upsampling_recorded": False,
        "classes": 1000,
        "parameters": 6_156_908,
        "ignored_entries": 0,
    }


def test_what_weights_do_not_tell_is_recorded(tmp_path: Path, oracle_weights: Weights) -> None:
    save_checkpoint(tmp_path / "model.ckpt", oracle_weights, get_variant("1x", "nearest"), file="origin.pth")
    checkpoint = load_checkpoint(tmp_path / "model.ckpt")
    assert checkpoint.variant == get_variant("1x", "nearest")
    assert checkpoint.gate_upsampling_recorded
    assert '"file": "origin.pth"' in parse_ckpt((tmp_path / "model.ckpt").read_bytes(), "").texts[RECORD_KEY]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("classes", [1, 10, 1000])
def test_shapes_tell_variant_and_classes(name: str, classes: int) -> None:
    found = recognise(parameter_shapes(VARIANTS[name], classes), "x.ckpt")
    assert (found.variant.name, found.num_classes) == (name, classes)


def test_training_state_is_left_out_and_named(save: Callable[..., Path], oracle_weights: Weights) -> None:
    extras = {
        "global_step": np.array(700.0, np.float32),
        "learning_rate": np.array([0.1], np.float32),
        "moments.conv_stem.weight": oracle_weights["conv_stem.weight"] * 0,
        "ema.blocks.0.ghost1.primary_conv.bn.gamma": oracle_weights["blocks.0.ghost1.primary_conv.bn.gamma"],
    }
    checkpoint = load_checkpoint(save(extras))
    assert checkpoint.ignored == tuple(extras)
    assert checkpoint.weights.keys() == oracle_weights.keys()


def test_what_somebody_holds_is_not_parsed_again(oracle_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []

    def counted(data: bytes, name: str) -> CkptContent:
        parsed.append(name)
        return parse_ckpt(data, name)

    monkeypatch.setattr("ghostedge.ghostnet.checkpoint.parse_ckpt", counted)
    held = load_checkpoint(oracle_checkpoint)
    assert load_checkpoint(oracle_checkpoint, 1000) is held
    with pytest.raises(CheckpointError, match="1000 classes, but 10 were asked for"):
        load_checkpoint(oracle_checkpoint, 10)
    assert len(parsed) == 1
    del held
    load_checkpoint(oracle_checkpoint)  # nobody kept it in memory
    assert len(parsed) == 2


def test_half_precision_weights_become_float32(
    oracle_weights: Weights, oracle_checkpoint: Path, monkeypatch: Any
) -> None:
    halves = CkptContent({name: array.astype(np.float16) for name, array in oracle_weights.items()}, {})
    monkeypatch.setattr("ghostedge.ghostnet.checkpoint.parse_ckpt", lambda data, name: halves)
    weights = load_checkpoint(oracle_checkpoint).weights
    assert {array.dtype for array in weights.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(weights["conv_stem.weight"], oracle_weights["conv_stem.weight"], rtol=1e-3, atol=1e-4)


def test_safetensors_with_official_names(tmp_path: Path, oracle_weights: Weights) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(oracle_weights, tmp_path / "model.safetensors")
    assert load_checkpoint(tmp_path / "model.safetensors").variant == VARIANTS["1x"]
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-1000])
    assert "not a whole safetensors file" in error_of(tmp_path / "model.safetensors")


def test_files_that_are_not_there_or_hold_nothing(tmp_path: Path) -> None:
    assert error_of(tmp_path / "absent.ckpt").endswith("absent.ckpt does not exist")
    assert "is a folder" in error_of(tmp_path)
    (tmp_path / "empty.ckpt").touch()
    assert "is empty (0 bytes)" in error_of(tmp_path / "empty.ckpt")


def test_truncated(save: Callable[..., Path]) -> None:
    path = save()
    path.write_bytes(path.read_bytes()[:2_000_000])
    assert "is truncated or damaged after 'blocks." in error_of(path)


def test_another_network_names_the_first_missing_and_unexpected(tmp_path: Path) -> None:
    other: Weights = {"conv1.weight": np.ones((64, 3, 7, 7), np.float32), "fc.bias": np.ones(10, np.float32)}
    write_ckpt(tmp_path / "resnet.ckpt", other, {})
    message = error_of(tmp_path / "resnet.ckpt")
    assert "642 of its 642 parameters are missing (first: 'conv_stem.weight')" in message
    assert "2 are unexpected (first: 'conv1.weight')" in message


def test_one_missing_and_one_unexpected(save: Callable[..., Path], oracle_weights: Weights) -> None:
    message = error_of(save({"bn1.gamma": None, "bn1.scale": oracle_weights["bn1.gamma"]}))
    assert "of the nearest variant, 1x, 1 of its 642 parameters are missing (first: 'bn1.gamma')" in message
    assert "1 are unexpected (first: 'bn1.scale')" in message


def test_a_wrong_shape_names_tensor_and_both_shapes(save: Callable[..., Path]) -> None:
    message = error_of(save({"blocks.2.ghost1.short_conv.1.conv.weight": np.zeros((72, 1, 5, 1))}))
    assert "'blocks.2.ghost1.short_conv.1.conv.weight' has shape (72, 1, 5, 1)" in message
    assert "1x needs (72, 1, 1, 5)" in message


def test_a_classifier_that_does_not_agree_with_itself(save: Callable[..., Path]) -> None:
    message = error_of(save({"classifier.bias": np.zeros(10)}))
    assert "'classifier.weight' has shape (1000, 1280)" in message
    assert "needs (10, 1280)" in message


def test_another_number_of_classes_than_asked_for(oracle_checkpoint: Path) -> None:
    assert load_checkpoint(oracle_checkpoint, 1000).num_classes == 1000
    assert "has 1000 classes, but 10 were asked for" in error_of(oracle_checkpoint, 10)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(save: Callable[..., Path], oracle_weights: Weights, bad: float) -> None:
    array = oracle_weights["conv_head.bias"].copy()
    array[[3, 5]] = bad
    assert "'conv_head.bias' holds 2 NaN or infinite value(s)" in error_of(save({"conv_head.bias": array}))


def test_a_negative_variance_is_named(save: Callable[..., Path]) -> None:
    message = error_of(save({"bn1.moving_variance": np.full(16, -0.5)}))
    assert "'bn1.moving_variance' goes below zero (-0.5)" in message


def test_pytorch_weights_are_sent_to_the_import(
    save: Callable[..., Path], tmp_path: Path, oracle_weights: Weights
) -> None:
    (tmp_path / "a.pth.tar").write_bytes(b"PK\x03\x04rest")
    assert f"ghostedge import-weights {tmp_path / 'a.pth.tar'} --output a.ckpt" in error_of(tmp_path / "a.pth.tar")
    message = error_of(save({"bn1.moving_mean": None, "bn1.running_mean": oracle_weights["bn1.moving_mean"]}))
    assert "ghostedge import-weights" in message


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("{", "is damaged"),
        ("[]", "is damaged"),
        ("[" * 100_000, "is damaged"),
        ('{"schema_version": 2, "gate_upsampling": "nearest"}', "has schema version 2"),
        ('{"schema_version": 1, "gate_upsampling": "bicubic"}', "gate upsampling 'bicubic'"),
    ],
)
def test_a_record_that_cannot_be_read_is_not_guessed(save: Callable[..., Path], record: str, reason: str) -> None:
    assert reason in error_of(save(texts={RECORD_KEY: record}))
