"""What published evaluations would have said: over all shuffles, of one shuffle, by MindCV's preprocessing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ghostedge.errors import UsageError
from ghostedge.evaluation.ledger import Ledger
from ghostedge.evaluation.protocols import (
    PUBLISHED_BATCH,
    mindcv_input,
    mindcv_result,
    modelzoo_protocol,
    modelzoo_result,
)
from ghostedge.model import InputSpec

pytest.importorskip("pyarrow")

# -- the model zoo's, over all shuffles -------------------------------------------------------------------------------


def shuffled_counts(right: np.ndarray, batch: int, shuffles: int) -> np.ndarray:
    """The accuracies that the protocol itself gives: shuffle, form batches, drop the last one if it is not full."""
    rng = np.random.default_rng(0)
    counted = len(right) // batch * batch
    return np.array([rng.permutation(right)[:counted].mean() for _ in range(shuffles)])


@pytest.mark.parametrize(("images", "correct", "batch"), [(11, 6, 4), (11, 2, 4), (11, 10, 4), (9, 5, 8)])
def test_the_range_is_what_shuffles_give(images: int, correct: int, batch: int) -> None:
    count = modelzoo_protocol(images, correct, batch)
    seen = shuffled_counts(np.arange(images) < correct, batch, 4000)
    assert (count.top1_low, count.top1_high) == (seen.min(), seen.max())
    assert count.top1_expected == pytest.approx(seen.mean(), abs=5 * seen.std() / np.sqrt(4000))


def test_imagenet_as_it_was_published() -> None:
    """0.740 was published; of 50,000 images 80 were left out, which moves it by 0.0016 at most."""
    count = modelzoo_protocol(50_000, 37_000)
    assert (count.images, count.dropped) == (49_920, 80)
    assert str(count) == (
        "the published protocol counts 49,920 images and drops 80 by chance: top-1 between 0.7396 and 0.7412, "
        "0.7400 on average"
    )


def test_whole_batches_are_exact() -> None:
    count = modelzoo_protocol(256, 128)
    assert count.top1_low == count.top1_high == count.top1_expected == 0.5
    assert str(count) == "the published protocol counts the same 256 images: top-1 0.5000"


def test_fewer_images_than_one_batch() -> None:
    with pytest.raises(UsageError, match="takes whole batches of 128; 66 images make none"):
        modelzoo_protocol(66, 40)


# -- the model zoo's, of one shuffle ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images in class folders, so many that a batch of 128 is dropped in part."""
    root = tmp_path_factory.mktemp("zoo")
    for number in range(300):
        folder = root / f"n{number % 7:02d}"
        folder.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (number % 256, number // 256, 0)).save(folder / f"{(number * 37) % 300:03d}.png")
    return root


def zoo(folders: Path, right: dict[str, bool], seed: int, **shard: int) -> float:
    """The model zoo's ``dataset.py`` and the mean of `right` over what it gives, without a network."""
    dataset = pytest.importorskip("mindspore.dataset")
    dataset.config.set_seed(seed)
    rows = dataset.ImageFolderDataset(str(folders), num_parallel_workers=None, shuffle=True, decode=False, **shard)
    by_bytes = {path.read_bytes(): path.name for path in folders.glob("*/*")}
    seen = [by_bytes[image.tobytes()] for image, _ in rows.create_tuple_iterator(num_epochs=1, output_numpy=True)]
    counted = seen[: len(seen) // PUBLISHED_BATCH * PUBLISHED_BATCH]
    return float(np.mean([right[name] for name in counted]))


@pytest.mark.oracle
def test_one_shuffle_drops_the_images_that_mindspore_drops(folders: Path, make_ledger: Any) -> None:
    pytest.importorskip("mindspore", reason="left out: MindSpore is not installed")
    names = sorted(path.name for path in folders.glob("*/*"))
    places = {path.name: int(path.parent.name[1:]) for path in folders.glob("*/*")}
    rng = np.random.default_rng(0)
    labels = np.array([places[name] for name in names], np.int32)
    logits = rng.standard_normal((300, 7)).astype(np.float32)
    logits[np.arange(300), labels] += 1
    ledger = make_ledger(logits, labels, ids=names, file="m.ckpt")
    right = dict(zip(names, ledger.correct().tolist(), strict=True))
    found = [modelzoo_result(ledger, labels, seed)["top_1_accuracy"] for seed in (0, 1, 7)]
    assert len(set(found)) > 1, "another seed drops others"
    assert found == [zoo(folders, right, seed) for seed in (0, 1, 7)]
    parts = [modelzoo_result(ledger, labels, 1, shard=shard, shards=2)["top_1_accuracy"] for shard in (0, 1)]
    assert parts == [zoo(folders, right, 1, num_shards=2, shard_id=shard) for shard in (0, 1)]
    # The sampler must not see the rows in another order than ImageFolderDataset does.
    assert modelzoo_result(ledger, labels[::-1].copy(), 1)["top_1_accuracy"] != found[1]


@pytest.mark.oracle
def test_a_rank_as_text_is_refused_by_mindspore(folders: Path) -> None:
    """The zoo's dataset.py passes RANK_ID as text: with ``infer_910`` it could not have run."""
    dataset = pytest.importorskip("mindspore.dataset")
    with pytest.raises(TypeError, match="shard_id"):
        dataset.ImageFolderDataset(str(folders), num_shards=8, shard_id="0")


@pytest.mark.parametrize(
    ("seed", "shard", "message"),
    [
        (-1, (0, 1), "--shuffle-seed -1"),
        (2**32, (0, 1), "--shuffle-seed"),
        (0, (8, 8), "--shard 8/8"),
        (0, (0, 0), "0/0"),
    ],
)
def test_impossible_shuffles(seed: int, shard: tuple[int, int], message: str, ledger: Ledger) -> None:
    with pytest.raises(UsageError, match=message):
        modelzoo_result(ledger, ledger.labels, seed, shard=shard[0], shards=shard[1])


# -- MindCV's ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def ledger(make_ledger: Any, paired_logits: Any) -> Ledger:
    labels, logits, _ = paired_logits(images=200)
    made: Ledger = make_ledger(logits, labels, file="m.ckpt")
    return made


def test_mindcv_counts_every_image(ledger: Ledger) -> None:
    assert mindcv_result(ledger) == {"Top_1_Accuracy": 0.74, "Top_5_Accuracy": ledger.correct(5).mean()}


@pytest.mark.parametrize("crop_pct", [0.875, 0.95, 0.9, 1.0, 0.965])
def test_mindcvs_shorter_side(crop_pct: float) -> None:
    assert mindcv_input(InputSpec(), crop_pct=crop_pct).resize == math.floor(224 / crop_pct)


def test_the_default_is_the_input_that_checkpoints_have() -> None:
    default = mindcv_input(
        InputSpec(), mean=[0.485 * 255, 0.456 * 255, 0.406 * 255], std=[0.229 * 255, 0.224 * 255, 0.225 * 255]
    )
    assert default == InputSpec() == mindcv_input(InputSpec())
    half = mindcv_input(InputSpec(), mean=[0.5, 0.5, 0.5], std=[127.5, 127.5, 127.5])
    assert (half.mean, half.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ({"crop_pct": 0.0}, "--crop-pct 0: above 0"),
        ({"crop_pct": 1.5}, "at most 1"),
        ({"crop_pct": math.nan}, "--crop-pct nan"),
        ({"interpolation": "bicubic"}, "--interpolation bicubic: of MindCV's, bilinear is what can be computed"),
        ({"mean": [0.5, 0.5]}, "take three numbers, R,G,B; these are 2"),
    ],
)
def test_what_mindcv_input_refuses(what: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        mindcv_input(InputSpec(), **what)


@pytest.mark.oracle
@pytest.mark.parametrize("crop_pct", [0.875, 0.95])
def test_the_pixels_are_those_of_mindcvs_transforms(crop_pct: float, tmp_path: Path) -> None:
    factory = pytest.importorskip("mindcv.data.transforms_factory")
    dataset = pytest.importorskip("mindspore.dataset")
    from ghostedge.data.preprocess import preprocess

    noise = np.random.default_rng(0).integers(0, 256, (40, 52, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((520, 400)).save(tmp_path / "a.png")
    (encoded,) = [np.fromfile(tmp_path / "a.png", np.uint8)]
    rows = dataset.NumpySlicesDataset({"image": [encoded]}, shuffle=False)
    rows = rows.map(factory.create_transforms("imagenet", 224, crop_pct=crop_pct), input_columns="image")
    ((theirs,),) = rows.create_tuple_iterator(num_epochs=1, output_numpy=True)
    ours = preprocess(tmp_path / "a.png", mindcv_input(InputSpec(), crop_pct=crop_pct))
    np.testing.assert_allclose(ours[0], theirs, rtol=0, atol=1e-5)
