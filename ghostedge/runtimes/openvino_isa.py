"""Run an int8 IR as x86 CPUs of both kinds do: those with VNNI, and those without.

VNNI adds four products of 8-bit numbers in 32 bits. Without it oneDNN adds two of them in 16 bits (VPMADDUBSW): what is
beyond 32,767 is cut off, and no message says so. oneDNN can be told to use nothing newer than AVX2
(``ONEDNN_MAX_CPU_ISA``), but only as a process begins: hence a process of its own. No setting gives a CPU VNNI:
where it has none, float32 stands in, from the same integers and by the same quantisers (on a CPU that has VNNI both are
equally far from the float model, to 0.1 dB).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, GhostedgeError
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.openvino import SATURATING, VNNI, OpenVinoRuntime, int8_arithmetic

__all__ = ["IN_FLOAT", "NAMES", "OtherCpu", "run_on_other_cpu"]

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


@dataclass(frozen=True)
class OtherCpu:
    """What the other kind of CPU answers.

    Attributes:
        own: `ghostedge.runtimes.openvino.int8_arithmetic` of this process.
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
    with tempfile.TemporaryDirectory(prefix="ghostedge-") as folder:
        given, made = Path(folder, "batch.npy"), Path(folder, "logits.npy")
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
