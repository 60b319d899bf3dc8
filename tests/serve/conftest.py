"""A served job with small models: golden vectors and labelled images, and the server in a thread."""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.data.golden import Golden, write_golden
from ghostedge.data.preprocess import decode, resize_and_crop, to_spec
from ghostedge.errors import FetchError
from ghostedge.evaluation.api import evaluate
from ghostedge.formats import open_model
from ghostedge.serve.job import Job, make_job
from ghostedge.serve.litert_js import LiteRtJs, find_litert_js
from ghostedge.serve.results import Results
from ghostedge.serve.run import Place, certificate, listen, serve_until_stopped
from tests.chromium import Browser

TINY = Path(__file__).parents[1] / "data" / "tiny_tflite"

IMAGES = 24

#: CSS pixels of a phone's screen.
WIDTH, HEIGHT = 390, 844

HERE = Place()


@dataclass
class Served:
    """A server that runs.

    Attributes:
        url: with the token, ends in ``/``.
        job: what is served.
        output: the folder of the results.
        said: what it told the terminal.
    """

    url: str
    job: Job
    output: Path
    said: list[str] = field(default_factory=list)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tflite of 32 x 32 pixels and 5 classes, with golden vectors beside it that Python's LiteRT answered."""
    pytest.importorskip("ai_edge_litert")
    from ghostedge.runtimes import open_runtime

    folder = tmp_path_factory.mktemp("model")
    path = folder / "tiny_fp32.tflite"
    shutil.copy(TINY / "tiny_fp32.tflite", path)
    described = open_model(path)
    crops = np.random.default_rng(3).integers(0, 256, (6, 32, 32, 3), np.uint8)
    with open_runtime(described) as runtime:
        logits = runtime.run(np.asarray(to_spec(crops, described.input)))
    names = tuple(f"{number}.jpg" for number in range(6))
    write_golden(folder / "tiny.golden.npz", Golden(crops, logits, names, described.labels, "ab" * 32))
    return path


@pytest.fixture(scope="session")
def data(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labelled images, JPEG, a folder a class: two of three have the label that the model answers."""
    from ghostedge.runtimes import open_runtime

    folder = tmp_path_factory.mktemp("data")
    described = open_model(model)
    random = np.random.default_rng(5)
    for name in described.labels:
        (folder / name).mkdir()
    with open_runtime(described) as runtime:
        for number in range(IMAGES):
            small = Image.fromarray(random.integers(0, 256, (6, 5 + number % 3, 3), np.uint8))
            path = folder / f"{number}.jpg"
            small.resize((50 + number, 44), Image.Resampling.BICUBIC).save(path, quality=92)
            crop = resize_and_crop(decode(path), described.input)[None]
            best = int(runtime.run(np.asarray(to_spec(crop, described.input))).argmax())
            label = best if number % 3 else (best + 1) % len(described.labels)
            path.rename(folder / described.labels[label] / f"image{number:02}.jpg")
    return folder


@pytest.fixture(scope="session")
def reference(model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What Python's LiteRT answers to the images."""
    (done,) = evaluate(model, data, tmp_path_factory.mktemp("reference"))
    return done.ledger


@pytest.fixture
def no_litert_js() -> LiteRtJs:
    """In place of LiteRT.js, where no page runs."""
    return LiteRtJs(
        "0", {"index.js": b'import { createWasmLib } from "@litertjs/wasm-utils";', "wasm/x.wasm": b"\0asm"}
    )


@contextlib.contextmanager
def running(
    litert_js: LiteRtJs,
    output: Path,
    artifacts: list[Path],
    reference: Path | None = None,
    *,
    place: Place = HERE,
    **what: Any,
) -> Iterator[Served]:
    """Serve in a thread, on loopback."""
    pytest.importorskip("uvicorn", reason="left out: the extra 'serve' is not installed")
    from ghostedge.serve.app import make_app

    pem = certificate("127.0.0.1")[0] if place.https else None
    job = make_job(artifacts, reference=reference, **what)
    said: list[str] = []
    results = Results(job, litert_js.version, output, reference, said.append)
    address = listen(place)
    started: list[Any] = []
    thread = threading.Thread(
        target=serve_until_stopped,
        args=(make_app(job, litert_js, results), address, pem),
        kwargs={"on_start": started.append},
    )
    thread.start()
    try:
        yield Served(f"{address.url}/{results.token}/", job, output, said)
    finally:
        started[0].should_exit = True
        thread.join(20)
        assert not thread.is_alive(), "the server does not end"


@pytest.fixture
def served(no_litert_js: LiteRtJs, model: Path, data: Path, tmp_path: Path) -> Iterator[Served]:
    """The small model with its golden vectors and images."""
    with running(no_litert_js, tmp_path / "phones", [model], data=data) as server:
        yield server


@pytest.fixture(scope="session")
def serve() -> Callable[..., contextlib.AbstractContextManager[Served]]:
    """`running`."""
    return running


@pytest.fixture(scope="session")
def litert_js() -> LiteRtJs:
    try:
        return find_litert_js(None, lambda done, total: None)
    except FetchError as exc:
        pytest.skip(f"left out: {exc}")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        opened.size(WIDTH, HEIGHT)
        yield opened


@pytest.fixture
def page(server: Served, browser: Browser) -> Browser:
    """The page of the module's own server, ready."""
    browser.messages.clear()
    browser.open(server.url)
    browser.wait("document.body?.dataset.ready")
    return browser
