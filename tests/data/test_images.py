"""The sample photographs are there with their licences; folders are listed in order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.images import list_images, sample_images
from ghostedge.data.preprocess import decode
from ghostedge.errors import ImageError


def test_sample_images_are_small_varied_and_documented() -> None:
    images = sample_images()
    assert len(images) == 8
    assert sum(path.stat().st_size for path in images) <= 500_000
    sources = (images[0].parent / "SOURCES.md").read_text(encoding="utf-8")
    assert all(f"| {path.name}" in sources for path in images)
    pixels = [decode(path) for path in images]
    grey = [bool((image == image[..., :1]).all()) for image in pixels]
    assert sum(grey) == 2
    assert len({np.sign(image.shape[0] - image.shape[1]) for image in pixels}) >= 2


def test_list_images_is_sorted_and_takes_images_only(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.png", "c.jpeg", "notes.txt", "._b.JPG", "model.tflite"):
        (tmp_path / name).write_bytes(b"x")
    assert [path.name for path in list_images(tmp_path)] == ["a.png", "b.JPG", "c.jpeg"]


def test_list_images_of_nothing(tmp_path: Path) -> None:
    (tmp_path / "class").mkdir()
    with pytest.raises(ImageError, match=r"no image in .*; subfolders are not searched"):
        list_images(tmp_path)
    with pytest.raises(ImageError, match="No such file"):
        list_images(tmp_path / "gone")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ImageError, match="Not a directory"):
        list_images(tmp_path / "file")
