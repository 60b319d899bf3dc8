"""OpenVINO IR out of ONNX: the same logits, whole files, no network."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.data.preprocess import to_spec
from ghostedge.errors import ConvertError, UsageError
from ghostedge.lazy import require
from ghostedge.model import KEY, InputSpec, Model, StageOutput
from ghostedge.openvino import from_onnx as openvino_stage
from ghostedge.openvino.from_onnx import OpenVinoStage
from ghostedge.runtimes.openvino import OpenVinoRuntime

LABELS = ("cat", "dog & <fox>", 'the "owl"', "Ünke", "")
SPEC = InputSpec(height=32, width=32, resize=36)
RAW = replace(SPEC, layout="NHWC", dtype="uint8", range="raw")

Build = Callable[..., tuple[Model, ...]]


@pytest.fixture
def build(tiny_onnx: Path, tmp_path: Path) -> Build:
    """`build("fp32", ...)`: IR of the tiny network, one an argument, in the test's folder."""

    def run(*precisions: str, **fields: Any) -> tuple[Model, ...]:
        outputs = tuple(
            StageOutput(
                Model(tmp_path / f"tiny_{p}.xml", "openvino", fields.get("input", SPEC), LABELS, p),
                fields.get("options", {}),
            )
            for p in precisions
        )
        return OpenVinoStage().build(Model(tiny_onnx, "onnx", SPEC, LABELS), outputs)

    return run


def infer(artifact: Model, batch: NDArray[np.float32]) -> NDArray[np.float32]:
    openvino = require("openvino", "openvino")
    hints = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.compile_model(artifact.path, "CPU", hints)
    logits: NDArray[np.float32] = compiled(batch)["logits"]
    return logits


def snr_db(reference: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(10 * np.log10((reference**2).sum() / ((reference - other) ** 2).sum()))


# float32 sums in another order: about 130 dB; weights of 11 bits: about 66 dB.
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 110), ("fp16", 55)])
def test_ir_gives_the_logits_of_the_onnx_for_any_batch(
    build: Build, tiny_onnx: Path, precision: str, bound: float
) -> None:
    (artifact,) = build(precision)
    batch = np.random.default_rng(0).standard_normal((3, 3, 32, 32), dtype=np.float32)
    (expected,) = onnxruntime.InferenceSession(tiny_onnx).run(None, {"input": batch})
    assert snr_db(expected, infer(artifact, batch)) > bound


def raw_against_normalised(build: Build) -> float:
    """The SNR, dB, of a raw float32 IR's logits against the normalised one's, on pictures with a black border."""
    pixels = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    pixels[:, :2] = pixels[:, -2:] = pixels[:, :, :2] = pixels[:, :, -2:] = 0
    logits = []
    for spec in (SPEC, RAW):
        (artifact,) = build("fp32", input=spec)
        with OpenVinoRuntime(artifact) as runtime:
            logits.append(runtime.run(to_spec(pixels, spec)))
    return compare(*logits).snr_db


def test_raw_input_gives_the_logits_of_the_normalised_one(build: Build) -> None:
    assert raw_against_normalised(build) >= 100


@pytest.mark.parametrize("order", ["RGB", "BGR"])
def test_raw_input_keeps_the_colour_order(tiny_onnx: Path, tmp_path: Path, order: Literal["RGB", "BGR"]) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    specs = [replace(spec, colour_order=order) for spec in (SPEC, RAW)]
    outputs = tuple(StageOutput(Model(tmp_path / f"{spec.range}.xml", "openvino", spec, LABELS)) for spec in specs)
    logits = []
    for artifact in OpenVinoStage().build(Model(tiny_onnx, "onnx", specs[0], LABELS), outputs):
        with OpenVinoRuntime(artifact) as runtime:
            logits.append(runtime.run(to_spec(pixels, artifact.input)))
    assert compare(*logits).snr_db >= 100


def test_a_normalisation_folded_into_the_first_convolution_is_seen(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The fault: in front of such a convolution a padded zero is black, not the average colour.
    def fold(ov: Any, model: Any, spec: InputSpec) -> Any:
        by_name = {operator.get_friendly_name(): operator for operator in model.get_ops()}
        scale, offset = (255 * np.array(values, np.float32).reshape(3, 1, 1) for values in (spec.std, spec.mean))
        convolution, bias = by_name["stem/WithoutBiases"].input(1), by_name["stem"].input(1)
        weights = convolution.get_source_output().get_node().get_data() / scale
        shifted = bias.get_source_output().get_node().get_data() - (weights * offset).sum((1, 2, 3)).reshape(
            1, -1, 1, 1
        )
        convolution.replace_source_output(ov.op.Constant(weights).output(0))
        bias.replace_source_output(ov.op.Constant(shifted).output(0))
        return right(ov, model, replace(spec, range="raw"))

    right = openvino_stage._take_raw
    monkeypatch.setattr(openvino_stage, "_take_raw", fold)
    assert raw_against_normalised(build) < 60


def test_both_precisions_describe_themselves_and_fp16_is_half_the_size(build: Build) -> None:
    fp32, fp16 = build("fp32", "fp16")
    openvino = require("openvino", "openvino")
    for artifact in (fp32, fp16):
        embedded = openvino.Core().read_model(artifact.path).get_rt_info([KEY]).value
        assert Model.from_json(embedded, artifact.path, "openvino") == artifact
    sizes = [artifact.files[1].stat().st_size for artifact in (fp32, fp16)]
    assert 0.45 < sizes[1] / sizes[0] < 0.6


def test_the_same_onnx_gives_the_same_bytes(build: Build) -> None:
    def hashes() -> list[str]:
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in build("fp16")[0].files]

    assert hashes() == hashes()


def test_nothing_but_the_artifact_is_left(build: Build, tmp_path: Path) -> None:
    build("fp32")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny_fp32.bin", "tiny_fp32.xml"]


def test_a_failed_write_leaves_the_older_artifact(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (artifact,) = build("fp32")
    before = [file.read_bytes() for file in artifact.files]
    openvino = require("openvino", "openvino")
    save = openvino.save_model

    def save_on_a_full_disk(model: Any, path: Path, **options: Any) -> None:
        save(model, path, **options)
        os.truncate(path.with_suffix(".bin"), 100)  # OpenVINO does not notice that nothing more was written

    monkeypatch.setattr(openvino, "save_model", save_on_a_full_disk)
    with pytest.raises(ConvertError, match="is the disk full"):
        build("fp32")
    assert [file.read_bytes() for file in artifact.files] == before
    assert len(list(tmp_path.iterdir())) == 2


def test_not_an_onnx_is_one_line(tmp_path: Path) -> None:
    source = tmp_path / "broken.onnx"
    source.write_bytes(b"\x08\x08garbage")
    output = StageOutput(Model(tmp_path / "broken.xml", "openvino", SPEC))
    with pytest.raises(ConvertError, match=r"OpenVINO cannot convert .*broken\.onnx: [^\n]+$"):
        OpenVinoStage().build(Model(source, "onnx", SPEC), (output,))


def test_what_cannot_be_made_is_refused_by_name(build: Build) -> None:
    with pytest.raises(UsageError, match="did you mean 'fp16'"):
        build("fp61")
    for spec in (replace(SPEC, layout="NHWC"), replace(RAW, layout="NCHW"), replace(RAW, dtype="float32")):
        with pytest.raises(ConvertError, match="must be that of"):
            build("fp32", input=spec)
    with pytest.raises(ConvertError, match="no option 'xnnpack'"):
        build("fp32", options={"xnnpack": "report"})


def test_openvino_does_not_report_home() -> None:
    # With its package openvino_telemetry, importing OpenVINO starts processes that look up a host.
    def telemetry_after(statement: str) -> str:
        code = f"import sys\nfrom ghostedge.lazy import require\n{statement}\n"
        code += "print(sys.modules['openvino.tools.ovc.telemetry_utils'].tm.__name__)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        return done.stdout.splitlines()[-1]

    assert telemetry_after("require('openvino', 'openvino')") == "openvino.tools.ovc.telemetry_stub"
