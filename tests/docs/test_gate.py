"""The workflows of docs/gate.md, step by step in a shell: the gate passes, blocks, and shows its summary."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.regression.conftest import described

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "gate.md"

LABELS = ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen", "ibex", "jay")

#: Stands in for what a test cannot install or convert: `pip` does nothing, `ghostedge export` gives a small model.
SHIMS = {
    "pip": "exit 0",
    "ghostedge": 'if [ "$1" = export ]; then mkdir -p build && cp prepared/*.tflite build; '
    f'else exec "{sys.executable}" -m ghostedge "$@"; fi',
}


def workflows() -> dict[str, Any]:
    """Both blocks of YAML: the one with `jobs` is GitHub's."""
    yaml = pytest.importorskip("yaml")
    blocks = re.findall(r"^```yaml\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    documents = [yaml.safe_load(block) for block in blocks]
    return {"github" if "jobs" in document else "gitlab": document for document in documents}


def steps(kind: str) -> list[str]:
    """The shell steps, in order."""
    document = workflows()[kind]
    if kind == "gitlab":
        found: list[str] = document["edge-gate"]["script"]
        return found
    return [step["run"] for step in document["jobs"]["gate"]["steps"] if "run" in step]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's project: a model, photos that it mostly gets right, its reference and its baseline."""
    for needed in ("yaml", "pyarrow", "ai_edge_litert"):
        pytest.importorskip(needed)
    folder = tmp_path_factory.mktemp("user")
    for name in ("prepared", "images/ant", "images/bee", "bin"):
        (folder / name).mkdir(parents=True)
    described(folder / "prepared" / "model_int8.tflite", labels=LABELS)
    rng = np.random.default_rng(3)
    for number in range(24):
        pixels = np.broadcast_to(rng.integers(0, 256, 3), (40, 50, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / ("ant", "bee")[number % 2] / f"{number}.png")
    for name, script in SHIMS.items():
        (folder / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / "bin" / name).chmod(0o755)
    files = (
        "--artifact build/model_int8.tflite --reference reference.parquet --ledger ledgers/model_int8.tflite.parquet"
    )
    run(folder, "ghostedge export", check=True)
    run(folder, "ghostedge evaluate --artifact build/*_int8.tflite --data images --output ledgers", check=True)
    shutil.copy(folder / "ledgers" / "model_int8.tflite.parquet", folder / "reference.parquet")
    run(folder, f"ghostedge gate --update --max-drop 40 {files}", check=True)
    shutil.rmtree(folder / "build")
    shutil.rmtree(folder / "ledgers")
    return folder


def run(folder: Path, script: str, check: bool = False) -> subprocess.CompletedProcess[str]:
    """A step as the hosts run it: GitHub's and GitLab's bash stop at the first error, GitLab's in a pipe too."""
    environment = {**os.environ, "PATH": f"{folder}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    environment["GITHUB_STEP_SUMMARY"] = str(folder / "summary.md")
    command = ["bash", "-eo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=check)


def run_steps(folder: Path, kind: str, *places: int) -> tuple[list[int], str]:
    """Those steps. Returns: the exit codes, and the summary that a reviewer sees."""
    (folder / "summary.md").unlink(missing_ok=True)
    codes = [run(folder, steps(kind)[place]).returncode for place in places]
    summary = folder / ("summary.md" if kind == "github" else "gate.md")
    return codes, summary.read_text()


@pytest.mark.parametrize("kind", ["github", "gitlab"])
def test_every_step_runs_and_a_worse_artifact_is_blocked(kind: str, prepared: Path, tmp_path: Path) -> None:
    folder = tmp_path / "clone"
    shutil.copytree(prepared, folder)
    codes, summary = run_steps(folder, kind, *range(len(steps(kind))))
    assert codes == [0, 0, 0, 0, 0]  # install, make, evaluate, gate, self-test
    assert summary.startswith("## Gate: PASS")
    with open(folder / "prepared" / "model_int8.tflite", "ab") as file:
        file.write(bytes(4000))
    codes, summary = run_steps(folder, kind, 1, 3)
    assert codes == [0, 2]
    assert "FAIL, size of model\\_int8.tflite" in summary


def test_the_options_that_only_the_hosts_read() -> None:
    found = workflows()
    assert found["gitlab"]["edge-gate"]["allow_failure"] == {"exit_codes": 3}
    assert found["github"][True] == "pull_request"  # YAML 1.1 takes the word `on` for true, and GitHub does not
    assert found["github"]["permissions"] == {"contents": "read"}
