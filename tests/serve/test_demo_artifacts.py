"""The demo's own artifacts in a real browser: all four parts answer as Python's LiteRT does."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.golden import golden_beside, read_golden
from ghostedge.data.preprocess import decode, resize_and_crop, to_spec
from ghostedge.demo import FILES
from ghostedge.evaluation.api import evaluate
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.evaluation.run import Options
from ghostedge.formats import open_model
from ghostedge.latency.records import read_record
from ghostedge.runtimes import open_runtime
from ghostedge.serve.litert_js import LiteRtJs
from tests.chromium import CHROMIUM, Browser
from tests.latency.schemas import check_record
from tests.serve.conftest import Served
from tests.serve.page import do, serious

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="left out: Chromium is not installed"),
    pytest.mark.skipif(not FILES.exists(), reason="left out: the demo is not published (training/README.md)"),
]

PRECISIONS = ("fp32", "fp16", "int8")

IMAGES = 200


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The .tflite files of the demo's checkpoint, as `make demo` makes them, but calibrated on fewer images."""
    for package in ("mindspore", "tensorflow", "onnx2tf"):
        pytest.importorskip(package, reason=f"left out: {package} is not installed")
    calibration, output = tmp_path_factory.mktemp("calibration"), tmp_path_factory.mktemp("export")
    for image in sorted(FILES.glob("calibration/*/*"))[::5]:
        shutil.copy(image, calibration)
    options = [f"--checkpoint={FILES / 'artwork_1x.ckpt'}", f"--labels={FILES / 'labels.txt'}"]
    options += [f"--calibration={calibration}", f"--output={output}", "--quiet"]
    command = [sys.executable, "-m", "ghostedge", "export", *options]
    subprocess.run([*command, *(f"--recipe=tflite_{name}" for name in PRECISIONS)], check=True)
    return [output / f"artwork_1x_{name}.tflite" for name in PRECISIONS]


@pytest.fixture(scope="module")
def reference(artifacts: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Python's LiteRT answers to the images, in float32."""
    (done,) = evaluate(
        artifacts[0], FILES / "validation", tmp_path_factory.mktemp("python"), options=Options(limit=IMAGES)
    )
    return done.ledger


@pytest.fixture(scope="module")
def server(
    litert_js: LiteRtJs,
    artifacts: list[Path],
    reference: Path,
    serve: Callable[..., contextlib.AbstractContextManager[Served]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    output = tmp_path_factory.mktemp("phones")
    with serve(litert_js, output, artifacts, reference, data=FILES / "validation", limit=IMAGES) as running:
        yield running


def test_the_answers_to_the_golden_pictures_are_those_of_python(
    page: Browser, server: Served, artifacts: list[Path]
) -> None:
    for number, (artifact, least_db) in enumerate(zip(artifacts, (100, 55, 20), strict=True)):
        assert "Right" in do(page, "check", model=number)
        (file,) = server.output.glob(f"verification/*/{artifact.stem}-*.json")
        record = read_record(file)
        check_record(record)
        found = record["verification"]
        assert found["snr_db"] >= least_db
        beside = golden_beside(artifact)
        assert beside is not None
        golden = read_golden(beside)
        described = open_model(artifact)
        with open_runtime(described) as runtime:
            answers = np.concatenate(
                [runtime.run(np.asarray(to_spec(crop[None], described.input))) for crop in golden.crops]
            )
        assert found["top1_agreement"] == np.mean(answers.argmax(1) == golden.logits.argmax(1))
    assert serious(page.messages) == []


def test_two_hundred_images_are_judged_as_in_python(page: Browser, server: Served, reference: Path) -> None:
    assert f"{IMAGES} of {IMAGES} images" in do(page, "evaluate", seconds=300)
    (file,) = server.output.glob("ledgers/*.jsonl")
    ledger, python = read_json_lines(file), read_ledger(reference)
    assert (ledger.image_ids == python.image_ids).all()
    assert (ledger.top5_class[:, 0] == python.top5_class[:, 0]).mean() >= 0.995
    (comparison,) = json.loads((server.output / "parity.json").read_text())["comparisons"]
    assert comparison["result"]["agreement"]["percent"] >= 99.5
    assert (server.output / "parity.html").is_file()


def test_a_latency_is_of_right_answers(page: Browser, server: Served, artifacts: list[Path]) -> None:
    do(page, "measure", ".quick")
    (file,) = server.output.glob(f"latency/*/{artifacts[0].stem}-*.json")
    record = read_record(file, "latency_record")
    check_record(record)
    assert record["verification"]["correct"]
    assert record["verification"]["repeats"]["after_timing_identical"]


def test_a_photo_is_named_as_in_python(page: Browser, artifacts: list[Path]) -> None:
    photo = next(FILES.glob("validation/tiger/*"))
    described = open_model(artifacts[0])
    with open_runtime(described) as runtime:
        crop = resize_and_crop(decode(photo), described.input)[None]
        best = int(runtime.run(np.asarray(to_spec(crop, described.input))).argmax())
    page.choose_file("#photo", photo)
    page.wait("document.querySelectorAll('#try li').length == 5")
    assert described.labels[best] in page.script("document.querySelector('#try li').innerText")
