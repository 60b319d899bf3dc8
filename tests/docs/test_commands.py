"""Every shell block of the docs is run: here, on small models and images of the names that the docs use, or elsewhere.

A mark above each block says which: ``<!-- tested -->`` here; ``<!-- run: NAME -->`` on fresh Debian systems
(benchmarks/arm64/install_path.py); ``<!-- not run: WHY -->``, which the site shows. Of an export everything is run that
comes before the first stage: tests/test_export.py makes real ones.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from ghostedge.cli import EXIT_CODES
from ghostedge.cli.main import COMMANDS, main
from ghostedge.data.golden import Golden, write_golden
from ghostedge.data.preprocess import resize_and_crop
from ghostedge.manifest import Manifest
from ghostedge.model import KEY, InputSpec, Model
from ghostedge.pipeline import export as exporting
from ghostedge.pipeline.export import Exported
from ghostedge.pipeline.plan import ExportRequest
from ghostedge.wire import varint
from tests.benchmarks.test_golden import SOURCE, tiny_logits
from tests.docs.test_install import DOCS, ROOT, install_path

TINY = ROOT / "tests" / "data" / "tiny"
SPEC = InputSpec(layout="NHWC", height=32, width=32, resize=36)
ANIMALS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay")

#: What a line of a shell block may begin with; elsewhere it must not.
PROGRAMS = {"adb", "apt", "apt-get", "cd", "ghostedge", "git", "make", "pip", "pkg", "pytest", "python", "sudo"}


class Block(NamedTuple):
    """A fenced block of a page: the mark above it or nothing, its language, its text."""

    mark: str
    language: str
    text: str


def blocks(text: str) -> Iterator[Block]:
    fenced = re.compile(
        r"^(?P<indent> *)(?:<!-- (?P<mark>.+?) -->\n(?P=indent))?```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
        re.MULTILINE | re.DOTALL,
    )
    return (Block(found["mark"] or "", found["language"], found["text"]) for found in fenced.finditer(text))


def wrong(block: Block) -> str | None:
    """What is wrong with a block's mark."""
    lines = list(install_path.command_lines(block.text))
    if block.language == "python" and ">>> " in block.text:
        return None  # tests/test_api.py runs it
    if block.language not in ("sh", "python"):
        shell = [line for line in lines if re.split(r"[\s/]", line)[0] in PROGRAMS or line.startswith("$ ")]
        return f"commands in a block that is not called sh: {shell[0]}" if shell and not block.language else None
    if block.language == "sh" and block.mark == "tested":
        others = [line for line in lines if not line.startswith("ghostedge ")]
        return f"only ghostedge is run here, not: {others[0]}" if others else None
    kind, colon, why = block.mark.partition(": ")
    if kind not in ("run", "not run") or not colon:
        return f"no mark above it, and no test runs it: {lines[0]}"
    gone = [name for name in re.findall(r"\btests/[\w/.]+\w", why) if not (ROOT / name).exists()]
    return f"{gone[0]} does not exist" if gone else None


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_block_of_commands_says_what_runs_it(path: Path) -> None:
    assert [found for found in map(wrong, blocks(path.read_text(encoding="utf-8"))) if found] == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("```sh\nghostedge demo\n```\n", "no test runs it: ghostedge demo"),
        ("<!-- tested -->\n\n```sh\nghostedge demo\n```\n", "no test runs it"),
        ("```\nghostedge demo\n```\n", "not called sh"),
        ("<!-- tested -->\n```sh\nmake demo\n```\n", "not: make demo"),
        ("<!-- not run: tests/gone.py has it -->\n```sh\nmake demo\n```\n", "tests/gone.py does not exist"),
        ("```python\nimport ghostedge\n```\n", "no test runs it"),
        ("- a list\n\n  ```sh\n  ghostedge demo\n  ```\n", "no test runs it"),
    ],
)
def test_a_block_without_a_mark_is_seen(text: str, reason: str) -> None:
    (block,) = blocks(text)
    assert reason in str(wrong(block))


# -- what the commands speak of ----------------------------------------------------------------------------------------


def _describe(path: Path) -> None:
    """Have a copy of a tiny model say what an export writes into it; the precision of its name makes bytes differ."""
    spec = SPEC if path.suffix == ".tflite" else InputSpec(height=32, width=32, resize=36)
    form: Any = {".tflite": "tflite", ".onnx": "onnx", ".xml": "openvino"}[path.suffix]
    text = Model(path, form, spec, ANIMALS, path.stem.rpartition("_")[2], {}, SOURCE, {"min_snr_db": 60.0}).to_json()
    if form == "tflite":
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(f"{KEY}.json", text)
    elif form == "onnx":  # ModelProto.metadata_props is field 14: a further entry may stand at the end
        key, value = KEY.encode(), text.encode()
        entry = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value
        path.write_bytes(path.read_bytes() + b"\x72" + varint(len(entry)) + entry)
    else:
        escaped = text.replace("&", "&amp;").replace('"', "&quot;")
        xml = path.read_text().replace("</net>", f'<rt_info><{KEY} value="{escaped}" /></rt_info></net>')
        path.write_text(xml)


@pytest.fixture(scope="module")
def folder(oracle_checkpoint: Path, oracle_mindir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that the docs name: checkpoints, an export's folder, images, a reference; all but weights are small."""
    for package in ("pyarrow", "ai_edge_litert", "onnxruntime", "openvino", "flatbuffers"):
        pytest.importorskip(package)
    from ghostedge.tflite.flatbuffer import pack, unpack
    from ghostedge.tflite.float16 import allow_float16

    folder = tmp_path_factory.mktemp("docs")
    (build := folder / "build").mkdir()
    for name in ("mine", "ghostnetv2_1x"):
        os.link(oracle_checkpoint, folder / f"{name}.ckpt")
        shutil.copy(TINY / "tiny_fp32.tflite", build / f"{name}_fp32.tflite")
        graph = unpack((TINY / "tiny_fp32.tflite").read_bytes(), "tiny")
        allow_float16(graph)
        (build / f"{name}_fp16.tflite").write_bytes(pack(graph))
    os.link(oracle_mindir, folder / "model.mindir")
    shutil.copy(TINY / "tiny_fp32.tflite", folder / "theirs.tflite")
    shutil.copy(TINY / "tiny_fp32.tflite", build / "ghostnetv2_1x_int8.tflite")
    shutil.copy(TINY / "tiny.onnx", build / "ghostnetv2_1x.onnx")
    for suffix in ("xml", "bin"):
        shutil.copy(TINY / f"tiny.{suffix}", build / f"ghostnetv2_1x_fp32.{suffix}")
    shutil.copy(TINY / "tiny_fp32.tflite", folder / "reference.tflite")
    for path in (*build.glob("*.tflite"), *build.glob("*.onnx"), *build.glob("*.xml"), folder / "reference.tflite"):
        _describe(path)
    (folder / "spec.json").write_text(json.dumps({**SPEC.to_dict()}))
    (folder / "names.txt").write_text("".join(f"class {index}\n" for index in range(1000)))
    _images(folder)
    for name in ("mine", "ghostnetv2_1x"):
        crops = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)
        write_golden(build / f"{name}.golden.npz", Golden(crops, tiny_logits(crops), tuple("abcd"), ANIMALS, SOURCE))
    artifacts = map(str, [*sorted(build.glob("*.tflite")), folder / "reference.tflite"])
    arguments = ["--data", str(folder / "val"), "--output", str(folder / "ledgers"), "--quiet", "--workers", "1"]
    assert main(["evaluate", "--artifact", *artifacts, *arguments]) == 0
    (folder / "ledgers" / "reference.tflite.parquet").rename(folder / "reference.parquet")
    return folder


def _images(folder: Path) -> None:
    """Labelled images, three of four of which the tiny network gets right, to evaluate, to calibrate and to tune on."""
    for seed, place in enumerate(("val", "imagenet/train", "tuning")):
        rng = np.random.default_rng(seed)
        for name in ANIMALS:
            (folder / place / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.broadcast_to(rng.integers(0, 256, 3), (40, 50, 3)).astype(np.uint8)
            crop = resize_and_crop(pixels, SPEC).astype(np.uint8)
            label = int(tiny_logits(crop[None]).argmax()) + (number % 4 == 0)
            Image.fromarray(pixels).save(folder / place / ANIMALS[label % 10] / f"{number:02d}.png")
    (folder / "imagenet" / "val").symlink_to(folder / "val")
    photo = ROOT / "ghostedge" / "data" / "sample_images" / "cat.jpg"
    (folder / "photos").mkdir()
    for album in (folder, folder / "photos"):
        shutil.copy(photo, album)


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[ExportRequest]:
    """What the exports would have made; nothing is."""
    asked: list[ExportRequest] = []

    def build(request: ExportRequest, *_: object) -> Manifest:
        asked.append(request)
        return Manifest({"file": request.source.path.name}, ())

    monkeypatch.setattr(exporting, "build", build)
    monkeypatch.setattr(exporting, "_repaired", lambda request, *_: Exported(request.output, build(request)))
    return asked


# -- running them ------------------------------------------------------------------------------------------------------


def lines(path: Path) -> list[str]:
    """The commands of a page that are run here."""
    found = (block for block in blocks(path.read_text(encoding="utf-8")) if block.mark == "tested")
    return [line for block in found for line in install_path.command_lines(block.text)]


def words_of(line: str) -> list[str]:
    """The arguments of a command as a shell gives them to it, in the current folder."""
    words = shlex.split(line, comments=True)[1:]
    return [each for word in words for each in (sorted(map(str, Path().glob(word))) if "*" in word else [word])]


@pytest.mark.parametrize("path", [path for path in DOCS if lines(path)], ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_of_a_page_run(
    path: Path, folder: Path, exports: list[ExportRequest], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # a benchmark lock of its own
    asked = 0
    for line in lines(path):
        words = words_of(line)
        code = main([*words, "--quiet"])
        assert code in (EXIT_CODES.values() if words[0] == "parity" else (0,)), line
        if words[0] == "export":
            asked += 1
            assert exports[-1].recipes, line
        else:
            for option in ("--output", "--report"):
                assert option not in words or Path(words[words.index(option) + 1]).exists(), line
    assert len(exports) == asked


def test_every_command_of_the_tool_is_in_a_block_of_some_page() -> None:
    found = [block for path in DOCS for block in blocks(path.read_text(encoding="utf-8")) if block.language == "sh"]
    commands = {line.split()[1] for block in found for line in install_path.command_lines(block.text) if " " in line}
    assert COMMANDS.keys() - commands <= {"demo"}, "demo is make demo"
