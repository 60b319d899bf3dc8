"""A TFLite file that is not whole is refused, where LiteRT would crash the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes.tflite import TFLiteRuntime
from ghostedge.tflite.check import check_tflite

pytest.importorskip("ai_edge_litert")

MODELS = Path(__file__).parents[1] / "data" / "linear"  # made by make_tflite.py there
SPEC = InputSpec(layout="NHWC", height=8, width=8, resize=8)


@pytest.mark.parametrize("name", ["fp32", "int8", "split", "uint8"])
def test_whole_files_pass_the_check(name: str) -> None:
    check_tflite(MODELS / f"{name}.tflite")


def test_a_file_cut_anywhere_is_refused(tmp_path: Path) -> None:
    data = (MODELS / "int8.tflite").read_bytes()
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
from ghostedge.model import Artifact, InputSpec

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
    arguments = [sys.executable, "-c", DAMAGE, str(MODELS / "split.tflite"), str(tmp_path / "damaged.tflite")]
    result = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr  # -11 would be a segmentation fault
    assert int(result.stdout) > 100


def test_an_archive_after_the_model_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes((MODELS / "fp32.tflite").read_bytes() + b"PK\x05\x06" + bytes(18))
    with TFLiteRuntime(Model(path, "tflite", SPEC)) as runtime:
        assert runtime.run(np.zeros((1, 8, 8, 3), np.float32)).shape == (1, 4)
