"""What XNNPACK takes of a .tflite model, by LiteRT's list of nodes, and whether it finds float16 arithmetic here."""

from __future__ import annotations

import ctypes
import platform
import sys
from collections.abc import Iterable, Mapping
from typing import Any

Node = Mapping[str, Any]

# Of <sys/auxv.h> and Linux's <asm/hwcap.h> for arm64: scalar and vector float16 arithmetic.
_AT_HWCAP = 16
_HWCAP_FPHP, _HWCAP_ASIMDHP = 1 << 9, 1 << 10


def delegated(nodes: Iterable[Node]) -> tuple[list[Node], set[int], int]:
    """Sort the nodes of an interpreter with delegates applied.

    A delegate's node stands for all operators between its inputs and its outputs; LiteRT keeps those operators in the
    list, so that they are found by walking back from the delegate's outputs.

    Args:
        nodes: ``op_name``, ``inputs`` and ``outputs`` (tensor indices) of each, in execution order.

    Returns:
        The model's operators in that order, the places among them that a delegate runs, and the number of delegates.
    """
    every = list(nodes)
    operators = [node for node in every if node["op_name"] != "DELEGATE"]
    delegates = [node for node in every if node["op_name"] == "DELEGATE"]
    producer = {int(tensor): index for index, node in enumerate(operators) for tensor in node["outputs"]}
    inside: set[int] = set()
    for delegate in delegates:
        given = {int(tensor) for tensor in delegate["inputs"]}
        pending = [int(tensor) for tensor in delegate["outputs"]]
        while pending:
            tensor = pending.pop()
            index = producer.get(tensor)
            if tensor in given or index is None or index in inside:
                continue
            inside.add(index)
            pending += [int(each) for each in operators[index]["inputs"]]
    return operators, inside, len(delegates)


def cpu_has_float16() -> bool:
    """Whether XNNPACK finds float16 arithmetic in this computer's CPU."""
    if platform.machine().lower() not in ("aarch64", "arm64"):
        return False
    if sys.platform == "darwin":  # all of Apple's own processors for computers
        return True
    try:
        getauxval = ctypes.CDLL(None).getauxval
    except (AttributeError, OSError, TypeError):  # neither glibc nor Android's C library
        return False
    getauxval.restype, getauxval.argtypes = ctypes.c_ulong, [ctypes.c_ulong]
    wanted = _HWCAP_FPHP | _HWCAP_ASIMDHP
    return bool(getauxval(_AT_HWCAP) & wanted == wanted)
