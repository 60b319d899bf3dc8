"""Ask every artifact in one environment whether its answers are right there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from compat.matrix import PACKAGES, Cell, Environment, Model, Row, without_folders

from ghostedge.latency.devices import SCRIPT
from ghostedge.latency.edge import say

RUN_LIMIT_S = 300

_DENSE = "refuses a dense layer of int8 weights with a scale a class, which it would compute wrongly"
#: Package and version -> precision -> why it cannot be right there. Such a cell is no fault; being right is one, so
#: that what stands here is never out of date.
KNOWN = {("tflite-runtime", "2.14.0"): {"dynamic": _DENSE, "int8": _DENSE, "mixed": _DENSE}}

#: Whose numbers are those of float32: they must agree with the golden answers on every picture.
FLOAT = ("fp32", "fp16", "equalised")

#: XNNPACK has no operators for these; everything else must be one partition.
NO_XNNPACK = ("int16x8",)

#: What the onnx package is asked. A model that it refuses is an answer; only a failure to ask ends with another code.
CHECK_ONNX = """\
import json, sys
import onnx
try:
    model = onnx.load(sys.argv[1])
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    refused = None
except Exception as exc:
    refused = type(exc).__name__ + ": " + " ".join(str(exc).split())
print(json.dumps({"refused": refused}))
"""


def run(environment: Environment, models: list[Model], golden: Path, made: tuple[Path, dict[str, str]]) -> Row:
    """Every artifact that the environment's package reads."""
    python, versions = made
    package = PACKAGES[environment.package]
    cells = []
    for model in models:
        if model.form in package.formats:
            if package.runtime is None:
                cell = check_onnx(python, model)
            else:
                cell = verify(python, package.runtime, versions[environment.package], model, golden)
            cells.append(expected(environment, model, cell))
            say(f"{environment.name}: {model.name}: {cells[-1].text}")
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return Row(environment, versions, said.stdout.removeprefix("Python ").strip() or None, tuple(cells))


def verify(python: Path, runtime: str, version: str, model: Model, golden: Path) -> Cell:
    """Ask the script whether `model` gives the right answers in this Python's runtime, which is `version` of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-I", SCRIPT, model.path, "--runtime", runtime, "--golden", golden, "--verify-only"]
        # TMPDIR: nothing is timed here, so that no benchmark need be waited for, and the lock lies in that folder.
        done = finished([*command, "--output", folder], {**os.environ, "TMPDIR": folder, **_limited(model)})
        if isinstance(done, str):
            return Cell(model.name, "not run", done)
        records = list(Path(folder).glob("*.json"))
        if done.returncode not in (0, 2) or len(records) != 1:
            return Cell(model.name, "not run", failure(done, model.path))
        record = json.loads(records[0].read_text(encoding="utf-8"))
    if (ran := record["runtime"]["version"]) != version:
        return Cell(model.name, "not run", f"it was version {ran} that ran, not {version}")
    wrong = fault(record, model)
    found = record["verification"]
    numbers = {name: found[name] for name in ("snr_db", "top1_agreement", "finite")}
    numbers |= {"pictures": found["golden"]["images"], "delegate": record["delegate"]}
    return Cell(model.name, "wrong" if wrong else "right", wrong, numbers)


def fault(record: dict[str, Any], model: Model) -> str | None:
    """What is wrong with a verification record, or None."""
    found, delegate = record["verification"], record["delegate"]
    if not found["correct"]:
        return str(found["reason"])
    if model.precision in FLOAT and found["top1_agreement"] < 1:
        return f"another answer than MindSpore's to {', '.join(found['disagreeing'])}"
    if delegate is not None and model.precision not in NO_XNNPACK and delegate["partitions"] != 1:
        inside, nodes = delegate["delegated_nodes"], delegate["nodes"]
        return f"{delegate['partitions']} XNNPACK partitions with {inside} of {nodes} operators, not one"
    return None


def expected(environment: Environment, model: Model, cell: Cell) -> Cell:
    """The cell in the light of `KNOWN`."""
    why = KNOWN.get((environment.package, environment.version), {}).get(model.precision)
    if why is None:
        return cell
    if cell.state == "right":
        return replace(cell, state="wrong", reason=f"it is right, but KNOWN says: {why}; take that out")
    return replace(cell, state="known", reason=f"{why} ({cell.reason})", brief=why)


def _limited(model: Model) -> dict[str, str]:
    """What keeps oneDNN, OpenVINO's kernels, to a CPU's older instructions."""
    return {"ONEDNN_MAX_CPU_ISA": model.isa} if model.isa else {}


def check_onnx(python: Path, model: Model) -> Cell:
    """Ask the onnx package about `model`."""
    done = finished([python, "-I", "-c", CHECK_ONNX, model.path], dict(os.environ))
    if isinstance(done, str):
        return Cell(model.name, "not run", done)
    if done.returncode:
        return Cell(model.name, "not run", failure(done, model.path))
    refused = json.loads(done.stdout)["refused"]
    return Cell(model.name, "wrong" if refused else "right", refused and without_folders(refused))


def finished(command: list[Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str] | str:
    """Run a command to its end, or say why it had none."""
    text = [str(part) for part in command]
    try:
        return subprocess.run(
            text, capture_output=True, text=True, errors="replace", env=environment, timeout=RUN_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {RUN_LIMIT_S} s"
    except OSError as exc:
        return f"did not start: {exc.strerror}"


def failure(done: subprocess.CompletedProcess[str], path: Path) -> str:
    """Why a program failed, on one line without the advice: it is for the device's user, and not for this table."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("edge_benchmark: error: ")]
    if not said:
        last = without_folders(lines[-1]) if lines else "no message"
        return f"crashed (signal {-done.returncode})" if done.returncode < 0 else f"exit code {done.returncode}: {last}"
    text = said[-1].removeprefix("edge_benchmark: error: ").replace(str(path), path.name)
    text = re.sub(r"; (the file is whole|try another version|compare the file|it may be built).*$", "", text)
    text = text.removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ").removeprefix("is ")
    return without_folders(text)
