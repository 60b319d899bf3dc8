"""The wheel is the product: small, whole, described for an index, and every command runs from it outside the clone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import numpy as np
import pytest

from ghostedge.cli.main import COMMANDS
from ghostedge.data.golden import Golden, write_golden
from tests.benchmarks.test_golden import SOURCE, tiny_logits
from tests.pythons import find_python

ROOT = Path(__file__).resolve().parents[2]
TINY = ROOT / "tests" / "data" / "tiny"
MB = 10**6


def run(*command: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command outside the clone, without what this process's environment would let it find there.

    With `cwd` for its temporary files too, where the benchmark's lock is then its own.
    """
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"TMPDIR": str(cwd)} if cwd else {}
    return subprocess.run(
        [str(part) for part in command],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=environment,
        timeout=900,
    )


@pytest.fixture(scope="module")
def uv() -> str:
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        pytest.skip("left out: uv, which builds and installs the wheel, is not here")
    return found


@pytest.fixture(scope="module")
def wheels(uv: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(ghostedge, ghostedge-demo)."""
    folder = tmp_path_factory.mktemp("dist")
    for project in (ROOT, ROOT / "packaging" / "ghostedge-demo"):
        done = run(uv, "build", "--quiet", "--wheel", "--out-dir", folder, project)
        if "error sending request" in done.stderr or "dns error" in done.stderr.lower():
            pytest.skip("left out: no package index is reached, which has what builds the wheel")
        assert done.returncode == 0, done.stderr
    (base,), (demo,) = folder.glob("ghostedge-*.whl"), folder.glob("ghostedge_demo-*.whl")
    return base, demo


def test_the_base_wheel_is_small_and_holds_what_the_package_reads(wheels: tuple[Path, Path]) -> None:
    base, demo = wheels
    assert base.stat().st_size < 2 * MB
    with zipfile.ZipFile(base) as archive:
        names = set(archive.namelist())
    assert {
        "ghostedge/py.typed",
        "ghostedge/latency/latency_record.schema.json",
        "ghostedge/latency/verification_record.schema.json",
        "ghostedge/_recipes/tflite_int8.toml",
        "ghostedge/_benchmarks/edge_benchmark.py",
        "ghostedge/data/imagenet_classes.tsv",
        "ghostedge/regression/baseline.schema.json",
        "ghostedge/reports/templates/report.css",
        "ghostedge/reports/templates/report.js",
        "ghostedge/serve/page/index.html",
        "ghostedge/serve/page/worker.js",
    } <= names
    assert not [name for name in names if name.startswith("ghostedge/demo/files") or "__pycache__" in name]
    recipes = {path.name for path in (ROOT / "export").glob("*.toml")}
    assert {Path(name).name for name in names if name.startswith("ghostedge/_recipes/")} >= recipes
    with zipfile.ZipFile(demo) as archive:
        held = {name.removeprefix("ghostedge_demo/files/") for name in archive.namelist()}
    sums = (ROOT / "ghostedge" / "demo" / "files" / "SHA256SUMS").read_text().splitlines()
    assert {line.partition("  ")[2] for line in sums} <= held


def test_version_and_changelog_are_in_step(wheels: tuple[Path, Path]) -> None:
    """The changelog's first version is the package's, with its date; or "Unreleased" stands above it."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    unreleased = changelog.partition("\n## ")[2].startswith("Unreleased")
    released = re.search(r"^## (\d+\.\d+\.\d+) - \d{4}-\d\d-\d\d$", changelog, flags=re.MULTILINE)
    assert released
    for wheel in wheels:
        version = wheel.name.split("-")[1]
        assert version == released[1] or (unreleased and ".dev" in version), wheel.name


def test_an_index_would_take_them(wheels: tuple[Path, Path]) -> None:
    pytest.importorskip("twine", reason="twine is not installed")
    done = run(sys.executable, "-m", "twine", "check", "--strict", *wheels)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_description_links_to_no_file(wheels: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(wheels[0]) as archive:
        (name,) = (each for each in archive.namelist() if each.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    text = metadata.get_payload()
    assert isinstance(text, str)
    assert "# ghostedge" in text
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", text) == []
    assert metadata["Requires-Python"] == ">=3.11"
    assert {"tflite", "onnx", "openvino", "runtimes", "evaluate", "devices", "export", "demo"} <= set(
        metadata.get_all("Provides-Extra", [])
    )


@pytest.mark.parametrize("version", ["3.11", "3.13"])
def test_every_command_runs_from_the_wheel_outside_the_clone(
    uv: str, wheels: tuple[Path, Path], version: str, tmp_path: Path
) -> None:
    python = find_python(version)
    if python is None:
        pytest.skip(f"left out: no Python {version} is here")
    venv = tmp_path / "venv"
    assert run(uv, "venv", "--quiet", "--python", python, venv).returncode == 0
    wheel = f"ghostedge[runtimes,evaluate,devices] @ file://{wheels[0]}"
    lock = ROOT / "locks" / "edge.txt"
    done = run(uv, "pip", "install", "--quiet", "--python", venv / "bin/python", "--constraint", lock, wheel)
    if "error sending request" in done.stderr:
        pytest.skip("left out: no package index is reached")
    assert done.returncode == 0, done.stderr
    command = venv / "bin" / "ghostedge"
    work = tmp_path / "work"
    work.mkdir()

    def ghostedge(*arguments: object, code: int = 0) -> str:
        done = run(command, *arguments, cwd=work)
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    for name in COMMANDS:
        assert "examples:" in ghostedge(name, "--help")
    # An export's folder in small, and a picture.
    for name in ("tiny_fp32.tflite", "tiny.onnx", "tiny.xml", "tiny.bin"):
        shutil.copy(TINY / name, work)
    crops = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)
    write_golden(work / "tiny.golden.npz", Golden(crops, tiny_logits(crops), tuple("abcd"), (), SOURCE))
    (work / "spec.json").write_text('{"layout": "NHWC", "height": 32, "width": 32, "resize": 40}')
    photo = ROOT / "ghostedge" / "data" / "sample_images" / "cat.jpg"
    shutil.copy(photo, work)
    assert "cat.jpg" in ghostedge("predict", "cat.jpg", "--artifact", "tiny_fp32.tflite", "--input-spec", "spec.json")
    assert "CONV_2D" in ghostedge("inspect", "tiny_fp32.tflite")
    assert ghostedge("verify", "--artifact", "tiny_fp32.tflite", "tiny.onnx", "tiny.xml").count(" right") >= 3
    assert "right, " in ghostedge("benchmark", "--artifact", "tiny_fp32.tflite", "--quick", "--report", "latency.html")
    for name in "abcdefghij":
        (work / "images" / name).mkdir(parents=True)
        shutil.copy(photo, work / "images" / name)
    arguments = (
        "--artifact",
        "tiny_fp32.tflite",
        "--input-spec",
        "spec.json",
        "--data",
        "images",
        "--output",
        "ledgers",
    )
    ghostedge("evaluate", *arguments)
    ledger = "ledgers/tiny_fp32.tflite.parquet"
    ghostedge("parity", "--reference", ledger, "--ledger", ledger, "--report", "parity.html", code=3)
    # What needs more than is installed says what.
    said = ghostedge("export", "--checkpoint", "none.ckpt", "--target", "onnx", code=1)
    assert "none.ckpt does not exist" in said
    assert "pip install 'ghostedge[demo]'" in ghostedge("demo", code=1)
    done = run(uv, "pip", "install", "--quiet", "--no-deps", "--python", venv / "bin/python", wheels[1])
    assert done.returncode == 0, done.stderr
    program = "from ghostedge.demo import verify_demo_files; print(verify_demo_files())"
    done = run(venv / "bin/python", "-c", program, cwd=work)
    assert int(done.stdout) > 2000
