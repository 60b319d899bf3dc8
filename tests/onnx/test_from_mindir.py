"""The stage from MindIR to ONNX."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.errors import ConvertError, OutputError, RecipeError, UsageError
from ghostedge.lazy import require
from ghostedge.model import KEY, InputSpec, Model, StageOutput
from ghostedge.pipeline.stages import make_stage

SPEC = InputSpec(height=16, width=16, resize=18)
LABELS = ("cat", "dog", "Frühstück", "owl", "yak")


def cell(ms: Any, outputs: int = 1) -> Any:
    """Images of 3 x 16 x 16 to five logits (or, for two outputs, to them and the features)."""
    nn = ms.nn
    base: Any = nn.Cell

    class Classifier(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, stride=2)
            self.dense = nn.Dense(8, 5)
            self.outputs = outputs

        def construct(self, x):  # type: ignore[no-untyped-def]
            features = self.conv(x)
            logits = self.dense(features.mean((2, 3)))
            return logits if self.outputs == 1 else (logits, features)

    return Classifier().set_train(False)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The classifier as MindIR."""
    pytest.importorskip("mindspore", reason="MindSpore is not installed")
    ms = require("mindspore", "mindspore")
    path = tmp_path_factory.mktemp("source") / "small.mindir"
    ms.export(cell(ms), ms.Tensor(np.zeros(SPEC.shape(), np.float32)), file_name=str(path), file_format="MINDIR")
    return Model(path, "mindir", SPEC)


def output(path: Path, options: Any = None, **changes: Any) -> StageOutput:
    model = Model(path / "small.onnx", "onnx", SPEC, LABELS)
    return StageOutput(dataclasses.replace(model, **changes), options or {})


def test_the_file_runs_and_describes_itself(source: Model, tmp_path: Path) -> None:
    (artifact,) = make_stage("onnx").build(source, (output(tmp_path),))
    assert artifact == Model(tmp_path / "small.onnx", "onnx", SPEC, LABELS, "fp32")
    session = require("onnxruntime", "onnx").InferenceSession(artifact.path)
    assert session.run(None, {"input": np.zeros(SPEC.shape(3), np.float32)})[0].shape == (3, 5)
    embedded = session.get_modelmeta().custom_metadata_map[KEY]
    assert Model.from_json(embedded, artifact.path, "onnx") == artifact


def test_the_same_mindir_gives_the_same_bytes(source: Model, tmp_path: Path) -> None:
    outputs = (output(tmp_path / "a"), output(tmp_path / "b"))
    one, two = (artifact.path.read_bytes() for artifact in make_stage("onnx").build(source, outputs))
    assert one == two


def test_a_fixed_batch_on_request(source: Model, tmp_path: Path) -> None:
    (artifact,) = make_stage("onnx").build(source, (output(tmp_path, options={"dynamic_batch": False}),))
    assert require("onnxruntime", "onnx").InferenceSession(artifact.path).get_inputs()[0].shape == [1, 3, 16, 16]


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"precision": "fp17"}, UsageError, "unknown precision 'fp17'; available: fp32"),
        ({"options": {"batch": 4}}, RecipeError, "options of target onnx are dynamic_batch"),
        ({"options": {"dynamic_batch": "no"}}, RecipeError, "options of target onnx are dynamic_batch"),
        ({"input": InputSpec()}, ConvertError, r"takes images of shape \(3, 16, 16\).* \(3, 224, 224\)"),
        ({"input": dataclasses.replace(SPEC, layout="NHWC")}, ConvertError, "cannot make small.onnx for NHWC"),
        ({"labels": ("cat", "dog")}, ConvertError, "has 5 classes, but there are 2 labels"),
    ],
)
def test_what_it_cannot_make(
    source: Model, tmp_path: Path, changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.raises(error, match=reason):
        make_stage("onnx").build(source, (output(tmp_path, **changes),))
    assert not list(tmp_path.iterdir())


def test_a_network_with_two_outputs_is_no_classifier(ms_two_outputs: Model, tmp_path: Path) -> None:
    with pytest.raises(ConvertError, match="1 inputs and 2 outputs"):
        make_stage("onnx").build(ms_two_outputs, (output(tmp_path),))


@pytest.fixture(scope="module")
def ms_two_outputs(source: Model, tmp_path_factory: pytest.TempPathFactory) -> Model:
    ms = require("mindspore", "mindspore")
    path = tmp_path_factory.mktemp("two") / "two.mindir"
    ms.export(cell(ms, 2), ms.Tensor(np.zeros(SPEC.shape(), np.float32)), file_name=str(path), file_format="MINDIR")
    return dataclasses.replace(source, path=path)


def test_a_damaged_mindir_leaves_what_was_there(source: Model, tmp_path: Path) -> None:
    (artifact,) = make_stage("onnx").build(source, (output(tmp_path),))
    before = artifact.path.read_bytes()
    broken = tmp_path / "broken.mindir"
    broken.write_bytes(source.path.read_bytes()[:500])
    with pytest.raises(ConvertError, match=r"broken\.mindir: not a MindIR file, or not a whole one"):
        make_stage("onnx").build(dataclasses.replace(source, path=broken), (output(tmp_path),))
    assert artifact.path.read_bytes() == before


def test_an_output_that_cannot_be_written(source: Model, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        make_stage("onnx").build(source, (output(tmp_path / "file"),))
