"""Run an evaluation's tasks on the nodes of a Ray cluster.

Every node has ghostedge installed and sees the images and the artifacts under the same paths (a shared file system).
Ray runs a task again whose node was lost. It may then run twice, but its rows are taken once: the ledger is written by
the process that started the evaluation, from one result a task.
"""

from __future__ import annotations

import logging
import secrets
import socket
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from types import ModuleType
from typing import Any

from ghostedge.errors import GhostedgeError, UsageError, first_line
from ghostedge.evaluation.worker import About, Job, Result, Task, Worker
from ghostedge.isolate import ChildError, run_module
from ghostedge.lazy import require

#: Tasks in flight for each that can run at a time: one runs, one waits.
_IN_HAND = 2

#: How often Ray repeats a task whose process or node was lost. It ends, because a model may crash its process.
_RETRIES = 5

#: The number of tasks in flight is adapted this often to a cluster that grew or shrank.
_RESIZE_S = 5.0

#: The head of a cluster must answer within this time, half of which is Ray's own start.
_ANSWER_S = 30.0

_workers: dict[str, Worker] = {}


def _work(key: str, job: list[Any], task: Task | None) -> Result | About | GhostedgeError:
    """Open the job's models once in a process of a node, then run tasks on them; None asks what they are."""
    try:
        if key not in _workers:
            for old in _workers.values():
                old.close()
            _workers.clear()
            # The job comes as a reference in a list, so that it is fetched once a process and not once a task.
            _workers[key] = Worker(require("ray", "cluster").get(job[0]))
        return _workers[key].about if task is None else _workers[key].run(task)
    except GhostedgeError as exc:
        return exc


class RayEngine:
    """The nodes of a Ray cluster.

    Args:
        job: what the workers need.
        address: ``"host:port"`` of the cluster's head; ``"auto"`` for the cluster that this machine belongs to.
        resources: what a task needs beside its threads, as options of ``ray.remote``: ``{"num_gpus": 1}``,
            ``{"resources": {"NPU": 1}}``.

    Raises:
        UsageError: no cluster answers at `address`.
        GhostedgeError: a node cannot load the models, or its runtimes are others than those of the other nodes.
        MissingExtraError: Ray is not installed.
    """

    def __init__(self, job: Job, address: str, resources: Mapping[str, Any] | None = None) -> None:
        self._ray = require("ray", "cluster")
        self._connected = not self._ray.is_initialized()
        if self._connected:
            _connect(self._ray, address)
        try:
            self._cpus = max(model.threads for model in job.models)
            self._key = secrets.token_hex(8)
            self._job = [self._ray.put(job)]
            remote = self._ray.remote(num_cpus=self._cpus, max_retries=_RETRIES, **(resources or {}))
            self._remote = remote(_work)
            self.about = self._ask_nodes()
        except BaseException:
            self.close()
            raise

    def _ask_nodes(self) -> About:
        """Load the models on every node; they must be the same models in the same runtimes everywhere."""
        affinity = require("ray.util.scheduling_strategies", "cluster").NodeAffinitySchedulingStrategy
        nodes = [n for n in self._ray.nodes() if n["Alive"] and n["Resources"].get("CPU", 0) >= self._cpus]
        if not nodes:
            raise UsageError(f"no node of the Ray cluster has {self._cpus} processors to give")
        asked = [
            self._remote.options(scheduling_strategy=affinity(node["NodeID"], soft=True)).remote(
                self._key, self._job, None
            )
            for node in nodes
        ]
        abouts = [self._get(reference) for reference in asked]
        for node, about in zip(nodes, abouts, strict=True):
            if about.alike() != abouts[0].alike():
                raise GhostedgeError(
                    f"node {node['NodeManagerHostname']} runs {about.runtimes}, others {abouts[0].runtimes}; "
                    "install the same packages on all"
                )
        hosts = {key: " + ".join(sorted({about.host[key] for about in abouts})) for key in abouts[0].host}
        first: About = abouts[0]
        return replace(first, host=hosts)

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        """Run `tasks`; results come in the order in which they are done. Raises: GhostedgeError."""
        waiting, running = iter(tasks), list[Any]()
        room, measured = 0, -_RESIZE_S
        while True:
            if time.monotonic() - measured >= _RESIZE_S:
                measured = time.monotonic()
                room = _IN_HAND * max(int(self._ray.cluster_resources().get("CPU", 0)) // self._cpus, 1)
            while len(running) < room and (task := next(waiting, None)) is not None:
                running.append(self._remote.remote(self._key, self._job, task))
            if not running:
                return
            ready, running = self._ray.wait(running, num_returns=1)
            yield self._get(ready[0])

    def _get(self, reference: Any) -> Any:
        try:
            message = self._ray.get(reference)
        except self._ray.exceptions.RayError as exc:
            raise GhostedgeError(f"Ray lost a task: {first_line(exc)}; run the same command again to continue") from exc
        if isinstance(message, GhostedgeError):
            raise message
        return message

    def close(self) -> None:
        """Leave the cluster; what still runs there for this evaluation is dropped."""
        if self._connected and self._ray.is_initialized():
            self._ray.shutdown()


#: What starts a cluster, for who asked for one and has none.
_START = (
    "start one with 'ray start --head' here and 'ray start --address HEAD:6379' on each further machine, or leave "
    "--engine ray out: this machine alone needs no cluster"
)


def _connect(ray: ModuleType, address: str) -> None:
    if address != "auto":
        # Ray itself tries for minutes and then reports in many lines.
        _check_answer(address)
    try:
        ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, configure_logging=False)
    except (ConnectionError, RuntimeError, ValueError, OSError) as exc:
        if address == "auto" and isinstance(exc, ConnectionError):
            raise UsageError(f"no Ray cluster runs on this machine; {_START}") from exc
        raise UsageError(f"cannot join the Ray cluster at '{address}': {first_line(exc)}") from exc


def _check_answer(address: str) -> None:
    """Check that a Ray head answers at `address`. Raises: UsageError."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        if not address.startswith("ray://"):  # Ray's client protocol, which has a time limit of its own
            # What accepts a connection may be something else. The question is asked in a process that can be ended.
            run_module("ray.scripts.scripts", ["health-check", "--address", address], timeout_s=_ANSWER_S)
    except (OSError, ValueError, ChildError) as exc:
        if isinstance(exc, ChildError) and exc.returncode is None:
            raise UsageError(
                f"what listens at '{address}' does not answer as a Ray cluster within {_ANSWER_S:g} s; "
                "--address is host:port of its head (6379 unless it was started with another port)"
            ) from exc
        raise UsageError(f"no Ray cluster answers at '{address}' ({exc}); --address is host:port of its head") from exc
