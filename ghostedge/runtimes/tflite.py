"""Run a TFLite model with LiteRT, and say what of it the XNNPACK delegate took."""

from __future__ import annotations

import contextlib
import os
import threading
from collections import Counter
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, MissingExtraError
from ghostedge.lazy import require
from ghostedge.model import Model
from ghostedge.runtimes import Shape, SingleImageRuntime
from ghostedge.tflite.coverage import partition
from ghostedge.tflite.delegation import cpu_has_float16
from ghostedge.tflite.flatbuffer import check_tflite
from ghostedge.tflite.float16 import allows_float16

__all__ = ["ERRORS", "TFLiteRuntime", "quiet_stderr", "to_integers", "to_reals"]

#: What LiteRT raises for a model that it does not take, or cannot run.
ERRORS = (ValueError, RuntimeError)

_stderr_lock = threading.Lock()


class TFLiteRuntime(SingleImageRuntime):
    """A `.tflite` file in LiteRT (``ai_edge_litert``, or ``tflite_runtime`` where only that is installed).

    An integer input is given the float32 batch quantised by the input's own scale and zero point; an integer output
    is dequantised by its own. A uint8 input with ``InputSpec.dtype == "uint8"`` takes the pixels as they are.

    Attributes:
        info: ``name``, ``version``, ``threads``; ``delegate``: ``"XNNPACK"``, or None where it took nothing;
            ``delegate_partitions``: in how many pieces; ``operators``: how many the model has;
            ``operators_outside_delegate``: kind -> how many are left to LiteRT's own kernels;
            ``inference_precision``: what floating-point operators are computed in, ``"f16"`` where file and CPU both
            allow it (`ghostedge.tflite.float16`), else ``"f32"``.

    Raises:
        ArtifactError: not a whole TFLite model, or not one that takes ``artifact.input``.
        MissingExtraError: neither package is installed.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        package, module = _import_interpreter()
        self.info = {"name": package.__name__.replace("_", "-"), "version": package.__version__, "threads": threads}
        check_tflite(artifact.path)
        with self._refusing("does not load", ERRORS):
            self._load(module, threads)

    def _load(self, module: ModuleType, threads: int) -> None:
        with quiet_stderr():
            self._model: Any = module.Interpreter(model_path=str(self.artifact.path), num_threads=threads)
            inputs = self._model.get_input_details()
            if len(inputs) == 1 and len(inputs[0]["shape"]) == 4 and inputs[0]["shape"][0] != 1:
                self._model.resize_tensor_input(inputs[0]["index"], [1, *inputs[0]["shape"][1:]])
            self._model.allocate_tensors()
        inputs, outputs = self._model.get_input_details(), self._model.get_output_details()
        self._check_model([_shape(details) for details in inputs], [_shape(details) for details in outputs])
        self._in, self._out = inputs[0], outputs[0]
        kind = np.dtype(self._in["dtype"])
        quantised = kind.kind in "iu" and self._in["quantization"][0] > 0
        if kind != self.input.dtype and not (quantised and self.input.dtype == "float32"):
            raise ArtifactError(f"{self.artifact.path} takes {kind}, its input spec says {self.input.dtype}")
        found = partition(self._model._get_ops_details())
        self.info |= {
            "delegate": "XNNPACK" if found.partitions else None,
            "delegate_partitions": found.partitions,
            "operators": found.nodes,
            "operators_outside_delegate": dict(Counter(found.outside)),
            "inference_precision": "f16" if cpu_has_float16() and allows_float16(self.artifact.path) else "f32",
        }

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        if image.dtype != self._in["dtype"]:
            image = to_integers(image, self._in)
        with self._refusing("failed to run", ERRORS):
            self._model.set_tensor(self._in["index"], image)
            self._model.invoke()
            output: NDArray[Any] = self._model.get_tensor(self._out["index"])
        return to_reals(output, self._out) if output.dtype.kind in "iu" else output

    def _release(self) -> None:
        self._model = None


def _import_interpreter() -> tuple[ModuleType, ModuleType]:
    """(the package that there is, the module of it that has Interpreter)."""
    try:
        return require("ai_edge_litert", "tflite"), require("ai_edge_litert.interpreter", "tflite")
    except MissingExtraError as missing:
        try:
            return require("tflite_runtime", "tflite"), require("tflite_runtime.interpreter", "tflite")
        except MissingExtraError:
            raise missing from None


def _shape(details: dict[str, Any]) -> Shape:
    return tuple(map(int, details["shape"]))


def to_integers(real: NDArray[Any], details: dict[str, Any]) -> NDArray[Any]:
    """``round(real / scale) + zero_point`` of a tensor's details, halves to even, clipped to its integer type."""
    scale, zero_point = details["quantization"]
    limits = np.iinfo(details["dtype"])
    integers = np.clip(np.rint(real / np.float32(scale)) + zero_point, limits.min, limits.max)
    return np.asarray(integers, details["dtype"])


def to_reals(integers: NDArray[Any], details: dict[str, Any]) -> NDArray[np.float32]:
    """``(integer - zero_point) * scale``; the integers themselves where the output is not quantised."""
    scale, zero_point = details["quantization"]
    if not scale:
        return integers.astype(np.float32)
    return (integers.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Keep LiteRT's C++ "INFO: Created TensorFlow Lite XNNPACK delegate" off stderr; failures come as exceptions."""
    with _stderr_lock:
        kept = os.dup(2)
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(null, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(null)
