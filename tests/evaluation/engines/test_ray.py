"""A Ray cluster of several nodes makes the same ledger, also when one of them is lost in the middle."""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from ghostedge.data.datasets import open_dataset
from ghostedge.errors import ArtifactError, UsageError
from ghostedge.evaluation.engines.ray import RayEngine
from ghostedge.evaluation.run import Options, Progress, evaluate, subjects_of
from ghostedge.evaluation.worker import Job
from ghostedge.model import InputSpec, Model

pytest.importorskip("pyarrow")
ray = pytest.importorskip("ray")

FAKE = "ghostedge.runtimes.fake:FakeRuntime"
SPEC = InputSpec(height=24, width=24, resize=28)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and two more nodes with one processor each, all on this machine."""
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def test_an_address_where_something_else_listens_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes the connection and says nothing, as a firewall or another service may."""
    from ghostedge.evaluation.engines import ray as ray_engine

    monkeypatch.setattr(ray_engine, "_ANSWER_S", 2.0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(UsageError, match=rf"listens at '{address}' does not answer as a Ray cluster within 2 s"):
            ray_engine._check_answer(address)


def test_a_machine_without_a_cluster_is_told_how_to_start_one() -> None:
    from ghostedge.evaluation.engines import ray as ray_engine

    def init(**settings: Any) -> None:
        raise ConnectionError("Could not find any running Ray instance.")  # as Ray says it

    with pytest.raises(UsageError, match="no Ray cluster runs on this machine; start one with 'ray start --head'"):
        ray_engine._connect(cast(Any, SimpleNamespace(init=init)), "auto")


def images(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number % 50).integers(0, 256, (5, 6, 3), dtype=np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).resize((40, 32)).save(file, "JPEG")
        (folder / f"{number:05d}.JPEG").write_bytes(file.getvalue())
    (folder / "val.txt").write_text("".join(f"{n:05d}.JPEG {n * 7 % 10}\n" for n in range(count)))
    return folder


def test_a_lost_node_leaves_no_trace(tmp_path: Path, cluster: Any) -> None:
    data = images(tmp_path / "d", 1200)
    (tmp_path / "a.onnx").write_text("weights")
    artifact = Model(tmp_path / "a.onnx", "onnx", SPEC)
    lost: list[Any] = []

    def lose_a_node(progress: Progress) -> None:
        if progress.done >= 300 and not lost:
            lost.append(cluster.worker_nodes.copy().pop())
            cluster.remove_node(lost[0], allow_graceful=False)

    def run(output: str, options: Options, on_progress: Any = lambda progress: None) -> bytes:
        subjects = subjects_of([artifact], tmp_path / output, runtime=FAKE)
        (result,) = evaluate(subjects, open_dataset(data), options, on_progress)
        return result.ledger.read_bytes()

    on_ray = run("ray", Options(engine=lambda job: RayEngine(job, cluster.address)), lose_a_node)
    assert lost
    assert len(cluster.worker_nodes) == 1
    assert on_ray == run("local", Options(workers=1))


def test_a_model_that_a_node_cannot_load_is_one_line(tmp_path: Path, cluster: Any) -> None:
    subjects = subjects_of([Model(tmp_path / "missing.onnx", "onnx", SPEC)], tmp_path, runtime=FAKE)
    job = Job((subjects[0].setup,))
    with pytest.raises(ArtifactError, match=r"missing\.onnx does not exist$") as caught:
        RayEngine(job, cluster.address)
    assert "\n" not in str(caught.value)


def test_an_address_without_a_cluster_is_one_line(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    job = Job(())
    with pytest.raises(UsageError, match=f"no Ray cluster answers at '{address}'.*--address is host:port of its head"):
        RayEngine(job, address)


def test_an_address_that_is_none(tmp_path: Path) -> None:
    job = Job(())
    with pytest.raises(UsageError, match="no Ray cluster answers at 'head'"):
        RayEngine(job, "head")
