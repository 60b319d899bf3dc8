"""The .tflite flatbuffer is read and written whole and aligned, and a damaged file is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.tflite import TFLiteRuntime
from ghostedge.tflite.flatbuffer import check_tflite, pack, unpack
from ghostedge.tflite.graph import schema
from tests.tflite.graphs import LINEAR, run

pytest.importorskip("ai_edge_litert")

SPEC = InputSpec(layout="NHWC", height=8, width=8, resize=8)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_repacked_model_computes_the_same_and_its_weights_are_aligned(
    tiny_tflite: dict[str, Model], precision: str
) -> None:
    data = tiny_tflite[precision].path.read_bytes()
    packed = pack(unpack(data, "tiny"))
    np.testing.assert_array_equal(run(packed), run(data))
    model = schema().Model.GetRootAs(packed, 0)
    buffers = [model.Buffers(index) for index in range(model.BuffersLength())]
    # Where a vector's elements begin, counted from the first byte of the file; 4 is the field's place in the vtable.
    starts = [b._tab.Vector(b._tab.Offset(4)) for b in buffers if b.DataLength()]
    assert len(starts) > 10
    assert [start % 16 for start in starts] == [0] * len(starts)


def test_a_model_cut_short_anywhere_is_refused(tiny_tflite: dict[str, Model]) -> None:
    data = pack(unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny"))
    for size in range(8, len(data), len(data) // 50):
        with pytest.raises(ArtifactError, match=r"^cut\.tflite is damaged or cut short"):
            unpack(data[:size], "cut.tflite")


@pytest.mark.parametrize("content", [b"", b"TFL3", b"PK\x03\x04" + bytes(100), b"\x00" * 4 + b"TFL3"])
def test_another_file_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError, match=r"^other is (not a TFLite model|damaged)"):
        unpack(content, "other")


def test_an_index_that_leads_nowhere_is_refused(tiny_tflite: dict[str, Model]) -> None:
    graph = unpack(tiny_tflite["fp32"].path.read_bytes(), "tiny")
    graph.operators[0].inputs = [len(graph.tensors)]
    with pytest.raises(ArtifactError, match="damaged"):
        unpack(pack(graph), "tiny")


def test_the_file_of_the_stage_is_a_model_and_an_archive(tiny_tflite: dict[str, Model], tmp_path: Path) -> None:
    data = tiny_tflite["fp16"].path.read_bytes()
    np.testing.assert_array_equal(run(data), run(pack(unpack(data, "tiny"))))  # what follows the model does no harm


# -- a file that is not whole is refused, where LiteRT would crash the process ---------------------------------------


@pytest.mark.parametrize("name", ["fp32", "int8", "split", "uint8"])
def test_whole_files_pass_the_check(name: str) -> None:
    check_tflite(LINEAR.with_stem(name))


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = LINEAR.with_stem("int8").read_bytes()
    path = tmp_path / "cut.tflite"
    for length in [*range(0, len(data) - 8, 24), len(data) - 1]:
        path.write_bytes(data[:length])
        with pytest.raises(ArtifactError, match=r"cut\.tflite is (damaged or not whole|not a TFLite model)"):
            TFLiteRuntime(Model(path, "tflite", SPEC))


DAMAGE = """
import sys
from pathlib import Path
import numpy as np
from ghostedge.errors import ArtifactError
from ghostedge.runtimes.tflite import TFLiteRuntime
from ghostedge.model import InputSpec, Model

data, path, refused = Path(sys.argv[1]).read_bytes(), Path(sys.argv[2]), 0
rng = np.random.default_rng(0)
for _ in range(150):
    damaged = bytearray(data)
    for position in rng.integers(8, len(data), 4):
        damaged[position] = rng.integers(0, 256)
    path.write_bytes(damaged)
    try:
        with TFLiteRuntime(Model(path, "tflite", InputSpec(layout="NHWC", height=8, width=8, resize=8))) as runtime:
            runtime.run(np.zeros((1, 8, 8, 3), np.float32))
    except ArtifactError as error:
        assert "\\n" not in str(error)
        refused += 1
print(refused)
"""


def test_damaged_bytes_do_not_crash(tmp_path: Path) -> None:
    arguments = [sys.executable, "-c", DAMAGE, str(LINEAR.with_stem("split")), str(tmp_path / "damaged.tflite")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr  # -11 would be a segmentation fault
    assert int(result.stdout) > 100


def test_an_archive_after_the_model_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(LINEAR.read_bytes() + b"PK\x05\x06" + bytes(18))
    with TFLiteRuntime(Model(path, "tflite", SPEC)) as runtime:
        assert runtime.run(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 4)
