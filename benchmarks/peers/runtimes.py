"""The runtimes of the peers that edge_benchmark.py does not know, with the interface of those that it knows.

Each is imported by the class that needs it, in an environment of its own on this machine (environments.py) and on the
emulated ARM64 one.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (1, 3, 224, 224)


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
    """ExecuTorch's Python runtime; what is not XNNPACK's runs in its portable and optimised operators."""

    name, package = "executorch", "executorch"

    def __init__(self, model: str, threads: int, precision: str) -> None:
        import torch
        from executorch.extension.pybindings import portable_lib

        torch.set_num_threads(threads)
        portable_lib._unsafe_reset_threadpool(threads)
        self._torch, self._module = torch, portable_lib._load_for_executorch(model)

    def set_input(self, tensor: Any) -> None:
        """Channels last in memory, as the file was exported."""
        picture = self._torch.from_numpy(np.ascontiguousarray(tensor, np.float32))
        self._input = (picture.contiguous(memory_format=self._torch.channels_last),)

    def run(self) -> None:
        """Infer."""
        (self._last,) = self._module.forward(self._input)

    def output(self) -> Any:
        """The logits of the last inference."""
        return self._last.float().numpy().reshape(-1)


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
