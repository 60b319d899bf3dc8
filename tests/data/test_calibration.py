"""Calibration images are drawn by a seed, classes taking turns, and what is wrong with them is said."""

from __future__ import annotations

import hashlib
import io
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.data import calibration, preprocess
from ghostedge.data.calibration import MINIMUM, calibration_batch, choose_calibration, refuse_known, refuse_same
from ghostedge.data.datasets import NO_LABELS, open_dataset
from ghostedge.errors import DatasetError
from ghostedge.model import InputSpec


def image(number: int) -> bytes:
    data = io.BytesIO()
    pixels = np.random.default_rng(number).integers(0, 256, (20, 24, 3), np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def classes(tmp_path: Path) -> Path:
    """Four class folders of 10 images, one of them of 30."""
    for label, count in enumerate((10, 10, 10, 30)):
        for number in range(count):
            path = tmp_path / "data" / f"class{label}" / f"{label}_{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(image(100 * label + number))
    return tmp_path / "data"


def test_the_same_seed_draws_the_same_images_and_classes_take_turns(classes: Path) -> None:
    one, two, other = (
        choose_calibration(classes, 16),
        choose_calibration(classes, 16),
        choose_calibration(classes, 16, 1),
    )
    assert one == two
    assert one.to_dict() != other.to_dict()
    labels = [image.image_id.split("_")[0] for image in one.images]
    assert {label: labels.count(label) for label in "0123"} == {"0": 4, "1": 4, "2": 4, "3": 4}
    first = one.images[0]
    assert first.sha256 == hashlib.sha256(next(classes.glob(f"*/{first.image_id}")).read_bytes()).hexdigest()
    assert (one.available, one.notes) == (60, ())


def test_a_flat_folder_without_labels_and_a_list_will_do(classes: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number in range(20):
        (flat / f"{number:02d}.png").write_bytes(image(number))
    chosen = choose_calibration(flat, 16)
    listing = tmp_path / "list.txt"
    listing.write_text("# mine\n" + "".join(f"flat/{number:02d}.png\n" for number in range(20)))
    listed = choose_calibration(listing, 16)
    assert [Path(i.image_id).name for i in listed.images] == [i.image_id for i in chosen.images]
    spec = InputSpec(layout="NHWC", height=16, width=16, resize=18)
    assert calibration_batch(chosen, spec).shape == (16, 16, 16, 3)


def test_an_image_is_decoded_once_for_all_inputs_of_one_size(classes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[bytes] = []
    monkeypatch.setattr(calibration, "decode", lambda data: decoded.append(data) or preprocess.decode(data))
    chosen = choose_calibration(classes, 16, 5)
    encoded = [image.encoded for image in chosen.images]
    small = InputSpec(height=16, width=16, resize=18)
    specs = [small, replace(small, layout="NHWC"), replace(small, range="raw", dtype="uint8", colour_order="BGR")]
    for spec in [*specs, *specs]:
        np.testing.assert_array_equal(calibration_batch(chosen, spec), preprocess.preprocess_batch(encoded, spec))
    assert decoded == encoded


def test_fewer_than_asked_one_class_and_copies_are_noted(classes: Path, tmp_path: Path) -> None:
    assert choose_calibration(classes, 100).notes == ("only 60 images to calibrate on, not 100",)
    single = tmp_path / "single" / "class0"
    single.mkdir(parents=True)
    for number in range(MINIMUM):
        (single / f"{number}.png").write_bytes(image(number // 2))
    notes = choose_calibration(single.parent, MINIMUM).notes
    assert any("of one class" in note for note in notes)
    assert any(f"{MINIMUM // 2} calibration image(s) are copies" in note for note in notes)


def test_what_cannot_be_calibrated_on_is_refused(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="8 calibration images are too few"):
        choose_calibration(classes, 8)
    few = tmp_path / "few"
    few.mkdir()
    with pytest.raises(DatasetError, match="holds no images"):
        choose_calibration(few)
    (few / "a.png").write_bytes(image(0))
    with pytest.raises(DatasetError, match=r"holds 1 image\(s\); calibration needs at least 16"):
        choose_calibration(few)
    for path in classes.glob("*/*.png"):
        path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match=r"the calibration image \w+\.png of .* cannot be read"):
        calibration_batch(choose_calibration(classes), InputSpec())
    missing = tmp_path / "list.txt"
    missing.write_text("".join(f"nowhere/{number}.png\n" for number in range(20)))
    with pytest.raises(DatasetError, match="cannot be read"):
        choose_calibration(missing)


# -- evaluating on calibration images ------------------------------------------------------------------------


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


def test_an_image_that_cannot_be_read_is_named(classes: Path) -> None:
    """Of what a folder's image raises itself."""
    victim = classes / "class0" / "0_0.png"
    victim.unlink()
    os.mkfifo(victim)
    with pytest.raises(DatasetError, match=r"the calibration image 0_0\.png of .* cannot be read: .* it is a pipe"):
        choose_calibration(classes, 60)
