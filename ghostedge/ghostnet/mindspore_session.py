"""Import MindSpore for one device, and keep it to one thread at a time."""

from __future__ import annotations

import threading
from typing import Any

from ghostedge.errors import UsageError, first_line
from ghostedge.lazy import choose, require

__all__ = ["DEVICE_TARGETS", "LOCK", "mindspore_on"]

DEVICE_TARGETS = ("CPU", "GPU", "Ascend")

#: Held while MindSpore compiles, exports or runs: its compiler has global state, an export builds stages in threads.
LOCK = threading.RLock()


def mindspore_on(device_target: str = "CPU") -> Any:
    """The `mindspore` module, set to run on `device_target`; a process can use one device.

    Raises:
        UsageError: there is no such device here, or MindSpore already runs on another one.
        MissingExtraError: MindSpore is not installed.
    """
    choose("device target", device_target, DEVICE_TARGETS)
    with LOCK:
        ms = require("mindspore", "mindspore")
        in_use = ms.get_context("device_target")
        try:
            ms.set_device(device_target)
        except RuntimeError as exc:
            # MindSpore also refuses to be told what it already does, where other code ran something on it before.
            if in_use != device_target or "has been initialized" not in str(exc):
                raise UsageError(f"MindSpore cannot run on {device_target} in this process: {first_line(exc)}") from exc
    return ms
