"""A checkpoint of a MindCV network loads as that network, or says in one line why it is not one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, CheckpointError, GhostedgeError, MissingExtraError, UsageError
from ghostedge.formats import open_model
from ghostedge.ghostnet.ckpt_format import write_ckpt
from ghostedge.lazy import require
from ghostedge.model import InputSpec
from ghostedge.networks import input_size, load_network, mindcv_name
from ghostedge.pipeline.export import export
from ghostedge.runtimes import open_runtime

NETWORK = "mindcv:mobilenet_v1_025"
CLASSES = 7


@pytest.fixture(scope="module")
def ms() -> Any:
    """MindSpore, on the CPU."""
    pytest.importorskip("mindspore", reason="MindSpore is not installed")
    return require("mindspore", "mindspore")


@pytest.fixture(scope="module")
def cell(ms: Any, oracle_value: Callable[[str, tuple[int, ...]], NDArray[np.float32]]) -> Any:
    """MindCV's smallest network, of seven classes, with weights by rule."""
    mindcv = pytest.importorskip("mindcv.models", reason="MindCV is not installed")
    cell = mindcv.create_model(NETWORK.removeprefix("mindcv:"), num_classes=CLASSES).set_train(False)
    for name, parameter in cell.parameters_dict().items():
        parameter.set_data(ms.Tensor(oracle_value(name, parameter.shape)))
    return cell


@pytest.fixture
def save(cell: Any, tmp_path: Path) -> Callable[..., Path]:
    """`save(**changes)`: its checkpoint with other entries; those set to None are left out."""

    def write(**changes: Any) -> Path:
        weights = {name: parameter.asnumpy() for name, parameter in cell.parameters_dict().items()} | changes
        path = tmp_path / "mobilenet.ckpt"
        write_ckpt(path, {name: array for name, array in weights.items() if array is not None}, {})
        return path

    return write


def error_of(call: Callable[[], Any], kind: type[GhostedgeError]) -> str:
    with pytest.raises(kind) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_its_classes_are_recognised_and_its_logits_are_mindcvs(ms: Any, cell: Any, save: Callable[..., Path]) -> None:
    path = save(global_step=np.array(3.0, np.float32), **{"moments.classifier.bias": np.zeros(CLASSES, np.float32)})
    held = load_network(path, NETWORK)
    assert load_network(path, NETWORK, CLASSES) is held
    assert held.describe() == {
        "network": NETWORK,
        "classes": CLASSES,
        "parameters": sum(parameter.size for parameter in cell.trainable_params()),
        "ignored_entries": 2,
    }
    model = open_model(path, network=NETWORK, input_spec=InputSpec(height=64, width=64, resize=73))
    assert (model.format, model.labels, model.network) == ("checkpoint", (), NETWORK)
    batch = np.random.default_rng(0).standard_normal((2, 3, 64, 64), dtype=np.float32)
    with open_runtime(model) as runtime:
        np.testing.assert_array_equal(runtime.run(batch), cell(ms.Tensor(batch)).asnumpy())


@pytest.mark.slow
def test_it_goes_the_way_of_ghostnetv2(save: Callable[..., Path], tmp_path: Path) -> None:
    """At 64 x 64 pixels, to MindIR and ONNX; docs/networks.md has the other formats."""
    exported = export(checkpoint=save(), network=NETWORK, target="onnx", input_size=64, output=tmp_path / "made")
    assert exported.manifest.source["network"] == NETWORK
    assert exported.manifest.artifacts["onnx_fp32"].reference_difference.snr_db > 100
    made = exported.models["onnx_fp32"]
    assert (made.network, made.input.height, made.input.resize) == (NETWORK, 64, 73)


def test_another_networks_checkpoint_is_one_line(save: Callable[..., Path], oracle_checkpoint: Path) -> None:
    said = error_of(lambda: open_model(oracle_checkpoint, network=NETWORK), CheckpointError)
    assert "is not a checkpoint of mindcv:mobilenet_v1_025: 135 of its 137 parameters are missing (first: " in said
    weight = np.zeros((9, 3, 3, 3), np.float32)
    said = error_of(lambda: load_network(save(**{"features.0.weight": weight}), NETWORK), CheckpointError)
    assert said.endswith("1 differ in shape (first: 'features.0.weight' is (9, 3, 3, 3), not (8, 3, 3, 3))")
    said = error_of(lambda: load_network(save(**{"classifier.bias": None}), NETWORK), CheckpointError)
    assert "1 of its 137 parameters are missing (first: 'classifier.bias')" in said
    assert "7 classes, but 10 were asked for" in error_of(lambda: load_network(save(), NETWORK, 10), CheckpointError)
    nan = np.full(8, np.nan, np.float32)
    said = error_of(lambda: load_network(save(**{"features.1.gamma": nan}), NETWORK), CheckpointError)
    assert "'features.1.gamma' holds 8 NaN" in said


def test_names_that_are_none(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    said = error_of(lambda: mindcv_name("mindcv:mobilenet_v3_smal_100"), UsageError)
    assert said.startswith("unknown network of MindCV 'mobilenet_v3_smal_100'; did you mean 'mobilenet_v3_small_100'")
    assert "list_models() names all" in error_of(lambda: mindcv_name("mindcv:qqq"), UsageError)
    assert "give mindcv:NAME" in error_of(lambda: load_network(save(), "timm:resnet18"), UsageError)
    assert "give mindcv:NAME" in error_of(lambda: load_network(save(), "mindcv:"), UsageError)
    monkeypatch.setitem(sys.modules, "mindcv.models", None)
    monkeypatch.setitem(sys.modules, "mindcv", None)
    said = error_of(lambda: load_network(save(), "mindcv:resnet18"), MissingExtraError)
    assert "the package 'mindcv' is not installed; run: pip install" in said
    assert "[mindcv]'" in said


def test_a_network_is_for_checkpoints(linear_models: dict[str, Path]) -> None:
    said = error_of(lambda: open_model(linear_models["onnx"], network=NETWORK), UsageError)
    assert "is no checkpoint, so that it needs no --network" in said
    assert "does not exist" in error_of(lambda: open_model("absent.ckpt", network=NETWORK), ArtifactError)


@pytest.mark.parametrize(
    ("network", "size"),
    [("", 224), ("mindcv:mobilenet_v2_100_192", 192), ("mindcv:mobilenet_v2_140", 224), ("mindcv:ghostnet_130", 224)],
)
def test_the_name_says_the_size(network: str, size: int) -> None:
    assert input_size(network) == size
