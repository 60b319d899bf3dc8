"""Run an OpenVINO IR on the CPU, and an int8 one as x86 CPUs of both kinds do: those with VNNI, and those without.

VNNI adds four products of 8-bit numbers in 32 bits. Without it oneDNN adds two of them in 16 bits (VPMADDUBSW): what is
beyond 32,767 is cut off, and no message says so. oneDNN can be told to use nothing newer than AVX2
(``ONEDNN_MAX_CPU_ISA``), but only as a process begins: hence a process of its own. No setting gives a CPU VNNI:
where it has none, float32 stands in, from the same integers and by the same quantisers (on a CPU that has VNNI both are
equally far from the float model, to 0.1 dB).
"""

from __future__ import annotations

import functools
import json
import os
import platform
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, GhostedgeError, last_line
from ghostedge.files import scratch_folder
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import Shape, SingleImageRuntime

__all__ = [
    *("EXACT", "FLOAT", "IN_FLOAT", "NAMES", "SATURATING", "VNNI"),
    *("OpenVinoRuntime", "OtherCpu", "int8_arithmetic", "run_on_other_cpu"),
]

#: The answers of `int8_arithmetic`: four products are added in 32 bits; two are added in 16 bits, where they may
#: saturate; a CPU that is not x86 adds in 32 bits; nothing is computed in 8 bits.
VNNI, SATURATING, EXACT, FLOAT = "VNNI", "16-bit sums (no VNNI)", "32-bit sums", "float"

#: The stand-in for `VNNI`.
IN_FLOAT = "float"

#: How the integers were added -> the kind of CPU, for people.
NAMES = {
    VNNI: "with VNNI",
    SATURATING: "without VNNI (AVX2)",
    IN_FLOAT: "with VNNI (here in float32)",
}

_LIMIT = "ONEDNN_MAX_CPU_ISA"
_TIMEOUT_S = 900.0


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
        version = openvino.__version__.partition("-")[0]  # without the build it is from
        self.info = {"name": "openvino", "version": version, "threads": threads, "device": "CPU"}
        with self._refusing("does not load", Exception):  # openvino raises bare RuntimeError, and others
            core = openvino.Core()
            model = core.read_model(artifact.path)
        self._check_model([_shape(port) for port in model.inputs], [_shape(port) for port in model.outputs])
        kind = model.inputs[0].element_type.to_dtype()
        if kind not in (np.float32, np.float16, np.uint8) or (kind == np.uint8) != (self.input.dtype == "uint8"):
            raise ArtifactError(f"{artifact.path} takes {kind}, its input spec says {self.input.dtype}")
        self._change(model)
        settings = {
            "INFERENCE_PRECISION_HINT": "f32",
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": "1",
        }
        with self._refusing("cannot compile", Exception):
            model.reshape(list(self.input.shape(1)))
            compiled = core.compile_model(model, "CPU", settings)
        self._request: Any = compiled.create_infer_request()
        self._dtype = kind
        self.info["inference_precision"] = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self.info["weighted_layers"] = _weighted_layers(compiled)
        if {"i8", "u8"} & self.info["weighted_layers"].keys():
            self.info["int8_arithmetic"] = int8_arithmetic()

    def _change(self, model: Any) -> None:
        """Change the model before it is compiled; a subclass may."""

    def _reason(self, exc: Exception) -> str:
        return last_line(exc)

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        with self._refusing("failed to run", Exception):
            outputs = self._request.infer({0: image.astype(self._dtype, copy=False)}, share_inputs=True)
            logits: NDArray[Any] = outputs[0]  # a copy, which the next inference leaves alone
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


@dataclass(frozen=True)
class OtherCpu:
    """What the other kind of CPU answers.

    Attributes:
        own: `int8_arithmetic` of this process.
        other: `VNNI`, `SATURATING`, or `IN_FLOAT` where this machine has no VNNI.
        logits: float32 (n, classes).
    """

    own: str
    other: str
    logits: NDArray[np.float32]


def run_on_other_cpu(artifact: Model, batch: NDArray[Any], threads: int = 1) -> OtherCpu | None:
    """Logits of a batch as x86 CPUs of the other kind compute them, in a process of its own.

    Args:
        artifact: an int8 IR.
        batch: as `artifact` takes it.
        threads: how many threads one inference may use.

    Returns:
        None on machines that are not x86, or that compute nothing in 8 bits: neither kind can be had there.

    Raises:
        ArtifactError: the process failed, or it computes as this one does.
        MissingExtraError: openvino is not installed.
    """
    if (own := int8_arithmetic()) not in (VNNI, SATURATING):
        return None
    environment = {key: value for key, value in os.environ.items() if key != _LIMIT}
    if own == VNNI:
        environment[_LIMIT] = "AVX2"
    with scratch_folder() as folder:
        given, made = folder / "batch.npy", folder / "logits.npy"
        np.save(given, batch)
        job = {
            "artifact": str(artifact.path.absolute()),
            "input": artifact.input.to_dict(),
            "threads": threads,
            "wanted": SATURATING if own == VNNI else VNNI,
            "given": str(given),
            "made": str(made),
        }
        try:
            other = run_module(__name__, timeout_s=_TIMEOUT_S, stdin=json.dumps(job), environment=environment)
        except ChildError as exc:
            hint = "; use fewer images" if exc.returncode is None else ""
            raise ArtifactError(f"{artifact.path} cannot be run as on the other kind of CPU: {exc}{hint}") from exc
        return OtherCpu(own, other, np.load(made))


class _InFloat(OpenVinoRuntime):
    """An int8 IR whose convolutions and dense layers are computed in float32; its quantisers stay."""

    def _change(self, model: Any) -> None:
        ov = require("openvino", "openvino")
        for operator in model.get_ordered_ops():
            if operator.get_type_name() not in ("Convolution", "GroupConvolution", "MatMul"):
                continue
            product = operator.input_value(1).get_node()
            parts = [product.input_value(index).get_node() for index in range(product.get_input_size())]
            if [part.get_type_name() for part in parts] == ["Convert", "Constant"]:
                # The plugin does not take one float constant for quantised weights.
                integers = parts[0].input_value(0).get_node().get_data()
                real = ov.op.Constant(integers.astype(np.float32) * parts[1].get_data())
                operator.input(1).replace_source_output(real.output(0))


def _main() -> None:
    job = json.loads(sys.stdin.read())
    artifact = Model(Path(job["artifact"]), "openvino", InputSpec.from_dict(job["input"]), precision="int8")
    arithmetic = int8_arithmetic()
    try:
        if arithmetic == job["wanted"]:
            kind = OpenVinoRuntime
        elif job["wanted"] == VNNI:
            kind, arithmetic = _InFloat, IN_FLOAT
        else:
            sys.exit(f"{_LIMIT}=AVX2 does not keep oneDNN from VNNI here")
        with kind(artifact, job["threads"]) as runtime:
            np.save(job["made"], runtime.run(np.load(job["given"])))
    except GhostedgeError as exc:
        sys.exit(str(exc))
    print(arithmetic)


if __name__ == "__main__":
    _main()
