"""Run an OpenVINO IR on the CPU, in float32 whatever the device would choose."""

from __future__ import annotations

import functools
import platform
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.model import Model
from ghostedge.runtimes.base import Shape, SingleImageRuntime

__all__ = ["EXACT", "FLOAT", "SATURATING", "VNNI", "OpenVinoRuntime", "int8_arithmetic"]

#: The answers of `int8_arithmetic`: four products are added in 32 bits; two are added in 16 bits, where they may
#: saturate; a CPU that is not x86 adds in 32 bits; nothing is computed in 8 bits.
VNNI, SATURATING, EXACT, FLOAT = "VNNI", "16-bit sums (no VNNI)", "32-bit sums", "float"


class OpenVinoRuntime(SingleImageRuntime):
    """An `.xml` with its `.bin` in OpenVINO's CPU plugin, tuned for the latency of one image.

    ``INFERENCE_PRECISION_HINT=f32``: without it ARM (and x86 with bfloat16) computes convolutions in 16 bits, and the
    file's own precision could not be told from the device's. Weights stored as float16 are widened; 8-bit layers of a
    quantised IR stay 8-bit.

    Attributes:
        info: ``name``, ``version``, ``threads``, ``device``, ``inference_precision``, and ``weighted_layers``: how many
            convolutions and dense layers run in which precision, e.g. ``{"u8": 136, "f32": 2}``. Where some run in 8
            bits ``int8_arithmetic`` says how: `int8_arithmetic`.

    Raises:
        ArtifactError: not an OpenVINO IR, or not one that takes ``artifact.input``.
        MissingExtraError: openvino is not installed.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        openvino = require("openvino", "openvino")
        try:
            core = openvino.Core()
            model = core.read_model(artifact.path)
        except Exception as exc:  # openvino raises bare RuntimeError, and others
            raise ArtifactError(f"{artifact.path} is not an OpenVINO IR that can be loaded: {_line(exc)}") from exc
        self._check_model([_shape(port) for port in model.inputs], [_shape(port) for port in model.outputs])
        kind = model.inputs[0].element_type.to_dtype()
        if kind not in (np.float32, np.float16, np.uint8) or (kind == np.uint8) != (self.input.dtype == "uint8"):
            raise ArtifactError(f"{artifact.path} takes {kind}, its input spec says {self.input.dtype}")
        self._change(model)
        try:
            model.reshape(list(self.input.shape(1)))
            compiled = core.compile_model(
                model,
                "CPU",
                {
                    "INFERENCE_PRECISION_HINT": "f32",
                    "PERFORMANCE_HINT": "LATENCY",
                    "INFERENCE_NUM_THREADS": threads,
                    "NUM_STREAMS": "1",
                },
            )
        except Exception as exc:
            raise ArtifactError(f"{artifact.path} cannot be compiled by OpenVINO: {_line(exc)}") from exc
        self._request: Any = compiled.create_infer_request()
        self._dtype = kind
        self.info = {
            "name": "openvino",
            "version": openvino.__version__.partition("-")[0],  # without the build it is from
            "threads": threads,
            "device": "CPU",
            "inference_precision": compiled.get_property("INFERENCE_PRECISION_HINT").to_string(),
            "weighted_layers": _weighted_layers(compiled),
        }
        if {"i8", "u8"} & self.info["weighted_layers"].keys():
            self.info["int8_arithmetic"] = int8_arithmetic()

    def _change(self, model: Any) -> None:
        """Change the model before it is compiled; a subclass may."""

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        try:
            outputs = self._request.infer({0: image.astype(self._dtype, copy=False)}, share_inputs=True)
            logits: NDArray[Any] = outputs[0]  # a copy, which the next inference leaves alone
        except Exception as exc:
            raise ArtifactError(f"{self.artifact.path} failed in OpenVINO: {_line(exc)}") from exc
        return logits

    def _release(self) -> None:
        self._request = None


@functools.cache
def int8_arithmetic() -> str:
    """How OpenVINO adds products of 8-bit numbers in this process: `VNNI`, `SATURATING`, `EXACT` or `FLOAT`.

    It is tried out, because the CPU alone does not decide it: ``ONEDNN_MAX_CPU_ISA`` and how OpenVINO was built do too.
    A convolution multiplies 255 by 127 everywhere; the sum of two such products does not fit into 16 bits.
    """
    ov = require("openvino", "openvino")
    ops, channels = ov.opset13, 8

    def constant(value: float) -> Any:
        return ops.constant(np.float32(value))

    image = ops.parameter([1, channels, 4, 4], np.float32)
    levels = ops.fake_quantize(image, constant(0), constant(255), constant(0), constant(255), 256)
    integers = ops.constant(np.full((channels, channels, 1, 1), 127, np.int8))
    weights = ops.multiply(ops.convert(integers, np.float32), ops.constant(np.ones((channels, 1, 1, 1), np.float32)))
    product = ops.convolution(levels, weights, [1, 1], [0, 0], [0, 0], [1, 1])
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = ov.compile_model(ov.Model([product], [image], "arithmetic"), "CPU", settings)
    if not {"i8", "u8"} & _weighted_layers(compiled).keys():
        return FLOAT
    found = float(compiled(np.full((1, channels, 4, 4), 255, np.float32))[0].max())
    if found < 0.9 * channels * 255 * 127:
        return SATURATING
    return VNNI if platform.machine().lower() in ("x86_64", "amd64") else EXACT


def _weighted_layers(compiled: Any) -> dict[str, int]:
    """Precision -> how many convolutions and dense layers the CPU plugin runs in it, whatever the file says."""
    layers = (operator.get_rt_info() for operator in compiled.get_runtime_model().get_ops())
    kinds = ((str(layer["layerType"].value), str(layer["runtimePrecision"].value)) for layer in layers)
    counts = Counter(precision for kind, precision in kinds if kind in ("Convolution", "FullyConnected", "MatMul"))
    return dict(sorted(counts.items()))


def _shape(port: Any) -> Shape:
    """The dimensions; None for a dynamic one; () for a dynamic rank."""
    shape = port.get_partial_shape()
    return tuple(size.get_length() if size.is_static else None for size in shape) if shape.rank.is_static else ()


def _line(exc: Exception) -> str:
    """OpenVINO's messages trace its own source files; the last line says what is wrong."""
    return str(exc).strip().splitlines()[-1].strip() if str(exc).strip() else type(exc).__name__
