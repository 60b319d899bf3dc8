"""A runtime without a vendor: it answers from the pixels, always the same, so that evaluations can be tested."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.files import sha256_file
from ghostedge.model import Model
from ghostedge.runtimes import SingleImageRuntime

__all__ = ["FakeRuntime"]


class FakeRuntime(SingleImageRuntime):
    """Logits that depend on the image and on the artifact's bytes; any file is an artifact.

    The image is sampled at 4 x 4 places; the 48 values are multiplied by random weights that are drawn from the
    file's SHA-256. There are as many classes as the artifact has labels, or 10.
    """

    def __init__(self, artifact: Model, threads: int = 1) -> None:
        super().__init__(artifact, threads)
        seed = int(sha256_file(artifact.path)[:16], 16)
        weights = np.random.default_rng(seed).standard_normal((48, len(artifact.labels) or 10))
        self._weights = weights.astype(np.float32)
        self.info = {"name": "fake", "version": "1", "threads": threads}

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        rows_first = image[0].transpose(1, 2, 0) if self.input.layout == "NCHW" else image[0]
        rows, columns = (np.linspace(0, size - 1, 4).astype(int) for size in rows_first.shape[:2])
        samples = rows_first[np.ix_(rows, columns)].astype(np.float32).reshape(-1, 1)
        # Summed one after the other, so that the bits do not depend on a BLAS.
        logits: NDArray[np.float32] = np.add.reduce(samples * self._weights, axis=0)
        return logits

    def _release(self) -> None:
        del self._weights
