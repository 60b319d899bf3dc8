"""Golden vectors are written whole and equal, read back as they were, and refused where they are not whole."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.data.golden import MAX_IMAGES, Golden, golden_beside, read_golden, spread, write_golden
from ghostedge.errors import ArtifactError


@pytest.fixture
def golden() -> Golden:
    random = np.random.default_rng(0)
    return Golden(
        crops=random.integers(0, 256, (2, 8, 6, 3), np.uint8),
        logits=random.standard_normal((2, 3), np.float32),
        names=("grün.jpg", "b.jpg"),
        class_names=("x", "y", "z"),
        source_sha256="ab" * 32,
    )


def test_what_is_written_is_read(golden: Golden, tmp_path: Path) -> None:
    write_golden(tmp_path / "m.golden.npz", golden)
    found = read_golden(tmp_path / "m.golden.npz")
    np.testing.assert_array_equal(found.crops, golden.crops)
    np.testing.assert_array_equal(found.logits, golden.logits)
    assert (found.crops.dtype, found.logits.dtype) == (np.uint8, np.float32)
    assert (found.names, found.class_names, found.source_sha256) == (
        golden.names,
        golden.class_names,
        golden.source_sha256,
    )


def test_a_model_without_class_names(golden: Golden, tmp_path: Path) -> None:
    write_golden(tmp_path / "m.golden.npz", dataclasses.replace(golden, class_names=()))
    assert read_golden(tmp_path / "m.golden.npz").class_names == ()


def test_equal_vectors_give_equal_bytes(golden: Golden, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    write_golden(tmp_path / "a.npz", golden)
    monkeypatch.setattr(time, "time", lambda: 2e9)
    monkeypatch.setattr(time, "localtime", lambda *args: time.gmtime(2e9))
    write_golden(tmp_path / "b.npz", golden)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize(
    "change",
    [
        {"names": ("one",)},
        {"names": ()},
        {"crops": np.zeros((2, 8, 6), np.uint8)},
        {"logits": np.zeros((3, 3), np.float32)},
        {"logits": np.full((2, 3), np.nan, np.float32)},
        {"class_names": ("x",)},
    ],
)
def test_what_does_not_fit_together(golden: Golden, change: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="golden vectors: "):
        dataclasses.replace(golden, **change)


def test_every_truncation_is_refused(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "m.golden.npz"
    write_golden(path, golden)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ArtifactError, match="is not a whole golden file"):
            read_golden(path)


def test_a_flipped_bit_is_refused_or_without_effect(golden: Golden, tmp_path: Path) -> None:
    path = tmp_path / "m.golden.npz"
    write_golden(path, golden)
    whole, accepted = path.read_bytes(), 0
    for place in range(0, len(whole), 5):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = read_golden(path)
        except ArtifactError:
            continue
        accepted += 1  # a date, or another field of the zip that nobody reads
        np.testing.assert_array_equal(found.crops, golden.crops)
        np.testing.assert_array_equal(found.logits, golden.logits)
        assert found.source_sha256 == golden.source_sha256
    assert accepted < len(whole) / 5


def test_another_npz_a_pickle_and_a_later_version(golden: Golden, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "schema_version": np.array(1),
        "crops_u8": golden.crops,
        "logits": golden.logits,
        "names": np.array(golden.names),
        "class_names": np.array(golden.class_names),
        "source_sha256": np.array("ab"),
    }
    path = tmp_path / "m.npz"
    for change, message in [
        ({"logits": golden.logits.astype(np.float64)}, "logits is float64"),
        ({"crops_u8": golden.crops.astype(np.uint16)}, "crops_u8 is uint16"),
        ({"names": np.array([print, print], object)}, "is not a whole golden file"),
        ({"schema_version": np.array(2)}, "has schema version 2, this ghostedge reads 1"),
        ({"schema_version": np.array([1, 1])}, "has schema version"),
    ]:
        np.savez(path, **{**arrays, **change})
        with pytest.raises(ArtifactError, match=message):
            read_golden(path)
    np.savez(path, logits=golden.logits)
    with pytest.raises(ArtifactError, match="is not a whole golden file"):
        read_golden(path)
    with pytest.raises(ArtifactError, match="does not exist; ghostedge export writes"):
        read_golden(tmp_path / "none.npz")


def test_which_golden_file_is_an_artifact_s_own(tmp_path: Path) -> None:
    assert golden_beside(tmp_path / "net_fp32.tflite") is None
    (tmp_path / "net.golden.npz").touch()
    assert golden_beside(tmp_path / "renamed.tflite") == tmp_path / "net.golden.npz"
    (tmp_path / "net_2.golden.npz").touch()
    (tmp_path / ".partial-1-net_2_fp32.golden.npz").touch()
    assert golden_beside(tmp_path / "net_fp32.tflite") == tmp_path / "net.golden.npz"
    assert golden_beside(tmp_path / "net_2_fp32.tflite") == tmp_path / "net_2.golden.npz"
    assert golden_beside(tmp_path / "renamed.tflite") is None


def test_many_photos_are_thinned_out_evenly() -> None:
    assert spread(3) == [0, 1, 2]
    chosen = spread(1000)
    assert len(chosen) == MAX_IMAGES
    assert chosen[0] == 0
    assert {b - a for a, b in itertools.pairwise(chosen)} <= {31, 32}
