"""Run an evaluation's tasks on several cards of this machine: a process a card, each with its own models.

Whichever card is free takes the next range of images, always cut the same, so that the ledger has the bytes that one
card would give it. A card that fails is named; what it held goes to the others. A range that fails on two cards is not
the cards' fault, and ends the evaluation.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection

from ghostedge.errors import GhostedgeError, UsageError
from ghostedge.evaluation.engines import LocalEngine
from ghostedge.evaluation.worker import About, Job, Task


class CardEngine(LocalEngine):
    """The cards `device_ids` of this machine.

    Args:
        job: what each card runs; its models' runtimes take ``device_id``.
        device_ids: at least one, each once.
        warn: called with one line for each card that fails.

    Raises:
        UsageError: a card is not there, or the cards are not alike.
        GhostedgeError: no card could load the models.
    """

    def __init__(self, job: Job, device_ids: Sequence[int], warn: Callable[[str], None]) -> None:
        self._processes = {}
        self._warn = warn
        self._failed_once: set[str] = set()
        self._target = str(job.models[0].options.get("device_target", "card"))
        try:
            self._card = dict(zip(self._start(job, len(device_ids)), device_ids, strict=True))
            self.about = self._about(job)
        except BaseException:
            self.close()
            raise

    def _about(self, job: Job) -> About:
        """Let every card load the models, and see that all of those that can are alike."""
        for connection, card in self._card.items():
            models = tuple(replace(m, options={**m.options, "device_id": card}) for m in job.models)
            with contextlib.suppress(OSError):  # a process that has ended is found when it is read
                connection.send(replace(job, models=models))
        abouts: dict[int, About] = {}
        for connection, card in self._card.items():
            try:
                abouts[card] = self._receive(connection)
            except UsageError as exc:
                raise UsageError(f"{self._target} {card}: {exc}") from exc
            except GhostedgeError as exc:
                self._lose(connection, exc)
        (one, first), *others = abouts.items()
        for card, about in others:
            if about.alike() != first.alike():
                raise UsageError(
                    f"{self._target} {card} is not like {self._target} {one}: {about.runtimes} {about.arithmetics} and "
                    f"{first.runtimes} {first.arithmetics}; give --devices cards of one kind"
                )
        together = [a and replace(a, device_ids=tuple(abouts) if a.device_ids else ()) for a in first.arithmetics]
        return replace(first, arithmetics=tuple(together))

    def _give_up(self, connection: Connection, reason: GhostedgeError, task: Task) -> None:
        if task.image_ids[0] in self._failed_once:
            raise GhostedgeError(
                f"the images from {task.image_ids[0]} to {task.image_ids[-1]} fail on two cards, the second is "
                f"{self._target} {self._card[connection]}: {reason}"
            ) from reason
        self._failed_once.add(task.image_ids[0])
        self._lose(connection, reason)

    def _lose(self, connection: Connection, reason: GhostedgeError) -> None:
        """Go on without a card. Raises: GhostedgeError, if it was the last."""
        card = f"{self._target} {self._card[connection]}"
        process = self._processes.pop(connection)
        connection.close()
        process.kill()
        process.wait()
        if not self._processes:
            raise GhostedgeError(f"{card}, the last card, failed: {reason}") from reason
        self._warn(f"{card} failed, its images go to the others: {reason}")
