"""A command that is interrupted at seeded moments, in short: ``benchmarks/interruptions.py`` is the long run."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.scripts import load_script

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    """The benchmark as a module."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("pyarrow")
    return load_script(ROOT / "benchmarks" / "interruptions.py")


@pytest.fixture
def evaluate(tmp_path: Path) -> list[str]:
    """A command that evaluates sixty small pictures."""
    for number in range(60):
        folder = tmp_path / "photos" / "abcd"[number % 4]
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (9, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
    (tmp_path / "spec.json").write_text(json.dumps({"layout": "NHWC", "height": 8, "width": 8, "resize": 8}))
    model, spec = ROOT / "tests" / "data" / "linear" / "fp32.tflite", tmp_path / "spec.json"
    options = ["--input-spec", str(spec), "--data", str(tmp_path / "photos"), "--workers", "2"]
    return ["evaluate", "--artifact", str(model), *options, "--output", str(tmp_path / "run" / "x")]


def test_an_evaluation_is_interrupted_cleanly_and_goes_on(
    script: ModuleType, evaluate: list[str], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    takes_s = script.undisturbed(evaluate, folder)
    whole = script.contents(folder / "x")
    (folder / "x" / "fp32.tflite.parquet").unlink()
    draw = random.Random(0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        outcome = script.interrupt(evaluate, number, draw.uniform(0, takes_s), folder)
        assert outcome.faults(number) == []
    script.undisturbed(evaluate, folder)
    assert script.contents(folder / "x") == whole


def test_a_benchmark_is_interrupted_cleanly_and_does_not_block_the_next(script: ModuleType, tmp_path: Path) -> None:
    model = ROOT / "tests" / "data" / "tiny" / "tiny_fp32.tflite"
    options = ["--sustained", "1", "--quick", "--output", str(tmp_path / "x")]
    for number in (signal.SIGINT, signal.SIGTERM):
        process = script.run(["benchmark", "--artifact", str(model), *options], tmp_path / "tmp")
        # The process that waits, the command, the script, and what measures.
        while process.poll() is None and len(script.session(process.pid)) < 4:
            time.sleep(0.05)
        time.sleep(0.5)
        outcome = script.end(process, number, tmp_path)
        assert outcome.code == script.CODES[number], outcome
        assert outcome.faults(number) == []


def test_faults_are_seen(script: ModuleType) -> None:
    """What each check is for: another exit code, a traceback, a process and a folder that stay."""
    fine = script.Outcome(130, "interrupted\n", 0.1, (), ())
    assert fine.faults(signal.SIGINT) == []
    faulty = script.Outcome(-15, "Traceback\n  ...\nKeyboardInterrupt\n", 0.1, (7,), ("x/.staging",))
    assert len(faulty.faults(signal.SIGINT)) == 4
