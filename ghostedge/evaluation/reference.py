"""Make the reference ledger: MindSpore's own network on MindSpore, every image exactly once.

No image is dropped to fill batches and none is shuffled: a batch that is not full is filled up and the extra answers
are thrown away. The published protocols are different: see `ghostedge.evaluation.protocols`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ghostedge.data.datasets import Dataset
from ghostedge.errors import UsageError
from ghostedge.evaluation.engines.cards import CardEngine
from ghostedge.evaluation.run import Evaluation, Options, Progress, Subject, evaluate
from ghostedge.evaluation.worker import ModelSetup
from ghostedge.ghostnet.arithmetic import ARITHMETICS
from ghostedge.lazy import choose
from ghostedge.model import Model
from ghostedge.runtimes import RUNTIMES

#: MindSpore's device targets.
DEVICES = ("CPU", "GPU", "Ascend")

#: A card or a range of cards; MindSpore numbers them up to 4095.
_CARDS = re.compile(r"([0-9]{1,4})(?:-([0-9]{1,4}))?")


def reference(
    checkpoint: Model,
    dataset: Dataset,
    ledger: Path,
    options: Options,
    *,
    device_target: str = "CPU",
    device_ids: Sequence[int] = (),
    arithmetic: str = "float32",
    deterministic: bool = False,
    batch_size: int = 32,
    threads: int = 1,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    warn: Callable[[str], None] = lambda text: None,
) -> Evaluation:
    """Run a checkpoint on MindSpore and write the reference ledger.

    Args:
        checkpoint: of format ``"checkpoint"``.
        ledger: the file to write.
        options: as for `evaluate`; one process a card runs the network, whatever `workers` says.
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``.
        device_ids: the cards, each once; () for MindSpore's own choice, the first. Several share the images, and the
            rows are those of one; on the CPU they are as many processes.
        arithmetic: ``"float32"``, ``"default"`` or ``"float16"``, see `ghostedge.ghostnet.arithmetic.set_arithmetic`.
        deterministic: the same inputs give the same outputs on every run.
        batch_size: images of one inference; as many as fit the device's memory.
        threads: kernel threads on the CPU.
        warn: called with one line for each card that fails while others go on.

    Raises:
        UsageError: not a checkpoint, an unknown device target or arithmetic, a card that is not there, a batch size
            below 1.
        GhostedgeError: see `evaluate`.
    """
    if checkpoint.format != "checkpoint":
        raise UsageError(f"{checkpoint.path} is a {checkpoint.format}; the reference is made from a checkpoint (.ckpt)")
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: at least 1 is needed")
    setup = ModelSetup(
        artifact=checkpoint,
        runtime=RUNTIMES["checkpoint"],
        input=checkpoint.input,
        threads=threads,
        batch=batch_size,
        options={
            "device_target": choose("device target", device_target, DEVICES),
            "batch_size": batch_size,
            "arithmetic": choose("arithmetic", arithmetic, ARITHMETICS),
            "deterministic": deterministic,
        },
    )
    if len(device_ids) == 1:
        setup = replace(setup, options={**setup.options, "device_id": device_ids[0]})
    elif device_ids:
        options = _on_cards(options, device_ids, warn)
    subject = Subject(setup, ledger, device=device_target, is_reference=True)
    return evaluate((subject,), dataset, replace(options, workers=1), on_progress)[0]


def _on_cards(options: Options, device_ids: Sequence[int], warn: Callable[[str], None]) -> Options:
    """`options` with an engine of several cards, which share the cores that decode. Raises: UsageError."""
    if options.engine is not None:
        raise UsageError(
            "--devices are those of this machine; on a cluster every node has its own: leave one of both out"
        )
    decode_threads = max(options.decode_threads // len(device_ids), 1)
    return replace(options, decode_threads=decode_threads, engine=lambda job: CardEngine(job, device_ids, warn))


def cards_of(text: str | None, environment: Mapping[str, str]) -> tuple[int, ...]:
    """The cards that ``--devices 0-7``, ``--device-id 3`` or the environment's ``DEVICE_ID`` name; () for none.

    Args:
        text: numbers and ranges, e.g. ``"0,2,4-7"``; None to look into the environment.
        environment: ``os.environ``.

    Raises:
        UsageError: it is none, or names a card twice.
    """
    given = text or environment.get("DEVICE_ID")
    if not given:
        return ()
    found: list[int] = []
    for part in given.split(","):
        match = _CARDS.fullmatch(part.strip())
        if match is None or int(match[2] or match[1]) < int(match[1]):
            where = "" if text else "the environment's DEVICE_ID "
            raise UsageError(f"{where}'{given}' names no cards; write numbers and ranges, e.g. 3 or 0-7 or 0,2,4-6")
        found += range(int(match[1]), int(match[2] or match[1]) + 1)
    if len(set(found)) < len(found):
        raise UsageError(f"'{given}' names a card twice")
    return tuple(found)
