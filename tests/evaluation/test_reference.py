"""The reference is MindSpore's own run of every image, on as many cards as there are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.data.datasets import open_dataset
from ghostedge.data.preprocess import preprocess
from ghostedge.errors import GhostedgeError, UsageError
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.evaluation.reference import cards_of, reference
from ghostedge.evaluation.run import Options
from ghostedge.evaluation.worker import Job, ModelSetup, Task, Worker
from ghostedge.files import sha256_file
from ghostedge.model import InputSpec, Model

pytest.importorskip("pyarrow")

SMALL = InputSpec(height=64, width=64, resize=72)


def pictures(folder: Path, count: int) -> Path:
    """Flat images with labels 0, 1, ... of 1,000."""
    folder.mkdir()
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((90, 80)).save(folder / f"{number}.png")
    (folder / "val.txt").write_text("".join(f"{number}.png {number}\n" for number in range(count)))
    return folder


# -- MindSpore itself -----------------------------------------------------------------------------------------------


def test_the_reference_is_mindspores_answer_to_every_image_once(tmp_path: Path, oracle_checkpoint: Path) -> None:
    """Seven images in batches of four: the last batch is filled up, and the filling leaves no trace."""
    pytest.importorskip("mindspore")
    from ghostedge.runtimes.mindspore import MindSporeRuntime

    data = pictures(tmp_path / "d", 7)
    checkpoint = Model(oracle_checkpoint, "checkpoint", SMALL)
    result = reference(
        checkpoint, open_dataset(data), tmp_path / "ref.parquet", Options(keep_logits=True), batch_size=4
    )
    ledger = read_ledger(tmp_path / "ref.parquet")
    assert ledger.image_ids.tolist() == [f"{number}.png" for number in range(7)]
    assert ledger.metadata == result.metadata
    assert ledger.metadata.is_reference
    assert ledger.metadata.checkpoint_sha256 == ledger.metadata.model["sha256"] == sha256_file(oracle_checkpoint)
    assert (ledger.metadata.device, ledger.metadata.runtime["name"]) == ("CPU", "mindspore")
    with MindSporeRuntime(checkpoint) as runtime:
        logits = np.concatenate([runtime.run(preprocess(data / image, SMALL)) for image in ledger.image_ids])
    # Compiled for a batch of four against eager one by one: the order of float32 sums differs.
    np.testing.assert_allclose(ledger.top5_logit, -np.sort(-logits)[:, :5], atol=1e-4 * np.abs(logits).max())
    assert ledger.top5_class[:, 0].tolist() == logits.argmax(1).tolist()
    assert ledger.logits is not None
    assert ledger.logits.shape == (7, 1000)
    assert ledger.metadata.arithmetic is not None
    assert ledger.metadata.arithmetic.asked == "float32"
    assert ledger.metadata.arithmetic.device_ids == (), "a CPU has no number to record"
    # Two processes of the CPU stand for two cards: the very same file.
    again = reference(
        checkpoint,
        open_dataset(data),
        tmp_path / "cards.parquet",
        Options(keep_logits=True),
        batch_size=4,
        device_ids=(0, 1),
    )
    assert again.ledger.read_bytes() == result.ledger.read_bytes()


def test_batches_that_are_not_full_give_the_same_rows(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_text("weights")
    dataset = open_dataset(pictures(tmp_path / "d", 7))
    answers = []
    for batch in (1, 4, 16):
        setup = ModelSetup(
            Model(tmp_path / "model.onnx", "onnx", SMALL), "ghostedge.runtimes.fake:FakeRuntime", SMALL, batch=batch
        )
        worker = Worker(Job((setup,), keep_logits=True))
        names = tuple(name.decode() for name in dataset.image_ids)
        task = Task(names, tuple(map(dataset.source, range(7))), dataset.labels, (0,))
        logits = worker.run(task).rows[0].logits
        assert logits is not None
        answers.append(logits)
        worker.close()
    np.testing.assert_array_equal(answers[0], answers[1])
    np.testing.assert_array_equal(answers[0], answers[2])


# -- what is refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("a.ckpt", {"device_target": "Ascent"}, "unknown device target 'Ascent'; did you mean 'Ascend'"),
        ("a.ckpt", {"arithmetic": "float61"}, "unknown arithmetic 'float61'; did you mean 'float16'"),
        ("a.ckpt", {"batch_size": 0}, "--batch-size 0: at least 1"),
        ("a.onnx", {}, r"a\.onnx is a onnx; the reference is made from a checkpoint"),
    ],
)
def test_impossible_references(tmp_path: Path, name: str, changes: dict[str, object], message: str) -> None:
    kind = "checkpoint" if name.endswith("ckpt") else "onnx"
    dataset = open_dataset(pictures(tmp_path / "d", 2))
    with pytest.raises(UsageError, match=message):
        reference(Model(tmp_path / name, kind, SMALL), dataset, tmp_path / "r.parquet", Options(), **changes)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_one_line(tmp_path: Path, oracle_checkpoint: Path) -> None:
    pytest.importorskip("mindspore")
    dataset = open_dataset(pictures(tmp_path / "d", 2))
    checkpoint = Model(oracle_checkpoint, "checkpoint", SMALL)
    with pytest.raises(GhostedgeError, match="Ascend") as caught:
        reference(checkpoint, dataset, tmp_path / "r.parquet", Options(), device_target="Ascend")
    assert "\n" not in str(caught.value)


# -- cards ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "environment", "cards"),
    [
        (None, {}, ()),
        (None, {"DEVICE_ID": ""}, ()),
        (None, {"DEVICE_ID": "5"}, (5,)),
        ("3", {"DEVICE_ID": "5"}, (3,)),
        ("0-3", {}, (0, 1, 2, 3)),
        ("0, 2,4-6", {}, (0, 2, 4, 5, 6)),
    ],
)
def test_cards_by_number(text: str | None, environment: dict[str, str], cards: tuple[int, ...]) -> None:
    assert cards_of(text, environment) == cards


@pytest.mark.parametrize("text", ["a", "-1", "3-1", "0-", "1,,2", "0-99999", "1.5", "\u0663"])
def test_what_names_no_card(text: str) -> None:
    with pytest.raises(UsageError, match=f"^'{text}' names no cards; write numbers and ranges"):
        cards_of(text, {})
    with pytest.raises(UsageError, match=r"^the environment's DEVICE_ID '"):
        cards_of(None, {"DEVICE_ID": text})


def test_a_card_named_twice() -> None:
    with pytest.raises(UsageError, match="'0-2,1' names a card twice"):
        cards_of("0-2,1", {})


def test_several_cards_on_a_cluster(tmp_path: Path) -> None:
    dataset = open_dataset(pictures(tmp_path / "d", 2))
    with pytest.raises(UsageError, match="on a cluster every node has its own"):
        reference(
            Model(tmp_path / "a.ckpt", "checkpoint", SMALL),
            dataset,
            tmp_path / "r.parquet",
            Options(engine=lambda job: pytest.fail("no engine is made")),
            device_ids=(0, 1),
        )
