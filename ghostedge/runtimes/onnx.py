"""Run an ONNX model with ONNX Runtime on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.model import Model
from ghostedge.runtimes import Shape, SingleImageRuntime

__all__ = ["OnnxRuntime"]

_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(uint8)": np.uint8}

#: ONNX Runtime's severities: 0 verbose .. 4 fatal. Errors come as exceptions, so only those that cannot are printed.
_FATAL = 4


class OnnxRuntime(SingleImageRuntime):
    """An `.onnx` file in ONNX Runtime's CPU provider.

    A float16 input is given the float32 batch rounded to float16.

    Attributes:
        info: ``name``, ``version``, ``threads``, ``providers``.

    Raises:
        ArtifactError: not an ONNX model, or not one that takes ``artifact.input``.
        MissingExtraError: onnxruntime is not installed.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        ort = require("onnxruntime", "onnx")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        self.info = {"name": "onnxruntime", "version": ort.__version__, "threads": threads}
        with self._refusing("does not load", Exception):  # onnxruntime's exceptions share no base class
            self._session: Any = ort.InferenceSession(str(artifact.path), options, providers=["CPUExecutionProvider"])
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        self._check_model([_shape(value) for value in inputs], [_shape(value) for value in outputs])
        self._name = inputs[0].name
        self._dtype = _DTYPES.get(inputs[0].type)
        if self._dtype is None or (self._dtype == np.uint8) != (self.input.dtype == "uint8"):
            raise ArtifactError(f"{artifact.path} takes {inputs[0].type}, its input spec says {self.input.dtype}")
        self.info["providers"] = self._session.get_providers()

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        with self._refusing("failed to run", Exception):
            output: NDArray[Any] = self._session.run(None, {self._name: image.astype(self._dtype, copy=False)})[0]
        return output

    def _release(self) -> None:
        self._session = None


def _shape(value: Any) -> Shape:
    """The dimensions; None for a symbolic one."""
    return tuple(size if isinstance(size, int) else None for size in value.shape)
