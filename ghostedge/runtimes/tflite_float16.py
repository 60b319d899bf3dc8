"""Run a TFLite model in float16 on a CPU without float16 arithmetic, to see what one that has it will make of it.

XNNPACK can be told to compute in float16 on any CPU (``TFLITE_XNNPACK_DELEGATE_FLAG_FORCE_FP16``), but not through
LiteRT's ``Interpreter``. LiteRT 2.1.0 and 2.1.2 take the flag through the C interface (litert/c) of the same package;
from 2.1.6 on that exports no options of the CPU, and the Python ``CompiledModel`` takes them. On x86 every operator's
result is rounded to float16 while sums are kept in float32, whereas ARM64 rounds sums too: what overflows and most of
the rounding is seen here; the SNR of GhostNetV2 is 63 to 67 dB here and 57 dB on a Cortex-A76.

From 2.2 on the flag forces nothing: at the first operator without a float16 kernel on this CPU, XNNPACK goes over to
float32 for all that follows. On x86 RESIZE_BILINEAR is one (XNNPACK asks for a kernel of another layout that only ARM64
has). What it then computes shows neither rounding nor overflow, so such a model is refused.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, UsageError, first_line
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require
from ghostedge.model import Model
from ghostedge.provenance import refusal
from ghostedge.runtimes import SingleImageRuntime
from ghostedge.runtimes.tflite import ERRORS, quiet_stderr
from ghostedge.tflite.flatbuffer import check_tflite
from ghostedge.tflite.float16 import allows_float16

__all__ = ["Float16TFLiteRuntime"]

# Of xnnpack_delegate.h: the flags that LiteRT sets by default (int8, uint8, dynamic dense layers), and FORCE_FP16.
_XNNPACK_FLAGS = ctypes.c_uint32(0x1 | 0x2 | 0x8 | 0x4)
_CPU = ctypes.c_int(1)  # kLiteRtHwAcceleratorCpu
_HOST_MEMORY = ctypes.c_int(1)  # kLiteRtTensorBufferTypeHostMemory
_READ, _WRITE = ctypes.c_int(0), ctypes.c_int(1)  # LiteRtTensorBufferLockMode
_FIRST, _ONE = ctypes.c_size_t(0), ctypes.c_size_t(1)
_TENSOR_TYPE_BYTES = 512  # LiteRtRankedTensorType has fewer; it is only passed on

_TIMEOUT_S = 120.0

#: Exit codes of the process that `_probe` starts.
_NO_INTERFACE, _NOT_FLOAT16 = 3, 4

_INSTALL = "2.1.0, 2.1.2 and 2.1.6 compute all of it so: pip install 'ai-edge-litert==2.1.2'"


class Float16TFLiteRuntime(SingleImageRuntime):
    """A `.tflite` file that allows float16, computed in it whatever the CPU.

    Attributes:
        info: ``name``, ``version``, ``threads``, ``delegate`` and ``inference_precision``, ``"f16"``.

    Raises:
        ArtifactError: not a whole TFLite model, one that does not allow float16 (`ghostedge.tflite.float16`), or one
            that XNNPACK cannot compute so; a model that does not take ``artifact.input``.
        MissingExtraError: LiteRT is not installed.
        UsageError: the installed version cannot compute it so on this CPU.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        require("ai_edge_litert", "tflite")
        check_tflite(artifact.path)
        if not allows_float16(artifact.path):
            raise ArtifactError(
                f"{artifact.path} does not allow float16, so no device computes it so; leave it out, or set "
                'inference_precision = "f16" in the [options] of its recipe and export it again'
            )
        _probe(artifact.path)
        self.info = {
            "name": "ai-edge-litert",
            "version": require("ai_edge_litert", "tflite").__version__,
            "threads": threads,
            "delegate": "XNNPACK",
            "inference_precision": "f16",
        }
        with self._refusing("does not load", ERRORS), quiet_stderr():
            self._model = _open(artifact.path, threads)
        wanted = int(np.prod(self.input.shape(1))) * np.dtype(self.input.dtype).itemsize
        if self._model.input_bytes != wanted:
            self._release()
            raise ArtifactError(
                f"{artifact.path} takes {self._model.input_bytes} bytes, its input spec says {wanted}: "
                f"{self.input.dtype} {self.input.shape(1)}"
            )

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        with self._refusing("failed to run", ERRORS):
            return self._model.run(image)

    def _release(self) -> None:
        with quiet_stderr():  # LiteRT reports what it destroys
            self._model.close()


def _open(path: Path, threads: int) -> _PythonModel | _CModel:
    """Load `path` by the interface that the installed version has.

    Raises:
        UsageError: it has none; see `_library`.
        ValueError, RuntimeError: LiteRT does not take it.
    """
    package = Path(str(require("ai_edge_litert", "tflite").__file__)).parent
    return _PythonModel(path, threads) if (package / "cpu_options.py").exists() else _CModel(path, threads)


class _PythonModel:
    """A model with one input and float32 output, forced into float16 by LiteRT's ``CompiledModel`` with ``CpuOptions``.

    Attributes:
        input_bytes: the size of its input.
    """

    def __init__(self, path: Path, threads: int) -> None:
        compiled = require("ai_edge_litert.compiled_model", "tflite")
        options = require("ai_edge_litert.options", "tflite")
        cpu = options.CpuOptions(num_threads=threads, xnnpack_flags=_XNNPACK_FLAGS.value)
        self._model: Any = compiled.CompiledModel.from_file(str(path), options=options.Options(cpu_options=cpu))
        key = self._model.get_signature_by_index(0)["key"]
        (taken,) = self._model.get_input_tensor_details(key).values()
        (given,) = self._model.get_output_tensor_details(key).values()
        self._in, self._out = self._model.create_input_buffers(0), self._model.create_output_buffers(0)
        self._dtype, self._outputs = np.dtype(taken["dtype"]), int(np.prod(given["shape"]))
        self.input_bytes = int(np.prod(taken["shape"])) * self._dtype.itemsize

    def run(self, image: NDArray[Any]) -> NDArray[np.float32]:
        """The output, float32 (n,), of an input of `input_bytes`, contiguous."""
        self._in[0].write(np.frombuffer(image.tobytes(), self._dtype))
        self._model.run_by_index(0, self._in, self._out)
        return np.array(self._out[0].read(self._outputs, np.float32), np.float32)

    def close(self) -> None:
        """Free everything. Calling it twice is harmless."""
        self._in = self._out = self._model = None


class _CModel:
    """Like `_PythonModel`, by LiteRT's C interface. Raises: UsageError; see `_library`."""

    def __init__(self, path: Path, threads: int) -> None:
        self._lib = _library()
        self._owned: list[tuple[str, ctypes.c_void_p]] = []
        try:
            self._load(path, threads)
        except BaseException:
            self.close()
            raise

    def _load(self, path: Path, threads: int) -> None:
        environment = self._new("LiteRtCreateEnvironment", "LiteRtDestroyEnvironment", ctypes.c_int(0), None)
        model = self._new("LiteRtCreateModelFromFile", "LiteRtDestroyModel", os.fsencode(path))
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
        """See `_PythonModel`."""
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
        """Call a function that returns a ``LiteRtStatus``. Raises: RuntimeError for another than 0."""
        if status := getattr(self._lib, function)(*arguments):
            raise RuntimeError(f"{function} returned {status}")

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


def _name() -> str:
    return f"ai-edge-litert {require('ai_edge_litert', 'tflite').__version__}"


def _library() -> ctypes.CDLL:
    """LiteRT's C library. Raises: UsageError where the package has none, or one without a choice of flags."""
    folder = Path(str(require("ai_edge_litert", "tflite").__file__)).parent
    for name in ("libLiteRt.so", "libLiteRt.dylib", "LiteRt.dll"):
        if (path := folder / name).exists():
            library = ctypes.CDLL(str(path))
            if hasattr(library, "LiteRtSetCpuOptionsXNNPackFlags"):
                return library
    raise UsageError(
        f"{_name()} cannot be told to compute in float16: it has neither the C functions of 2.1.0 and 2.1.2 nor the "
        f"CompiledModel with CpuOptions of 2.1.6 and later that set XNNPACK's flags; {_INSTALL}"
    )


def _probe(path: Path) -> None:
    """Load and run the model in a process of its own, because LiteRT crashes on what XNNPACK cannot compute in float16.

    Raises:
        ArtifactError: it crashed, or LiteRT does not take the model.
        UsageError: see `_library`; or it is not computed in float16 to its end.
    """
    try:
        run_module(__name__, [str(path.absolute())], timeout_s=_TIMEOUT_S)
    except ChildError as exc:
        if exc.returncode == _NO_INTERFACE:
            raise UsageError(str(exc)) from exc
        if exc.returncode == _NOT_FLOAT16:
            raise UsageError(
                f"{_name()} computes only a part of {path} in float16 on this CPU: from 2.2 on XNNPACK goes over to "
                f"float32 where it has no float16 kernel (on x86: RESIZE_BILINEAR); {_INSTALL}"
            ) from exc
        did = "did not compute in float16" if exc.returncode is None else "cannot compute in float16"
        raise ArtifactError(refusal(path, _name(), did, exc)) from exc


def _main() -> int:
    """Run the model of the command line on noise. Returns: the exit code."""
    try:
        model = _open(Path(sys.argv[1]), 1)
        noise = np.random.default_rng(0).random(model.input_bytes // 4, np.float32)
        # Raw pixels are bytes; any will do.
        image = noise.view(np.uint8) if noise.nbytes == model.input_bytes else np.zeros(model.input_bytes, np.uint8)
        logits = model.run(image)
        model.close()
    except (UsageError, *ERRORS) as exc:
        print(first_line(exc), file=sys.stderr)
        return _NO_INTERFACE if isinstance(exc, UsageError) else 1
    # Once XNNPACK has gone over to float32, the logits are numbers that float16 does not have.
    with np.errstate(over="ignore"):
        return 0 if np.array_equal(logits, logits.astype(np.float16), equal_nan=True) else _NOT_FLOAT16


if __name__ == "__main__":
    sys.exit(_main())
