"""Load a .tflite model on LiteRT's own kernels, on one thread, with every tensor kept for inspection."""

from __future__ import annotations

import warnings
from typing import Any

from ghostedge.lazy import require

__all__ = ["check_packages", "inspecting_interpreter"]


def check_packages() -> None:
    """Raise MissingExtraError unless what runs and writes .tflite models is installed."""
    require("ai_edge_litert", "tflite")
    require("flatbuffers", "export")


def inspecting_interpreter(data: bytes, *, keep: bool = True) -> Any:
    """A LiteRT ``Interpreter`` whose indices of tensors are those of the file.

    Without a delegate, because a delegate's intermediate tensors cannot be read. XNNPACK's int8 kernels round
    differently from these by at most one step.

    Args:
        data: the model's bytes, of a file that `ghostedge.tflite.check.check_tflite` has passed.
        keep: keep every tensor; without it only outputs may be read.

    Raises:
        ValueError, RuntimeError: LiteRT does not take the model.
    """
    litert = require("ai_edge_litert.interpreter", "tflite")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that keeping all tensors takes memory
        interpreter = litert.Interpreter(
            model_content=data,
            num_threads=1,
            experimental_preserve_all_tensors=keep,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
    interpreter.allocate_tensors()
    return interpreter
