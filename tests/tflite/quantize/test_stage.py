"""Quantised TFLite: close to the float model, all on XNNPACK, raw pixels taken as the float model takes them."""

from __future__ import annotations

import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ghostedge.compare import compare
from ghostedge.data.calibration import calibration_batch
from ghostedge.errors import ArtifactError, ConvertError, UsageError
from ghostedge.formats import open_model, read_description
from ghostedge.model import CalibrationImage, CalibrationSet, InputSpec, Model, StageOutput
from ghostedge.pipeline.stages import make_stage
from ghostedge.runtimes import open_runtime
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.float16 import allow_float16
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.quantize import stage as quantising
from ghostedge.tflite.quantize.activations import inspecting_interpreter, observe
from ghostedge.tflite.rewrites.raw_input import fold_normalisation
from tests.tflite.graphs import kinds

RAW: dict[str, Any] = {"range": "raw", "dtype": "uint8"}


@pytest.fixture(scope="module")
def calibration() -> CalibrationSet:
    """32 pictures of blurred noise, light and dark, 40 x 48 pixels."""
    rng = np.random.default_rng(3)
    images = []
    for index in range(32):
        small = rng.integers(0, 256, (6, 7, 3)) * rng.uniform(0.3, 1)
        data = io.BytesIO()
        Image.fromarray(small.astype(np.uint8)).resize((48, 40), Image.Resampling.BICUBIC).save(data, "PNG")
        encoded = data.getvalue()
        images.append(CalibrationImage(f"{index}.png", hashlib.sha256(encoded).hexdigest(), encoded))
    return CalibrationSet("noise", tuple(images), 0, 32)


Quantise = Callable[..., Model]


@pytest.fixture
def quantise(tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path) -> Quantise:
    def quantise(precision: str, options: dict[str, Any] | None = None, **fields: Any) -> Model:
        source = tiny_tflite["fp32"]
        options = {"xnnpack": "report"} | (options or {}) if precision == "int16x8" else options or {}
        path = tmp_path / f"{precision}{len(list(tmp_path.iterdir()))}.tflite"
        spec = dataclasses.replace(source.input, **fields)
        given = None if precision == "dynamic" else calibration
        output = StageOutput(Model(path, "tflite", spec, source.labels, precision), options, given)
        (made,) = make_stage("tflite", precision).build(source, (output,))
        return made

    return quantise


def logits(artifact: Model, calibration: CalibrationSet) -> NDArray[np.float32]:
    with open_runtime(artifact) as runtime:
        return np.concatenate([runtime.run(image[None]) for image in calibration_batch(calibration, runtime.input)])


# 8-bit steps, a few layers deep: measured 41 dB (int8), 59 dB (int16x8), 43 dB (dynamic), more of mixed.
@pytest.mark.parametrize(("precision", "bound"), [("int8", 36), ("int16x8", 50), ("dynamic", 36), ("mixed", 36)])
def test_it_answers_like_the_float_model(
    quantise: Quantise, tiny_tflite: dict[str, Model], calibration: CalibrationSet, precision: str, bound: float
) -> None:
    made = quantise(precision)
    assert compare(logits(tiny_tflite["fp32"], calibration), logits(made, calibration)).snr_db > bound
    described = read_description(made.path)
    assert described is not None
    assert (described.precision, described.labels) == (precision, tiny_tflite["fp32"].labels)
    ids = {image.image_id: image.sha256 for image in calibration.images}
    assert described.calibration == ({} if precision == "dynamic" else ids)


@pytest.mark.parametrize("fields", [{}, RAW])
def test_dynamic_in_float16(
    quantise: Quantise, tiny_tflite: dict[str, Model], calibration: CalibrationSet, fields: dict[str, Any]
) -> None:
    made = quantise("dynamic", options={"inference_precision": "f16"}, **fields)
    with open_runtime(made, float16=True) as runtime:
        rows = [runtime.run(image[None]) for image in calibration_batch(calibration, runtime.input)]
    float16 = np.concatenate(rows)
    assert np.array_equal(float16, float16.astype(np.float16))
    assert compare(logits(tiny_tflite["fp32"], calibration), float16).snr_db > 36
    with pytest.raises(UsageError, match="is for dynamic and fp16, not int8"):
        quantise("int8", options={"inference_precision": "f16"})


def test_what_crashes_litert_in_float16_is_one_line(quantise: Quantise) -> None:
    # Why raw pixels go through a CAST where float16 is allowed: without, they go through a DEQUANTIZE.
    made = quantise("dynamic", **RAW)
    graph = unpack(made.path.read_bytes(), "m")
    assert graph.operators[0].kind == "DEQUANTIZE"
    allow_float16(graph)
    made.path.write_bytes(pack(graph))
    with pytest.raises(ArtifactError, match=r"cannot compute in float16 .*\.tflite: it crashed \(signal"):
        open_runtime(made, float16=True)


def test_no_two_logits_of_int8_are_one_number(quantise: Quantise, calibration: CalibrationSet) -> None:
    made = quantise("int8")
    with open_runtime(made) as runtime:
        logits = np.concatenate([runtime.run(x[None]) for x in calibration_batch(calibration, runtime.input)])
    assert all(len(np.unique(row)) == len(row) for row in logits)
    assert len(np.unique(logits)) > 0.99 * logits.size  # of int8 logits 256 values at most would be seen


@pytest.mark.parametrize("fields", [{}, RAW])
def test_int8_is_one_partition_with_integers_inside(quantise: Quantise, fields: dict[str, Any]) -> None:
    path = quantise("int8", **fields).path
    assert coverage(path).whole
    graph = unpack(path.read_bytes(), "m")
    first, *inside, before_last, last = kinds(graph)
    assert (before_last, last) == ("DEQUANTIZE", "FULLY_CONNECTED")  # it quantises its input as it runs
    assert first == ("DEQUANTIZE" if fields else "QUANTIZE")
    assert not {"QUANTIZE", "DEQUANTIZE", "AVERAGE_POOL_2D"} & set(inside[1:] if fields else inside)
    assert {graph.dtype(operator.output) for operator in graph.operators[2:-2]} == {"INT8"}


@pytest.mark.parametrize("fields", [{}, RAW])
@pytest.mark.parametrize(("share", "least"), [(0.25, 16 * 16), (1, 32 * 32)])
def test_mixed_is_float_on_large_maps_and_int8_on_small_ones(
    quantise: Quantise, share: float, least: int, fields: dict[str, Any]
) -> None:
    path = quantise("mixed", {"float_pixels": share}, **fields).path
    assert coverage(path).whole
    graph = unpack(path.read_bytes(), "m")

    def pixels(tensor: int) -> int:
        shape = graph.shape(tensor)
        return shape[1] * shape[2] if len(shape) == 4 else 0

    computing = [op for op in graph.operators[:-1] if op.kind not in ("QUANTIZE", "DEQUANTIZE")]
    on_large = {op.name: max(map(pixels, (*op.activations, op.output))) >= least for op in computing}
    assert {name: graph.dtype(op.output) == "FLOAT32" for name, op in zip(on_large, computing, strict=True)} == on_large
    assert set(on_large.values()) == {True, False}


def test_precisions_of_one_input_share_the_calibration_runs(
    tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    def counted(data: bytes, graph: Graph, batch: Any) -> Any:
        runs.append(1)
        return observe(data, graph, batch)

    monkeypatch.setattr(quantising, "observe", counted)
    source = tiny_tflite["fp32"]
    outputs = (
        StageOutput(Model(tmp_path / f"{name}.tflite", "tflite", source.input, source.labels, name), {}, calibration)
        for name in ("int8", "mixed")
    )
    assert [made.precision for made in make_stage("tflite", "int8").build(source, tuple(outputs))] == ["int8", "mixed"]
    assert runs == [1]


def test_the_same_bytes_come_again(quantise: Quantise) -> None:
    one, two = quantise("int8").path, quantise("int8").path
    assert one.read_bytes().replace(one.stem.encode(), two.stem.encode()) == two.read_bytes()


@pytest.mark.parametrize("precision", ["int8", "dynamic"])
def test_raw_pixels_give_what_normalised_ones_give(
    quantise: Quantise, calibration: CalibrationSet, precision: str
) -> None:
    raw, normalised = quantise(precision, **RAW), quantise(precision)
    assert open_model(raw.path).input.dtype == "uint8"
    # The same network; int8 differs by the steps of the input, which raw input does not round at all.
    assert compare(logits(normalised, calibration), logits(raw, calibration)).snr_db > (
        32 if precision == "int8" else 90
    )


def test_raw_pixels_of_a_float_model_are_normalised_exactly(
    tiny_onnx: Path, tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path
) -> None:
    spec = dataclasses.replace(tiny_tflite["fp32"].input, **RAW)
    source = Model(tiny_onnx, "onnx", dataclasses.replace(tiny_tflite["fp32"].input, layout="NCHW"))
    (raw,) = make_stage("tflite").build(source, (StageOutput(Model(tmp_path / "raw.tflite", "tflite", spec)),))
    assert coverage(raw.path).whole
    assert compare(logits(tiny_tflite["fp32"], calibration), logits(raw, calibration)).snr_db > 110


def test_folded_normalisation_pads_with_the_mean_colour(tiny_tflite: dict[str, Model]) -> None:
    """Exact at the borders; a black frame, what a plain PAD of raw pixels gives, is seen there and only there."""
    source = tiny_tflite["fp32"]
    exact = unpack(source.path.read_bytes(), "m")
    raw = unpack(source.path.read_bytes(), "m")
    fold_normalisation(raw, source.input)
    black = unpack(source.path.read_bytes(), "m")
    fold_normalisation(black, source.input)
    for tensor in range(len(black.tensors)):
        if "frame/" in black.name(tensor):
            black.set_constant(tensor, np.zeros(black.shape(tensor), np.float32))
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    mean, std = (np.array(v, np.float32) * 255 for v in (source.input.mean, source.input.std))
    features = [stem(exact, (pixels - mean) / std), stem(raw, pixels), stem(black, pixels)]
    np.testing.assert_allclose(features[1], features[0], rtol=0, atol=2e-5)
    wrong = np.abs(features[2] - features[0]).max(axis=(0, 3)) > 1e-3
    assert wrong[0].any()
    assert wrong[:, 0].any()
    assert not wrong[1:, 1:].any()


def stem(graph: Graph, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """What the first convolution gives."""
    interpreter = inspecting_interpreter(pack(graph))
    interpreter.set_tensor(graph.inputs[0], image)
    interpreter.invoke()
    first = next(operator for operator in graph.operators if operator.kind == "CONV_2D")
    features: NDArray[np.float32] = interpreter.get_tensor(first.output)
    return features


def test_operators_can_stay_in_float_or_take_16_bits(quantise: Quantise) -> None:
    assert kinds(unpack(quantise("int8").path.read_bytes(), "m")).count("FULLY_CONNECTED") == 1
    dynamic = unpack(quantise("dynamic").path.read_bytes(), "m")
    gate = next(name for tensor in range(len(dynamic.tensors)) if "igmoid" in (name := dynamic.name(tensor)))
    kept = unpack(quantise("int8", {"keep_float": [gate]}).path.read_bytes(), "m")
    types = {kept.name(tensor): kept.dtype(tensor) for tensor in range(len(kept.tensors))}
    assert types[gate] == "FLOAT32"


def test_dynamic_leaves_operators_with_few_weights_in_float(quantise: Quantise) -> None:
    """Their float kernels are faster than quantising what they read, and they hold little of the file."""

    def integers(least: int) -> list[int]:
        graph = unpack(quantise("dynamic", {"min_weight_elements": least}).path.read_bytes(), "m")
        weights = [tensor for tensor in range(len(graph.tensors)) if graph.dtype(tensor) == "INT8"]
        return sorted(int(np.prod(graph.shape(tensor))) for tensor in weights)

    everything = integers(0)
    least = everything[len(everything) // 2]
    assert integers(least) == [size for size in everything if size >= least] != everything
    assert integers(10**9) == everything  # of a small network all, rather than nothing


def test_rounding_together_is_nearer_than_one_by_one(
    quantise: Quantise, tiny_tflite: dict[str, Model], calibration: CalibrationSet
) -> None:
    exact = logits(tiny_tflite["fp32"], calibration)
    together, alone = (
        compare(exact, logits(quantise("int16x8", {"rounding": rounding}), calibration)).snr_db
        for rounding in ("compensated", "nearest")
    )
    assert together > alone + 1


def test_what_cannot_be_quantised_is_refused(
    quantise: Quantise, tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path
) -> None:
    stage, spec = make_stage("tflite", "int8"), tiny_tflite["fp32"].input
    output = StageOutput(Model(tmp_path / "x.tflite", "tflite", spec, precision="int8"), calibration=calibration)
    with pytest.raises(ConvertError, match="is quantised already"):
        stage.build(quantise("int8"), (output,))
    with pytest.raises(UsageError, match="needs images to calibrate on"):
        stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, calibration=None),))
    with pytest.raises(UsageError, match="did you mean 'minmax'"):
        stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, options={"estimator": "minmx"}),))
    with pytest.raises(UsageError, match="did you mean 'nearest'"):
        stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, options={"rounding": "nerest"}),))
    with pytest.raises(UsageError, match="float_pixels"):
        stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, options={"float_pixels": "all"}),))
    for share in (0, 1.5):
        with pytest.raises(UsageError, match=f"float_pixels is {share!r}; it must lie above 0 and be at most 1"):
            stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, options={"float_pixels": share}),))
    with pytest.raises(UsageError, match="min_weight_elements is -1; it must be a number of weights"):
        stage.build(tiny_tflite["fp32"], (dataclasses.replace(output, options={"min_weight_elements": -1}),))
    with pytest.raises(ConvertError, match="normalised float32 or raw uint8"):
        stage.build(
            tiny_tflite["fp32"],
            (dataclasses.replace(output, model=dataclasses.replace(output.model, input=InputSpec())),),
        )
    assert not output.path.exists()


def test_activations_that_are_not_finite_are_named(
    tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path
) -> None:
    source = tiny_tflite["fp32"]
    graph = unpack(source.path.read_bytes(), "m")
    (dense,) = (operator for operator in graph.operators if operator.kind == "FULLY_CONNECTED")
    bias = graph.constant(dense.inputs[2])
    assert bias is not None
    graph.set_constant(dense.inputs[2], np.full_like(bias, np.nan))
    broken = dataclasses.replace(source, path=tmp_path / "nan.tflite")
    broken.path.write_bytes(pack(graph))
    with pytest.raises(ConvertError, match="'logits' is not finite on calibration image 1"):
        make_stage("tflite", "int8").build(
            broken,
            (
                StageOutput(
                    Model(tmp_path / "x.tflite", "tflite", source.input, precision="int8"), calibration=calibration
                ),
            ),
        )
