"""The runtimes that can run an artifact, by format; each vendor library is imported only when its runtime is opened."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.types import Artifact, Runtime

__all__ = ["RUNTIMES", "open_runtime"]

RUNTIMES: dict[str, str] = {
    "checkpoint": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "mindir": "ghostedge.runtimes.mindspore:MindSporeRuntime",
    "onnx": "ghostedge.runtimes.onnx:OnnxRuntime",
    "openvino": "ghostedge.runtimes.openvino:OpenVinoRuntime",
    "tflite": "ghostedge.runtimes.tflite:TFLiteRuntime",
}


def open_runtime(artifact: Artifact, threads: int = 1) -> Runtime:
    """Load `artifact` in the runtime of its format. Raises: ArtifactError, MissingExtraError."""
    runtime: Runtime = resolve(RUNTIMES[choose("format", artifact.format, RUNTIMES)])(artifact, threads)
    return runtime
