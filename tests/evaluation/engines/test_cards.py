"""Several cards make the ledger that one makes; one that fails is named, and the others take over."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.data.datasets import open_dataset
from ghostedge.errors import GhostedgeError, UsageError
from ghostedge.evaluation.engines.cards import CardEngine
from ghostedge.evaluation.ledger import read_ledger
from ghostedge.evaluation.run import Evaluation, Options, Subject, evaluate
from ghostedge.evaluation.worker import ModelSetup
from ghostedge.model import InputSpec, Model

pytest.importorskip("pyarrow")

SPEC = InputSpec(height=24, width=24, resize=28)
CARD = "tests.evaluation.engines.card_runtime:CardRuntime"
IMAGES = 160  # ten tasks


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cards") / "d"
    folder.mkdir()
    for number in range(IMAGES):
        noise = np.random.default_rng(number).integers(0, 120, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(noise).resize((40, 32)).save(folder / f"{number:03d}.png")
    (folder / "val.txt").write_text("".join(f"{number:03d}.png {number % 10}\n" for number in range(IMAGES)))
    return folder


def run(
    data: Path, output: Path, cards: tuple[int, ...], faults: Mapping[int, str] | None = None
) -> tuple[Evaluation, list[str]]:
    """The ledger that these cards make, and what was said of them; no card at all is one process as ever."""
    output.mkdir()
    model = output / "model.onnx"
    model.write_text("weights")
    options = {"device_target": "Ascend", "faults": faults}
    subject = Subject(ModelSetup(Model(model, "onnx", SPEC), CARD, SPEC, options=options), output / "a.parquet")
    said: list[str] = []
    chosen = Options(workers=1, engine=(lambda job: CardEngine(job, cards, said.append)) if cards else None)
    (made,) = evaluate((subject,), open_dataset(data), chosen)
    return made, said


@pytest.fixture(scope="module")
def one_card(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(data, tmp_path_factory.mktemp("one") / "o", ())[0].ledger


def rows(ledger: Path) -> object:
    return read_ledger(ledger).table


def test_several_cards_give_the_rows_of_one_and_say_who_they_were(data: Path, one_card: Path, tmp_path: Path) -> None:
    made, said = run(data, tmp_path / "o", (4, 1))
    assert said == []
    assert rows(made.ledger) == rows(one_card)
    ours, alone = made.metadata.arithmetic, read_ledger(one_card).metadata.arithmetic
    assert ours is not None
    assert alone is not None
    assert (ours.device_ids, alone.device_ids) == ((4, 1), (0,))
    assert made.metadata.deciding == read_ledger(one_card).metadata.deciding


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("crash", r"Ascend 1 failed, its images go to the others: a worker process ended \(signal SIGKILL\)"),
        ("error", "Ascend 1 failed, its images go to the others: .* device error 507018"),
        ("start", "Ascend 1 failed, its images go to the others: .* out of memory"),
    ],
)
def test_a_card_that_fails_is_named_and_leaves_no_trace(
    fault: str, reason: str, data: Path, one_card: Path, tmp_path: Path
) -> None:
    made, said = run(data, tmp_path / "o", (0, 1), {1: fault})
    (line,) = said
    assert re.match(reason, line), line
    assert rows(made.ledger) == rows(one_card)


@pytest.mark.parametrize(
    ("faults", "error", "message"),
    [
        ({1: "absent"}, UsageError, "^Ascend 1: there is no Ascend 7 here: 4 are, numbered from 0$"),
        ({1: "other"}, UsageError, "Ascend 1 is not like Ascend 0: .* give --devices cards of one kind"),
        ({0: "error", 1: "error"}, GhostedgeError, "the last card, failed: .* device error 507018"),
    ],
)
def test_what_cannot_go_on(
    faults: Mapping[int, str], error: type[GhostedgeError], message: str, data: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message) as caught:
        run(data, tmp_path / "o", (0, 1), faults)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "o" / "a.parquet").exists()


def test_a_range_that_fails_on_two_cards_is_not_the_cards_fault(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    for path in data.iterdir():
        (folder / path.name).symlink_to(path)
    white = folder / "090.png"
    white.unlink()
    Image.new("RGB", (40, 32), "white").save(white)
    with pytest.raises(
        GhostedgeError, match=r"images from 080\.png to 095\.png fail on two cards.*this batch"
    ) as caught:
        run(folder, tmp_path / "o", (0, 1, 2), dict.fromkeys(range(3), "poison"))
    assert "\n" not in str(caught.value)
