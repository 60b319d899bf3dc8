"""Run checkpoints and MindIR files in MindSpore, the reference for everything else."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, UsageError
from ghostedge.ghostnet.arithmetic import casts_network, set_arithmetic
from ghostedge.ghostnet.cell import LOCK, mindspore_on
from ghostedge.mindir.read import describe_mindir
from ghostedge.model import Model
from ghostedge.networks import Network, load_network
from ghostedge.runtimes import SingleImageRuntime, check_batch

__all__ = ["MindSporeRuntime"]


class MindSporeRuntime(SingleImageRuntime):
    """A checkpoint as a Cell, or a MindIR as a graph, in MindSpore.

    A MindIR of batch 1 runs image by image. A checkpoint runs eagerly, which starts at once, unless `batch_size` is
    given: then a graph is compiled for batches of that size (about 10 s on a CPU), which pays for many images; batches
    of other sizes are cut and filled up.

    `threads` is handed to MindSpore, which accepts it once a process; its CPU scheduler adds a thread of its own.

    Args:
        artifact: of format ``"checkpoint"`` or ``"mindir"``.
        threads: kernel threads on the CPU.
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``; one for the whole process.
        batch_size: compile a checkpoint's graph for batches of this size; None runs it eagerly.
        device_id: which of several cards; None for the first.
        arithmetic: ``"float32"``, ``"default"`` or ``"float16"``; see `set_arithmetic`.
        deterministic: the same inputs give the same outputs on every run.

    Attributes:
        info: ``name``, ``version``, ``threads``, ``device_target``, ``mode`` (``"eager"`` or ``"graph"``) and
            ``batch_size`` (None where the Cell takes any).
        arithmetic: what was asked for and what MindSpore says of it.

    Raises:
        ArtifactError: the file is no MindIR, or does not take what `artifact.input` says.
        CheckpointError: the checkpoint is damaged or of another network.
        UsageError: MindSpore cannot run on `device_target`, the card or the arithmetic is not there, or `threads` or
            the input is too small.
        MissingExtraError: MindSpore is not installed.
    """

    def __init__(
        self,
        artifact: Model,
        threads: int = 1,
        *,
        device_target: str = "CPU",
        batch_size: int | None = None,
        device_id: int | None = None,
        arithmetic: str = "float32",
        deterministic: bool = False,
    ) -> None:
        super().__init__(artifact, threads)
        if self.input.layout != "NCHW" or self.input.dtype != "float32":
            raise ArtifactError(
                f"{artifact.path} takes NCHW float32, its input spec says {self.input.layout} {self.input.dtype}; "
                "give the right one with --input-spec"
            )
        if artifact.format == "mindir":
            info = describe_mindir(artifact.path)
            self._check_model([info.input_shape], [info.output_shape])
            batch_size = 1
        else:
            if artifact.network:  # MindCV builds it, which sets a device where none is set
                mindspore_on(device_target, device_id)
            network = load_network(artifact.path, artifact.network, len(artifact.labels) or None)
            network.check_input(self.input.height, self.input.width)
        if artifact.format == "mindir" and casts_network(device_target, arithmetic):
            raise UsageError(
                f"{artifact.path} has its types fixed: on {device_target} only a checkpoint (.ckpt) is run in float16"
            )
        ms = mindspore_on(device_target, device_id)
        self.info = {
            "name": "mindspore",
            "version": ms.__version__,
            "threads": threads,
            "device_target": device_target,
            "mode": "eager" if batch_size is None else "graph",
            "batch_size": batch_size,
        }
        self._tensor = ms.Tensor
        self._batch_size = batch_size
        with LOCK:
            if device_target == "CPU":
                _set_threads(ms, threads)
            self.arithmetic = set_arithmetic(device_target, device_id, arithmetic, deterministic=deterministic)
            if artifact.format == "mindir":
                with self._refusing("does not load", Exception):
                    self._model: Any = ms.nn.GraphCell(ms.load(str(artifact.path)))
            else:
                self._model = self._network(network)
                if casts_network(device_target, arithmetic):
                    self._model = ms.amp.auto_mixed_precision(self._model, "O3")  # every layer, as MindCV's "O3"
                if batch_size is not None:
                    self._model = ms.jit(self._model)
            if batch_size is not None:
                self._infer(np.zeros(self.input.shape(batch_size), np.float32))  # compile now, not in the first `run`

    def _network(self, network: Network) -> Any:
        """The Cell to run; a script that emulates another device changes it."""
        return network.cell()

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Logits float32 (n, classes) of a batch float32 (n, 3, h, w), RGB, normalised. Raises: ArtifactError."""
        if self._batch_size == 1 or not self._open:
            return super().run(batch)
        check_batch(batch, self.artifact)
        size = self._batch_size or len(batch)
        filled = np.concatenate([batch, np.zeros((-len(batch) % size, *batch.shape[1:]), np.float32)])
        rows: NDArray[np.float32] = np.concatenate(
            [self._infer(filled[i : i + size]) for i in range(0, len(filled), size)]
        )
        return rows[: len(batch)]

    def _infer(self, image: NDArray[Any]) -> NDArray[Any]:
        # MindSpore raises RuntimeError, ValueError, TypeError, ...
        with self._refusing("failed to run", Exception), LOCK:
            logits: NDArray[np.float32] = self._model(self._tensor(image)).asnumpy().astype(np.float32, copy=False)
        return logits

    def _release(self) -> None:
        self._model = None


def _set_threads(ms: Any, threads: int) -> None:
    try:
        ms.device_context.cpu.op_tuning.threads_num(threads)
    except RuntimeError as exc:
        if "repeatedly" not in str(exc):
            raise
