"""A runtime that stands for a card in tests of several: it answers like `FakeRuntime`, and fails where it is told."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, UsageError
from ghostedge.ghostnet.arithmetic import Arithmetic
from ghostedge.model import Model
from ghostedge.runtimes.fake import FakeRuntime


class CardRuntime(FakeRuntime):
    """Card `device_id`.

    Args:
        faults: card -> when it fails: ``"absent"``, ``"start"``, ``"crash"`` and ``"error"`` (after two batches),
            ``"other"`` (another driver than the others'), ``"poison"`` (at a white image).
    """

    def __init__(
        self,
        artifact: Model,
        threads: int = 1,
        *,
        device_target: str,
        device_id: int | None = None,
        faults: Mapping[int, str] | None = None,
        arithmetic: str = "float32",
        deterministic: bool = False,
        **of_mindspore: object,
    ) -> None:
        super().__init__(artifact, threads)
        number = device_id or 0
        self._fault, self._left = (faults or {}).get(number), 3
        if self._fault == "absent":
            raise UsageError("there is no Ascend 7 here: 4 are, numbered from 0")
        if self._fault == "start":
            raise ArtifactError("mindspore 2.9.0 failed to run model.ckpt: out of memory")
        versions = {"driver": "24.1" if self._fault == "other" else "25.0"}
        self.arithmetic = Arithmetic(arithmetic, {}, deterministic, device_target, versions, (number,))

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Answer, or fail: the first call is the one that the worker makes to see how many classes there are."""
        self._left -= 1
        if self._fault == "crash" and self._left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault == "error" and self._left < 0:
            raise ArtifactError("mindspore 2.9.0 failed to run model.ckpt: device error 507018")
        if self._fault == "poison" and batch.max() > 2:  # white, normalised
            raise ArtifactError("mindspore 2.9.0 failed to run model.ckpt: this batch")
        return super().run(batch)
