"""Let a .tflite model be computed in float16 where the CPU can, and know where that happens.

XNNPACK computes a float model in float16, activations and sums alike, when the CPU has such arithmetic and the model
says that it may: a metadata entry named ``reduced_precision_support`` that holds ``fp16accfp16`` ("fp16 inference,
accumulated in fp16"; TensorFlow's ``reduced_precision_metadata.h``, read by its ``xnnpack_delegate.cc``). What
TFLiteConverter writes into a model of float16 weights, ``fp16accfp32``, XNNPACK passes over. Elsewhere the entry
changes nothing.

ARM64 may have that arithmetic since ARMv8.2: the Cortex-A76 of a Raspberry Pi 5 and most phones of its age do, the
Cortex-A72 of a Raspberry Pi 4 does not. On x86 LiteRT 2.1 ignores the entry, AVX512-FP16 or not.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from ghostedge.errors import ArtifactError
from ghostedge.tflite.graph import Graph

__all__ = ["allow_float16", "allows_float16"]

_ENTRY = "reduced_precision_support"
_VALUE = b"fp16accfp16"


def allow_float16(graph: Graph) -> None:
    """Put the entry into a model's metadata; one that says something else goes."""
    graph.set_metadata(_ENTRY, _VALUE)


def allows_float16(path: Path) -> bool:
    """Whether a .tflite file holds the entry. Raises: ArtifactError where it cannot be read."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            # Names and values are stored as they are; LiteRT, which parses them, does not give them out.
            return data.find(_ENTRY.encode()) >= 0 and data.find(_VALUE) >= 0
    except (OSError, ValueError) as exc:  # ValueError: an empty file
        raise ArtifactError(f"cannot read {path}: {exc}") from exc
