"""GhostNetV2 in MindSpore: the Cell with the official checkpoints' parameter names, and the device that it runs on."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import UsageError, first_line
from ghostedge.ghostnet.arithmetic import device_count
from ghostedge.ghostnet.variants import Variant
from ghostedge.lazy import choose, require, resolve

DEVICE_TARGETS = ("CPU", "GPU", "Ascend")

#: Held while MindSpore compiles, exports or runs: its compiler has global state, an export builds stages in threads.
LOCK = threading.RLock()


#: Whether a device was chosen in this process.
_chosen = False


def mindspore_here() -> Any:
    """The `mindspore` module on the device that this process has chosen; on the CPU where it has chosen none."""
    return require("mindspore", "mindspore") if _chosen else mindspore_on("CPU")


def mindspore_on(device_target: str = "CPU", device_id: int | None = None) -> Any:
    """The `mindspore` module, set to run on `device_target`; a process can use one device.

    Args:
        device_target: one of `DEVICE_TARGETS`.
        device_id: which of several cards; None for MindSpore's own choice, 0. A CPU is one, whatever its number.

    Raises:
        UsageError: there is no such device here, or MindSpore already runs on another one.
        MissingExtraError: MindSpore is not installed.
    """
    choose("device target", device_target, DEVICE_TARGETS)
    global _chosen
    number = None if device_target == "CPU" else device_id
    with LOCK:
        ms = require("mindspore", "mindspore")
        in_use = ms.get_context("device_target")
        try:
            if not hasattr(ms, "set_device"):  # before MindSpore 2.5
                ms.set_context(device_target=device_target, **({} if number is None else {"device_id": number}))
            elif number is None:
                ms.set_device(device_target)
            else:
                ms.set_device(device_target, number)
        except (RuntimeError, ValueError) as exc:
            # MindSpore also refuses to be told what it already does, where other code ran something on it before.
            if in_use != device_target or "has been initialized" not in str(exc):
                raise UsageError(f"MindSpore cannot run on {device_target} in this process: {first_line(exc)}") from exc
        if number is not None and number >= (count := device_count(device_target)):
            raise UsageError(f"there is no {device_target} {number} here: {count} are, numbered from 0")
        _chosen = True
    return ms


def build_cell(variant: Variant, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """The network in inference mode, holding `weights`.

    ``cell(x)`` takes a float32 Tensor (n, 3, h, w), RGB, normalised, h and w at least `MIN_INPUT_SIZE`, and returns the
    logits, float32 (n, classes). There is no dropout: this Cell is for inference and export.

    Args:
        variant: which network, with the upsampling of its gates.
        weights: official parameter name -> float32 array, every name and shape of `parameter_shapes`; the number of
            classes is the length of ``classifier.bias``.

    Raises:
        MissingExtraError: MindSpore is not installed.
    """
    ms = require("mindspore", "mindspore")
    cell = resolve("ghostedge.ghostnet.network:GhostNetV2")(variant, len(weights["classifier.bias"]))
    for name, parameter in cell.parameters_dict().items():
        parameter.set_data(ms.Tensor(weights[name]))
    cell.set_train(False)
    return cell
