"""ONNX Runtime, OpenVINO and LiteRT keep one contract: the same logits for the same images, the same refusals."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, MissingExtraError, UsageError
from ghostedge.model import Format, InputSpec, Model
from ghostedge.runtimes import open_runtime

SMALL = InputSpec(height=8, width=8, resize=8)
FORMATS: tuple[Format, ...] = ("onnx", "openvino", "tflite")
#: What ONNX Runtime takes for a sign that tests or CI run it.
_SEEN_AS_TESTS = (
    *("ORT_RUNNING_UNIT_TESTS", "CI", "TF_BUILD", "GITHUB_ACTIONS", "GITLAB_CI", "CIRCLECI", "TRAVIS", "JENKINS_URL"),
    *("CODEBUILD_BUILD_ID", "BUILDKITE", "TEAMCITY_VERSION", "APPVEYOR", "SYSTEM_TEAMFOUNDATIONCOLLECTIONURI"),
)
PACKAGES = {"onnx": "onnxruntime", "openvino": "openvino", "tflite": "ai_edge_litert"}


@pytest.fixture(params=FORMATS)
def artifact(request: pytest.FixtureRequest, linear_models: dict[str, Path]) -> Model:
    layout: Any = "NHWC" if request.param == "tflite" else "NCHW"
    spec = dataclasses.replace(SMALL, layout=layout)
    return Model(linear_models[request.param], request.param, spec)


def images(count: int) -> NDArray[np.float32]:
    """float32 (count, 8, 8, 3) in -2..2."""
    return (np.random.default_rng(count).random((count, 8, 8, 3)) * 4 - 2).astype(np.float32)


def batch(spec: InputSpec, pixels: NDArray[Any]) -> NDArray[Any]:
    return pixels if spec.layout == "NHWC" else pixels.transpose(0, 3, 1, 2)


@pytest.mark.parametrize("count", [1, 3])
def test_logits(artifact: Model, count: int, linear_logits: Callable[..., NDArray[Any]]) -> None:
    with open_runtime(artifact) as runtime:
        logits = runtime.run(batch(runtime.input, images(count)))
    assert (logits.dtype, logits.shape) == (np.float32, (count, 4))
    # Means of 64 float32 values of size 2 in another order of summation.
    np.testing.assert_allclose(logits, linear_logits(images(count)), atol=1e-6)


def test_results_are_kept_when_the_next_batch_runs(artifact: Model) -> None:
    with open_runtime(artifact) as runtime:
        first = runtime.run(batch(runtime.input, images(1)))
        copy = first.copy()
        runtime.run(batch(runtime.input, images(2)))
    assert np.array_equal(first, copy)


def test_info_says_what_ran(artifact: Model) -> None:
    with open_runtime(artifact, threads=2) as runtime:
        assert runtime.info["name"] == PACKAGES[artifact.format].replace("_", "-")
        assert runtime.info["version"][0].isdigit()
        assert runtime.info["threads"] == 2
        assert runtime.artifact == artifact


def test_wrong_batches(artifact: Model) -> None:
    with open_runtime(artifact) as runtime:
        good = batch(runtime.input, images(2))
        for bad in (good.astype(np.float64), good[:, :-1], good[..., :-1], good[0], good[:0], np.float32(1)):
            with pytest.raises(ArtifactError, match=r"takes float32 \(n, "):
                runtime.run(bad)  # type: ignore[arg-type]
        assert runtime.run(good).shape == (2, 4)


def test_closing_twice_and_running_afterwards(artifact: Model) -> None:
    runtime = open_runtime(artifact)
    runtime.close()
    runtime.close()
    with pytest.raises(ArtifactError, match="is closed"):
        runtime.run(batch(artifact.input, images(1)))


def test_no_threads(artifact: Model) -> None:
    with pytest.raises(UsageError, match="at least 1"):
        open_runtime(artifact, threads=0)


def test_an_input_spec_of_another_shape(artifact: Model) -> None:
    other: Any = "NCHW" if artifact.input.layout == "NHWC" else "NHWC"
    for spec in (dataclasses.replace(artifact.input, layout=other), dataclasses.replace(artifact.input, width=7)):
        with pytest.raises(ArtifactError, match="give the right one with --input-spec"):
            open_runtime(dataclasses.replace(artifact, input=spec))


def test_an_input_spec_of_another_dtype(artifact: Model) -> None:
    spec = dataclasses.replace(artifact.input, dtype="uint8", range="raw")
    with pytest.raises(ArtifactError, match="its input spec says uint8"):
        open_runtime(dataclasses.replace(artifact, input=spec))


def test_damaged_files(artifact: Model, tmp_path: Path, linear_models: dict[str, Path]) -> None:
    data = artifact.path.read_bytes()
    other = linear_models["onnx" if artifact.format == "tflite" else "tflite"].read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"this is no model\n" * 20,
        "zeros": bytes(3000),
        "cut": data[: len(data) // 2],
        "other": other,
    }.items():
        path = tmp_path / f"{name}{artifact.path.suffix}"
        path.write_bytes(content)
        path.with_suffix(".bin").write_bytes(b"")
        with pytest.raises(ArtifactError) as error:
            open_runtime(dataclasses.replace(artifact, path=path))
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)


def test_missing_files(artifact: Model, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        open_runtime(dataclasses.replace(artifact, path=tmp_path / f"gone{artifact.path.suffix}"))
    folder = tmp_path / f"folder{artifact.path.suffix}"
    folder.mkdir()
    with pytest.raises(ArtifactError, match="is a folder"):
        open_runtime(dataclasses.replace(artifact, path=folder))


def test_a_missing_package(artifact: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PACKAGES[artifact.format]
    for module in (package, f"{package}.interpreter", "tflite_runtime", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"pip install .*\[{artifact.format}\]'") as error:
        open_runtime(artifact)
    assert error.value.package == package


QUIET = """
import json, sys
from pathlib import Path
import numpy as np
from ghostedge.runtimes import open_runtime
from ghostedge.model import Model, InputSpec

path, kind, spec = sys.argv[1:]
artifact = Model(Path(path), kind, InputSpec.from_dict(json.loads(spec)))
with open_runtime(artifact) as runtime:
    runtime.run(np.zeros(artifact.input.shape(1), np.float32))
"""


def test_nothing_is_printed(artifact: Model) -> None:
    # In a process of its own: LiteRT announces its delegate once a process.
    spec = json.dumps(artifact.input.to_dict())
    command = [sys.executable, "-c", QUIET, str(artifact.path), artifact.format, spec]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("", "")


_LIBRARY = "from ghostedge.lazy import require\nort = require('onnxruntime', 'onnx')\nort.InferenceSession(sys.argv[1])"
_DEVICE = "import edge_benchmark\nedge_benchmark.load_runtime('onnxruntime', sys.argv[1], {'threads': 1})"


@pytest.mark.parametrize("code", [_LIBRARY, _DEVICE], ids=["library", "script on the device"])
def test_onnx_runtime_does_not_report_home(code: str, tmp_path: Path) -> None:
    """ONNX Runtime 1.29 and later do, and leave a device id in the home folder; older ones have nothing to turn off."""
    pytest.importorskip("onnxruntime", reason="left out: onnxruntime is not installed")
    root = Path(__file__).parents[2]
    code = f"import os, sys\nsys.path.insert(0, sys.argv[2])\n{code}\nprint(os.environ['ORT_DISABLE_TELEMETRY'])"
    model = root / "tests" / "data" / "tiny" / "tiny.onnx"
    # Where it sees that tests or CI run it, it does not report either.
    others = {name: value for name, value in os.environ.items() if name not in _SEEN_AS_TESTS}
    done = subprocess.run(
        [sys.executable, "-c", code, str(model), str(root / "benchmarks")],
        capture_output=True,
        text=True,
        check=True,
        env=others | {"HOME": str(tmp_path), "PYTHONPATH": str(root)},
    )
    assert done.stdout.strip() == "1"
    assert list(tmp_path.rglob("*")) == []
