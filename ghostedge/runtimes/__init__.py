"""The runtimes that run an artifact: which one by its format, and what all of them share.

Each vendor library is imported only when its runtime is opened.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, UsageError, first_line
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.lazy import choose, resolve
from ghostedge.model import InputSpec, Model, Runtime
from ghostedge.provenance import refusal

__all__ = ["FLOAT16_RUNTIMES", "RUNTIMES", "Shape", "SingleImageRuntime", "check_batch", "open_runtime", "runtime_of"]

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
    if not float16:
        return RUNTIMES[choose("format", model_format, RUNTIMES)]
    if model_format not in FLOAT16_RUNTIMES:
        raise UsageError(f"--inference-precision f16 is for .tflite files; leave {model_format} out")
    return FLOAT16_RUNTIMES[model_format]


def open_runtime(artifact: Model, threads: int = 1, *, float16: bool = False) -> Runtime:
    """Load `artifact` in the runtime that `runtime_of` names.

    Raises:
        ArtifactError: the runtime does not take it.
        MissingExtraError: the runtime is not installed.
        UsageError: there is no such runtime for its format.
    """
    runtime: Runtime = resolve(runtime_of(artifact.format, float16=float16))(artifact, threads)
    return runtime


#: A tensor's shape; None for a dimension that is free.
Shape = tuple[int | None, ...]


def check_batch(batch: NDArray[Any], artifact: Model) -> None:
    """Raise ArtifactError unless `batch` has the dtype of ``artifact.input`` and its shape for any n >= 1."""
    spec = artifact.input
    expected = f"{spec.dtype} (n, {', '.join(map(str, spec.shape()[1:]))})"
    if batch.dtype != spec.dtype or batch.shape[1:] != spec.shape()[1:] or len(batch) < 1:
        raise ArtifactError(f"{artifact.path} takes {expected} with n >= 1; the batch is {batch.dtype} {batch.shape}")


class SingleImageRuntime(ABC):
    """A `Runtime` that runs a batch image by image.

    One image is what an edge device runs, and what every vendor tunes for: measured on GhostNetV2, a batch of 8 is not
    faster per image in any of these runtimes, and OpenVINO with a dynamic batch takes twice as long for one image.
    It also runs a file whose batch is fixed to 1 like any other.

    A subclass sets `info` and loads the model in its constructor, and implements `_infer` and `_release`; what the
    vendor's library may raise there stands under `_refusing`.

    Args:
        artifact: what to load.
        threads: how many threads one inference may use.

    Raises:
        ArtifactError: a file of the artifact is missing.
        UsageError: `threads` is below 1.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        if threads < 1:
            raise UsageError(f"threads is {threads}; it must be at least 1")
        for file in artifact.files:
            if not file.is_file():
                raise ArtifactError(f"{file} is a folder" if file.is_dir() else f"{file} does not exist")
        self.artifact: Model = artifact
        self.input: InputSpec = artifact.input
        self.info: dict[str, Any] = {}
        self.arithmetic: Arithmetic | None = None
        self._open = True

    @abstractmethod
    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        """The model's only output for ``input.shape(1)``, its values real numbers (dequantised)."""

    @abstractmethod
    def _release(self) -> None:
        """Drop every reference to the vendor's objects."""

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Logits float32 (n, classes) of a batch ``input.dtype`` ``input.shape(n)``. Raises: ArtifactError."""
        if not self._open:
            raise ArtifactError(f"the runtime of {self.artifact.path} is closed")
        check_batch(batch, self.artifact)
        batch = np.ascontiguousarray(batch)
        rows = [self._infer(batch[i : i + 1]).reshape(1, -1) for i in range(len(batch))]
        return np.concatenate(rows).astype(np.float32, copy=False)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Free the model. Calling it twice is harmless."""
        if self._open:
            self._open = False
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    @contextlib.contextmanager
    def _refusing(self, did: str, errors: type[Exception] | tuple[type[Exception], ...]) -> Iterator[None]:
        """Make an `ArtifactError` of the vendor's `errors`; `did` is e.g. ``"does not load"``."""
        try:
            yield
        except errors as exc:
            library = f"{self.info['name']} {self.info['version']}"
            raise ArtifactError(refusal(self.artifact.path, library, did, self._reason(exc))) from exc

    def _reason(self, exc: Exception) -> str:
        """The line of a vendor's message that says what is wrong; another than the first by a subclass's own rule."""
        return first_line(exc)

    def _check_model(self, inputs: list[Shape], outputs: list[Shape]) -> None:
        """Refuse a model that cannot take ``input.shape(1)`` or does not give one vector of logits an image.

        Args:
            inputs: the shapes of the model's inputs.
            outputs: the shapes of its outputs; () where even the rank is free.
        """
        path, spec = self.artifact.path, self.input
        if (len(inputs), len(outputs)) != (1, 1):
            raise ArtifactError(
                f"{path} has {len(inputs)} inputs and {len(outputs)} outputs; a classifier has one of each"
            )
        (taken,), (given,) = inputs, outputs
        wanted = spec.shape(1)
        if len(taken) != 4 or any(have not in (None, want) for have, want in zip(taken, wanted, strict=True)):
            raise ArtifactError(
                f"{path} takes input of shape {_text(taken)}, its input spec says {wanted} ({spec.layout}); "
                "give the right one with --input-spec"
            )
        if given and (given[0] not in (None, 1) or sum(size not in (None, 1) for size in given[1:]) > 1):
            raise ArtifactError(f"{path} gives output of shape {_text(given)}; a classifier gives (1, classes)")


def _text(shape: Shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"
