"""`ghostedge predict` names what it sees, with every artifact, and goes on after a bad image."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.cli import add_arguments, predict
from ghostedge.errors import ArtifactError, ImageError, UsageError

SPEC = {"height": 8, "width": 8, "resize": 8, "mean": [0, 0, 0], "std": [1, 1, 1]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A red, a green and a grey picture, a spec for the linear models, class names; red and green win their classes."""
    (tmp_path / "photos").mkdir()
    for name, colour in {"a_red": (255, 0, 0), "b_green": (0, 255, 0), "c_grey": (90, 90, 90)}.items():
        Image.new("RGB", (20, 30), colour).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    (tmp_path / "nhwc.json").write_text(json.dumps(SPEC | {"layout": "NHWC"}))
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\nlight\n")
    return tmp_path


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    add_arguments(parser, predict.ARGUMENTS)
    return predict.run(parser.parse_args([str(argument) for argument in arguments]))


def described(folder: Path, artifact: Path) -> list[object]:
    spec = "nhwc.json" if artifact.suffix == ".tflite" else "spec.json"
    return ["--artifact", artifact, "--input-spec", folder / spec, "--labels", folder / "labels.txt"]


@pytest.mark.parametrize("kind", ["onnx", "openvino", "tflite"])
def test_a_folder_with_names(
    kind: str, folder: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder / "photos", "--top", 2, *described(folder, linear_models[kind])) == 0
    # Red: logits 1.1, -0.2, -0.7, 0.5. Green: 0.1, 0.8, -0.7, 0.5. Grey, value 6/17: 0.541, 0.065, -0.053, 0.529.
    assert capsys.readouterr().out.splitlines() == [
        f"{folder}/photos/a_red.png",
        "   50.3%  red",
        "   27.6%  light",
        f"{folder}/photos/b_green.png",
        "   40.6%  green",
        "   30.1%  light",
        f"{folder}/photos/c_grey.png",
        "   31.6%  red",
        "   31.3%  light",
    ]


def test_json(folder: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> None:
    image = folder / "photos" / "a_red.png"
    assert run(image, "--json", "--threads", 2, *described(folder, linear_models["onnx"])) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["runtime"]["threads"]) == ("onnx", 2)
    (result,) = document["results"]
    assert [entry["index"] for entry in result["top"]] == [0, 3, 1, 2]  # all four: there are not five
    assert [entry["label"] for entry in result["top"]] == ["red", "light", "green", "blue"]
    logits = np.array([entry["logit"] for entry in result["top"]])
    np.testing.assert_allclose(logits, [1.1, 0.5, -0.2, -0.7], atol=1e-6)
    chances = [entry["probability"] for entry in result["top"]]
    np.testing.assert_allclose(chances, np.exp(logits) / np.exp(logits).sum(), rtol=1e-6)


def test_classes_without_names_are_numbered(
    folder: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--artifact", linear_models["onnx"], "--input-spec", folder / "spec.json", "--top", 1]
    assert run(folder / "photos" / "b_green.png", *arguments) == 0
    assert capsys.readouterr().out.splitlines()[1] == "   40.6%  class 1"
    assert run(folder / "photos" / "b_green.png", "--json", *arguments) == 0
    assert json.loads(capsys.readouterr().out)["results"][0]["top"][0]["label"] is None


def test_bad_images_among_good_ones(
    folder: Path, linear_models: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (folder / "empty").mkdir()
    images = [folder / "cut.jpg", folder / "gone.png", folder / "photos" / "a_red.png", folder / "empty"]
    arguments = described(folder, linear_models["tflite"])
    assert run(*images, *arguments) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{images[2]}\n   50.3%  red")
    assert len(err.splitlines()) == 3
    assert all(line.startswith("ghostedge: error: ") for line in err.splitlines())
    assert run(*images, "--json", *arguments) == 1
    results = json.loads(capsys.readouterr().out)["results"]
    assert [("error" in result, result["image"]) for result in results] == [
        (image != images[2], str(image)) for image in images
    ]


def test_mistakes(folder: Path, linear_models: dict[str, Path]) -> None:
    image, arguments = folder / "photos" / "a_red.png", described(folder, linear_models["onnx"])
    with pytest.raises(UsageError, match="--top is 0"):
        run(image, *arguments, "--top", 0)
    (folder / "labels.txt").write_text("red\ngreen\n")
    with pytest.raises(ArtifactError, match="4 classes apart, but there are 2 labels"):
        run(image, *arguments)
    with pytest.raises(ArtifactError, match="--input-spec"):
        run(image, "--artifact", linear_models["onnx"])


def test_no_heavy_import_for_tflite(folder: Path, linear_models: dict[str, Path]) -> None:
    code = (
        "import argparse, sys; from ghostedge.cli import add_arguments, predict\n"
        "parser = argparse.ArgumentParser(); parser.add_argument('--json', action='store_true')\n"
        "add_arguments(parser, predict.ARGUMENTS); code = predict.run(parser.parse_args(sys.argv[1:]))\n"
        "print(code, *sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    arguments: list[Any] = [folder / "photos" / "a_red.png", *described(folder, linear_models["tflite"])]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    exit_code, *loaded = result.stderr.split()
    assert exit_code == "0"
    assert {"numpy", "PIL", "ai_edge_litert"} <= set(loaded)
    heavy = {"mindspore", "tensorflow", "torch", "onnx", "onnxruntime", "openvino", "google", "scipy", "cv2", "tqdm"}
    assert set(loaded) & heavy == set()


def test_image_error_is_what_a_bad_image_raises() -> None:
    """`run` goes on after ImageError alone; a bad artifact ends it."""
    assert not issubclass(ArtifactError, ImageError)
