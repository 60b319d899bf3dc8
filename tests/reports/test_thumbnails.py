"""Thumbnails come from any layout, and an image that cannot be shown is left out."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
from PIL import Image

from ghostedge.data.datasets import NO_LABELS, open_dataset
from ghostedge.reports.parity_page import thumbnails


def test_pictures_are_small_centred_jpegs(tmp_path: Path) -> None:
    pixels = np.zeros((200, 400, 3), np.uint8)
    pixels[:, 100:300] = (250, 10, 10)  # the middle square is red
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    Image.new("L", (30, 60), 128).save(tmp_path / "grey.JPEG")
    (tmp_path / "broken.JPEG").write_bytes(b"\xff\xd8\xff")
    made = thumbnails(open_dataset(tmp_path, NO_LABELS), ["wide.png", "broken.JPEG", "grey.JPEG", "absent.JPEG"])
    assert made.keys() == {"wide.png", "grey.JPEG"}
    kind, _, content = made["wide.png"].partition(",")
    assert kind == "data:image/jpeg;base64"
    with Image.open(io.BytesIO(base64.b64decode(content))) as picture:
        assert picture.size == (112, 112)
        red, green, blue = np.asarray(picture).reshape(-1, 3).mean(axis=0)
    assert red > 230
    assert max(green, blue) < 40
