"""The MindIR stage makes the same whole file from the same checkpoint, and MindSpore runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import CheckpointError, ConvertError, GhostedgeError, RecipeError, UsageError
from ghostedge.ghostnet.checkpoint import save_checkpoint
from ghostedge.ghostnet.variants import get_variant, parameter_shapes
from ghostedge.mindir.read import describe_mindir
from ghostedge.model import InputSpec, Model, StageOutput
from ghostedge.pipeline.stages import make_stage
from ghostedge.runtimes import open_runtime

pytestmark = pytest.mark.oracle
ms = pytest.importorskip("mindspore")


def test_every_process_exports_the_recorded_bytes(
    oracle_checkpoint: Path,
    oracle_weights: dict[str, NDArray[np.float32]],
    oracle_recording: Any,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Those that another process has exported with another hash seed, and which other tests take for MindSpore's."""
    # A process of its own: MindSpore names nodes otherwise where it compiled the same kind of cell for another network
    # before, as tests do.
    program = (
        "import sys; from pathlib import Path; from ghostedge.pipeline.stages import make_stage; "
        "from ghostedge.model import Model, InputSpec, StageOutput; "
        "source = Model(Path(sys.argv[1]), 'checkpoint', InputSpec()); "
        "make_stage('mindir').build(source, (StageOutput(Model(Path(sys.argv[2]), 'mindir', InputSpec())),))"
    )

    def export(seed: str) -> bytes:
        path = tmp_path / f"{seed}.mindir"
        environment = os.environ | {"PYTHONHASHSEED": seed}
        subprocess.run([sys.executable, "-c", program, oracle_checkpoint, path], env=environment, check=True)
        return path.read_bytes()

    if request.config.getoption("record"):
        oracle_recording.write(export("1"), oracle_weights, ms.__version__)
    # Another MindSpore than the recording's writes other bytes (`make golden` records them); two processes the same.
    recorded = oracle_recording.mindspore() == ms.__version__
    assert export("2") == (oracle_recording.read(oracle_weights) if recorded else export("1"))


def test_an_export_leaves_nothing_else(
    oracle_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    # MindSpore's own export refuses spaces and letters like this one.
    path = tmp_path / "été 1" / "the model.mindir"
    source = Model(oracle_checkpoint, "checkpoint", InputSpec())
    (artifact,) = make_stage("mindir").build(source, (StageOutput(Model(path, "mindir", InputSpec())),))
    assert artifact == Model(path, "mindir", InputSpec())
    assert list(tmp_path.rglob("*")) == [tmp_path / "here", path.parent, path]
    assert path.stat().st_mode & 0o200, "MindSpore makes its files read-only; ours are the user's"


def test_another_size_rule_and_number_of_classes(
    oracle_value: Any, oracle_inputs: NDArray[np.float32], tmp_path: Path
) -> None:
    variant = get_variant("nose_1x", "nearest")
    weights = {name: oracle_value(name, shape) for name, shape in parameter_shapes(variant, 3).items()}
    save_checkpoint(tmp_path / "model.ckpt", weights, variant)
    spec, labels = InputSpec(height=97, width=65, resize=110), ("ant", "bee", "ça")
    source = Model(tmp_path / "model.ckpt", "checkpoint", spec, labels)
    (artifact,) = make_stage("mindir").build(
        source, (StageOutput(Model(tmp_path / "m.mindir", "mindir", spec, labels)),)
    )
    info = describe_mindir(artifact.path)
    assert (info.input_shape, info.output_shape) == ((1, 3, 97, 65), (1, 3))
    assert info.description is not None
    assert (info.description.input, info.description.labels) == (spec, labels)
    data = artifact.path.read_bytes()
    assert b"ResizeNearestNeighborV2" in data
    assert b"ResizeBilinearV2" not in data
    images = np.ascontiguousarray(oracle_inputs[:2, :, :97, :65])
    with open_runtime(source) as eager, open_runtime(artifact) as graph:
        np.testing.assert_allclose(graph.run(images), eager.run(images), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"model": {"precision": "fp16"}}, ConvertError, "no precision 'fp16'; available: fp32"),
        ({"options": {"opset": 17}}, RecipeError, "no option 'opset'"),
        ({"model": {"input": InputSpec(layout="NHWC")}}, ConvertError, "NCHW float32, not NHWC float32"),
        ({"model": {"input": InputSpec(height=32, width=32)}}, UsageError, "at least 33"),
        ({"model": {"labels": ("cat", "dog")}}, ConvertError, "1000 classes, but there are 2 labels"),
    ],
    ids=["precision", "option", "layout", "size", "labels"],
)
def test_what_mindir_cannot_be_is_said_before_anything_is_made(
    changes: dict[str, Any], error: type[GhostedgeError], reason: str, oracle_checkpoint: Path, tmp_path: Path
) -> None:
    options = changes.get("options", {})
    model = Model(tmp_path / "m.mindir", "mindir", **{"input": InputSpec(), **changes.get("model", {})})
    with pytest.raises(error, match=reason):
        make_stage("mindir").build(Model(oracle_checkpoint, "checkpoint", InputSpec()), (StageOutput(model, options),))
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="is empty"):
        make_stage("mindir").build(
            Model(tmp_path / "model.ckpt", "checkpoint", InputSpec()),
            (StageOutput(Model(tmp_path / "m.mindir", "mindir", InputSpec())),),
        )


def test_an_export_that_mindspore_cannot_load_is_not_kept(
    oracle_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(net: Any, *inputs: Any, file_name: str, **options: Any) -> None:
        Path(file_name).write_bytes(b"half a file")

    monkeypatch.setattr(ms, "export", half)
    with pytest.raises(ConvertError, match="MindSpore cannot run the MindIR that it made") as caught:
        make_stage("mindir").build(
            Model(oracle_checkpoint, "checkpoint", InputSpec()),
            (StageOutput(Model(tmp_path / "m.mindir", "mindir", InputSpec())),),
        )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
