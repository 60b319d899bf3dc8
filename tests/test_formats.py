"""An artifact alone is enough: each format carries its description; what others made, the user describes."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ghostedge.data.imagenet import imagenet_labels
from ghostedge.errors import ArtifactError, CheckpointError
from ghostedge.files import sha256_file
from ghostedge.formats import load_input_spec, open_model, read_description
from ghostedge.lazy import require
from ghostedge.model import KEY, InputSpec, Model
from ghostedge.wire import field

DESCRIBED = Model(
    Path("linear"),
    "onnx",
    InputSpec(layout="NHWC", height=8, width=8, resize=9, mean=(0.5, 0.4, 0.3), std=(1.0, 1.0, 1.0)),
    ("cat", "dog, hound", "réd fox", '<&">'),
    "fp16",
    {"tiger/1.jpg": "ab" * 32},
    "cd" * 32,
    {"min_snr_db": 50.0, "min_top1_agreement": 0.9},
)


def describe_onnx(source: Path, path: Path) -> Path:
    onnx = pytest.importorskip("onnx")
    model = onnx.load(source)
    onnx.helper.set_model_props(model, {KEY: DESCRIBED.to_json(), "other": "x"})
    onnx.save(model, path)
    return path


def describe_openvino(source: Path, path: Path) -> Path:
    openvino = require("openvino", "openvino")
    model = openvino.Core().read_model(source)
    model.set_rt_info(DESCRIBED.to_json(), [KEY])
    openvino.save_model(model, path)
    return path


def describe_tflite(source: Path, path: Path) -> Path:
    shutil.copy(source, path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "cat\n")
        archive.writestr(f"{KEY}.json", DESCRIBED.to_json())
    return path


DESCRIBE: dict[str, Callable[[Path, Path], Path]] = {
    "onnx": describe_onnx,
    "openvino": describe_openvino,
    "tflite": describe_tflite,
}


def mindir(shape: tuple[int, ...], classes: int, described: Model | None = None) -> bytes:
    """The parts of a MindIR that say what goes in and what comes out (field numbers of mind_ir.proto)."""

    def value(name: bytes, dims: tuple[int, ...]) -> bytes:
        return field(1, name) + field(2, b"".join(field(1, size) for size in dims))

    data = field(7, field(2, b"graph") + field(5, value(b"x", shape)) + field(6, value(b"y", (1, classes))))
    if described is not None:
        data += field(14, field(1, KEY.encode()) + field(2, described.to_json().encode()))
    return data


@pytest.mark.parametrize("kind", DESCRIBE)
def test_a_described_artifact_needs_nothing_else(kind: str, linear_models: dict[str, Path], tmp_path: Path) -> None:
    source = linear_models[kind]
    path = DESCRIBE[kind](source, tmp_path / source.name)
    expected = dataclasses.replace(DESCRIBED, path=path, format=kind)  # type: ignore[arg-type]
    assert open_model(path) == open_model(str(path)) == expected


@pytest.mark.parametrize("kind", DESCRIBE)
def test_what_the_caller_says_wins(kind: str, linear_models: dict[str, Path], tmp_path: Path) -> None:
    source = linear_models[kind]
    path = DESCRIBE[kind](source, tmp_path / source.name)
    artifact = open_model(path, input_spec=InputSpec(), labels=())
    assert (artifact.input, artifact.labels, artifact.precision) == (InputSpec(), (), "fp16")
    assert open_model(path, labels=("a",)).input == DESCRIBED.input
    assert open_model(path, input_spec=InputSpec()).labels == DESCRIBED.labels


@pytest.mark.parametrize("kind", DESCRIBE)
def test_a_bare_artifact_asks_for_an_input_spec(kind: str, linear_models: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="--input-spec") as error:
        open_model(linear_models[kind])
    message = str(error.value)
    assert "\n" not in message
    # The example in the message is itself a valid spec file.
    (tmp_path / "spec.json").write_text(message[message.index("{") :])
    spec = load_input_spec(tmp_path / "spec.json")
    assert open_model(linear_models[kind], input_spec=spec).input == spec


@pytest.mark.parametrize("kind", DESCRIBE)
def test_a_damaged_description(
    kind: str, linear_models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "to_json", lambda _: '{"schema_version": 1, "input": {"layout": "HCWN"}}')
    path = DESCRIBE[kind](linear_models[kind], tmp_path / linear_models[kind].name)
    with pytest.raises(ArtifactError, match=r"linear|fp32") as error:
        open_model(path)
    assert str(path) in str(error.value)
    assert "HCWN" in str(error.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[]", "schema version None"),
        ('{"schema_version": 2}', r"schema version 2, this ghostedge reads 1\); update ghostedge or export it again"),
        ('{"labels": "ab"}', r"it: Expected `array`, got `str` - at `\$\.labels`"),
        ('{"input": {"height": 300}}', r"InputSpec: cannot cut"),
        ('{"bounds": {"min_snr_db": "high"}}', r"Expected `float`, got `str`"),
        ('{"precision": null}', r"at `\$\.precision`"),
    ],
)
def test_a_damaged_description_says_where(text: str, reason: str) -> None:
    whole = json.loads(DESCRIBED.to_json()) | json.loads(text) if text[1:2] == '"' else None
    with pytest.raises(ArtifactError, match=rf"^net\.onnx: the embedded description .*{reason}"):
        Model.from_json(text if whole is None else json.dumps(whole), Path("net.onnx"), "onnx")


def test_the_description_is_stable_bytes() -> None:
    """Of which every exported file is made: neither the order of its keys nor its spaces may change."""
    assert dataclasses.replace(DESCRIBED, labels=("a",), input=InputSpec()).to_json() == (
        '{"bounds": {"min_snr_db": 50.0, "min_top1_agreement": 0.9}, "calibration": {"tiger/1.jpg": "'
        + "ab" * 32
        + '"}, "input": {"colour_order": "RGB", "dtype": "float32", "height": 224, "layout": "NCHW", "mean": [0.485, '
        '0.456, 0.406], "range": "normalised", "resize": 256, "resize_rule": "opencv_linear", "std": [0.229, 0.224, '
        '0.225], "width": 224}, "labels": ["a"], "precision": "fp16", "schema_version": 1, "source_sha256": "'
        + "cd" * 32
        + '"}'
    )
    plain = Model(Path("x.onnx"), "onnx", InputSpec())
    assert set(json.loads(plain.to_json())) == {"schema_version", "input", "labels", "precision"}


def test_the_hash_is_of_the_file_and_taken_once(tmp_path: Path) -> None:
    model = dataclasses.replace(DESCRIBED, path=tmp_path / "x.onnx")
    model.path.write_bytes(b"abc")
    assert model.sha256 == sha256_file(model.path)
    model.path.unlink()
    assert len(model.sha256) == 64
    assert model == dataclasses.replace(model)  # what is known of the file's bytes is no part of what the model is


def test_no_vendor_library_is_loaded(linear_models: dict[str, Path], tmp_path: Path) -> None:
    paths = [str(DESCRIBE[kind](source, tmp_path / source.name)) for kind, source in linear_models.items()]
    (tmp_path / "model.mindir").write_bytes(mindir((1, 3, 224, 224), 1000))
    code = (
        "import sys; from ghostedge.formats import open_model\n"
        "for path in sys.argv[1:]: open_model(path)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    arguments = [sys.executable, "-c", code, *paths, str(tmp_path / "model.mindir")]
    loaded = set(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.split())
    assert "ghostedge" in loaded
    heavy = {"onnx", "onnxruntime", "openvino", "ai_edge_litert", "mindspore", "tensorflow", "torch", "google", "PIL"}
    assert loaded & heavy == set()


# --- MindSpore's own formats ------------------------------------------------------------------------------------------


def test_a_described_mindir(tmp_path: Path) -> None:
    path = tmp_path / "model.mindir"
    described = Model(path, "mindir", InputSpec(height=192, width=192, resize=219), ("a", "b"))
    path.write_bytes(mindir((1, 3, 192, 192), 2, described))
    assert open_model(path) == described


def test_a_mindir_of_another_origin_is_taken_as_trained_by_the_model_zoo(tmp_path: Path) -> None:
    path = tmp_path / "model.mindir"
    path.write_bytes(mindir((1, 3, 224, 224), 1000))
    assert read_description(path) is None
    assert open_model(path) == Model(path, "mindir", InputSpec(), imagenet_labels(), network="other")
    path.write_bytes(mindir((1, 3, 320, 256), 10))
    # 256 / 224 of the longer of the two: the same share of a square image is cropped away.
    assert open_model(path) == Model(path, "mindir", InputSpec(height=320, width=256, resize=366), network="other")


def test_a_checkpoint_is_taken_as_trained_by_the_model_zoo(oracle_checkpoint: Path, tmp_path: Path) -> None:
    expected = Model(oracle_checkpoint, "checkpoint", InputSpec(), imagenet_labels())
    assert open_model(oracle_checkpoint) == expected
    assert read_description(oracle_checkpoint) is None
    (tmp_path / "model.ckpt").write_bytes(oracle_checkpoint.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.ckpt"):
        open_model(tmp_path / "model.ckpt")


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".tflite", ".mindir", ".ckpt"])
@pytest.mark.parametrize("content", [b"", b"this is no model\n" * 20, bytes(3000), b"<net", b"PK\x03\x04" + bytes(60)])
def test_files_that_are_no_models(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"model{suffix}"
    path.write_bytes(content)
    if suffix == ".xml":
        path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises((ArtifactError, CheckpointError)) as error:
        open_model(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_cut_onnx_file(linear_models: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(linear_models["onnx"].read_bytes()[:-5])
    with pytest.raises(ArtifactError, match="not a whole ONNX model"):
        open_model(path)


def test_xml_that_is_no_ir(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"")
    (tmp_path / "model.xml").write_text("<html><body/></html>")
    with pytest.raises(ArtifactError, match=r"its outermost element is <html>"):
        open_model(tmp_path / "model.xml")


def test_names_that_are_not_enough(tmp_path: Path) -> None:
    (tmp_path / "model.xml").write_text("<net/>")
    with pytest.raises(ArtifactError, match=r"no weights beside it \(model\.bin\)"):
        open_model(tmp_path / "model.xml")
    (tmp_path / "model.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"name .*model\.xml instead"):
        open_model(tmp_path / "model.bin")
    (tmp_path / "model.pb").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"known extensions: \.ckpt, \.mindir, \.onnx, \.xml, \.tflite"):
        open_model(tmp_path / "model.pb")
    with pytest.raises(ArtifactError, match="does not exist"):
        open_model(tmp_path / "gone.onnx")
    with pytest.raises(ArtifactError, match="is a folder"):
        open_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"layout": "HWC"}', "must be one of NCHW, NHWC"),
        ('{"meen": [0, 0, 0]}', "no field 'meen'"),
        ('{"std": [0, 1, 1]}', "std above zero"),
        ('{"height": 300}', "cannot cut"),
        ('{"height": 224.5}', "InputSpec.height is 224.5; it must be a whole number"),
        ('{"mean": ["a", 0, 0]}', "three finite numbers"),
        ('{"std": [NaN, 1, 1]}', r"\$\.std\[0\] is nan"),
    ],
)
def test_bad_input_specs(text: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(text)
    with pytest.raises(ArtifactError, match=reason) as error:
        load_input_spec(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_an_input_spec_keeps_the_defaults_of_what_it_leaves_out(tmp_path: Path) -> None:
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"layout": "NHWC", "std": [1, 1, 1]}))
    assert load_input_spec(path) == InputSpec(layout="NHWC", std=(1, 1, 1))
    with pytest.raises(ArtifactError, match="No such file"):
        load_input_spec(tmp_path / "gone.json")


def test_a_tflite_file_that_is_cut_in_its_last_kilobyte_says_so(tmp_path: Path) -> None:
    """Its flatbuffer is whole then, and without the files at its end it would be one of another origin."""
    whole = (Path(__file__).parent / "data" / "tiny_tflite" / "tiny_fp32.tflite").read_bytes()
    path = tmp_path / "a.tflite"
    path.write_bytes(whole)
    assert read_description(path) is not None
    for cut in range(1, 1025):
        path.write_bytes(whole[:-cut])
        with pytest.raises(ArtifactError, match=r"a\.tflite.* (is cut short|are damaged)"):
            read_description(path)
