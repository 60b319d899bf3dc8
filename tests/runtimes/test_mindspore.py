"""MindSpore runs checkpoints and MindIR files alike, and is the oracle's own framework."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ArtifactError, CheckpointError, GhostedgeError, UsageError
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.ghostnet.cell import build_cell, mindspore_on
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import open_runtime
from ghostedge.runtimes.mindspore import MindSporeRuntime

pytest.importorskip("mindspore")

TOLERANCE = 1e-5  # float32 arithmetic in another order: 2e-6 measured


@pytest.fixture(scope="module")
def checkpoint(oracle_checkpoint: Path) -> Model:
    return Model(oracle_checkpoint, "checkpoint", InputSpec())


@pytest.fixture(scope="module")
def mindir(oracle_mindir: Path) -> Model:
    return Model(oracle_mindir, "mindir", InputSpec())


@pytest.mark.parametrize("source", ["checkpoint", "mindir"])
def test_both_give_the_official_logits(
    source: str,
    request: pytest.FixtureRequest,
    oracle_inputs: NDArray[np.float32],
    oracle_logits: dict[str, NDArray[np.float32]],
) -> None:
    with open_runtime(request.getfixturevalue(source), threads=2) as runtime:
        assert runtime.info["name"] == "mindspore"
        assert runtime.info["mode"] == ("eager" if source == "checkpoint" else "graph")
        logits = runtime.run(oracle_inputs)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, oracle_logits["1x"], rtol=0, atol=TOLERANCE)
    with pytest.raises(ArtifactError, match="closed"):
        runtime.run(oracle_inputs)


def test_a_compiled_checkpoint_cuts_and_fills_batches(
    checkpoint: Model, oracle_inputs: NDArray[np.float32], oracle_logits: dict[str, NDArray[np.float32]]
) -> None:
    with MindSporeRuntime(checkpoint, batch_size=3) as runtime:
        assert (runtime.info["mode"], runtime.info["batch_size"]) == ("graph", 3)
        np.testing.assert_allclose(runtime.run(oracle_inputs), oracle_logits["1x"], rtol=0, atol=TOLERANCE)
        np.testing.assert_allclose(runtime.run(oracle_inputs[2:3]), oracle_logits["1x"][2:3], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((1, 3, 224, 224), np.float64),
        np.zeros((1, 224, 224, 3), np.float32),
        np.zeros((0, 3, 224, 224), np.float32),
        np.zeros((3, 224, 224), np.float32),
    ],
    ids=["dtype", "layout", "empty", "no batch"],
)
def test_a_batch_of_another_kind_is_refused(mindir: Model, batch: NDArray[Any]) -> None:
    with open_runtime(mindir) as runtime, pytest.raises(ArtifactError, match=r"takes float32 \(n, 3, 224, 224\)"):
        runtime.run(batch)


def test_the_input_must_be_what_the_model_takes(mindir: Model, checkpoint: Model) -> None:
    small = InputSpec(height=192, width=192)
    with pytest.raises(
        ArtifactError, match=r"takes input of shape \(1, 3, 224, 224\), its input spec says \(1, 3, 192, 192\)"
    ):
        open_runtime(dataclasses.replace(mindir, input=small))
    with pytest.raises(ArtifactError, match="its input spec says NHWC float32"):
        open_runtime(dataclasses.replace(mindir, input=InputSpec(layout="NHWC")))
    with pytest.raises(UsageError, match="at least 33"):
        open_runtime(dataclasses.replace(checkpoint, input=InputSpec(height=32, width=32)))
    with pytest.raises(CheckpointError, match="1000 classes, but 2 were asked for"):
        open_runtime(dataclasses.replace(checkpoint, labels=("cat", "dog")))


def test_a_device_that_is_not_there(checkpoint: Model) -> None:
    # In its own process: MindSpore takes one device a process.
    code = f"""
from pathlib import Path
from ghostedge.errors import UsageError
from ghostedge.runtimes.mindspore import MindSporeRuntime
from ghostedge.model import Model, InputSpec
try:
    MindSporeRuntime(Model(Path({str(checkpoint.path)!r}), "checkpoint", InputSpec()), device_target="Ascend")
except UsageError as exc:
    print(exc)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("left out: there is an Ascend here")
    assert done.stdout.startswith("MindSpore cannot run on Ascend in this process: ")
    assert done.stdout.count("\n") == 1


def test_device_and_arithmetic_are_set_in_this_order_before_anything_runs(
    checkpoint: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[object, ...]] = []
    ms = mindspore_on("CPU")

    def on(*device: object) -> object:
        calls.append(("device", *device))
        return ms

    def arithmetic(*asked: object, deterministic: bool) -> Arithmetic:
        calls.append(("arithmetic", *asked, deterministic))
        return Arithmetic("recorded")

    def cell(*network: Any) -> object:
        calls.append(("cell",))
        return build_cell(*network)

    for name, stand_in in (("mindspore_on", on), ("set_arithmetic", arithmetic)):
        monkeypatch.setattr(f"ghostedge.runtimes.mindspore.{name}", stand_in)
    monkeypatch.setattr("ghostedge.networks.build_cell", cell)
    options: dict[str, Any] = {"device_id": 3, "arithmetic": "default", "deterministic": True}
    with MindSporeRuntime(checkpoint, device_target="Ascend", **options) as runtime:
        assert runtime.arithmetic == Arithmetic("recorded")
    assert calls == [("device", "Ascend", 3), ("arithmetic", "Ascend", 3, "default", True), ("cell",)]


def test_float16_is_computed_in_float16(
    checkpoint: Model,
    mindir: Model,
    oracle_inputs: NDArray[np.float32],
    oracle_logits: dict[str, NDArray[np.float32]],
) -> None:
    """By the network on a CPU, which has no setting for it; and a MindIR has its types fixed."""
    with MindSporeRuntime(checkpoint, arithmetic="float16") as runtime:
        assert runtime.arithmetic is not None
        assert runtime.arithmetic.settings["network"] == "float16"
        logits = runtime.run(oracle_inputs[:1])
    assert logits.dtype == np.float32
    assert np.array_equal(logits, logits.astype(np.float16))
    assert 30 < compare(oracle_logits["1x"][:1], logits).snr_db < 90
    with pytest.raises(UsageError, match="has its types fixed: on CPU only a checkpoint"):
        MindSporeRuntime(mindir, arithmetic="float16")


def test_an_unknown_device_gets_a_suggestion(checkpoint: Model) -> None:
    with pytest.raises(UsageError, match="did you mean 'GPU'"):
        MindSporeRuntime(checkpoint, device_target="GPUs")


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "holds no graph"),
        (lambda data: data[:1000], "not a whole one"),
        (lambda data: data[:-1], "not a whole one"),
        (lambda data: b"\x89PNG\r\n\x1a\n" + bytes(100), "not a MindIR file"),
        (lambda data: b"\x0a\x031.1", "holds no graph"),
    ],
    ids=["empty", "head", "tail", "other", "no graph"],
)
def test_a_damaged_file_is_one_line(
    damage: Any, reason: str, mindir: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.mindir"
    path.write_bytes(damage(mindir.path.read_bytes()))
    with pytest.raises(ArtifactError, match=reason) as caught:
        open_runtime(dataclasses.replace(mindir, path=path))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_what_only_mindspore_sees_is_one_line_too(
    mindir: Model, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "model.mindir"
    path.write_bytes(mindir.path.read_bytes().replace(b"BatchNorm", b"BatchNarm"))
    with pytest.raises(GhostedgeError, match=r"^mindspore .* (does not load|failed to run) .*model\.mindir") as caught:
        open_runtime(dataclasses.replace(mindir, path=path))
    assert "\n" not in str(caught.value)
    assert "ERROR" not in capfd.readouterr().err


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        open_runtime(Model(tmp_path / "absent.mindir", "mindir", InputSpec()))
