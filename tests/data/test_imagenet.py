"""ImageNet's labels are complete and in order; label files of users are read or refused in one line."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from ghostedge.data.imagenet import imagenet_labels, imagenet_synsets, load_labels
from ghostedge.errors import UsageError


def test_the_classes_are_in_order_and_told_apart() -> None:
    assert len(imagenet_labels()) == len(imagenet_synsets()) == 1000
    assert list(imagenet_synsets()) == sorted(set(imagenet_synsets()))
    assert len(set(imagenet_labels())) == 1000
    # Known from the literature: 0 tench, 281 tabby cat, 999 toilet paper.
    assert [imagenet_labels()[i].split(",")[0] for i in (0, 281, 999)] == ["tench", "tabby", "toilet tissue"]


def test_the_photos_agree(photo_dir: Path) -> None:
    with open(photo_dir / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 66
    for row in rows:
        assert imagenet_synsets()[int(row["index"])] == row["synset"]
        name = row["file"].removesuffix(".JPEG").partition("_")[2].replace("_", " ")
        assert name.lower() in imagenet_labels()[int(row["index"])].lower()


def test_the_licence_of_wordnet_is_kept() -> None:
    import ghostedge.data

    (folder,) = ghostedge.data.__path__
    text = (Path(folder) / "imagenet_classes.tsv").read_text(encoding="utf-8")
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in text


@pytest.mark.parametrize(
    "text",
    ["cat\ndog\nred fox\n", "# my classes\n# of 2026\ncat\ndog\nred fox", "\ufeffcat\r\n dog \r\nred fox\r\n\r\n"],
)
def test_load_labels(tmp_path: Path, text: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_text(text, encoding="utf-8", newline="")
    assert load_labels(path) == ("cat", "dog", "red fox")


def test_load_labels_reads_synset_files(tmp_path: Path) -> None:
    path = tmp_path / "labels.tsv"
    path.write_text("n02123045\ttabby\nn02124075\tEgyptian cat\n")
    assert load_labels(path) == ("tabby", "Egyptian cat")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no class names"),
        (b"# only a comment\n", "no class names"),
        (b"cat\n\ndog\n", "line 2"),
        (b"# names\ncat\ndog\n \nfox\n", "line 4"),
        (b"\xff\xfe\x00c\x00a", "not UTF-8"),
    ],
)
def test_bad_label_files(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=reason) as error:
        load_labels(path)
    assert str(path) in str(error.value)


def test_missing_label_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        load_labels(tmp_path / "gone.txt")
