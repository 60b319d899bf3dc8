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
    """Sort the nodes of an interpreter with delegates applied into delegated ones and others.

    A delegate's node stands for all operators between its inputs and its outputs; LiteRT keeps those operators in the
    list, so that they can be found by walking back from the delegate's outputs.

    Args:
        nodes: ``op_name``, ``inputs`` and ``outputs`` (tensor indices) of each, in execution order.
    """
    operators = [node for node in nodes if node["op_name"] != "DELEGATE"]
    delegates = [node for node in nodes if node["op_name"] == "DELEGATE"]
    producer = {int(tensor): index for index, node in enumerate(operators) for tensor in node["outputs"]}
    inside: set[int] = set()
    for delegate in delegates:
        given = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            index = producer.get(tensor)
            if tensor in given or index is None or index in inside:
                continue
            inside.add(index)
            pending += [int(tensor) for tensor in operators[index]["inputs"]]
    outside = tuple(str(node["op_name"]) for index, node in enumerate(operators) if index not in inside)
    return Coverage(len(operators), len(inside), len(delegates), outside)


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
