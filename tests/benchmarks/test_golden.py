"""The script asks golden vectors first: wrong answers spoil a latency, and what cannot be compared is one line."""

from __future__ import annotations

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import jsonschema
import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.data.golden import Golden, read_golden, write_golden
from tests.latency.schemas import check_record

Bench = Callable[..., subprocess.CompletedProcess[str]]
Records = Callable[[], dict[str, dict[str, Any]]]

MODELS = ("tiny_fp32.tflite", "tiny.onnx", "tiny.xml")
SOURCE = "ab" * 32


def tiny_logits(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
    """What the tiny network of tests/data/tiny/make.py gives, in NumPy alone: float32 (n, 10)."""
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)
    dense = random.normal(0, 0.5, (8, 10)).astype(np.float32)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = np.pad((crops / 255 - mean) / std, ((0, 0), (0, 1), (0, 1), (0, 0)))
    made = sum(
        np.einsum("nhwc,cd->nhwd", x[:, i : i + 31 : 2, j : j + 31 : 2], kernel[i, j])
        for i in range(3)
        for j in range(3)
    )
    logits: NDArray[np.float32] = (np.maximum(made, 0).mean(axis=(1, 2)) @ dense).astype(np.float32)
    return logits


@pytest.fixture(scope="module")
def vectors() -> Golden:
    """Eight pictures of 32 x 32 that differ a little in colour, so that the answers do."""
    random = np.random.default_rng(3)
    noise = random.integers(20, 230, (8, 32, 32, 3))
    crops = (noise + random.integers(-10, 11, (8, 1, 1, 3))).astype(np.uint8)
    return Golden(crops, tiny_logits(crops), tuple(f"{n}.jpg" for n in range(8)), (), SOURCE)


@pytest.fixture
def golden(vectors: Golden, tmp_path: Path) -> Path:
    write_golden(tmp_path / "tiny.golden.npz", vectors)
    return tmp_path / "tiny.golden.npz"


def described(model: Path, tmp_path: Path, **description: Any) -> Path:
    """A copy of a .tflite that says this of itself."""
    path = tmp_path / "described.tflite"
    path.write_bytes(model.read_bytes())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("ghostedge.json", json.dumps({"precision": "fp32", **description}))
    return path


def test_the_script_and_the_package_read_the_same(edge: ModuleType, golden: Path) -> None:
    arrays, expected = edge.read_golden(str(golden)), read_golden(golden)
    np.testing.assert_array_equal(arrays["crops_u8"], expected.crops)
    np.testing.assert_array_equal(arrays["logits"], expected.logits)
    assert str(arrays["source_sha256"]) == expected.source_sha256
    assert [str(name) for name in arrays["names"]] == list(expected.names)


def test_every_runtime_gives_numpy_s_answers(bench: Bench, records: Records, tiny: Path, golden: Path) -> None:
    done = bench(*(tiny / name for name in MODELS), "--golden", golden)
    assert done.returncode == 0, done.stderr
    for name, record in records().items():
        found = record["verification"]
        assert found["correct"], name
        assert found["golden"]["images"] == 8
        assert found["repeats"]["inferences"] == 100
        assert found["repeats"]["identical"]
        assert found["repeats"]["after_timing_identical"] is True
        assert found["bounds"] == {"min_snr_db": 18.0, "min_top1_agreement": 0.7, "from": "default"}
        assert found["snr_db"] > 110, name


def test_an_integer_input_is_quantised_first(bench: Bench, records: Records, tiny: Path, golden: Path) -> None:
    """The tiny int8 model was calibrated on -2..2 and clips: 16 dB; of wrong input nothing would be left."""
    bounds = ("--min-snr-db", "12", "--min-top1-agreement", "0.6")
    assert bench(tiny / "tiny_int8.tflite", "--golden", golden, *bounds).returncode == 0
    (record,) = records().values()
    assert 12 < record["verification"]["snr_db"] < 20


def test_verify_only_times_nothing(bench: Bench, tiny: Path, golden: Path, tmp_path: Path) -> None:
    done = bench(*(tiny / name for name in MODELS), "--golden", golden, "--verify-only")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("right") == 3
    files = sorted((tmp_path / "records").glob("*.json"))
    assert len(files) == 3
    for file in files:
        record = json.loads(file.read_text())
        check_record(record)
        assert "samples_ms" not in record
    with pytest.raises(jsonschema.ValidationError, match="None is not of type 'object'"):
        check_record({**record, "verification": None})


def test_a_model_with_one_wrong_weight_is_found_out(
    bench: Bench, records: Records, tiny: Path, golden: Path, tmp_path: Path
) -> None:
    """On the device: the file came whole through every check but the answers."""
    onnx = pytest.importorskip("onnx")
    model = onnx.load(tiny / "tiny.onnx")
    kernel = next(tensor for tensor in model.graph.initializer if tensor.name == "kernel")
    values = onnx.numpy_helper.to_array(kernel).copy()
    values[0, 0, 1, 1] += 2.0
    kernel.CopyFrom(onnx.numpy_helper.from_array(values, "kernel"))
    onnx.save(model, tmp_path / "wrong.onnx")
    done = bench(tmp_path / "wrong.onnx", tiny / "tiny.onnx", "--golden", golden, "--min-snr-db", "40")
    assert done.returncode == 2
    assert "wrong answers: wrong.onnx in onnxruntime" in done.stderr
    found = records()
    wrong, right = found["wrong-onnxruntime-1t"], found["tiny-onnxruntime-1t"]
    assert not wrong["valid"]
    assert "wrong_answers" in [reason["code"] for reason in wrong["invalid_reasons"]]
    assert "the bound is 40 dB" in wrong["verification"]["reason"]
    assert right["verification"]["correct"]
    assert "WRONG" in done.stdout


def test_bounds_are_the_model_s_own(bench: Bench, records: Records, tiny: Path, golden: Path, tmp_path: Path) -> None:
    bounds = {"min_snr_db": 200.0, "min_top1_agreement": 0.5}
    strict = described(tiny / "tiny_fp32.tflite", tmp_path, bounds=bounds)
    assert bench(strict, "--golden", golden).returncode == 2
    (record,) = records().values()
    assert record["verification"]["bounds"] == {**bounds, "from": "model"}
    assert bench(strict, "--golden", golden, "--min-snr-db", "60").returncode == 0
    (record,) = records().values()
    assert record["verification"]["bounds"] == {"min_snr_db": 60.0, "min_top1_agreement": 0.5, "from": "command line"}


def test_float32_bounds_are_not_asked_of_16_bits(edge: ModuleType) -> None:
    said = {"bounds": {"min_snr_db": 100.0, "min_top1_agreement": 1.0}}
    job = {"min_snr_db": None, "min_top1_agreement": None}
    for precision, expected in (("f32", 100.0), ("bf16", 40.0), ("f16", 40.0)):
        runtime = SimpleNamespace(description=said, details={"inference_precision": precision})
        assert edge.bounds_of(job, runtime)["min_snr_db"] == expected
    loose = SimpleNamespace(description={"bounds": {"min_snr_db": 28.0}}, details={"inference_precision": "f16"})
    assert edge.bounds_of(job, loose)["min_snr_db"] == 28.0


def test_openvino_computes_in_float32_unless_asked_otherwise(
    bench: Bench, records: Records, tiny: Path, golden: Path
) -> None:
    """As accuracies are evaluated. Its own default is bfloat16 or float16 where the CPU has it: 50 dB on GhostNetV2."""
    assert bench(tiny / "tiny.xml", "--golden", golden).returncode == 0
    (record,) = records().values()
    assert record["settings"]["precision_hint"] == "f32"
    assert record["runtime"]["inference_precision"] == "f32"


# -- drivers that are right only sometimes ----------------------------------------------------------------------------


class Fickle:
    """A runtime with NumPy's answers, changed by `fault(inference number, logits)`."""

    shape, dtype, quantization = (1, 32, 32, 3), "float32", None
    description: dict[str, Any] = {}  # noqa: RUF012
    details: dict[str, Any] = {}  # noqa: RUF012

    def __init__(self, golden: Golden, edge: ModuleType, fault: Callable[[int, Any], Any]) -> None:
        self.known = {
            edge.to_tensor(crop, edge.input_spec({}, self.shape), self).tobytes(): logits
            for crop, logits in zip(golden.crops, golden.logits, strict=True)
        }
        self.fault, self.count, self.answer = fault, 0, golden.logits[0]

    def set_input(self, tensor: Any) -> None:
        self.tensor = tensor

    def run(self) -> None:
        self.count += 1
        self.answer = self.fault(self.count, self.known[self.tensor.tobytes()])

    def output(self) -> Any:
        return self.answer[None]


def ask(edge: ModuleType, golden: Path, vectors: Golden, fault: Callable[[int, Any], Any]) -> dict[str, Any]:
    runtime = Fickle(vectors, edge, fault)
    spec = edge.input_spec({}, runtime.shape)
    verification = edge.Verification(str(golden), edge.read_golden(str(golden)), "m", runtime, spec)
    runtime.set_input(verification.first_input())
    runtime.run()
    record: dict[str, Any] = verification.run(edge.bounds_of({"min_snr_db": None, "min_top1_agreement": None}, runtime))
    verification.again(record)
    assert record["correct"] is (record["reason"] is None)
    return record


def test_a_right_runtime(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits)
    assert found["reason"] is None
    assert found["snr_db"] is None  # identical
    assert found["max_abs"] == 0
    assert found["repeats"] == {
        "inferences": 100, "identical": True, "first_different": None, "snr_db": None, "after_timing_identical": True
    }  # fmt: skip


def test_right_only_the_first_time(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits if count == 1 else logits[::-1])
    assert "dB from MindSpore's" in found["reason"]
    assert found["repeats"]["first_different"] == 2


def test_wrong_only_the_first_time(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits[::-1] if count == 1 else logits)
    assert found["reason"] == "inference 2 of one picture gave another answer than the first"
    assert found["snr_db"] is None


def test_wrong_once_in_between(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits[::-1] if count == 57 else logits)
    assert found["reason"] == "inference 57 of one picture gave another answer than the first"


def test_a_last_digit_that_varies_is_noted_and_not_wrong(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits * np.float32(1 + 1e-6 * (count % 2)))
    assert found["reason"] is None
    assert not found["repeats"]["identical"]
    assert found["repeats"]["snr_db"] > 100


def test_wrong_after_an_hour_of_load(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits if count <= 107 else logits[::-1])
    assert found["repeats"]["after_timing_identical"] is False
    assert found["reason"] == "after the timed samples one picture got another answer than before"


def test_not_finite_after_an_hour_of_load(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits if count <= 107 else logits * np.float32("inf"))
    assert not found["correct"]


def test_a_zero_of_another_sign_is_the_same_number(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: np.zeros_like(logits) * np.float32((-1) ** count))
    assert found["repeats"]["identical"]


def test_not_finite(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    found = ask(edge, golden, vectors, lambda count, logits: logits * np.float32("nan"))
    assert found["reason"] == "its answers to the golden pictures hold NaN or infinity"
    assert json.dumps(found, allow_nan=False)


def test_another_best_class(edge: ModuleType, golden: Path, vectors: Golden) -> None:
    def swap(count: int, logits: Any) -> Any:
        best, second = np.argsort(-logits)[:2]
        out = logits.copy()
        out[best], out[second] = logits[second], logits[best]
        return out

    found = ask(edge, golden, vectors, swap)
    assert found["top1_agreement"] == 0
    assert found["reason"]


# -- what cannot be compared ------------------------------------------------------------------------------------------


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("edge_benchmark: error: ")]
    return error


def test_golden_vectors_of_another_source(bench: Bench, tiny: Path, golden: Path, tmp_path: Path) -> None:
    """Also of an export that was made anew from other weights, of which the golden file is older than the model."""
    model = described(tiny / "tiny_fp32.tflite", tmp_path, source_sha256="cd" * 32)
    error = refusal(bench(model, "--golden", golden))
    assert "the source abababababab" in error
    assert "was made from cdcdcdcdcdcd" in error


def test_golden_vectors_of_another_class_count(bench: Bench, tiny: Path, vectors: Golden, tmp_path: Path) -> None:
    write_golden(
        tmp_path / "g.npz",
        Golden(vectors.crops, vectors.logits[:, :7].copy(), vectors.names, (), vectors.source_sha256),
    )
    error = refusal(bench(tiny / "tiny_fp32.tflite", "--golden", tmp_path / "g.npz"))
    assert "has answers of 7 classes, " in error
    assert "gives 10" in error


def test_golden_vectors_of_another_size(bench: Bench, tiny: Path, vectors: Golden, tmp_path: Path) -> None:
    write_golden(
        tmp_path / "g.npz", Golden(vectors.crops[:, :24], vectors.logits, vectors.names, (), vectors.source_sha256)
    )
    error = refusal(bench(tiny / "tiny_fp32.tflite", "--golden", tmp_path / "g.npz"))
    assert "holds pictures of 24 x 32" in error
    assert "takes 32 x 32" in error


def test_a_golden_file_that_is_not_whole(bench: Bench, tiny: Path, golden: Path, tmp_path: Path) -> None:
    whole = golden.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-1], b"hello"):
        golden.write_bytes(content)
        assert "is not a whole golden file" in refusal(bench(tiny / "tiny_fp32.tflite", "--golden", golden))
    assert "does not exist" in refusal(bench(tiny / "tiny_fp32.tflite", "--golden", tmp_path / "none.npz"))
    np.savez(golden, other=np.zeros(3))
    assert ".npy is missing" in refusal(bench(tiny / "tiny_fp32.tflite", "--golden", golden))


def test_verify_only_needs_golden_vectors(bench: Bench, tiny: Path) -> None:
    done = bench(tiny / "tiny_fp32.tflite", "--verify-only")
    assert done.returncode == 1
    assert "--verify-only needs --golden" in done.stderr


def test_resume_measures_again_with_other_golden_vectors(
    bench: Bench, tiny: Path, golden: Path, vectors: Golden
) -> None:
    assert bench(tiny / "tiny.onnx", "--golden", golden).returncode == 0
    assert "already measured" in bench(tiny / "tiny.onnx", "--golden", golden, "--resume").stderr
    write_golden(golden, Golden(vectors.crops[:4], vectors.logits[:4], vectors.names[:4], (), SOURCE))
    assert "already measured" not in bench(tiny / "tiny.onnx", "--golden", golden, "--resume").stderr
