"""Fixtures of the Android demo's tests: the tools, the jars, one run of the Java tests, one APK."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from ghostedge.latency.devices import SCRIPT
from tests.scripts import load_script

DEMO = Path(__file__).resolve().parents[2] / "android_demo"
CORE = DEMO / "core" / "src"
JARS = DEMO / "build" / "jars"

#: What the images of the parity test are: PNG, because the desktop's JPEG decoder is not the phone's.
IMAGES, CLASSES, BROKEN = 40, 4, "image99.png"


def need(*tools: str) -> None:
    """Skip, saying what is left out, where one of `tools` is absent."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"left out: the Android demo's tests need {', '.join(missing)} (android_demo/README.md)")


def run(*command: object, **settings: Any) -> subprocess.CompletedProcess[str]:
    """Run a command and return what it says on both streams."""
    text = [str(part) for part in command]
    return subprocess.run(text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **settings)


@pytest.fixture(scope="session")
def jars() -> Path:
    """The folder of the jars of Maven Central; fetched once, 150 MB."""
    need("java", "javac", "mvn")
    done = run(DEMO / "build.sh", "--fetch")
    assert done.returncode == 0, done.stdout
    return JARS


@pytest.fixture(scope="session")
def parity_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A flat folder of pictures with val.txt; one of them is none."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("parity_images")
    random = np.random.default_rng(3)
    lines = []
    for index in range(IMAGES):
        height, width = random.integers(9, 120, 2)
        colour = random.integers(0, 256, 3)
        pixels = np.clip(colour + random.integers(-40, 40, (height, width, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"image{index}.png")
        lines.append(f"image{index}.png {index % CLASSES}\n")
    (folder / BROKEN).write_text("this is not a picture")
    (folder / "val.txt").write_text("".join(lines) + f"{BROKEN} 1\n")
    return folder


@pytest.fixture(scope="session")
def java_tests(jars: Path, parity_images: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One run of every Java test: ``said``, its output, and ``out``, the folder of what the tests left for Python."""
    work, out = tmp_path_factory.mktemp("java"), tmp_path_factory.mktemp("java_out")
    sources = sorted((CORE / "main" / "java").rglob("*.java"))
    tests = sorted((CORE / "test" / "java").rglob("*.java"))
    done = run("javac", "--release", "8", "-Xlint:all,-options", "-Werror", "-d", work / "core", *sources)
    assert done.returncode == 0, done.stdout
    path = os.pathsep.join(map(str, (work / "core", jars / "junit.jar", jars / "hamcrest-core.jar")))
    done = run("javac", "-Xlint:all", "-Werror", "-cp", path, "-d", work / "tests", *tests)
    assert done.returncode == 0, done.stdout
    names = [
        ".".join(test.relative_to(CORE / "test" / "java").with_suffix("").parts)
        for test in tests
        if test.stem.endswith("Test")
    ]
    path = os.pathsep.join([path, str(work / "tests"), str(CORE / "test" / "resources")])
    settings = ("-Djava.awt.headless=true", f"-Dghostedge.out={out}", f"-Dghostedge.images={parity_images}")
    done = run("java", *settings, "-cp", path, "org.junit.runner.JUnitCore", *names)
    return {"said": done.stdout, "code": done.returncode, "out": out, "names": names}


@pytest.fixture(scope="session")
def check_apk() -> ModuleType:
    """android_demo/check_apk.py."""
    return load_script(DEMO / "check_apk.py")


@pytest.fixture(scope="session")
def edge() -> ModuleType:
    """benchmarks/edge_benchmark.py."""
    return load_script(SCRIPT)


@pytest.fixture(scope="session")
def make_golden() -> ModuleType:
    """make_golden.py beside this file."""
    return load_script(Path(__file__).with_name("make_golden.py"))


@pytest.fixture(scope="session")
def apk(jars: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An APK of build.sh, with one model and its golden vectors bundled; beside it build/, what it was made of."""
    need("aapt2", "zipalign", "apksigner", "dexdump", "zip", "unzip", "keytool")
    models, path = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("apk") / "demo.apk"
    for name in ("linear_described.tflite", "linear.golden.npz"):
        shutil.copy(CORE / "test" / "resources" / name, models)
    (models / "manifest.json").write_text(json.dumps({"artifacts": []}))
    done = run(DEMO / "build.sh", "--models", models, "--output", path)
    assert done.returncode == 0, done.stdout
    for name in ("classes", "tflite", "tflite-api"):
        shutil.copytree(DEMO / "build" / "apk" / name, path.parent / "build" / name)
    return path
