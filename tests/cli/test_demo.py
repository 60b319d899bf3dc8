"""``ghostedge demo`` on a small demo of linear models: every command is the real one, the export alone stands in."""

from __future__ import annotations

import argparse
import json
import math
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ghostedge import demo
from ghostedge.cli import export as export_command
from ghostedge.cli import main as cli
from ghostedge.cli.demo import command_text
from ghostedge.compare import Difference
from ghostedge.data.datasets import open_dataset
from ghostedge.errors import ParityError
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.files import sha256_file
from ghostedge.formats import open_model
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import KEY, InputSpec, Model

CLASSES = ("bear", "cat", "dog", "tiger")
SPEC = InputSpec(height=8, width=8, resize=9)


@pytest.fixture(scope="module")
def models(linear_models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two ONNX files that know their input and classes: a sound one, and one that takes everything for a tiger."""
    onnx = pytest.importorskip("onnx")
    folder = tmp_path_factory.mktemp("demo_models")
    for name, bias in (("small_fp32", None), ("small_int8", [0, 0, 0, 1000])):
        model = onnx.load(linear_models["onnx"])
        if bias is not None:
            (initial,) = (i for i in model.graph.initializer if i.name == "bias")
            initial.CopyFrom(onnx.numpy_helper.from_array(np.array(bias, np.float32), "bias"))
        described = Model(folder / f"{name}.onnx", "onnx", SPEC, CLASSES, name[-4:])
        onnx.helper.set_model_props(model, {KEY: described.to_json()})
        onnx.save(model, described.path)
    return sorted(folder.glob("*.onnx"))


@pytest.fixture(scope="module")
def files(
    models: list[Path],
    linear_logits: Callable[[NDArray[Any]], NDArray[Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What publish.py writes, for the sound model in the checkpoint's place: it is right on nearly every image."""
    folder, rng = tmp_path_factory.mktemp("demo") / "files", np.random.default_rng(0)
    for index in range(40):
        colour, label = rng.integers(0, 256, 3), CLASSES[index % 4]
        while linear_logits(((colour / 255 - SPEC.mean) / SPEC.std)[None, None, None]).argmax() != index % 4:
            colour = rng.integers(0, 256, 3)
        path = folder / "validation" / label / f"validation_{index:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.broadcast_to(colour.astype(np.uint8), (40, 50, 3))).save(path)
    shutil.copytree(folder / "validation" / "bear", folder / "calibration" / "bear")
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    (folder / "artwork_1x.ckpt").write_bytes(b"stands for a checkpoint")
    record = {"training": {"pictures": 1234}, "validation": {"all": {"images": 40}}}
    (folder / "training.json").write_text(json.dumps(record))
    (subject,) = subjects_of([open_model(models[0])], folder)
    evaluate((subject,), open_dataset(folder / "validation"), Options(workers=1))
    subject.ledger.rename(folder / "reference.parquet")
    shutil.copy(folder / "reference.parquet", folder / demo.NOISE_FLOOR)
    names = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    (folder / "SHA256SUMS").write_text("".join(f"{sha256_file(folder / name)}  {name}\n" for name in names))
    return folder


@pytest.fixture
def demo_files(files: Path, models: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`files` as those of the package, in a copy; ``export`` leaves `models` and a manifest of them."""
    copy = tmp_path / "package" / "files"
    shutil.copytree(files, copy)
    monkeypatch.setattr(demo, "FILES", copy)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a benchmark lock of its own
    monkeypatch.chdir(tmp_path)

    def stands_in(args: argparse.Namespace) -> int:
        assert list(args.calibration.iterdir())
        source = {"file": args.checkpoint.name, "format": "checkpoint", "sha256": sha256_file(args.checkpoint)}
        manifest = Manifest(source, tuple({"name": path.name} for path in sorted(args.images.iterdir())))
        args.output.mkdir(exist_ok=True, parents=True)
        mindir = args.output / "small.mindir"
        mindir.write_bytes(b"stands for a MindIR")
        for path in [mindir, *(Path(shutil.copy(model, args.output)) for model in models)]:
            target, same = path.suffix[1:], Difference(10, 0.0, math.inf, 1.0)
            record = ArtifactRecord(
                recipe=path.stem, recipe_sha256="", target=target, precision="fp32", files=(FileRecord.of(path),),
                source="", input=SPEC, classes=4, build_key="", verify_key="", packages={}, build_seconds=0.0,
                runtime={}, difference=same, reference_difference=same, bounds={},
            )  # fmt: skip
            manifest = manifest.with_artifact(record)
        manifest.write(args.output)
        return 0

    monkeypatch.setattr(export_command, "run", stands_in)
    return copy


Out = pytest.CaptureFixture[str]


def test_the_demo_ends_with_one_page_of_everything(demo_files: Path, tmp_path: Path, capsys: Out) -> None:
    assert cli.main(["demo", "--output", "out"]) == 0
    printed = capsys.readouterr().out
    assert "trained on 1,234 composed pictures; 40 validation images\n" in printed
    assert "55 demo files have the sha256 they were published with" in printed
    assert "(parity ends with 2 for FAIL: a script of yours would stop here)" in printed
    assert printed.splitlines()[-1] == str(tmp_path / "out" / "report.html")

    commands = [shlex.split(text.replace("\\\n", " ")) for text in re.findall(r"^\$ ((?:.*\\\n)*.*)", printed, re.M)]
    assert [command[1] for command in commands] == ["export", "predict", "evaluate", "benchmark", "parity"]
    assert commands[-1][4] == "--noise-floor"
    assert not any(str(tmp_path) in word for command in commands for word in command), "not as one would type it"

    page = (tmp_path / "out" / "report.html").read_text().replace("<wbr>", "")
    assert 'src="http' not in page
    assert page.count('class="noise"') == 2, "the band behind every artifact, in two widths"
    # A tiger for everything: a quarter of the labels are right.
    row = next(row for row in page.split("<tr>") if "3 small_int8.onnx" in row and "FAIL" in row)
    assert "25.00%" in row
    assert re.search(r"\d\.\d\d ms", row)
    assert "not evaluated" in next(row for row in page.split("<tr>") if "1 small.mindir" in row)
    assert "Latency: local" in page


def test_a_second_run_repeats_nothing(demo_files: Path, tmp_path: Path, capsys: Out) -> None:
    assert cli.main(["demo", "--output", "out", "--quiet"]) == 0
    kept = [*tmp_path.glob("out/ledgers/*"), *tmp_path.glob("out/latency/local/*.json")]
    before = [path.stat().st_mtime_ns for path in kept]
    assert len(kept) == 4
    assert cli.main(["demo", "--output", "out", "--quiet"]) == 0
    assert [path.stat().st_mtime_ns for path in kept] == before


def test_a_command_that_fails_ends_the_demo(
    demo_files: Path, tmp_path: Path, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    def over_its_bound(args: argparse.Namespace) -> int:
        raise ParityError("over its bound")

    monkeypatch.setattr(export_command, "run", over_its_bound)
    assert cli.main(["demo", "--output", "out"]) == 2
    printed = capsys.readouterr()
    assert printed.err == "ghostedge: error: over its bound\n"
    assert "predict" not in printed.out


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "artwork_1x.ckpt").write_bytes(b"another"), r"artwork_1x\.ckpt has another sha256 than rec"),
        (lambda f: (f / "reference.parquet").unlink(), r"reference\.parquet is missing"),
        (shutil.rmtree, r"the demo's files are not installed; run: pip install 'ghostedge\[demo\]'"),
    ],
)
def test_damaged_or_absent_files_end_the_demo_before_it_begins(
    damage: Callable[[Path], object], message: str, demo_files: Path, tmp_path: Path, capsys: Out
) -> None:
    damage(demo_files)
    assert cli.main(["demo", "--output", "out"]) == 1
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_long_command_is_broken_so_that_a_shell_reads_it_the_same() -> None:
    argv = ("evaluate", "--artifact", *(f"build/a model {i}.tflite" for i in range(9)), "--output", "build/ledgers")
    text = command_text(argv)
    assert shlex.split(text.replace("\\\n", "")) == ["ghostedge", *argv]
    assert max(map(len, text.splitlines())) <= 115
