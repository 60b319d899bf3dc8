"""``ghostedge inspect``: a table for people, one JSON document for programs."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.cli.export import summary
from ghostedge.cli.inspect import table
from ghostedge.cli.main import main
from ghostedge.compare import Difference
from ghostedge.inspection import ModelSummary, Port, Weights
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import InputSpec, Model
from ghostedge.tflite.coverage import Coverage


def test_one_json_document_holds_every_model(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "--json", str(tiny_onnx), str(tiny_onnx)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema_version"] == 1
    assert [model["format"] for model in document["models"]] == ["onnx", "onnx"]
    assert document["models"][0]["operators"]["Conv"] == 2


def test_the_table_has_one_line_a_fact(tiny_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tiny_onnx)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{tiny_onnx}: ONNX, 0.0")
    facts = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in lines[1:] if line[2] != " ")
    assert facts["input"] == "input: float32 (batch, 3, 32, 32)"
    assert facts["multiply-adds"] == "0.1 million an image"
    assert facts["quantised"] == "no"


def test_an_int8_ir_shows_both_kinds_of_cpu(
    int8_irs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("saturates", "fits"):
        for path in (int8_irs[name], int8_irs[name].with_suffix(".bin")):
            shutil.copy(path, tmp_path)
    assert main(["inspect", str(tmp_path / "saturates.xml"), str(tmp_path / "fits.xml")]) == 0
    text = capsys.readouterr().out
    assert "7 pairs of weights may saturate on CPUs without VNNI" in text
    assert "never saturate on any CPU" in text
    assert "at export" not in text
    # What the manifest beside it has of a file of this hash, and of no other.
    kinds = {"with VNNI": Difference(9, 0.1, 31.2, 1.0), "without VNNI (AVX2)": Difference(9, 0.5, 19.4, 0.8)}
    record = ArtifactRecord(
        recipe="openvino_int8", recipe_sha256="", target="openvino", precision="int8",
        files=(FileRecord.of(tmp_path / "saturates.xml"),), source="", input=InputSpec(), classes=7, build_key="",
        verify_key="", packages={}, build_seconds=0.0, runtime={}, difference=kinds["with VNNI"],
        reference_difference=kinds["with VNNI"], bounds={}, cpu_differences=kinds,
    )  # fmt: skip
    manifest = Manifest({"file": "net.ckpt"}, (), {"openvino_int8": record})
    manifest.write(tmp_path)
    assert main(["inspect", str(tmp_path / "saturates.xml")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"at export +with VNNI: 31\.2 dB", text)
    assert re.search(r"without VNNI \(AVX2\): 19\.4 dB, .* 80\.0% of 9 images", text)
    assert main(["inspect", "--json", str(tmp_path / "saturates.xml"), str(tmp_path / "fits.xml")]) == 0
    first, second = json.loads(capsys.readouterr().out)["models"]
    assert first["cpu_differences"]["without VNNI (AVX2)"]["snr_db"] == 19.4
    assert (first["overflowing_pairs"], second["overflowing_pairs"]) == (7, 0)
    assert "cpu_differences" not in second
    rows = [line for line in summary(manifest).splitlines() if line.startswith("saturates.xml")]
    assert [row.split("  ")[0] for row in rows] == [
        "saturates.xml", "saturates.xml with VNNI", "saturates.xml without VNNI (AVX2)",
    ]  # fmt: skip
    assert "19.4" in rows[2]


def test_what_is_slow_stands_in_the_table() -> None:
    spec = InputSpec(layout="NHWC", dtype="uint8", range="raw", height=32, width=32, resize=36)
    model = ModelSummary(
        path=Path("model.tflite"),
        format="tflite",
        files={"model.tflite": 2_500_000},
        producer="",
        inputs=(Port("image", "uint8", (1, 32, 32, 3), 0.0078125, 128),),
        outputs=(Port("logits", "int8", (1, 5)),),
        operators={"CONV_2D": 2, "CUSTOM": 1},
        weights=Weights.of([("int8", 900, 900), ("int32", 100, 400)]),
        macs=None,
        quantised_per_tensor=3,
        quantised_per_channel=2,
        description=Model(Path("model.tflite"), "tflite", spec, ("cat", "dog"), "int8"),
        xnnpack=Coverage(nodes=3, delegated=2, partitions=2, outside=("CUSTOM",)),
        spatial_transposes=("features",),
        allows_float16=True,
    )
    text = table(model)
    assert re.search(r"float16 +on CPUs that have it", text)
    assert "model.tflite: TFLite, 2.50 MB" in text
    assert "image: uint8 (1, 32, 32, 3), step 0.0078125, zero point 128" in text
    assert "1,000 in 0.00 MB (int8 90.0%, int32 10.0%)" in text
    assert "2 tensors per channel, 3 per tensor" in text
    assert "2 of 3 operators in 2 partition(s)" in text
    assert "outside XNNPACK  CUSTOM" in text
    assert "1 of feature maps: features" in text
    assert "NHWC uint8 RGB, raw 0..255" in text
    assert "2: cat, ..., dog" in text
    assert "unknown" in text


def test_a_damaged_file_is_one_line_and_nothing_is_printed_before(
    tiny_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(tiny_onnx.read_bytes()[:100])
    assert main(["inspect", str(tiny_onnx), str(broken)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert "broken.onnx" in captured.err


# -- What quantisation cost -----------------------------------------------------------------------------------

TINY = Path(__file__).parents[1] / "data" / "tiny"


@pytest.fixture(scope="module")
def tiny_spec(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("spec") / "spec.json"
    path.write_text(json.dumps({"layout": "NHWC", "height": 32, "width": 32, "resize": 36}))
    return str(path)


def test_a_quantised_model_is_explained(tiny_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ai_edge_litert")
    report = tmp_path / "explain.html"
    models = [str(TINY / "tiny_int8.tflite"), "--against", str(TINY / "tiny_fp32.tflite"), "--input-spec", tiny_spec]
    assert main(["inspect", *models, "--layers", "2", "--report", str(report)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[0].endswith(", 8 images")
    assert re.search(r"^  weight quantisation +\d+\.\d dB, max abs", printed, re.MULTILINE)
    assert re.search(r"^  activation quantisation +\d+\.\d dB, max abs", printed, re.MULTILINE)
    table_lines = printed.partition("\n\n")[2].splitlines()
    assert table_lines[0].split()[:4] == ["Layer", "Kind", "Own", "dB"]
    assert len(table_lines) == 2 + 2 + 1  # header and rule, two layers, how many more there are
    page = report.read_text(encoding="utf-8")
    assert page.count("<svg") == 2  # for a desk and for a phone
    assert all(name in page for name in ("Mean", "Identity", "Accumulated", "activation quantisation"))


def test_an_explanation_is_one_json_document(
    tiny_spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ai_edge_litert")
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    models = [str(TINY / "tiny_int8.tflite"), "--against", str(TINY / "tiny_fp32.tflite"), "--input-spec", tiny_spec]
    assert main(["inspect", "--json", *models, "--images", str(tmp_path)]) == 0
    found = json.loads(capsys.readouterr().out)["explanation"]
    assert found["images"] == 1
    assert set(found["stages"]) == {"weight_quantisation", "activation_quantisation", "both"}
    own = [layer["own_sqnr_db"] for layer in found["layers"]]
    assert own == sorted(own)
    assert {layer["name"] for layer in found["layers"]} == {"image", "Relu;Conv2D", "Mean", "Identity"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["tiny_int8.tflite", "--against", "tiny_fp32.tflite"], "--input-spec"),
        (["tiny_int8.tflite", "tiny_int8.tflite", "--against", "tiny_fp32.tflite"], "2 are named"),
        (["tiny_int8.tflite", "--against", "tiny.onnx"], "not a .tflite"),
        (["tiny_int8.tflite", "--against", "absent.tflite"], "does not exist"),
        (["tiny_int8.tflite", "--against", "tiny_fp32.tflite", "--report", "r.txt"], ".html; a web page"),
        (["tiny_int8.tflite", "--against", "tiny_fp32.tflite", "--layers", "0"], "--layers"),
        (["tiny_int8.tflite", "--report", "r.html"], "--against"),
        (["tiny_int8.tflite", "--input-spec", "s.json"], "--input-spec: for --against alone"),
        (["tiny_int8.tflite", "--layers", "0", "--images", "D"], "--images and --layers: for --against alone"),
    ],
)
def test_a_mistake_in_explaining_is_one_line(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(TINY)
    assert main(["inspect", *arguments]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert said in captured.err
