"""The entry that lets XNNPACK compute in float16 is found where it is, and where the CPU can is known."""

from __future__ import annotations

import ctypes
import platform
from pathlib import Path
from types import SimpleNamespace

import pytest

from ghostedge.errors import ArtifactError
from ghostedge.tflite.delegation import cpu_has_float16
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.float16 import allow_float16, allows_float16
from ghostedge.tflite.graph import text

LINEAR = Path(__file__).parents[1] / "data" / "linear"


def test_the_entry_is_what_litert_reads(float16_tflite: Path) -> None:
    # LiteRT's own reader of metadata: the C interface gives the value of an entry by its name.
    litert = pytest.importorskip("ai_edge_litert")
    library = Path(litert.__file__).parent / "libLiteRt.so"
    if not library.exists():
        pytest.skip("left out: this LiteRT has no C interface")
    if library.with_name("cpu_options.py").exists():
        pytest.skip("left out: since LiteRT 2.1.6 the functions of the C interface take other arguments")
    lib, model = ctypes.CDLL(str(library)), ctypes.c_void_p()
    assert lib.LiteRtCreateModelFromFile(str(float16_tflite).encode(), ctypes.byref(model)) == 0
    data, size = ctypes.c_void_p(), ctypes.c_size_t()
    status = lib.LiteRtGetModelMetadata(model, b"reduced_precision_support", ctypes.byref(data), ctypes.byref(size))
    assert status == 0
    assert ctypes.string_at(data, size.value) == b"fp16accfp16"
    lib.LiteRtDestroyModel(model)


def test_only_the_whole_entry_allows_it(float16_tflite: Path, tmp_path: Path) -> None:
    assert allows_float16(float16_tflite)
    assert not allows_float16(LINEAR / "fp32.tflite")
    other = tmp_path / "accumulates_in_fp32.tflite"
    other.write_bytes(float16_tflite.read_bytes().replace(b"fp16accfp16", b"fp16accfp32"))
    assert not allows_float16(other)


def test_what_a_converter_said_before_goes(float16_tflite: Path) -> None:
    pytest.importorskip("flatbuffers")
    graph = unpack(float16_tflite.read_bytes(), "m")
    graph.set_metadata("reduced_precision_support", b"fp16accfp32")  # as TFLiteConverter writes
    allow_float16(graph)
    again = unpack(pack(graph), "m").model
    found = [bytes(again.buffers[e.buffer].data) for e in again.metadata if text(e.name) == "reduced_precision_support"]
    assert found == [b"fp16accfp16"]


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "empty.tflite").touch()
    for path in (tmp_path / "empty.tflite", tmp_path / "absent.tflite", tmp_path):
        with pytest.raises(ArtifactError, match=f"cannot read {path}"):
            allows_float16(path)


@pytest.mark.parametrize(
    ("machine", "hwcap", "has"),
    # Of Linux on a Cortex-A76, on a Cortex-A72, and with scalar float16 arithmetic alone.
    [("aarch64", 0x119FFB, True), ("aarch64", 0x8FB, False), ("arm64", 0x2FB, False), ("x86_64", 0x119FFB, False)],
)
def test_which_cpus_have_it(monkeypatch: pytest.MonkeyPatch, machine: str, hwcap: int, has: bool) -> None:
    def getauxval(kind: int) -> int:
        return hwcap if kind == 16 else 0

    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(getauxval=getauxval))
    assert cpu_has_float16() is has


def test_a_c_library_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    assert cpu_has_float16() is False
