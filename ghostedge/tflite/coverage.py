"""Measure how much of a .tflite model LiteRT hands to XNNPACK, its fast CPU path.

LiteRT does not check the structure of a model before it maps it: a damaged file kills the process. So the model is
loaded in a process of its own, and what it finds comes back as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.provenance import refusal
from ghostedge.tflite.delegation import delegated

__all__ = ["Coverage", "coverage"]

_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Coverage:
    """The part of a model that XNNPACK runs.

    Attributes:
        nodes: operators of the model.
        delegated: those of them that XNNPACK runs.
        partitions: connected pieces it runs them in; between two of them, tensors go back to LiteRT's own kernels.
        outside: the names of the operators left to LiteRT's own kernels, in execution order, e.g. ``"CUSTOM"``.
    """

    nodes: int
    delegated: int
    partitions: int
    outside: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether XNNPACK runs every operator, in one piece."""
        return self.partitions == 1 and not self.outside


def coverage(path: Path) -> Coverage:
    """Load `path` with LiteRT, as an application would, run it once on zeros and see what XNNPACK took.

    Raises:
        ArtifactError: LiteRT does not load or run it.
        MissingExtraError: ai-edge-litert is not installed.
    """
    runtime = f"ai-edge-litert {require('ai_edge_litert', 'tflite').__version__}"
    command = [sys.executable, "-P", "-m", __name__, str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ArtifactError(refusal(path, runtime, "did not run", f"not done in {_TIMEOUT_S:.0f} s")) from exc
    if done.returncode != 0:
        reason = f"it crashed (signal {-done.returncode})" if done.returncode < 0 else _last_line(done.stderr)
        raise ArtifactError(refusal(path, runtime, "does not run", reason))
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return Coverage(found["nodes"], found["delegated"], found["partitions"], tuple(found["outside"]))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


def partition(nodes: Iterable[Mapping[str, Any]]) -> Coverage:
    """Which part of a model a delegate runs, by the nodes of an interpreter with it applied; see `delegated`."""
    operators, inside, partitions = delegated(nodes)
    outside = tuple(str(node["op_name"]) for index, node in enumerate(operators) if index not in inside)
    return Coverage(len(operators), len(inside), partitions, outside)


def _measure(path: str) -> Coverage:
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_path=path)
    interpreter.allocate_tensors()
    interpreter.invoke()
    return partition(interpreter._get_ops_details())  # the only list of nodes LiteRT's Python has


if __name__ == "__main__":
    try:
        print(json.dumps(dataclasses.asdict(_measure(sys.argv[1]))))
    except (ValueError, RuntimeError) as exc:  # what LiteRT raises for a model that it cannot read or prepare
        raise SystemExit(str(exc).strip()) from exc
