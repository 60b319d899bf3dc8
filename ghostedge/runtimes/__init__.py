"""The runtimes that can run an artifact, by format; each vendor library is imported only when its runtime is opened."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.types import Artifact, Runtime

__all__ = ["FLOAT16_RUNTIMES", "RUNTIMES", "open_runtime"]

RUNTIMES: dict[str, str] = {
    "checkpoint": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "mindir": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "onnx": "ghostedge.runtimes.onnx:OnnxRuntime",
    "openvino": "ghostedge.runtimes.openvino:OpenVinoRuntime",
    "tflite": "ghostedge.runtimes.tflite:TFLiteRuntime",
}


#: Those that compute in float16 what a CPU with float16 arithmetic computes so, on any CPU.
FLOAT16_RUNTIMES: dict[str, str] = {"tflite": "ghostedge.runtimes.tflite_float16:Float16TFLiteRuntime"}


def open_runtime(artifact: Artifact, threads: int = 1, *, float16: bool = False) -> Runtime:
    """Load `artifact` in the runtime of its format; `float16`: in the one of `FLOAT16_RUNTIMES`.

    Raises:
        ArtifactError: the runtime does not take it.
        MissingExtraError: the runtime is not installed.
        UsageError: there is no such runtime for its format.
    """
    known = FLOAT16_RUNTIMES if float16 else RUNTIMES
    runtime: Runtime = resolve(known[choose("format", artifact.format, known)])(artifact, threads)
    return runtime
