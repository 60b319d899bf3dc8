"""``ghostedge evaluate`` with real artifacts, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.cli.evaluate import progress_text
from ghostedge.cli.main import main
from ghostedge.data.preprocess import preprocess
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.evaluation.run import Progress
from ghostedge.model import InputSpec

pytest.importorskip("pyarrow")

#: Of the fixture `linear_models`: 8 x 8 pixels, 4 classes.
SPECS = {
    "onnx": {"layout": "NCHW", "height": 8, "width": 8, "resize": 8},
    "openvino": {"layout": "NCHW", "height": 8, "width": 8, "resize": 8},
    "tflite": {"layout": "NHWC", "height": 8, "width": 8, "resize": 8},
}


LINEAR = Path(__file__).parents[1] / "data" / "linear"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Thirty photos of four kinds in class folders."""
    for number in range(30):
        folder = tmp_path / "photos" / "abcd"[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    return tmp_path / "photos"


@pytest.mark.parametrize("kind", ["onnx", "openvino", "tflite"])
def test_a_real_artifact_end_to_end(
    kind: str, data: Path, tmp_path: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from ghostedge.formats import open_model
    from ghostedge.runtimes import open_runtime

    (tmp_path / "spec.json").write_text(json.dumps(SPECS[kind]))
    model = linear_models[kind]
    arguments = ["evaluate", "--artifact", str(model), "--input-spec", str(tmp_path / "spec.json")]
    arguments += ["--data", str(data), "--output", str(tmp_path / "out"), "--workers", "2"]
    assert main([*arguments, "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["ledgers"]
    ledger = read_ledger(Path(document["ledger"]))

    images = sorted(data.rglob("*.png"), key=lambda path: path.name)
    spec = InputSpec.from_dict(SPECS[kind])
    with open_runtime(open_model(model, input_spec=spec)) as runtime:
        logits = np.concatenate([runtime.run(preprocess(path, spec)) for path in images])
    labels = np.array(["abcd".index(path.parent.name) for path in images])
    assert ledger.image_ids.tolist() == [path.name for path in images]
    assert ledger.labels.tolist() == labels.tolist()
    np.testing.assert_array_equal(ledger.top5_logit[:, :4], -np.sort(-logits, axis=1))
    assert document["top1"] == (logits.argmax(1) == labels).mean()
    assert document["metadata"] == json.loads(ledger.metadata.to_json())

    assert main(arguments) == 0
    out = capsys.readouterr()
    top1 = f"{100 * document['top1']:.2f}"
    assert out.out.startswith("Artifact")
    assert out.out.splitlines()[2].split()[:5] == [model.name, "30", top1, "100.00", "0"]
    assert out.out.splitlines()[2].endswith(" (unchanged)")


def test_in_float16(data: Path, tmp_path: Path, float16_tflite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPECS["tflite"]))
    arguments = ["evaluate", "--artifact", str(float16_tflite), "--input-spec", str(tmp_path / "spec.json")]
    arguments += ["--data", str(data), "--output", str(tmp_path / "out"), "--workers", "2"]
    assert main(arguments) == 0
    assert main([*arguments, "--inference-precision", "f16"]) == 0
    plain, float16 = (read_ledger(tmp_path / "out" / f"linear.tflite{end}.parquet") for end in ("", ".f16"))
    assert float16.metadata.runtime["inference_precision"] == "f16"
    assert plain.image_ids.tolist() == float16.image_ids.tolist()
    logits = float16.top5_logit[:, :4]
    assert np.array_equal(logits, logits.astype(np.float16))
    assert not np.array_equal(logits, plain.top5_logit[:, :4])
    assert main([*arguments[:2], str(LINEAR / "fp32.tflite"), *arguments[3:], "--inference-precision", "f16"]) == 1
    assert "does not allow float16" in capsys.readouterr().err


def test_a_corrupt_image_is_named_and_the_exit_code_is_1(
    data: Path, tmp_path: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPECS["tflite"]))
    (data / "b" / "05.png").write_bytes(b"")
    arguments = ["evaluate", "--artifact", str(linear_models["tflite"]), "--input-spec", str(tmp_path / "spec.json")]
    arguments += ["--data", str(data), "--output", str(tmp_path / "out"), "--workers", "1", "--quiet"]
    assert main(arguments) == 1
    named, error = capsys.readouterr().err.splitlines()
    assert named.startswith("ghostedge: 05.png has no answer: the file is empty (0 bytes)")
    assert error.startswith("ghostedge: error: 1 of 30 images have no answer by ")
    assert main([*arguments, "--on-error", "skip", "--json"]) == 0
    (document,) = json.loads(capsys.readouterr().out)["ledgers"]
    assert document["images"] == 30
    assert list(document["failures"]) == ["05.png"]


def test_an_artifact_that_its_runtime_refuses_does_not_stop_the_others(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "spec.json").write_text(json.dumps(SPECS["tflite"]))
    refused, good = (
        str(LINEAR.parent / "tiny" / "tiny_fp32.tflite"),
        str(LINEAR / "fp32.tflite"),
    )  # of 32 x 32, of 8 x 8
    common = ["--input-spec", str(tmp_path / "spec.json"), "--data", str(data), "--workers", "2"]
    assert main(["evaluate", "--artifact", refused, good, *common, "--output", str(tmp_path / "both"), "--quiet"]) == 1
    out, (line,) = (said := capsys.readouterr()).out, said.err.splitlines()
    assert out.splitlines()[2].split()[:2] == ["fp32.tflite", "30"]
    assert line.startswith(f"ghostedge: error: {refused} has no ledger: ")
    assert main(["evaluate", "--artifact", good, *common, "--output", str(tmp_path / "alone")]) == 0
    name = "fp32.tflite.parquet"
    assert (tmp_path / "both" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    assert [path.name for path in (tmp_path / "both").glob("*.parquet")] == [name]
    capsys.readouterr()

    assert main(["evaluate", "--artifact", refused, good, *common, "--output", str(tmp_path / "both"), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert [Path(each["ledger"]).name for each in document["ledgers"]] == [name]
    assert [each["artifact"] for each in document["errors"]] == [refused]

    assert main(["evaluate", "--artifact", refused, *common, "--output", str(tmp_path / "none")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"ghostedge: error: {refused} takes ")
    assert not list((tmp_path / "none").glob("*.parquet"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--data", "nowhere"], "nowhere does not exist; --data takes class folders"),
        (["--limit", "0"], "--limit 0 leaves no image"),
        (["--threads", "0"], "--threads 0: at least 1"),
        (["--preprocessing", "pil"], "unknown preprocessing 'pil'"),
        (["--on-error", "ignore"], "unknown --on-error 'ignore'"),
        (["--ground-truth", "missing.txt"], "the label file missing.txt does not exist"),
    ],
)
def test_mistakes_are_one_line(
    change: list[str],
    message: str,
    data: Path,
    tmp_path: Path,
    linear_models: dict[str, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPECS["onnx"]))
    arguments = ["evaluate", "--artifact", str(linear_models["onnx"]), "--input-spec", str(tmp_path / "spec.json")]
    arguments += ["--data", str(data), "--output", str(tmp_path / "out"), *change]
    assert main(arguments) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_progress_tells_rate_time_left_and_running_accuracy() -> None:
    progress = Progress(12_032, 50_000, 512, 84.14, 451.2, (0.741, None))
    assert progress_text(progress, ["a.tflite", "b.onnx"]) == (
        "12,032 of 50,000 images (512 from before)  84.1/s  7 min 31 s left  top-1 74.1% a.tflite"
    )
