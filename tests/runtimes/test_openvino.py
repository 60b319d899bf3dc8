"""What is OpenVINO's own: two files, the precision that is really computed with, and int8 on both kinds of x86 CPU.

What saturates is seen whatever CPU runs these tests.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ArtifactError
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import openvino
from ghostedge.runtimes.openvino import (
    IN_FLOAT,
    NAMES,
    SATURATING,
    VNNI,
    OpenVinoRuntime,
    _InFloat,
    int8_arithmetic,
    run_on_other_cpu,
)

pytest.importorskip("openvino")

SPEC = InputSpec(height=8, width=8, resize=8)
RAW = InputSpec(range="raw", height=8, width=8, resize=8)
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="left out: VNNI is of x86 CPUs, this is none"
)


def int8_artifact(path: Path) -> Model:
    return Model(path, "openvino", RAW, precision="int8")


def artifact(path: Path) -> Model:
    return Model(path, "openvino", SPEC)


def test_it_computes_in_float32(linear_models: dict[str, Path]) -> None:
    with OpenVinoRuntime(artifact(linear_models["openvino"])) as runtime:
        assert runtime.info["inference_precision"] == "f32"
        # In float16 or bfloat16 the mean would be off by 1e-3 or more.
        pixels = np.full((1, 3, 8, 8), 1.2345678, np.float32)
        assert abs(float(runtime.run(pixels)[0, 2]) - (0.3 - 1.2345678)) < 1e-6


def test_float16_weights_are_widened(linear_models: dict[str, Path], tmp_path: Path) -> None:
    library = require("openvino", "openvino")
    model = library.Core().read_model(linear_models["openvino"])
    library.save_model(model, tmp_path / "half.xml", compress_to_fp16=True)
    pixels = np.random.default_rng(0).random((2, 3, 8, 8)).astype(np.float32)
    with (
        OpenVinoRuntime(artifact(linear_models["openvino"])) as whole,
        OpenVinoRuntime(artifact(tmp_path / "half.xml")) as half,
    ):
        # The weights are exact in float16, the bias (0.1, -0.2, 0.3) is not: 2^-13 at most.
        difference = np.abs(whole.run(pixels) - half.run(pixels)).max()
    assert 0 < difference < 2**-13


def test_the_weights_are_missing_or_cut(linear_models: dict[str, Path], tmp_path: Path) -> None:
    source, path = linear_models["openvino"], tmp_path / "model.xml"
    shutil.copy(source, path)
    with pytest.raises(ArtifactError, match=r"model\.bin does not exist"):
        OpenVinoRuntime(artifact(path))
    path.with_suffix(".bin").write_bytes(source.with_suffix(".bin").read_bytes()[:-20])
    with pytest.raises(ArtifactError, match=r"^openvino .* does not load .*model\.xml") as error:
        OpenVinoRuntime(artifact(path))
    assert "\n" not in str(error.value)


@pytest.fixture
def images() -> NDArray[np.float32]:
    """Bright and dark ones."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 64, (6, 3, 8, 8)) + np.array([0, 96, 191, 0, 96, 191])[:, None, None, None]).astype(
        np.float32
    )


def kinds(int8_ir: Path, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """How the integers are added -> logits, of this process and of the other kind of CPU."""
    with OpenVinoRuntime(int8_artifact(int8_ir)) as runtime:
        own = runtime.run(images)
        assert runtime.info["int8_arithmetic"] == int8_arithmetic()
    found = run_on_other_cpu(int8_artifact(int8_ir), images)
    assert found is not None
    return {found.own: own, found.other: found.logits}


@x86
def test_what_saturates_is_seen_on_one_kind_alone(
    int8_irs: dict[str, Path], int8_ir_logits: Logits, images: NDArray[np.float32]
) -> None:
    by_kind = kinds(int8_irs["saturates"], images)
    assert SATURATING in by_kind
    exact = int8_ir_logits(images)
    (with_vnni,) = (logits for kind, logits in by_kind.items() if kind != SATURATING)
    assert compare(exact, with_vnni).snr_db > 100
    assert compare(exact, by_kind[SATURATING]).snr_db < 25
    # Dark images do not reach 16 bits: it is the sums that are wrong, not the model.
    assert compare(exact[::3], by_kind[SATURATING][::3]).snr_db > 100


@x86
def test_what_fits_is_the_same_on_both(
    int8_irs: dict[str, Path], int8_ir_logits: Logits, images: NDArray[np.float32]
) -> None:
    by_kind = kinds(int8_irs["fits"], images)
    assert len(by_kind) == 2
    for logits in by_kind.values():
        assert compare(int8_ir_logits(images), logits).snr_db > 100


@pytest.mark.parametrize("kind", ["saturates", "fits"])
def test_the_stand_in_adds_the_integers_exactly(
    int8_irs: dict[str, Path], int8_ir_logits: Logits, images: NDArray[np.float32], kind: str
) -> None:
    with _InFloat(int8_artifact(int8_irs[kind])) as runtime:
        assert set(runtime.info["weighted_layers"]) == {"f32"}
        assert "int8_arithmetic" not in runtime.info
        assert compare(int8_ir_logits(images), runtime.run(images)).snr_db > 100
        # The quantisers stay: a colour between two levels is one of them.
        between = np.full((1, 3, 8, 8), 100.4, np.float32)
        assert np.abs(runtime.run(between) - int8_ir_logits(np.floor(between))).max() < 1e-5


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="left out: there is no /proc/cpuinfo to compare with")
@x86
def test_the_arithmetic_is_that_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = Path("/proc/cpuinfo").read_text().split()
    has_vnni = bool({"avx512_vnni", "avx_vnni"} & set(flags))
    for limit, expected in (("", VNNI if has_vnni else SATURATING), ("AVX2", SATURATING)):
        code = "from ghostedge.runtimes.openvino import int8_arithmetic; print(int8_arithmetic())"
        environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit or "ALL"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
        assert done.stdout.strip() == expected


_RUN = """
import sys
from pathlib import Path
import numpy as np
from ghostedge.model import Model, InputSpec
from ghostedge.runtimes import openvino
openvino._LIMIT = sys.argv[2]
spec = InputSpec(range="raw", height=8, width=8, resize=8)
images = np.full((1, 3, 8, 8), 255, np.float32)
found = openvino.run_on_other_cpu(Model(Path(sys.argv[1]), "openvino", spec), images)
print(found.own, found.other, float(found.logits.max()), sep="|")
"""


def run_in(int8_ir: Path, limit: str, variable: str) -> subprocess.CompletedProcess[str]:
    """`run_on_other_cpu` on white, in a process that may use `limit`, which it believes to be set by `variable`."""
    environment = {**os.environ, "ONEDNN_MAX_CPU_ISA": limit}
    command = [sys.executable, "-c", _RUN, str(int8_ir), variable]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@x86
def test_a_process_that_may_not_use_vnni_takes_the_real_one_where_there_is_one(int8_irs: dict[str, Path]) -> None:
    done = run_in(int8_irs["saturates"], "AVX2", "ONEDNN_MAX_CPU_ISA")
    own, other, _ = done.stdout.strip().split("|")
    assert own == SATURATING
    # Where these tests themselves may not use VNNI, the CPU may have it nevertheless.
    assert other in ((VNNI,) if int8_arithmetic() == VNNI else (VNNI, IN_FLOAT))


@x86
def test_a_cpu_without_vnni_has_a_stand_in_for_it(int8_irs: dict[str, Path], int8_ir_logits: Logits) -> None:
    # With another name of the variable the process cannot be given VNNI back: as on a CPU without.
    own, other, most = run_in(int8_irs["saturates"], "AVX2", "NO_SUCH_VARIABLE").stdout.strip().split("|")
    assert (own, other) == (SATURATING, IN_FLOAT)
    white = int8_ir_logits(np.full((1, 3, 8, 8), 255, np.float32))
    assert abs(float(most) - white.max()) < 1e-4


@pytest.mark.skipif(int8_arithmetic() != VNNI, reason="left out: VNNI cannot be taken from a CPU without")
def test_a_limit_that_does_nothing_is_no_other_cpu(int8_irs: dict[str, Path]) -> None:
    done = run_in(int8_irs["saturates"], "ALL", "NO_SUCH_VARIABLE")
    assert done.returncode
    assert "does not keep oneDNN from VNNI here" in done.stderr.splitlines()[-1]


@x86
def test_a_float_ir_has_no_such_arithmetic(linear_models: dict[str, Path]) -> None:
    with OpenVinoRuntime(artifact(linear_models["openvino"])) as runtime:
        assert "int8_arithmetic" not in runtime.info


@x86
def test_a_failure_is_one_line(tmp_path: Path, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.xml").write_text("<net")
    (tmp_path / "broken.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"broken\.xml cannot be run as on the other kind of CPU: .*") as caught:
        run_on_other_cpu(int8_artifact(tmp_path / "broken.xml"), images)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(openvino, "int8_arithmetic", lambda: "32-bit sums")
    assert run_on_other_cpu(int8_artifact(tmp_path / "broken.xml"), images) is None


def test_every_kind_has_a_name() -> None:
    assert set(NAMES) == {VNNI, SATURATING, IN_FLOAT}
    assert NAMES[SATURATING] == "without VNNI (AVX2)"
