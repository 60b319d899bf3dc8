"""The runtimes of the peers that edge_benchmark.py does not know, with the interface of those that it knows.

Each is imported by the class that needs it, in an environment of its own on this machine (environments.py) and on the
emulated ARM64 one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (1, 3, 224, 224)
#: What executorch_runner.cpp is built to, among ExecuTorch's libraries (environments.py).
RUNNER = "librunner.so"


class Runtime:
    """A loaded model that computes on one input: float32 (1, 3, 224, 224), normalised."""

    name: str
    package: str
    shape, dtype = SHAPE, "float32"
    delegate, quantization = None, None

    @property
    def version(self) -> str:
        """Of the runtime's package."""
        import importlib.metadata

        return importlib.metadata.version(self.package)

    def set_input(self, tensor: Any) -> None:
        """Take the input that every inference computes on."""
        raise NotImplementedError

    def run(self) -> None:
        """Infer."""
        raise NotImplementedError

    def output(self) -> Any:
        """The logits of the last inference: float32, flat."""
        raise NotImplementedError


class Mnn(Runtime):
    """MNN's sessions, as its documentation has them for one input and one output."""

    name, package = "mnn", "MNN"

    def __init__(self, model: str, threads: int, precision: str) -> None:
        import MNN

        self._mnn = MNN
        self._net = MNN.Interpreter(model)
        # BackendConfig of include/MNN/MNNForwardType.h: precision high 1, low 2; memory low 2, which computes layers
        # with 8-bit weights in 8 bits.
        settings = {"backend": "CPU", "numThread": threads, "precision": 1 if precision == "fp32" else 2}
        settings |= {"memory": 2} if precision == "int8" else {}
        self._session = self._net.createSession(settings)
        self._input = self._net.getSessionInput(self._session)
        self._output = self._net.getSessionOutput(self._session)

    def _host(self, array: Any) -> Any:
        mnn = self._mnn
        return mnn.Tensor(array.shape, mnn.Halide_Type_Float, array, mnn.Tensor_DimensionType_Caffe)

    def set_input(self, tensor: Any) -> None:
        """Copied into the session's layout once."""
        self._input.copyFrom(self._host(np.ascontiguousarray(tensor, np.float32)))

    def run(self) -> None:
        """Infer."""
        self._net.runSession(self._session)

    def output(self) -> Any:
        """Copied out of the session's layout."""
        host = self._host(np.zeros(self._output.getShape(), np.float32))
        self._output.copyToHostTensor(host)
        return np.array(host.getNumpyData(), np.float32).reshape(-1)


class Ncnn(Runtime):
    """ncnn: NAME.ncnn.param with NAME.ncnn.bin beside it, as pnnx names them."""

    name, package = "ncnn", "ncnn"

    def __init__(self, model: str, threads: int, precision: str) -> None:
        import ncnn

        self._ncnn, self._net = ncnn, ncnn.Net()
        options = self._net.opt
        options.num_threads = threads
        half = precision == "fp16"
        options.use_fp16_packed = options.use_fp16_storage = options.use_fp16_arithmetic = half
        options.use_bf16_storage = False
        for part, load in (
            (model, self._net.load_param),
            (f"{model.removesuffix('.param')}.bin", self._net.load_model),
        ):
            if load(part) != 0:
                raise SystemExit(f"{part}: ncnn cannot read it")

    def set_input(self, tensor: Any) -> None:
        """Kept; each inference begins with it."""
        self._array = np.ascontiguousarray(tensor[0], np.float32)
        self._input = self._ncnn.Mat(self._array)

    def run(self) -> None:
        """An extractor is one inference."""
        extractor = self._net.create_extractor()
        extractor.input("in0", self._input)
        _, self._last = extractor.extract("out0")

    def output(self) -> Any:
        """The logits of the last inference."""
        return np.array(self._last, np.float32).reshape(-1)


class ExecuTorch(Runtime):
    """ExecuTorch's C++ runtime, as on a phone; what is not XNNPACK's runs in its optimised operators.

    executorch_runner.cpp is between it and Python; its own Python binding needs PyTorch.
    """

    name, package = "executorch", "executorch"

    def __init__(self, model: str, threads: int, precision: str) -> None:
        import ctypes
        import importlib.util

        found = importlib.util.find_spec("executorch")
        assert found is not None
        assert found.submodule_search_locations is not None
        self._library = library = ctypes.CDLL(str(Path(found.submodule_search_locations[0], "lib", RUNNER)))
        library.runner_load.restype, library.runner_output.restype = ctypes.c_void_p, ctypes.c_size_t
        loaded = library.runner_load(model.encode(), threads)
        if not loaded:
            raise SystemExit(f"{model}: ExecuTorch cannot load it")
        self._loaded = ctypes.c_void_p(loaded)
        self._type = np.dtype(np.float16 if library.runner_is_half(self._loaded) else np.float32)

    def set_input(self, tensor: Any) -> None:
        """Channels last in memory, as the file was exported, and of the file's type."""
        pixels = np.ascontiguousarray(tensor[0].transpose(1, 2, 0), self._type)
        self._library.runner_set_input(self._loaded, pixels.ctypes, *pixels.shape[:2])

    def run(self) -> None:
        """Infer."""
        if error := self._library.runner_run(self._loaded):
            raise SystemExit(f"ExecuTorch's error {error}")

    def output(self) -> Any:
        """The logits of the last inference."""
        size = self._library.runner_output(self._loaded, None, 0)
        logits = np.empty(size // self._type.itemsize, self._type)
        self._library.runner_output(self._loaded, logits.ctypes, size)
        return logits.astype(np.float32)


RUNTIMES: dict[str, type[Runtime]] = {".mnn": Mnn, ".param": Ncnn, ".pte": ExecuTorch}


def is_for(model: str) -> bool:
    """Whether a model, by its extension, is one of these runtimes'."""
    return Path(model).suffix in RUNTIMES


def load(model: str, threads: int, precision: str | None) -> Runtime:
    """Load a model of one of these runtimes.

    Args:
        model: a file.
        threads: that compute.
        precision: ``"fp32"``, ``"fp16"`` or ``"int8"``: the arithmetic, where the runtime chooses it and not the file.
    """
    return RUNTIMES[Path(model).suffix](model, threads, precision or "fp32")
