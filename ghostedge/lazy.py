"""Import vendor libraries where they are needed, and say which extra installs a missing one."""

from __future__ import annotations

import difflib
import importlib
import os
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from ghostedge.errors import MissingExtraError, UsageError
from ghostedge.signals import kept
from ghostedge.telemetry import report_nothing


def require(module: str, extra: str) -> ModuleType:
    """Import `module`, or raise `MissingExtraError` with the pip command that brings it.

    Args:
        module: e.g. ``"onnxruntime"``.
        extra: the extra of ghostedge that installs it.
    """
    package = module.partition(".")[0]
    # MindSpore's generated messages refuse protobuf's C implementation, and a process has one: the one that is chosen
    # when the first library (ONNX, TensorFlow) imports protobuf. The Python one measures the same on our models.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    report_nothing(package)
    if package == "mindspore":
        os.environ.setdefault("GLOG_v", "4")  # below that MindSpore logs warnings, and every error that it raises too
    if package == "pyarrow":  # its own allocators keep megabytes for every thread that ever used them
        os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    try:
        if package not in ("mindspore", "tensorflow"):
            return importlib.import_module(module)
        with kept():
            return importlib.import_module(module)
    except ModuleNotFoundError as exc:
        if exc.name and exc.name.partition(".")[0] == package:
            raise MissingExtraError(package, extra) from exc
        raise


def resolve(target: str) -> Any:
    """The object that ``"module:Name"`` names; the module is imported now and not before."""
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def choose(kind: str, name: str, available: Iterable[str]) -> str:
    """`name` if it is one of `available`, else a `UsageError` that suggests the nearest one.

    Args:
        kind: what is chosen, for the message: ``"target"``, ``"precision"``, ...
    """
    names = sorted(available)
    if name in names:
        return name
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(f"unknown {kind} '{name}'; {hint}available: {', '.join(names)}")
