"""The same pictures in every layout are the same data set; what is not a layout is refused in one line."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from ghostedge.data.datasets import NO_LABELS, Dataset, labels_for, name_column, open_dataset, spread
from ghostedge.data.imagenet import imagenet_labels, imagenet_synsets
from ghostedge.errors import DatasetError, ImageError
from ghostedge.evaluation.run import Options, evaluate, subjects_of
from ghostedge.model import InputSpec, Model

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

#: In the alphabetical order that labels count in.
SYNSETS = imagenet_synsets()


class Picture(NamedTuple):
    """A labelled image as it is encoded."""

    label: int
    data: bytes

    @property
    def synset(self) -> str:
        """The class folder."""
        return SYNSETS[self.label]


#: File name -> picture, numbered from 1. Layouts do not look into the bytes.
Pictures = Mapping[str, Picture]
IMAGES: Pictures = {
    f"ILSVRC2012_val_{number:08d}.JPEG": Picture(label, f"bytes of {number}".encode() * 100)
    for number, label in [(1, 65), (2, 970), (3, 0), (4, 65), (5, 999), (6, 2), (7, 65)]
}


def val_txt(names: Iterable[str] = IMAGES, images: Pictures = IMAGES) -> str:
    return "".join(f"{name} {images[name].label}\n" for name in names)


def class_folders(root: Path, images: Pictures = IMAGES) -> Path:
    for synset in SYNSETS:
        (root / "val" / synset).mkdir(parents=True)
    for name, picture in images.items():
        (root / "val" / picture.synset / name).write_bytes(picture.data)
    return root / "val"


def flat_with_val_txt(root: Path, images: Pictures = IMAGES) -> Path:
    folder = root / "images"
    folder.mkdir()
    for name, picture in images.items():
        (folder / name).write_bytes(picture.data)
    (folder / "val.txt").write_text(val_txt(images, images))
    return folder


def flat_with_csv(root: Path, images: Pictures = IMAGES) -> Path:
    folder = flat_with_val_txt(root, images)
    (folder / "val.txt").unlink()
    rows = [f"{name},{picture.synset},{picture.label}" for name, picture in images.items()]
    (folder / "labels.csv").write_text("\n".join(["file,synset,index", *rows]))
    return folder


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def tar_with_val_txt(root: Path, images: Pictures = IMAGES) -> Path:
    with tarfile.open(root / "ILSVRC2012_img_val.tar", "w") as tar:
        for name in sorted(images, reverse=True):
            add(tar, name, images[name].data)
    (root / "val.txt").write_text(val_txt(images, images))
    return root / "ILSVRC2012_img_val.tar"


def tar_of_class_folders(root: Path, images: Pictures = IMAGES) -> Path:
    with tarfile.open(root / "val.tar", "w") as tar:
        for name, picture in images.items():
            add(tar, f"./val/{picture.synset}/{name}", picture.data)
    return root / "val.tar"


def shards(root: Path, images: Pictures = IMAGES, of: int = 2) -> Path:
    """As Hugging Face has them: shuffled, several row groups a file, file names with the synset behind."""
    folder = root / "data"
    folder.mkdir()
    names = sorted(images, key=lambda name: name[::-1])
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    for shard in range(2):
        chosen = names[shard::2]
        table = pa.table(
            {
                "image": pa.array(
                    [{"bytes": images[n].data, "path": n.replace(".", f"_{images[n].synset}.")} for n in chosen], kind
                ),
                "label": pa.array([images[n].label for n in chosen], pa.int64()),
            }
        )
        parquet.write_table(table, folder / f"validation-{shard:05d}-of-{of:05d}.parquet", row_group_size=2)
    return root


def flat_with_devkit(root: Path, images: Pictures = IMAGES) -> Path:
    """The development kit as it is downloaded. Its own numbers run against the alphabet here."""
    scipy_io = pytest.importorskip("scipy.io")
    folder = flat_with_val_txt(root, images)
    (folder / "val.txt").unlink()
    number = {synset: 1000 - index for index, synset in enumerate(SYNSETS)}
    synsets = np.zeros(1001, dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O"), ("num_children", "O")])
    for row, synset in enumerate(sorted(SYNSETS, key=number.__getitem__)):
        synsets[row] = (float(number[synset]), synset, 0.0)
    synsets[1000] = (1001.0, "n00000001", 2.0)  # an inner node of WordNet
    meta = io.BytesIO()
    scipy_io.savemat(meta, {"synsets": synsets})
    truth = "".join(f"{number[picture.synset]}\n" for picture in images.values())
    with tarfile.open(root / "ILSVRC2012_devkit_t12.tar.gz", "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta.getvalue())
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth.encode())
    return folder


LAYOUTS: list[Callable[..., Path]] = [
    class_folders,
    flat_with_val_txt,
    flat_with_csv,
    flat_with_devkit,
    tar_with_val_txt,
    tar_of_class_folders,
    shards,
]


def rows(dataset: Dataset) -> dict[str, tuple[int, bytes]]:
    labels = labels_for(dataset, 1000)
    return {name.decode(): (int(labels[i]), dataset.source(i).read()) for i, name in enumerate(dataset.image_ids)}


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.__name__)
def test_every_layout_gives_the_same_images_labels_and_ids(tmp_path: Path, layout: Callable[..., Path]) -> None:
    dataset = open_dataset(layout(tmp_path))
    assert rows(dataset) == {name: tuple(picture) for name, picture in IMAGES.items()}


@pytest.mark.parametrize("limit", [None, 10])
def test_every_layout_of_real_photos_gives_the_same_ledger(tmp_path: Path, photo_dir: Path, limit: int | None) -> None:
    """The bytes of the ledgers are equal: ids, labels, answers and what the metadata says about the data set."""
    rows = [line.split(",") for line in (photo_dir / "labels.csv").read_text().splitlines()[1:]]
    images = {
        f"ILSVRC2012_val_{number:08d}.JPEG": Picture(int(index), (photo_dir / file).read_bytes())
        for number, (file, _, index) in enumerate(rows, 1)
    }
    (tmp_path / "model.onnx").write_text("what the answers are drawn from")
    artifact = Model(tmp_path / "model.onnx", "onnx", InputSpec(), imagenet_labels())
    ledgers = {}
    for layout in LAYOUTS:
        root = tmp_path / layout.__name__
        root.mkdir()
        subjects = subjects_of([artifact], root / "out", runtime="ghostedge.runtimes.fake:FakeRuntime")
        options = Options(limit=limit, workers=1, keep_logits=True)
        (evaluation,) = evaluate(subjects, open_dataset(layout(root, images)), options)
        ledgers[layout.__name__] = evaluation.ledger.read_bytes()
        assert evaluation.images == (limit or 66)
    assert len(set(ledgers.values())) == 1, {name: hashlib.sha256(data).hexdigest() for name, data in ledgers.items()}


def test_a_development_kit_without_its_mat_file_points_to_val_txt(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    (folder / "val.txt").rename(folder / "ILSVRC2012_validation_ground_truth.txt")
    with pytest.raises(DatasetError, match=r"order of its own and meta\.mat is not beside it; use .* or a val\.txt"):
        open_dataset(folder)


def test_file_names_that_repeat_carry_their_class_folder(tmp_path: Path) -> None:
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.jpg").write_bytes(folder.encode())
    dataset = open_dataset(tmp_path)
    assert dataset.image_ids.tolist() == [b"cat/1.jpg", b"dog/1.jpg"]
    assert dataset.labels.tolist() == [0, 1]


# -- labels and models ------------------------------------------------------------------------------------------


def folders(root: Path, *names: str) -> Dataset:
    for name in names:
        (root / name).mkdir()
        (root / name / f"{name}.png").write_bytes(b"")
    return open_dataset(root)


def test_some_of_imagenets_synsets_keep_their_indices_for_a_model_of_1000_classes(tmp_path: Path) -> None:
    dataset = folders(tmp_path, SYNSETS[3], SYNSETS[999])
    assert labels_for(dataset, 1000).tolist() == [3, 999]
    assert labels_for(dataset, 2).tolist() == [0, 1]  # a model that was trained on these two


def test_folders_are_matched_with_a_models_class_names(tmp_path: Path) -> None:
    dataset = folders(tmp_path, "daisy", "rose")
    assert labels_for(dataset, 3, ("rose", "tulip", "daisy")).tolist() == [2, 0]


def test_folders_that_cannot_be_the_models_classes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 class folders \(daisy, rose, \.\.\.\) but the model gives 1000 classes"):
        labels_for(folders(tmp_path, "daisy", "rose"), 1000)


def test_a_label_beyond_the_models_classes_is_refused_with_its_image(tmp_path: Path) -> None:
    dataset = open_dataset(flat_with_val_txt(tmp_path))
    with pytest.raises(
        DatasetError, match=r"ILSVRC2012_val_00000005\.JPEG' has label 999, but .* 10 classes \(0\.\.9\)"
    ):
        labels_for(dataset, 10)


def test_images_without_labels_are_taken_when_that_is_said(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    dataset = open_dataset(folder, NO_LABELS)
    assert set(dataset.labels.tolist()) == {-1}
    assert dataset.notes == ("the images have no labels: no accuracy is known",)


def test_a_partial_set_says_so(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    (folder / "ILSVRC2012_val_00000007.JPEG").unlink()
    dataset = open_dataset(folder)
    assert dataset.notes == ("val.txt lists 7 images, 6 are there: accuracies are of those",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (val_txt(sorted(IMAGES)[:5]), r"2 of 7 images have no label in .*val\.txt, the first: .*00000006\.JPEG"),
        (val_txt().replace(" 970", " tench"), r"line 2 of .*val\.txt is not an image name and a label from 0 up"),
        (val_txt().replace(" 970", " -1"), r"line 2 of .*val\.txt is not an image name and a label from 0 up"),
        (val_txt() + "ILSVRC2012_val_00000001.JPEG 66\n", r"line 8 .* a second label: 65 and 66"),
    ],
)
def test_a_wrong_label_file_is_refused_with_the_place(tmp_path: Path, text: str, message: str) -> None:
    folder = flat_with_val_txt(tmp_path)
    (folder / "val.txt").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_dataset(folder)


# -- limit ---------------------------------------------------------------------------------------------------------


def test_a_limit_spreads_over_the_sorted_ids() -> None:
    ids = np.array([f"{number:03d}" for number in range(100)])
    assert ids[spread(ids, 4)].tolist() == ["012", "037", "062", "087"]


def test_a_limit_takes_the_same_images_from_every_layout() -> None:
    ids = np.array([f"{number:03d}" for number in range(100)])
    shuffled = np.random.default_rng(0).permutation(ids)
    assert sorted(shuffled[spread(shuffled, 7)]) == ids[spread(ids, 7)].tolist()
    assert len(set(ids[spread(ids, 99)])) == 99


def test_a_limit_above_the_number_of_images_takes_all() -> None:
    assert len(spread(np.array(["a", "b"]), 50)) == 2


def test_a_limit_of_zero_is_refused() -> None:
    with pytest.raises(DatasetError, match="--limit 0 leaves no image"):
        spread(np.array(["a"]), 0)


# -- what is not a layout, or not a whole one ------------------------------------------------------------------


def test_a_name_that_is_no_text_is_shown() -> None:
    with pytest.raises(DatasetError, match=r"the name of the image 'ant/b\\udcfe.png' is not UTF-8 text; rename it"):
        name_column(["ant/a.png", "ant/b\udcfe.png"])


def test_no_such_path(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"nowhere does not exist; --data takes class folders"):
        open_dataset(tmp_path / "nowhere")


def test_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no images \(it is empty\); --data takes class folders"):
        open_dataset(tmp_path)


def test_one_level_too_high_points_to_the_validation_images(tmp_path: Path) -> None:
    class_folders(tmp_path)
    with pytest.raises(DatasetError, match=r"holds no images \(it has val\); give --data .*/val$"):
        open_dataset(tmp_path)


def test_a_folder_with_the_tar_points_to_the_tar(tmp_path: Path) -> None:
    tar_with_val_txt(tmp_path)
    with pytest.raises(DatasetError, match=r"it has ILSVRC2012_img_val\.tar, val\.txt\); give --data .*_val\.tar$"):
        open_dataset(tmp_path)


def test_flat_images_without_a_label_file(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    (folder / "val.txt").unlink()
    with pytest.raises(DatasetError, match=r"7 images \(such as .*\) but there is no label file .* put val\.txt"):
        open_dataset(folder)


def test_images_beside_class_folders(tmp_path: Path) -> None:
    folder = class_folders(tmp_path)
    (folder / "stray.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match="1 images beside folders with 7 more"):
        open_dataset(folder)


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.9])
def test_a_tar_that_was_cut_short(tmp_path: Path, keep: float) -> None:
    tar = tar_with_val_txt(tmp_path)
    data = tar.read_bytes().rstrip(b"\0")
    tar.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(DatasetError, match="is cut short or damaged"):
        open_dataset(tar)


def test_a_tar_that_was_cut_between_two_images(tmp_path: Path) -> None:
    """Python's tarfile takes this for a whole one: it would be a silently smaller data set."""
    tar = tar_with_val_txt(tmp_path)
    with tarfile.open(tar) as whole:
        third = whole.getmembers()[2]
    tar.write_bytes(tar.read_bytes()[: third.offset])
    with tarfile.open(tar) as cut:
        assert len(cut.getmembers()) == 2
    with pytest.raises(DatasetError, match="no end mark"):
        open_dataset(tar)


def test_a_compressed_tar_says_how_to_unpack_it(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "val.tar.gz", "w:gz") as tar:
        add(tar, "a.jpeg", b"")
    with pytest.raises(DatasetError, match=r"is compressed, .* run: gunzip"):
        open_dataset(tmp_path / "val.tar.gz")


def test_the_training_tar_holds_tars(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train.tar", "w") as tar:
        add(tar, "n01440764.tar", b"")
    with pytest.raises(DatasetError, match=r"holds no images \(it has n01440764\.tar\)"):
        open_dataset(tmp_path / "train.tar")


def test_a_missing_shard(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds 2 of 14 shards of 'validation'"):
        open_dataset(shards(tmp_path, of=14))


def test_a_shard_that_was_cut_short(tmp_path: Path) -> None:
    root = shards(tmp_path)
    shard = root / "data" / "validation-00001-of-00002.parquet"
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DatasetError, match="cut short or not Parquet"):
        open_dataset(root)


def test_a_table_of_something_else(tmp_path: Path) -> None:
    parquet.write_table(pa.table({"text": ["a"], "label": [1]}), tmp_path / "x.parquet")
    with pytest.raises(DatasetError, match="has the columns text string, label int64; it needs image"):
        open_dataset(tmp_path / "x.parquet")


def test_an_image_that_vanishes_is_an_image_error(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    dataset = open_dataset(folder)
    (folder / dataset.image_ids[0].decode()).unlink()
    with pytest.raises(ImageError, match="cannot be read: No such file"):
        dataset.source(0).read()


def test_files_of_unreadable_kinds_are_not_passed_over(tmp_path: Path) -> None:
    folder = flat_with_val_txt(tmp_path)
    (folder / "holiday.webp").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"1 of 8 images have no label in .*: holiday\.webp"):
        open_dataset(folder)


@pytest.mark.parametrize("truth", [b"1\n\xff\n", b"1\n9999\n", b"x\n"], ids=["not UTF-8", "an unknown id", "no number"])
@pytest.mark.parametrize("meta", [b"", b"MATLAB 5.0 MAT-file\n" * 40], ids=["no matrix", "damaged"])
def test_a_bad_development_kit_is_one_line(truth: bytes, meta: bytes, tmp_path: Path) -> None:
    pytest.importorskip("scipy")
    folder, kit = flat_with_val_txt(tmp_path), tmp_path / "ILSVRC2012_devkit_t12.tar.gz"
    with tarfile.open(kit, "w:gz") as tar:
        add(tar, "ILSVRC2012_devkit_t12/data/meta.mat", meta)
        add(tar, "ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", truth)
    with pytest.raises(DatasetError, match=r"development kit|is damaged") as caught:
        open_dataset(folder, kit)
    assert "\n" not in str(caught.value)
