"""Fixtures of the benchmark's tests: the script as a module and as a process, the tiny models, the record's schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ghostedge.latency.devices import SCRIPT
from tests.latency.schemas import check_record
from tests.scripts import load_script

TINY = Path(__file__).parents[1] / "data" / "tiny"


@pytest.fixture(scope="session")
def edge() -> ModuleType:
    """benchmarks/edge_benchmark.py as a module."""
    return load_script(SCRIPT)


@pytest.fixture(scope="session")
def tiny() -> Path:
    """The folder of the tiny models; see its make.py."""
    return TINY


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`bench(*arguments)`: run the script briefly as a user would; records go to `tmp_path / "records"`.

    It has a lock of its own, so that tests in parallel do not wait for each other.
    """

    def run(*arguments: object, python: tuple[object, ...] = (sys.executable,)) -> subprocess.CompletedProcess[str]:
        brief = ["--min-samples", "20", "--min-seconds", "0", "--warmup-limit", "0", "--output", tmp_path / "records"]
        command = [str(part) for part in (*python, SCRIPT, *brief, *arguments)]
        environment = os.environ | {"TMPDIR": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)

    return run


@pytest.fixture
def records(tmp_path: Path) -> Callable[[], dict[str, dict[str, Any]]]:
    """`records()`: name -> record, of what `bench` left; each fits the published schema."""

    def read() -> dict[str, dict[str, Any]]:
        found = {path.stem: json.loads(path.read_text()) for path in sorted((tmp_path / "records").glob("*.json"))}
        for record in found.values():
            check_record(record)
        return found

    return read
