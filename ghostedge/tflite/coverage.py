"""Measure how much of a .tflite model LiteRT hands to XNNPACK, its fast CPU path.

LiteRT does not check the structure of a model before it maps it: a damaged file kills the process. So the model is
loaded in a process of its own, and what it finds comes back as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ghostedge.errors import ArtifactError
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require
from ghostedge.provenance import refusal
from ghostedge.tflite.delegation import delegated

__all__ = ["Coverage", "coverage", "partition"]

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
    try:
        found: dict[str, Any] = json.loads(run_module(__name__, [str(path.absolute())], timeout_s=_TIMEOUT_S))
    except ChildError as exc:
        did = "did not run" if exc.returncode is None else "does not run"
        raise ArtifactError(refusal(path, runtime, did, exc)) from exc
    return Coverage(found["nodes"], found["delegated"], found["partitions"], tuple(found["outside"]))


def partition(nodes: Iterable[Mapping[str, Any]]) -> Coverage:
    """Which part of a model a delegate runs, by the nodes of an interpreter with it applied; see `delegated`."""
    operators, inside, partitions = delegated(nodes)
    outside = tuple(str(node["op_name"]) for index, node in enumerate(operators) if index not in inside)
    return Coverage(len(operators), len(inside), partitions, outside)


if __name__ == "__main__":
    try:
        interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_path=sys.argv[1])
        interpreter.allocate_tensors()
        interpreter.invoke()
        # The only list of nodes that LiteRT's Python has.
        print(json.dumps(dataclasses.asdict(partition(interpreter._get_ops_details()))))
    except (ValueError, RuntimeError) as exc:  # what LiteRT raises for a model that it cannot read or prepare
        raise SystemExit(str(exc).strip()) from exc
