from __future__ import annotations

import hashlib
import itertools
import json
from pathlib import Path

import artwork
import numpy as np
import pytest
from PIL import Image

from ghostedge.data.datasets import open_dataset

pytest.importorskip("cv2", reason="left out: the training recipe needs cv2")


import pictures


def hashes(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_same_seed_gives_the_same_bytes(art: artwork.Artwork, tmp_path: Path) -> None:
    for name in ("once", "twice"):
        pictures.write_split(art, tmp_path / name, "validation", 12, seed=5, quality=60)
    pictures.write_split(art, tmp_path / "other", "validation", 12, seed=6, quality=60)
    assert hashes(tmp_path / "once") == hashes(tmp_path / "twice")
    assert not set(hashes(tmp_path / "once").values()) & {
        digest for name, digest in hashes(tmp_path / "other").items() if name.endswith(".jpg")
    }


def test_a_killed_run_continues_where_it_stopped(
    art: artwork.Artwork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures.write_split(art, tmp_path / "whole", "calibration", 8, seed=1, quality=60)
    encode, calls = pictures.jpeg_bytes, itertools.count()

    def killed_at_the_sixth(picture: pictures.Picture, quality: int) -> bytes:
        if next(calls) == 5:
            raise KeyboardInterrupt
        return encode(picture, quality)

    monkeypatch.setattr(pictures, "jpeg_bytes", killed_at_the_sixth)
    with pytest.raises(KeyboardInterrupt):
        pictures.write_split(art, tmp_path / "killed", "calibration", 8, seed=1, quality=60)
    assert len(list((tmp_path / "killed").rglob("*.jpg"))) == 5
    pictures.write_split(art, tmp_path / "killed", "calibration", 8, seed=1, quality=60)
    assert next(calls) == 9, "the five pictures that were there should not be drawn again"
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")


def test_the_difficulty_is_recorded_and_another_one_is_refused(art: artwork.Artwork, tmp_path: Path) -> None:
    for difficulty in (0.0, 1.0):
        output = tmp_path / str(difficulty)
        pictures.write_split(art, output, "validation", 4, seed=1, quality=60, difficulty=difficulty)
        assert json.loads((output / "pictures.json").read_text())["difficulty"] == difficulty
    plain, hard = (hashes(tmp_path / name) for name in ("0.0", "1.0"))
    assert plain.keys() == hard.keys()
    assert all(plain[name] != hard[name] for name in plain if name.endswith(".jpg"))
    with pytest.raises(artwork.ArtworkError, match="made with another difficulty; give another --output"):
        pictures.write_split(art, tmp_path / "0.0", "validation", 4, seed=1, quality=60, difficulty=0.5)


def test_a_folder_of_another_seed_is_refused(art: artwork.Artwork, tmp_path: Path) -> None:
    pictures.write_split(art, tmp_path, "validation", 1, seed=1, quality=60)
    with pytest.raises(artwork.ArtworkError, match="made with another seed; give another --output"):
        pictures.write_split(art, tmp_path, "validation", 2, seed=2, quality=60)


def test_no_two_splits_share_a_random_stream() -> None:
    first_words = [
        pictures.stream(seed, split, index).bytes(16)
        for seed in (0, 1)
        for split in pictures.SPLITS
        for index in range(500)
    ]
    assert len(set(first_words)) == len(first_words)


def test_the_held_out_style_is_seen_in_validation_alone(art: artwork.Artwork) -> None:
    styles = {
        split: {pictures.saved_picture(art, 0, split, index).style for index in range(0, 48, 2)}
        for split in ("calibration", "validation")
    }
    styles["train"] = {pictures.training_picture(art, 0, index, 32).style for index in range(60)}
    everything = set(range(len(artwork.STYLES)))
    assert styles["validation"] == everything
    assert styles["calibration"] == styles["train"] == everything - {artwork.HELD_OUT_STYLE}


def test_the_layout_is_imagenets(art: artwork.Artwork, tmp_path: Path) -> None:
    pictures.write_split(art, tmp_path, "validation", 8, seed=0, quality=60)
    dataset = open_dataset(tmp_path)
    assert dataset.class_names == art.classes == tuple((tmp_path / "labels.txt").read_text().split())
    numbers = [int(name[-9:-4]) for name in dataset.image_ids]
    assert [number % 4 for number in numbers] == dataset.labels.tolist()
    for path in tmp_path.rglob("*.jpg"):
        with Image.open(path) as image:
            assert 300 <= min(image.size) < max(image.size) <= 500


def test_grey_scenes_are_saved_with_one_component(art: artwork.Artwork) -> None:
    pixels = np.full((40, 60, 3), 77, np.uint8)
    modes = []
    for grey in (True, False):
        data = pictures.jpeg_bytes(pictures.Picture(pixels, label=0, style=0, grey=grey), quality=60)
        with Image.open(pictures.io.BytesIO(data)) as image:
            modes.append(image.mode)
    assert modes == ["L", "RGB"]


def test_an_object_is_drawn_where_and_as_large_as_asked(art: artwork.Artwork) -> None:
    scene = np.zeros((200, 300, 3), np.float32)
    rng = np.random.default_rng(0)
    pictures.paste(rng, art, scene, (0, 0), side=80, centre=(210.0, 60.0), tilt=0, mirror=True)
    rows, columns = np.nonzero(scene.sum(axis=2) > 60)
    assert np.mean(columns) == pytest.approx(210, abs=1.5)
    assert np.mean(rows) == pytest.approx(60, abs=1.5)
    # The squeeze is at most exp(0.2) in either direction; the shear widens by 15% at most.
    assert 80 / 1.25 <= np.ptp(columns) <= 80 * 1.25 * 1.15
    assert 80 / 1.25 <= np.ptp(rows) <= 80 * 1.25


def test_missing_artwork_is_one_line_that_says_what_to_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = pictures.main(
        ["--split", "validation", "--count", "1", "--output", str(tmp_path / "out"), "--cache", str(tmp_path)]
    )
    message = capsys.readouterr().err
    assert code == 1
    assert message.count("\n") == 1
    assert "names.json is missing; run: python training/artwork.py" in message
    assert not (tmp_path / "out").exists()


def test_missing_packages_are_named(tmp_path: Path) -> None:
    installed = tmp_path / "node_modules" / "@iconify-json" / "noto"
    installed.mkdir(parents=True)
    (installed / "icons.json").write_text("{}")
    assert artwork.missing_packages(tmp_path) == [style for style in artwork.STYLES if style != "noto"]


def test_names_are_200_classes_in_the_order_of_their_folders() -> None:
    classes = [name for name, _ in artwork.read_names(artwork.HERE / "classes.txt")]
    distractors = [name for name, _ in artwork.read_names(artwork.HERE / "distractors.txt")]
    assert len(classes) == 200
    assert classes == sorted(set(classes))
    assert not set(classes) & set(distractors)
