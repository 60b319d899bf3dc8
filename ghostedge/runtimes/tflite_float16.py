"""Run a TFLite model in float16 on a CPU without float16 arithmetic, to see what one that has it will make of it.

XNNPACK can be told to compute in float16 on any CPU (``TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16``), but not through
LiteRT's Python interface: this goes through its C interface (litert/c), which lies in the same package. On x86 every
operator's result is rounded to float16 while sums are kept in float32, whereas ARM64 rounds sums too: what overflows
and most of the rounding is seen here; the SNR of GhostNetV2 is 63 to 67 dB here and 57 dB on a Cortex-A76.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, MissingExtraError
from ghostedge.lazy import require
from ghostedge.runtimes.base import SingleImageRuntime
from ghostedge.runtimes.tflite import quiet_stderr
from ghostedge.tflite.check import check_tflite
from ghostedge.tflite.float16 import allows_float16
from ghostedge.types import Artifact

__all__ = ["Float16TFLiteRuntime"]

# Of xnnpack_delegate.h: the flags that LiteRT sets by default (int8, uint8, dynamic dense layers), and FORCE_FP16.
_XNNPACK_FLAGS = ctypes.c_uint32(0x1 | 0x2 | 0x8 | 0x4)
_CPU = ctypes.c_int(1)  # kLiteRtHwAcceleratorCpu
_HOST_MEMORY = ctypes.c_int(1)  # kLiteRtTensorBufferTypeHostMemory
_READ, _WRITE = ctypes.c_int(0), ctypes.c_int(1)  # LiteRtTensorBufferLockMode
_FIRST, _ONE = ctypes.c_size_t(0), ctypes.c_size_t(1)
_TENSOR_TYPE_BYTES = 512  # LiteRtRankedTensorType has fewer; it is only passed on

_TIMEOUT_S = 120.0


class Float16TFLiteRuntime(SingleImageRuntime):
    """A `.tflite` file that allows float16, computed in it whatever the CPU.

    Attributes:
        info: ``name``, ``version``, ``threads``, ``delegate`` and ``inference_precision``, ``"f16"``.

    Raises:
        ArtifactError: not a whole TFLite model, one that does not allow float16 (`ghostedge.tflite.float16`), or one
            that XNNPACK cannot compute so; a model that does not take ``artifact.input``.
        MissingExtraError: LiteRT is not installed, or its package has no C interface.
    """

    def __init__(self, artifact: Artifact, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        version = require("ai_edge_litert", "tflite").__version__
        check_tflite(artifact.path)
        if not allows_float16(artifact.path):
            raise ArtifactError(
                f'{artifact.path} does not allow float16, so no device computes it so; set inference_precision = "f16" '
                "in the [options] of its recipe and export it again"
            )
        _probe(artifact.path)
        with quiet_stderr():
            self._model = _CompiledModel(artifact.path, threads)
        wanted = int(np.prod(self.input.shape(1))) * np.dtype(self.input.dtype).itemsize
        if self._model.input_bytes != wanted:
            self._release()
            raise ArtifactError(
                f"{artifact.path} takes {self._model.input_bytes} bytes, its input spec says {wanted}: "
                f"{self.input.dtype} {self.input.shape(1)}"
            )
        self.info = {
            "name": "ai-edge-litert",
            "version": version,
            "threads": threads,
            "delegate": "XNNPACK",
            "inference_precision": "f16",
        }

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        return self._model.run(image)

    def _release(self) -> None:
        self._model.close()


class _CompiledModel:
    """A model with one input and float32 output in LiteRT's C interface, on the CPU, forced into float16.

    Raises:
        ArtifactError: LiteRT does not take it.
        MissingExtraError: see `_library`.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self._path = path
        self._lib = _library()
        self._owned: list[tuple[str, ctypes.c_void_p]] = []
        try:
            self._load(threads)
        except BaseException:
            self.close()
            raise

    def _load(self, threads: int) -> None:
        environment = self._new("LiteRtCreateEnvironment", "LiteRtDestroyEnvironment", ctypes.c_int(0), None)
        model = self._new("LiteRtCreateModelFromFile", "LiteRtDestroyModel", os.fsencode(self._path))
        options = self._new("LiteRtCreateOptions", "LiteRtDestroyOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, _CPU)
        cpu_options = self._get("LiteRtCreateCpuOptions")
        xnnpack = self._get("LiteRtFindCpuOptions", cpu_options)
        self._call("LiteRtSetCpuOptionsXNNPackFlags", xnnpack, _XNNPACK_FLAGS)
        self._call("LiteRtSetCpuOptionsNumThread", xnnpack, ctypes.c_int(threads))
        self._call("LiteRtAddOpaqueOptions", options, cpu_options)
        self._compiled = self._new(
            "LiteRtCreateCompiledModel", "LiteRtDestroyCompiledModel", environment, model, options
        )
        signature = self._get("LiteRtGetModelSignature", model, _FIRST)
        self._in, self.input_bytes = self._buffer("Input", environment, signature)
        self._out, output_bytes = self._buffer("Output", environment, signature)
        self._outputs = output_bytes // np.dtype(np.float32).itemsize

    def _buffer(
        self, kind: str, environment: ctypes.c_void_p, signature: ctypes.c_void_p
    ) -> tuple[ctypes.c_void_p, int]:
        """Memory for the first input or output, and how many bytes of it are the tensor's."""
        tensor = self._get(f"LiteRtGetSignature{kind}TensorByIndex", signature, _FIRST)
        described = (ctypes.c_uint8 * _TENSOR_TYPE_BYTES)()
        self._call("LiteRtGetRankedTensorType", tensor, ctypes.byref(described))
        needs = self._get(f"LiteRtGetCompiledModel{kind}BufferRequirements", self._compiled, _FIRST, _FIRST)
        size, packed = ctypes.c_size_t(), ctypes.c_size_t()
        self._call("LiteRtGetTensorBufferRequirementsBufferSize", needs, ctypes.byref(size))
        memory = (environment, _HOST_MEMORY, ctypes.byref(described), size)
        buffer = self._new("LiteRtCreateManagedTensorBuffer", "LiteRtDestroyTensorBuffer", *memory)
        self._call("LiteRtGetTensorBufferPackedSize", buffer, ctypes.byref(packed))
        return buffer, packed.value

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The output, float32 (n,), of an input of `input_bytes`, contiguous."""
        address = self._get("LiteRtLockTensorBuffer", self._in, after=(_WRITE,))
        ctypes.memmove(address, image.ctypes.data, image.nbytes)
        self._call("LiteRtUnlockTensorBuffer", self._in)
        tensors = (_ONE, ctypes.byref(self._in), _ONE, ctypes.byref(self._out))
        self._call("LiteRtRunCompiledModel", self._compiled, _FIRST, *tensors)
        address = self._get("LiteRtLockTensorBuffer", self._out, after=(_READ,))
        found = np.array((ctypes.c_float * self._outputs).from_address(address.value or 0), np.float32)
        self._call("LiteRtUnlockTensorBuffer", self._out)
        return found

    def close(self) -> None:
        """Free everything, the newest first. Calling it twice is harmless."""
        while self._owned:
            destroy, pointer = self._owned.pop()
            getattr(self._lib, destroy)(pointer)

    def _call(self, function: str, *arguments: Any) -> None:
        """Call a function that returns a ``LiteRtStatus``."""
        if status := getattr(self._lib, function)(*arguments):
            raise ArtifactError(f"{self._path} failed in LiteRT: {function} returned {status}")

    def _get(self, function: str, *before: Any, after: tuple[Any, ...] = ()) -> ctypes.c_void_p:
        """The pointer that a function writes to its argument between `before` and `after`."""
        pointer = ctypes.c_void_p()
        self._call(function, *before, ctypes.byref(pointer), *after)
        return pointer

    def _new(self, function: str, destroy: str, *before: Any) -> ctypes.c_void_p:
        """Like `_get`; `destroy` frees what it points to."""
        pointer = self._get(function, *before)
        self._owned.append((destroy, pointer))
        return pointer


def _library() -> ctypes.CDLL:
    """LiteRT's C library. Raises: MissingExtraError where the package has none, or one without a choice of flags."""
    folder = Path(str(require("ai_edge_litert", "tflite").__file__)).parent
    for name in ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll"):
        if (path := folder / name).exists():
            library = ctypes.CDLL(str(path))
            if hasattr(library, "LiteRtSetCpuOptionsXNNPackFlags"):
                return library
    raise MissingExtraError("ai-edge-litert with a C interface (2.1)", "tflite")


def _probe(path: Path) -> None:
    """Load and run the model in a process of its own: what XNNPACK cannot compute in float16 crashes LiteRT 2.1.

    Raises:
        ArtifactError: it crashed, or LiteRT does not take the model.
        MissingExtraError: see `_library`.
    """
    _library()
    command = [sys.executable, "-P", "-m", __name__, str(path.absolute())]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired as exc:
        raise ArtifactError(f"{path}: LiteRT did not run it in float16 in {_TIMEOUT_S:.0f} s") from exc
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no message"]
        reason = f"LiteRT crashes (signal {-done.returncode})" if done.returncode < 0 else said[-1]
        raise ArtifactError(f"XNNPACK cannot compute {path} in float16: {reason}")


def _main() -> None:
    try:
        model = _CompiledModel(Path(sys.argv[1]), 1)
        model.run(np.zeros(model.input_bytes, np.uint8))
        model.close()
    except ArtifactError as exc:
        sys.exit(str(exc))


if __name__ == "__main__":
    _main()
