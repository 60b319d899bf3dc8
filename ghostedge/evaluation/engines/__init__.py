"""Where an evaluation's tasks are run: in worker processes of this machine, unless another engine is given."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Protocol, cast

import ghostedge
from ghostedge.errors import GhostedgeError
from ghostedge.evaluation.worker import About, Job, Result, Task
from ghostedge.isolate import how_it_ended
from ghostedge.signals import shielded

#: Tasks a worker holds: one that it runs and one that waits, so that it never idles and memory stays bounded.
_IN_HAND = 2

_PROGRAM = """
import sys
from multiprocessing.connection import Connection
from ghostedge.evaluation.worker import serve
serve(Connection(int(sys.argv[1])))
"""


class Engine(Protocol):
    """Where tasks are run.

    Attributes:
        about: what the models say, once they are loaded.
    """

    about: About

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Run `tasks`, each exactly once; results in any order. Raises: GhostedgeError."""
        ...

    def close(self) -> None:
        """Free everything."""
        ...


class LocalEngine:
    """Worker processes, each with its own models, fed over a socket each.

    A worker that loses its parent (``kill -9``) reads the end of its socket and leaves.

    Raises:
        GhostedgeError: a worker could not load its models.
    """

    def __init__(self, job: Job, workers: int) -> None:
        self._processes: dict[Connection, subprocess.Popen[bytes]] = {}
        try:
            for connection in self._start(job, workers):
                self._send(connection, job)
            abouts: list[About] = [self._receive(connection) for connection in self._processes]
        except BaseException:
            self.close()
            raise
        self.about = abouts[0]

    def _start(self, job: Job, workers: int) -> list[Connection]:
        """Start the processes; each waits for its job."""
        threads = max(model.threads for model in job.models)
        # The workers import the package from where this process did; an empty entry would be the working directory.
        places = [str(Path(ghostedge.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, places))}
        # Keeps numeric libraries from starting a thread a core in every worker.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
            environment.setdefault(name, str(threads))
        for _ in range(workers):
            ours, theirs = socket.socketpair()
            with theirs, shielded():
                process = subprocess.Popen(
                    [sys.executable, "-P", "-c", _PROGRAM, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # vendor libraries print there; ours may be a JSON document
                )
            self._processes[Connection(ours.detach())] = process
        return list(self._processes)

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Run `tasks`; results come in the order in which they are done. Raises: GhostedgeError."""
        waiting = iter(tasks)
        in_hand: dict[Connection, collections.deque[Task]] = {each: collections.deque() for each in self._processes}
        returned: collections.deque[Task] = collections.deque()

        def feed() -> None:
            for _ in range(_IN_HAND):  # one each before a second one
                for connection in [each for each, held in in_hand.items() if len(held) < _IN_HAND]:
                    task = returned.popleft() if returned else next(waiting, None)
                    if task is None:
                        return
                    in_hand[connection].append(task)
                    # A worker that is lost is found when it is read, after the results that it has sent.
                    with contextlib.suppress(OSError):
                        connection.send(task)

        feed()
        while busy := [connection for connection, held in in_hand.items() if held]:
            for ready in wait(busy):
                connection = cast(Connection, ready)
                try:
                    result: Result = self._receive(connection)
                except GhostedgeError as exc:
                    self._give_up(connection, exc, in_hand[connection][0])
                    returned.extend(in_hand.pop(connection))
                    feed()
                    continue
                in_hand[connection].popleft()
                feed()
                yield result

    def _give_up(self, connection: Connection, reason: GhostedgeError, task: Task) -> None:
        """A worker is lost with `task` in its hands; one that is lost is one too many, unless an engine says otherwise.

        Raises: GhostedgeError, if the evaluation cannot go on.
        """
        raise reason

    def _send(self, connection: Connection, message: Any) -> None:
        try:
            connection.send(message)
        except OSError as exc:
            raise self._lost(connection) from exc

    def _receive(self, connection: Connection) -> Any:
        try:
            message = connection.recv()
        except (EOFError, OSError) as exc:
            raise self._lost(connection) from exc
        if isinstance(message, GhostedgeError):
            raise message
        return message

    def _lost(self, connection: Connection) -> GhostedgeError:
        code = self._processes[connection].wait()
        hint = "; the system may be short of memory: take fewer --workers" if code == -signal.SIGKILL else ""
        return GhostedgeError(
            f"a worker process ended ({how_it_ended(code)}){hint}; run the same command again to continue"
        )

    def close(self) -> None:
        """End the workers."""
        for connection in self._processes:
            connection.close()
        for process in self._processes.values():
            # One that still computes is not waited for: what it would send is not wanted.
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            process.wait()
        self._processes = {}
