"""Weights of timm and PyTorch become checkpoints with the same logits, and their pickles never run code."""

from __future__ import annotations

import argparse
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError, UsageError
from ghostedge.ghostnet.checkpoint import load_checkpoint
from ghostedge.ghostnet.import_weights import PYTORCH_NAMES, import_weights
from ghostedge.ghostnet.variants import VARIANTS, get_variant, parameter_shapes

ORACLE = Path(__file__).parents[1] / "data" / "oracle"

# Float32 arithmetic in another order: 2e-6 measured against both timm and its stored logits.
TOLERANCE = 1e-5

Value = Callable[[str, tuple[int, ...]], NDArray[np.float32]]
Weights = dict[str, NDArray[np.float32]]


@pytest.fixture(scope="module")
def pytorch_weights(oracle_value: Value) -> Callable[[str, int], Weights]:
    """`pytorch_weights(variant, classes)`: PyTorch name -> the oracle's weight of that name."""

    def make(name: str, classes: int = 1000) -> Weights:
        shapes = parameter_shapes(VARIANTS[name], classes)
        return {PYTORCH_NAMES[key]: oracle_value(PYTORCH_NAMES[key], shape) for key, shape in shapes.items()}

    return make


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch")


def _logits(checkpoint: Path, images: NDArray[np.float32]) -> NDArray[np.float32]:
    ms = pytest.importorskip("mindspore")
    from ghostedge.ghostnet.cell import build_cell

    loaded = load_checkpoint(checkpoint)
    found: NDArray[np.float32] = build_cell(loaded.variant, loaded.weights)(ms.Tensor(images)).asnumpy()
    return found


def test_the_name_map_is_timms() -> None:
    timm_shapes = {name: tuple(shape) for name, shape in json.loads((ORACLE / "names_timm.json").read_text())}
    shapes = parameter_shapes(VARIANTS["1x"], 1000)
    assert {PYTORCH_NAMES[name]: shape for name, shape in shapes.items()} == timm_shapes


@pytest.mark.parametrize(
    ("timm_name", "variant"), [("ghostnetv2_100", "1x"), ("ghostnetv2_130", "1.3x"), ("ghostnetv2_160", "1.6x")]
)
def test_timm_safetensors_give_timms_logits(
    timm_name: str,
    variant: str,
    pytorch_weights: Callable[[str], Weights],
    oracle_inputs: NDArray[np.float32],
    oracle_logits: dict[str, NDArray[np.float32]],
    tmp_path: Path,
) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file(pytorch_weights(variant), tmp_path / "model.safetensors")
    imported = import_weights(tmp_path / "model.safetensors", tmp_path / "model.ckpt")
    assert imported.variant == get_variant(variant, "nearest")
    assert imported.num_classes == 1000
    found = _logits(tmp_path / "model.ckpt", oracle_inputs[:2])
    np.testing.assert_allclose(found, oracle_logits[timm_name][:2], rtol=0, atol=TOLERANCE)


def test_a_training_checkpoint_of_timm_at_an_odd_size(
    torch: Any, pytorch_weights: Callable[[str, int], Weights], oracle_inputs: NDArray[np.float32], tmp_path: Path
) -> None:
    timm = pytest.importorskip("timm")
    model = timm.create_model("ghostnetv2_100", num_classes=10).eval()
    average = {name: torch.from_numpy(array) for name, array in pytorch_weights("1x", 10).items()}
    model.load_state_dict(average, strict=False)
    saved = {
        "epoch": 3,
        "args": argparse.Namespace(model="ghostnetv2_100"),
        "state_dict": {f"module.{name}": torch.zeros_like(tensor) for name, tensor in model.state_dict().items()},
        # num_batches_tracked comes with PyTorch's BatchNorm, the counts with the profiler of the paper's files.
        "state_dict_ema": {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
        | {"module.total_ops": torch.zeros(1, dtype=torch.float64), "module.bn1.total_params": torch.zeros(1)},
    }
    torch.save(saved, tmp_path / "model.pth.tar")
    imported = import_weights(tmp_path / "model.pth.tar", tmp_path / "model.ckpt")
    assert (imported.variant.name, imported.num_classes, imported.entry) == ("1x", 10, "state_dict_ema")
    assert "total_ops" in imported.ignored
    assert "bn1.num_batches_tracked" in imported.ignored
    # Every gate has to upsample to an odd size here: 97 x 65 is 49 x 33, 25 x 17, 13 x 9, 7 x 5, 4 x 3.
    images = np.ascontiguousarray(oracle_inputs[:2, :, :97, :65])
    with torch.no_grad():
        expected = model(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(_logits(tmp_path / "model.ckpt", images), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("entry", ["", "model", "state_dict"])
def test_where_weights_may_be_nested(
    torch: Any, entry: str, pytorch_weights: Callable[[str, int], Weights], tmp_path: Path
) -> None:
    state = {name: torch.from_numpy(array).half() for name, array in pytorch_weights("nose_1x", 3).items()}
    torch.save({entry: state} if entry else state, tmp_path / "model.pth")
    imported = import_weights(tmp_path / "model.pth", tmp_path / "model.ckpt")
    assert (imported.entry, imported.variant.name) == (entry, "nose_1x")
    found = load_checkpoint(tmp_path / "model.ckpt").weights["bn1.gamma"]
    np.testing.assert_array_equal(found, state["bn1.weight"].float().numpy())


def _refused(source: Path, output: Path) -> str:
    with pytest.raises(CheckpointError) as caught:
        import_weights(source, output)
    assert not output.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class Payload:
    """A pickle that makes a file when it is loaded."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return (open, (str(self.proof), "w"))


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle", "inside Namespace"])
def test_a_malicious_pickle_is_refused_and_does_not_run(
    torch: Any, container: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof, source = tmp_path / "code ran", tmp_path / "model.pth"
    payload = Payload(proof)
    pickle.loads(pickle.dumps(payload)).close()
    assert proof.exists(), "the payload must be able to run"
    proof.unlink()
    monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")  # PyTorch's switch to run code must not reach us
    weights = {"conv_stem.weight": torch.zeros(16, 3, 3, 3)}
    if container == "pickle":
        source.write_bytes(pickle.dumps(payload, protocol=2))
    elif container == "inside Namespace":
        torch.save({"state_dict": weights, "args": argparse.Namespace(x=payload)}, source)
    else:
        torch.save({"state_dict": weights, "x": payload}, source, _use_new_zipfile_serialization=container == "zip")
    message = _refused(source, tmp_path / "model.ckpt")
    assert not proof.exists()
    assert "open', which could run code" in message
    assert "torch.save(model.state_dict(), ...)" in message


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<html>404</html>", "neither a PyTorch file nor safetensors"),
        (b"PK\x03\x04" + bytes(100), "neither a PyTorch file nor safetensors"),
        (b"\x10\0\0\0\0\0\0\0{not json", "not a whole safetensors file"),
    ],
)
def test_files_that_are_no_weights(torch: Any, data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(data)
    assert reason in _refused(tmp_path / "model.pth", tmp_path / "model.ckpt")


def test_a_pickle_of_something_else(torch: Any, tmp_path: Path) -> None:
    torch.save([1, 2], tmp_path / "list.pth")
    assert "holds a list, not weights by name" in _refused(tmp_path / "list.pth", tmp_path / "model.ckpt")
    torch.save({"epoch": 3, "weights": torch.zeros(2)}, tmp_path / "other.pth")
    assert "entry 'epoch' is a int, not a tensor" in _refused(tmp_path / "other.pth", tmp_path / "model.ckpt")


def test_errors_use_the_names_of_the_source(pytorch_weights: Callable[[str, int], Weights], tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors.numpy")
    source, output = tmp_path / "model.safetensors", tmp_path / "model.ckpt"
    weights = pytorch_weights("1x", 5)

    def refused_with(**changes: Any) -> str:
        merged = weights | {name.replace("__", "."): array for name, array in changes.items()}
        safetensors.save_file({name: array for name, array in merged.items() if array is not None}, source)
        return _refused(source, output)

    message = refused_with(blocks__3__0__conv_dw__weight=None, extra__scale=np.ones(4, np.float32))
    assert "1 of its 642 parameters are missing (first: 'blocks.3.0.conv_dw.weight')" in message
    assert "1 are unexpected (first: 'extra.scale')" in message
    message = refused_with(blocks__3__0__conv_dw__weight=np.zeros((72, 1, 3, 3), np.float32))
    assert "'blocks.3.0.conv_dw.weight' has shape (72, 1, 3, 3), but GhostNetV2 1x needs (72, 1, 5, 5)" in message
    message = refused_with(bn1__running_var=np.full(16, np.nan, np.float32))
    assert "'bn1.running_var' holds 16 NaN" in message
    message = refused_with(bn1__bias=np.zeros(16, np.int32))
    assert "'bn1.bias' is int32, not floating point" in message


def test_ghostnet_without_v2_is_another_network(torch: Any, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    torch.save(timm.create_model("ghostnet_100").state_dict(), tmp_path / "model.pth")
    message = _refused(tmp_path / "model.pth", tmp_path / "model.ckpt")
    assert "parameters are missing (first: 'blocks.2.0.ghost1.short_conv.0.weight')" in message


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"weights")
    with pytest.raises(UsageError, match="is the source itself"):
        import_weights(tmp_path / "model.ckpt", tmp_path / "model.ckpt")
    with pytest.raises(UsageError, match=r"call the output model\.pth\.ckpt"):
        import_weights(tmp_path / "model.ckpt", tmp_path / "model.pth")
    with pytest.raises(UsageError, match="did you mean 'nearest'"):
        import_weights(tmp_path / "model.ckpt", tmp_path / "x.ckpt", "neerest")
    assert (tmp_path / "model.ckpt").read_bytes() == b"weights"


def test_a_mindspore_checkpoint_gets_another_upsampling_recorded(oracle_checkpoint: Path, tmp_path: Path) -> None:
    output = tmp_path / "nearest.ckpt"
    import_weights(oracle_checkpoint, output, "nearest")
    before, after = load_checkpoint(oracle_checkpoint), load_checkpoint(output)
    assert (before.variant.gate_upsampling, before.gate_upsampling_recorded) == ("bilinear_align_corners", False)
    assert (after.variant.gate_upsampling, after.gate_upsampling_recorded) == ("nearest", True)
    assert all(np.array_equal(before.weights[name], after.weights[name]) for name in before.weights)


def test_a_mindspore_checkpoint_needs_the_upsampling_said(oracle_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="give --gate-upsampling"):
        import_weights(oracle_checkpoint, tmp_path / "same.ckpt")
    assert not (tmp_path / "same.ckpt").exists()
