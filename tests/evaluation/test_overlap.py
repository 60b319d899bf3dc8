"""Images that a model was calibrated on do not count as evidence of its accuracy."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.datasets import NO_LABELS, open_dataset
from ghostedge.errors import DatasetError
from ghostedge.evaluation.overlap import refuse_known, refuse_same


def test_the_same_image_is_refused_and_another_of_its_name_is_not(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).write_bytes(name.encode())
    dataset = open_dataset(tmp_path, NO_LABELS)
    digest = hashlib.sha256(b"b.jpg").hexdigest()
    everything = np.arange(3)
    refuse_known(dataset, everything, {hashlib.sha256(b"another b").hexdigest(): ("b.jpg", "m.tflite")})
    refuse_known(dataset, np.array([0, 2]), {digest: ("b.jpg", "m.tflite")})
    with pytest.raises(DatasetError, match=r"1 of the 3 images, the first 'b.jpg', are among those that m.tflite was"):
        refuse_known(dataset, everything, {digest: ("b.jpg", "m.tflite")})


def test_a_renamed_image_is_refused_when_it_is_read() -> None:
    calibration = {hashlib.sha256(b"bytes").hexdigest(): ("x.jpg", "m.tflite")}
    refuse_same("y.jpg", b"other bytes", calibration)
    with pytest.raises(DatasetError, match=r"image 'y.jpg' is 'x.jpg', on which m.tflite was calibrated"):
        refuse_same("y.jpg", b"bytes", calibration)
