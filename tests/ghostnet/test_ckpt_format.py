"""Our reader and writer of ``.ckpt`` agree with MindSpore's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ghostedge.errors import CheckpointError
from ghostedge.ghostnet.ckpt_format import parse_ckpt, write_ckpt

RNG = np.random.default_rng(3)
TENSORS = {
    "conv.weight": RNG.standard_normal((4, 3, 1, 5)).astype(np.float32),
    "bn.gamma": RNG.standard_normal(4).astype(np.float32),
}


@pytest.fixture(scope="module")
def ms() -> Any:
    return pytest.importorskip("mindspore")


def _ms_tensors(ms: Any) -> dict[str, Any]:
    return {name: ms.Tensor(array) for name, array in TENSORS.items()}


def _saved(ms: Any, path: Path, tensors: dict[str, Any], **options: Any) -> bytes:
    ms.save_checkpoint([{"name": name, "data": data} for name, data in tensors.items()], str(path), **options)
    return path.read_bytes()


def test_what_we_write_is_byte_for_byte_what_mindspore_writes(ms: Any, tmp_path: Path) -> None:
    text = '{"variant": "1x", "ö": 1}'
    theirs = _saved(ms, tmp_path / "theirs.ckpt", _ms_tensors(ms), append_dict={"ghostedge": text})
    write_ckpt(tmp_path / "ours.ckpt", TENSORS, {"ghostedge": text})
    assert (tmp_path / "ours.ckpt").read_bytes() == theirs


def test_mindspore_loads_what_we_write(ms: Any, tmp_path: Path) -> None:
    write_ckpt(tmp_path / "ours.ckpt", TENSORS, {"ghostedge": "recorded"})
    loaded = ms.load_checkpoint(str(tmp_path / "ours.ckpt"))
    assert loaded.pop("ghostedge") == "recorded"
    assert loaded.keys() == TENSORS.keys()
    for name, array in TENSORS.items():
        np.testing.assert_array_equal(loaded[name].asnumpy(), array)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64", "uint8", "bool", "bfloat16"])
def test_every_dtype_reads_as_mindspore_reads_it(ms: Any, tmp_path: Path, dtype: str) -> None:
    values = ms.Tensor(np.array([[0, 1, 2.5], [100, 7, 1]], np.float32)).astype(
        getattr(ms, dtype.replace("bool", "bool_"))
    )
    data = _saved(ms, tmp_path / "x.ckpt", {"x": values, "global_step": ms.Tensor(7, ms.int32)})
    content = parse_ckpt(data, "x.ckpt")
    expected = values.astype(ms.float32).asnumpy()
    assert content.tensors["x"].dtype == (np.float32 if dtype == "bfloat16" else np.dtype(dtype))
    np.testing.assert_array_equal(content.tensors["x"].astype(np.float32), expected)
    assert content.tensors["global_step"].shape == ()
    assert content.tensors["global_step"] == 7


def test_sliced_tensors_come_back_whole(ms: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mindspore.train.serialization.SLICE_SIZE", 1)  # KiB, where MindSpore has 512 MiB
    tensors = {"a": RNG.standard_normal((30, 50)).astype(np.float32), "b": RNG.standard_normal(300).astype(np.float32)}
    data = _saved(ms, tmp_path / "x.ckpt", {name: ms.Tensor(array) for name, array in tensors.items()})
    assert data.count(b"Float32") == 6 + 2
    for name, array in parse_ckpt(data, "x.ckpt").tensors.items():
        np.testing.assert_array_equal(array, tensors[name])


def test_the_checksum_is_verified(ms: Any, tmp_path: Path) -> None:
    data = _saved(ms, tmp_path / "x.ckpt", _ms_tensors(ms), crc_check=True)
    assert parse_ckpt(data, "x.ckpt").tensors.keys() == TENSORS.keys()
    flipped = bytearray(data)
    flipped[100] ^= 1
    with pytest.raises(CheckpointError, match="checksum does not match"):
        parse_ckpt(bytes(flipped), "x.ckpt")


def test_an_encrypted_file_says_so(ms: Any, tmp_path: Path) -> None:
    data = _saved(ms, tmp_path / "x.ckpt", _ms_tensors(ms), enc_key=b"0123456789abcdef")
    with pytest.raises(CheckpointError, match="encrypted"):
        parse_ckpt(data, "x.ckpt")


def test_a_cut_anywhere_is_noticed_or_loses_whole_parameters(tmp_path: Path) -> None:
    write_ckpt(tmp_path / "x.ckpt", TENSORS, {})
    data = (tmp_path / "x.ckpt").read_bytes()
    boundary = len(data) - data.rindex(b"\n", 0, data.rindex(b"bn.gamma") - 2)
    for length in range(1, len(data)):
        if length == len(data) - boundary:
            assert parse_ckpt(data[:length], "x.ckpt").tensors.keys() == {"conv.weight"}
            continue
        with pytest.raises(CheckpointError, match=r"x\.ckpt is truncated or damaged") as caught:
            parse_ckpt(data[:length], "x.ckpt")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "not a MindSpore checkpoint"),
        (b"\n\x03abc", "truncated or damaged"),
        (b"\n\x05\n\x01x\x12\x00", "unknown type ''"),
        (b"\n\x11\n\x01x\x12\x0c\x12\x07Float99\x1a\x01a", "unknown type 'Float99'"),
        (b"\n\x0f\n\x01x\x12\x0a\x08\x02\x12\x04Int8\x1a\x00", "of shape \\(2,\\) holds 0 values"),
    ],
)
def test_what_is_no_checkpoint_is_refused_in_one_line(data: bytes, reason: str) -> None:
    with pytest.raises(CheckpointError, match=reason) as caught:
        parse_ckpt(data, "x.ckpt")
    assert "\n" not in str(caught.value)
