"""The runtimes that can run an artifact, by format; each vendor library is imported only when its runtime is opened."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.model import Model, Runtime

__all__ = ["FLOAT16_RUNTIMES", "RUNTIMES", "open_runtime", "runtime_of"]

RUNTIMES: dict[str, str] = {
    "checkpoint": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "mindir": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "onnx": "ghostedge.runtimes.onnx:OnnxRuntime",
    "openvino": "ghostedge.runtimes.openvino:OpenVinoRuntime",
    "tflite": "ghostedge.runtimes.tflite:TFLiteRuntime",
}


#: The runtimes that compute in float16 on any CPU what a CPU with float16 arithmetic computes so.
FLOAT16_RUNTIMES: dict[str, str] = {"tflite": "ghostedge.runtimes.tflite_float16:Float16TFLiteRuntime"}


def runtime_of(model_format: str, *, float16: bool = False) -> str:
    """``"module:Class"`` of a format's runtime in `RUNTIMES`, or in `FLOAT16_RUNTIMES`. Raises: UsageError."""
    known, noun = (FLOAT16_RUNTIMES, "float16 format") if float16 else (RUNTIMES, "format")
    return known[choose(noun, model_format, known)]


def open_runtime(artifact: Model, threads: int = 1, *, float16: bool = False) -> Runtime:
    """Load `artifact` in the runtime that `runtime_of` names.

    Raises:
        ArtifactError: the runtime does not take it.
        MissingExtraError: the runtime is not installed.
        UsageError: there is no such runtime for its format.
    """
    runtime: Runtime = resolve(runtime_of(artifact.format, float16=float16))(artifact, threads)
    return runtime
