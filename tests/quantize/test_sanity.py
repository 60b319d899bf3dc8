"""Each mistake with calibration images is named."""

from __future__ import annotations

import numpy as np
import pytest

from ghostedge.data.images import sample_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.errors import DatasetError, ParityError
from ghostedge.model import InputSpec
from ghostedge.quantize.sanity import check_batch, check_logits

SPEC = InputSpec(layout="NHWC")
RAW = InputSpec(layout="NHWC", range="raw", dtype="uint8")


@pytest.fixture(scope="module")
def batch() -> np.ndarray:
    return preprocess_batch(sample_images(), SPEC)


def test_photos_as_the_model_takes_them_pass(batch: np.ndarray) -> None:
    assert check_batch(batch, SPEC) == ()


@pytest.mark.parametrize(
    ("mistake", "message"),
    [
        (lambda x: np.moveaxis(x, 3, 1), "it looks like NCHW"),
        (lambda x: x[:, :-1], "its shape is"),
        (lambda x: np.full_like(x, np.nan), "image 0 is not finite"),
        (lambda x: (x * 0.2 + 0.5).clip(0, 1), "scaled to 0..1, not normalised"),
        (lambda x: (x * 50 + 120).clip(0, 255), "0..255, not normalised"),
    ],
)
def test_a_batch_that_cannot_be_is_refused(batch: np.ndarray, mistake: object, message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        check_batch(mistake(batch), SPEC)  # type: ignore[operator]


def test_raw_input_is_told_from_scaled_and_normalised(batch: np.ndarray) -> None:
    pixels = preprocess_batch(sample_images(), RAW)
    assert check_batch(pixels, RAW) == ()
    with pytest.raises(DatasetError, match="scaled to"):
        check_batch(pixels / np.float32(255), RAW)
    with pytest.raises(DatasetError, match="normalised already"):
        check_batch(batch, RAW)


def test_swapped_channels_are_suspected() -> None:
    """On bright photographs; ImageNet's mean red is brighter than its mean blue by 0.08 of full scale."""
    rng = np.random.default_rng(0)
    pixels = np.clip(rng.normal([0.485, 0.456, 0.406], 0.25, (32, 224, 224, 3)), 0, 1)
    mean, std = np.array(SPEC.mean), np.array(SPEC.std)
    assert check_batch(((pixels - mean) / std).astype(np.float32), SPEC) == ()
    (found,) = check_batch(((pixels[..., ::-1] - mean) / std).astype(np.float32), SPEC)
    assert "red and blue swapped" in found


def test_one_grey_image_is_suspected(batch: np.ndarray) -> None:
    grey = np.broadcast_to(np.float32(-0.5), batch.shape)
    assert any("one single colour" in line for line in check_batch(grey, SPEC))
    assert any("are the same" in line for line in check_batch(np.repeat(batch[:1], 4, axis=0), SPEC))


def test_logits_that_follow_the_float_model_pass() -> None:
    exact = np.random.default_rng(0).standard_normal((8, 50)).astype(np.float32)
    check_logits(exact, np.round(exact / 0.05) * np.float32(0.05), "m.tflite")


def test_dead_saturated_and_broken_logits_are_named() -> None:
    exact = np.random.default_rng(0).standard_normal((8, 50)).astype(np.float32)
    quantised = (np.round(exact / 0.05) * 0.05).astype(np.float32)
    dead = quantised.copy()
    dead[:, 7] = 0.5
    with pytest.raises(ParityError, match=r"m.tflite: 1 of 50 classes are dead \(class 7"):
        check_logits(exact, dead, "m.tflite")
    with pytest.raises(ParityError, match="are cut off at 1"):
        check_logits(exact, np.minimum(quantised, 1.0), "m.tflite")
    with pytest.raises(ParityError, match="not finite"):
        check_logits(exact, np.where(quantised > 1, np.nan, quantised), "m.tflite")
