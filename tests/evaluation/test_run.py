"""An evaluation decodes once, survives anything, and its ledgers do not show what it went through."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import io
import os
import signal
import subprocess
import sys
import tarfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.data.datasets import NO_LABELS, Dataset, open_dataset
from ghostedge.data.preprocess import decode, resize_and_crop, to_spec
from ghostedge.errors import (
    ArtifactError,
    DatasetError,
    GhostedgeError,
    LedgerError,
    OutputError,
    RefusedError,
    UsageError,
)
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.evaluation.parts import PART_ROWS
from ghostedge.evaluation.run import Evaluation, Options, Progress, evaluate, subjects_of
from ghostedge.evaluation.worker import Job, Result, Task, Worker
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.fake import FakeRuntime

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

FAKE = "ghostedge.runtimes.fake:FakeRuntime"
SPEC = InputSpec(height=24, width=24, resize=28)


def picture(number: int) -> bytes:
    """A small JPEG; every number gives another one."""
    noise = np.random.default_rng(number).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).resize((40, 32)).save(file, "JPEG")
    return file.getvalue()


def flat(folder: Path, count: int) -> Path:
    """`count` images in a flat folder with a label file, labels 0..9."""
    folder.mkdir(parents=True)
    kinds = [picture(number) for number in range(min(count, 50))]
    for number in range(count):
        (folder / f"{number:05d}.JPEG").write_bytes(kinds[number % len(kinds)])
    (folder / "val.txt").write_text("".join(f"{n:05d}.JPEG {n * 7 % 10}\n" for n in range(count)))
    return folder


def artifacts(folder: Path, *names: str, spec: InputSpec = SPEC) -> list[Model]:
    """Files with different bytes, which `FakeRuntime` takes for different models."""
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_text(name)
    return [Model(folder / name, "onnx", spec) for name in names]


class Inline:
    """An engine that runs everything here; it shows what an `Engine` is."""

    def __init__(self, job: Job) -> None:
        self.worker = Worker(job)
        self.about = self.worker.about
        self.tasks: list[Task] = []

    def results(self, tasks: Iterable[Task]) -> Iterator[Result]:
        for task in tasks:
            self.tasks.append(task)
            yield self.worker.run(task)

    def close(self) -> None:
        self.worker.close()


def run(
    models: list[Model],
    dataset: Dataset,
    output: Path,
    options: Options | None = None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
) -> tuple[Evaluation, ...]:
    return evaluate(subjects_of(models, output, runtime=FAKE), dataset, options or Options(engine=Inline), on_progress)


def parts(output: Path) -> list[Path]:
    return sorted(output.glob(".parts-*/*.parquet"))


# -- what a ledger holds ---------------------------------------------------------------------------------------------


def test_a_row_is_what_the_runtime_answers_for_the_image(tmp_path: Path) -> None:
    (model,) = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 5))
    (evaluation,) = run([model], dataset, tmp_path / "out", Options(engine=Inline, keep_logits=True))
    ledger = read_ledger(tmp_path / "out" / "a.onnx.parquet")
    with FakeRuntime(model) as runtime:
        for row, image in enumerate(ledger.image_ids):
            (logits,) = runtime.run(to_spec(crop(tmp_path / "d" / image)[None], SPEC))
            assert ledger.top5_class[row].tolist() == np.argsort(-logits, kind="stable")[:5].tolist()
            assert ledger.label_logit[row] == logits[int(image[:5]) * 7 % 10]
            assert ledger.logits is not None
            np.testing.assert_array_equal(ledger.logits[row], logits.astype(np.float16))
    assert evaluation.images == 5
    assert evaluation.top1 == ledger.correct(1).mean()
    assert evaluation.top5 == ledger.correct(5).mean()


def test_workers_import_nothing_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of images from elsewhere may hold Python files as well."""
    models, dataset = artifacts(tmp_path / "m", "a.onnx"), open_dataset(flat(tmp_path / "d", 5))
    (tmp_path / "d" / "numpy.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path / "d")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    (evaluation,) = run(models, dataset, tmp_path / "out", Options(workers=1))
    assert evaluation.images == 5


def test_the_bytes_of_every_image_leave_their_checksum(tmp_path: Path) -> None:
    """A folder of the same names whose images were encoded again does not pair with the first."""
    models = artifacts(tmp_path, "a.onnx")
    ledgers = []
    for name in ("d", "again"):
        folder = flat(tmp_path / name, 20)
        if name == "again":
            for path in folder.glob("*5.JPEG"):
                Image.open(path).save(path, "JPEG", quality=60)
        (evaluation,) = run(models, open_dataset(folder), tmp_path / name / "out")
        ledgers.append(read_ledger(evaluation.ledger))
        files = [(folder / image).read_bytes() for image in ledgers[-1].image_ids]
        assert ledgers[-1].content_crc32.tolist() == list(map(zlib.crc32, files))
    with pytest.raises(LedgerError, match=r"2 of 20 images .* other bytes \(00005\.JPEG, 00015\.JPEG\)"):
        compare_ledgers(ledgers[0], ledgers[1])


def test_a_ledger_from_before_checksums_is_made_again(tmp_path: Path) -> None:
    models, dataset = artifacts(tmp_path, "a.onnx"), open_dataset(flat(tmp_path / "d", 20))
    (first,) = run(models, dataset, tmp_path / "out")
    whole = first.ledger.read_bytes()
    parquet.write_table(parquet.read_table(first.ledger).drop_columns("content_crc32"), first.ledger)
    (again,) = run(models, dataset, tmp_path / "out")
    assert not again.unchanged
    assert again.ledger.read_bytes() == whole


def crop(path: Path) -> np.ndarray:
    return resize_and_crop(decode(path), SPEC)


def test_metadata_says_what_ran_and_where(tmp_path: Path) -> None:
    (model,) = artifacts(tmp_path, "a.onnx")
    (evaluation,) = run([model], open_dataset(flat(tmp_path / "d", 3)), tmp_path / "out")
    metadata = read_ledger(evaluation.ledger).metadata
    assert metadata == evaluation.metadata
    assert metadata.model["file"] == "a.onnx"
    assert metadata.runtime == {"name": "fake", "version": "1", "threads": 1}
    assert metadata.preprocessing == "opencv_linear"
    assert (metadata.classes, metadata.dataset["images"]) == (10, 3)
    assert metadata.host["machine"] == os.uname().machine


def test_several_artifacts_share_one_decode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr("ghostedge.evaluation.worker.decode", lambda data: decoded.append(1) or decode(data))
    models = artifacts(tmp_path, "a.onnx", "b.onnx")
    models += artifacts(tmp_path, "larger.onnx", spec=dataclasses.replace(SPEC, height=26, width=26))
    dataset = open_dataset(flat(tmp_path / "d", 20))
    together = run(models, dataset, tmp_path / "together")
    assert len(decoded) == 20
    for model, evaluation in zip(models, together, strict=True):
        (alone,) = run([model], dataset, tmp_path / "alone")
        assert evaluation.ledger.read_bytes() == alone.ledger.read_bytes()


def test_all_layouts_and_numbers_of_workers_give_the_same_bytes(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx")
    folder = flat(tmp_path / "images", 60)
    names = sorted(path.name for path in folder.glob("*.JPEG"))
    with tarfile.open(tmp_path / "val.tar", "w") as tar:
        for name in names[::-1]:
            tar.add(folder / name, name)
    (tmp_path / "val.txt").write_text((folder / "val.txt").read_text())
    for name in names:
        label = tmp_path / "classes" / f"class{int(name[:5]) * 7 % 10}"
        label.mkdir(parents=True, exist_ok=True)
        (label / name).write_bytes((folder / name).read_bytes())
    shuffled = np.random.default_rng(0).permutation(names).tolist()
    images = [{"bytes": (folder / name).read_bytes(), "path": name} for name in shuffled]
    table = pa.table({"image": images, "label": [int(name[:5]) * 7 % 10 for name in shuffled]})
    parquet.write_table(table, tmp_path / "shard.parquet", row_group_size=9)

    ledgers = set()
    for data in ("images", "val.tar", "classes", "shard.parquet"):
        for options in (Options(engine=Inline), Options(workers=2)):
            options = dataclasses.replace(options, keep_logits=True, limit=45)
            output = tmp_path / f"{data}-{options.workers}-{options.engine is None}"
            (evaluation,) = run(models, open_dataset(tmp_path / data), output, options)
            ledgers.add(evaluation.ledger.read_bytes())
    assert len(ledgers) == 1


def test_another_preprocessing_gives_another_ledger_beside(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 5))
    ledgers = []
    for rule in (None, "opencv_linear", "pillow_bilinear", "tensorflow_bilinear"):
        subjects = subjects_of(models, tmp_path / "out", preprocessing=rule, runtime=FAKE)
        ledgers.append(read_ledger(evaluate(subjects, dataset, Options(engine=Inline))[0].ledger))
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "a.onnx.parquet",
        "a.onnx.pillow_bilinear.parquet",
        "a.onnx.tensorflow_bilinear.parquet",
    ]
    rules = [ledger.metadata.preprocessing for ledger in ledgers]
    assert rules == ["opencv_linear", "opencv_linear", "pillow_bilinear", "tensorflow_bilinear"]
    assert {ledger.metadata.input for ledger in ledgers} == {SPEC}
    assert len({ledger.top5_logit.tobytes() for ledger in ledgers}) == 3


def test_images_without_labels_have_answers_but_no_accuracy(tmp_path: Path) -> None:
    dataset = open_dataset(flat(tmp_path / "d", 5), NO_LABELS)
    (evaluation,) = run(artifacts(tmp_path, "a.onnx"), dataset, tmp_path / "out")
    assert (evaluation.top1, evaluation.top5) == (None, None)
    assert (read_ledger(evaluation.ledger).top5_class >= 0).all()


# -- killed, and again -----------------------------------------------------------------------------------------------

SCRIPT = """
import sys
from pathlib import Path
from ghostedge.data.datasets import open_dataset
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.model import Model, InputSpec

data, output, workers, *models = sys.argv[1:]
artifacts = [Model(Path(m), "onnx", InputSpec(height=24, width=24, resize=28)) for m in models]
subjects = subjects_of(artifacts, Path(output), runtime="ghostedge.runtimes.fake:FakeRuntime")

def show(progress):
    print(progress.done, progress.resumed, flush=True)

evaluate(subjects, open_dataset(Path(data)), Options(workers=int(workers), keep_logits=True), show)
"""


def start(data: Path, output: Path, workers: int, models: list[Model]) -> subprocess.Popen[str]:
    names = [str(model.path) for model in models]
    arguments = [sys.executable, "-c", SCRIPT, str(data), str(output), str(workers), *names]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_killed_evaluation_resumes_and_gives_the_bytes_of_an_uninterrupted_one(tmp_path: Path) -> None:
    """kill -9, twice; each time at most one part of finished images is lost and no worker stays behind."""
    data = flat(tmp_path / "d", 2000)
    models = artifacts(tmp_path, "a.onnx", "b.onnx")
    output = tmp_path / "killed"
    before = 0
    for kill_at in (600, 1400):
        process = start(data, output, 2, models)
        assert process.stdout
        for line in process.stdout:
            done, resumed = map(int, line.split())
            assert resumed >= before
            if done >= kill_at:
                break
        workers = children(process.pid)
        process.kill()
        done = int(([line, *process.stdout])[-1].split()[0])  # it went on until the signal came
        process.wait()
        assert len(workers) == 2
        assert done < 2000, "it was done before the signal came"
        assert not list(output.glob("*.parquet"))
        before = done - PART_ROWS + 1
        deadline = time.monotonic() + 10
        while any(map(running, workers)):
            assert time.monotonic() < deadline, "a worker outlived its parent"
            time.sleep(0.02)

    process = start(data, output, 2, models)
    assert process.stdout
    resumed = int(next(process.stdout).split()[1])
    process.stdout.read()
    assert process.wait() == 0
    assert resumed >= before

    whole = start(data, tmp_path / "whole", 1, models)
    whole.communicate()
    for name in ("a.onnx.parquet", "b.onnx.parquet"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(path.name for path in output.iterdir()) == ["a.onnx.parquet", "b.onnx.parquet"]


def test_a_worker_that_is_killed_ends_the_run_in_one_line_and_the_next_continues(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 1500))

    def kill_one(progress: Progress) -> None:
        os.kill(children(os.getpid())[-1], signal.SIGKILL)

    with pytest.raises(GhostedgeError, match=r"a worker process ended \(signal SIGKILL\); .* fewer --workers"):
        run(models, dataset, tmp_path / "out", Options(workers=2), kill_one)
    assert children(os.getpid()) == []
    seen: list[Progress] = []
    run(models, dataset, tmp_path / "out", Options(workers=2), seen.append)
    assert seen[0].resumed > 0
    assert seen[-1].done == 1500


def test_an_artifact_that_comes_later_does_not_make_the_others_run_again(tmp_path: Path) -> None:
    """One ledger is done, one has parts, one is new: each image runs on those that lack it only."""
    first, second, third = artifacts(tmp_path, "a.onnx", "b.onnx", "c.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 600))
    run([first], dataset, tmp_path / "out")

    def stop(progress: Progress) -> None:
        if progress.done >= 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run([second], dataset, tmp_path / "out", on_progress=stop)
    assert len(parts(tmp_path / "out")) == 2  # a full part and what was there when it was stopped
    engines = []
    options = Options(engine=lambda job: engines.append(Inline(job)) or engines[0])
    evaluations = run([first, second, third], dataset, tmp_path / "out", options)
    answers = np.zeros(3, dtype=int)
    for task in engines[0].tasks:
        answers[list(task.models)] += len(task.image_ids)
    assert answers.tolist() == [0, 296, 600]
    assert [evaluation.unchanged for evaluation in evaluations] == [True, False, False]


def test_a_finished_evaluation_is_not_done_again(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 20))
    (first,) = run(models, dataset, tmp_path / "out")
    written = first.ledger.stat().st_mtime_ns
    (again,) = run(models, dataset, tmp_path / "out")
    assert again == dataclasses.replace(first, unchanged=True)
    assert again.ledger.stat().st_mtime_ns == written


@pytest.mark.parametrize("finished", [True, False], ids=["ledger", "parts"])
@pytest.mark.parametrize("change", ["model", "labels", "limit", "logits"])
def test_a_changed_input_is_not_taken_from_before(tmp_path: Path, change: str, finished: bool) -> None:
    def stop(progress: Progress) -> None:
        if not finished:
            raise KeyboardInterrupt

    models = artifacts(tmp_path, "a.onnx")
    folder = flat(tmp_path / "d", 20)
    with contextlib.suppress(KeyboardInterrupt):
        run(models, open_dataset(folder), tmp_path / "out", on_progress=stop)
    assert bool(parts(tmp_path / "out")) is not finished
    options = Options(engine=Inline, limit=10 if change == "limit" else None, keep_logits=change == "logits")
    if change == "model":
        models[0].path.write_text("other weights")
    if change == "labels":
        (folder / "val.txt").write_text("".join(f"{n:05d}.JPEG {n % 10}\n" for n in range(20)))
    (after,) = run(models, open_dataset(folder), tmp_path / "out", options)
    (fresh,) = run(models, open_dataset(folder), tmp_path / "fresh", options)
    assert not after.unchanged
    assert after.notes == ((f"{after.ledger} held the answers of another run, which are replaced",) if finished else ())
    assert after.ledger.read_bytes() == fresh.ledger.read_bytes()


def test_a_damaged_part_is_run_again(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 600))

    def stop(progress: Progress) -> None:
        if progress.done >= 550:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(models, dataset, tmp_path / "out", on_progress=stop)
    damaged = parts(tmp_path / "out")[0]
    damaged.write_bytes(damaged.read_bytes()[:100])
    seen: list[Progress] = []
    (resumed,) = run(models, dataset, tmp_path / "out", on_progress=seen.append)
    (whole,) = run(models, dataset, tmp_path / "whole")
    assert seen[0].resumed == 560 - 256
    assert resumed.ledger.read_bytes() == whole.ledger.read_bytes()


def test_a_full_disk_in_mid_run_is_one_line_and_loses_one_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 900))
    written = []

    def full(descriptor: int) -> None:
        written.append(descriptor)
        if len(written) > 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match=r"part-000002\.parquet: the disk is full; free some space"):
            run(models, dataset, tmp_path / "out")
    assert [path.name for path in parts(tmp_path / "out")] == ["part-000000.parquet", "part-000001.parquet"]
    seen: list[Progress] = []
    (resumed,) = run(models, dataset, tmp_path / "out", on_progress=seen.append)
    assert seen[0].resumed == 2 * PART_ROWS
    (whole,) = run(models, dataset, tmp_path / "whole")
    assert resumed.ledger.read_bytes() == whole.ledger.read_bytes()


def test_a_ledger_that_does_not_fit_on_the_disk_keeps_the_parts(tmp_path: Path) -> None:
    """A real limit of the kernel, met while the ledger is written: 9 kB a file."""
    data, models = flat(tmp_path / "d", 2000), artifacts(tmp_path, "a.onnx")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, 9_000))\n" + SCRIPT
    arguments = [sys.executable, "-c", limited, str(data), str(tmp_path / "out"), "1", str(models[0].path)]
    done = subprocess.run(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ghostedge.errors.OutputError: cannot write")
    assert last.endswith("a.onnx.parquet: File too large")
    assert len(parts(tmp_path / "out")) == 8
    assert [path.name for path in (tmp_path / "out").iterdir() if not path.name.startswith(".parts")] == []


def test_a_file_that_is_no_ledger_is_not_replaced(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"mine": [1]}), tmp_path / "a.onnx.parquet")
    with pytest.raises(
        OutputError, match=r"does not have a ledger's columns.*; move it away, or choose another --output"
    ):
        run(artifacts(tmp_path, "a.onnx"), open_dataset(flat(tmp_path / "d", 5)), tmp_path)
    assert parquet.read_table(tmp_path / "a.onnx.parquet").column_names == ["mine"]
    assert parts(tmp_path) == []


@pytest.mark.parametrize("other", [{}, {"keep_logits": True}, {"limit": 10}])
def test_two_evaluations_do_not_write_the_same_ledger_at_once(tmp_path: Path, other: dict[str, Any]) -> None:
    models = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 20))

    def again(progress: Progress) -> None:
        (output / ".partial-1-a.onnx.parquet").touch()  # as if the first were writing the ledger just now
        with pytest.raises(OutputError, match=r"another process is making .*a\.onnx\.parquet; wait for it"):
            run(models, dataset, output, Options(engine=Inline, **other))
        assert (output / ".partial-1-a.onnx.parquet").exists()

    output = tmp_path / "out"
    (made,) = run(models, dataset, output, on_progress=again)
    assert made.images == 20
    assert made.ledger.exists()


# -- images that cannot be read -----------------------------------------------------------------------------------


def spoil(folder: Path) -> None:
    (folder / "00003.JPEG").write_bytes(picture(3)[:200])
    (folder / "00017.JPEG").write_bytes(b"")


def test_corrupt_images_fail_the_run_by_name_and_the_other_rows_are_kept(tmp_path: Path) -> None:
    folder = flat(tmp_path / "d", 20)
    spoil(folder)
    models = artifacts(tmp_path, "a.onnx")
    seen: list[Progress] = []
    with pytest.raises(
        DatasetError, match=r"2 of 20 images have no answer .* first is 00003\.JPEG: .* not a whole JPEG"
    ):
        run(models, open_dataset(folder), tmp_path / "out", on_progress=seen.append)
    named = {image: reason for progress in seen for _, image, reason in progress.failures}
    assert set(named) == {"00003.JPEG", "00017.JPEG"}
    assert not list((tmp_path / "out").glob("*.parquet"))

    for number in (3, 17):
        (folder / f"{number:05d}.JPEG").write_bytes(picture(number))
    seen.clear()
    (repaired,) = run(models, open_dataset(folder), tmp_path / "out", on_progress=seen.append)
    assert seen[0].resumed == 18
    (fresh,) = run(models, open_dataset(folder), tmp_path / "fresh")
    assert repaired.ledger.read_bytes() == fresh.ledger.read_bytes()


def test_skipped_images_stay_in_the_denominator(tmp_path: Path) -> None:
    folder = flat(tmp_path / "d", 20)
    models = artifacts(tmp_path, "a.onnx")
    (whole,) = run(models, open_dataset(folder), tmp_path / "whole")
    right = read_ledger(whole.ledger).correct()
    spoil(folder)
    skip = Options(engine=Inline, on_error="skip", keep_logits=True)
    (evaluation,) = run(models, open_dataset(folder), tmp_path / "out", skip)
    right[[3, 17]] = False
    assert evaluation.images == 20
    assert evaluation.top1 == right.sum() / 20
    assert set(evaluation.failures) == {"00003.JPEG", "00017.JPEG"}
    ledger = read_ledger(evaluation.ledger)
    assert len(ledger) == 20
    assert ledger.image_ids[ledger.failed].tolist() == ["00003.JPEG", "00017.JPEG"]
    assert ledger.errors[17] == "the file is empty (0 bytes); get it again"
    assert ledger.metadata.dataset["images"] == 20

    # Again: they are tried again, the others are not; with `fail` they fail now.
    engines = []
    counted = dataclasses.replace(skip, engine=lambda job: engines.append(Inline(job)) or engines[0])
    (again,) = run(models, open_dataset(folder), tmp_path / "out", counted)
    assert sum(len(task.image_ids) for task in engines[0].tasks) == 2
    assert again == evaluation
    with pytest.raises(DatasetError, match="2 of 20 images have no answer"):
        run(models, open_dataset(folder), tmp_path / "out", dataclasses.replace(skip, on_error="fail"))
    assert read_ledger(evaluation.ledger).failed.sum() == 2  # what was there is still there


def test_logits_that_are_not_numbers_are_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A float16 model that overflows on one image."""

    def overflow(
        self: FakeRuntime, image: np.ndarray, infer: Callable[..., np.ndarray] = FakeRuntime._infer
    ) -> np.ndarray:
        logits = infer(self, image)
        overflows.append(logits[0])
        return np.where(logits == overflows[4], np.inf, logits) if len(overflows) > 4 else logits

    overflows: list[float] = []
    monkeypatch.setattr(FakeRuntime, "_infer", overflow)
    dataset = open_dataset(flat(tmp_path / "d", 6))
    with pytest.raises(DatasetError, match=r"1 of 6 images .* 00003\.JPEG: the model's logits hold NaN or infinity"):
        run(artifacts(tmp_path, "a.onnx"), dataset, tmp_path / "out")


# -- what is refused before anything runs -------------------------------------------------------------------------


def test_labels_the_model_does_not_have(tmp_path: Path) -> None:
    folder = flat(tmp_path / "d", 5)
    (folder / "val.txt").write_text("".join(f"{n:05d}.JPEG {n + 8}\n" for n in range(5)))
    with pytest.raises(DatasetError, match=r"label 12, but the model gives 10 classes"):
        run(artifacts(tmp_path, "a.onnx"), open_dataset(folder), tmp_path / "out")
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_model_that_cannot_be_loaded_is_one_line_from_the_workers(tmp_path: Path) -> None:
    (model,) = artifacts(tmp_path, "a.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 5))
    model.path.unlink()
    with pytest.raises(ArtifactError, match=r"a\.onnx does not exist"):
        run([model], dataset, tmp_path / "out", Options(workers=1))


def test_models_that_cannot_be_loaded_are_all_named_before_the_others_run(tmp_path: Path) -> None:
    models = artifacts(tmp_path, "a.onnx", "b.onnx", "c.onnx")
    dataset = open_dataset(flat(tmp_path / "d", 5))
    for lost in (models[0], models[2]):
        lost.path.unlink()
    with pytest.raises(RefusedError, match=r"2 of 3 models cannot be run here: .*a\.onnx.*; .*c\.onnx") as caught:
        run(models, dataset, tmp_path / "out", Options(workers=1))
    assert list(caught.value.reasons) == [models[0].path, models[2].path]
    assert not (tmp_path / "out").exists()
    (evaluation,) = run([models[1]], dataset, tmp_path / "out")
    assert evaluation.images == 5


def test_two_artifacts_of_one_name(tmp_path: Path) -> None:
    one, other = artifacts(tmp_path / "x", "a.onnx") + artifacts(tmp_path / "y", "a.onnx")
    with pytest.raises(UsageError, match=r"two artifacts are called a\.onnx"):
        subjects_of([one, other], tmp_path)


def test_an_unknown_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown preprocessing 'opencv'; did you mean 'opencv_linear'"):
        subjects_of(artifacts(tmp_path, "a.onnx"), tmp_path, preprocessing="opencv")


def test_a_misspelt_rule_for_images_without_an_answer_counts_none_as_wrong(tmp_path: Path) -> None:
    misspelt: Any = "Skip"
    with pytest.raises(UsageError, match="unknown on_error 'Skip'; did you mean 'skip'"):
        run(artifacts(tmp_path, "a.onnx"), open_dataset(flat(tmp_path / "d", 5)), tmp_path, Options(on_error=misspelt))


@pytest.mark.parametrize("workers", [0, -1])
def test_no_workers(tmp_path: Path, workers: int) -> None:
    dataset = open_dataset(flat(tmp_path / "d", 5))
    with pytest.raises(UsageError, match="at least 1"):
        run(artifacts(tmp_path, "a.onnx"), dataset, tmp_path / "out", Options(workers=workers))


def test_output_that_cannot_be_a_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    with pytest.raises(OutputError, match="a file of another kind is in its place"):
        run(artifacts(tmp_path, "a.onnx"), open_dataset(flat(tmp_path / "d", 5)), tmp_path / "out")
