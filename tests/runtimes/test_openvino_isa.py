"""An int8 IR on both kinds of x86 CPU: what saturates is seen whatever CPU runs these tests."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import openvino_isa
from ghostedge.runtimes.openvino import SATURATING, VNNI, OpenVinoRuntime, int8_arithmetic
from ghostedge.runtimes.openvino_isa import IN_FLOAT, NAMES, _InFloat, run_on_other_cpu

pytest.importorskip("openvino")

SPEC = InputSpec(range="raw", height=8, width=8, resize=8)
Logits = Callable[[NDArray[np.float32]], NDArray[np.float32]]

x86 = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="left out: VNNI is of x86 CPUs, this is none"
)


def artifact(path: Path) -> Model:
    return Model(path, "openvino", SPEC, precision="int8")


@pytest.fixture
def images() -> NDArray[np.float32]:
    """Bright and dark ones."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 64, (6, 3, 8, 8)) + np.array([0, 96, 191, 0, 96, 191])[:, None, None, None]).astype(
        np.float32
    )


def kinds(int8_ir: Path, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """How the integers are added -> logits, of this process and of the other kind of CPU."""
    with OpenVinoRuntime(artifact(int8_ir)) as runtime:
        own = runtime.run(images)
        assert runtime.info["int8_arithmetic"] == int8_arithmetic()
    found = run_on_other_cpu(artifact(int8_ir), images)
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
    with _InFloat(artifact(int8_irs[kind])) as runtime:
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
from ghostedge.runtimes import openvino_isa
from ghostedge.model import Model, InputSpec
openvino_isa._LIMIT = sys.argv[2]
spec = InputSpec(range="raw", height=8, width=8, resize=8)
images = np.full((1, 3, 8, 8), 255, np.float32)
found = openvino_isa.run_on_other_cpu(Model(Path(sys.argv[1]), "openvino", spec), images)
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
    with OpenVinoRuntime(
        Model(linear_models["openvino"], "openvino", InputSpec(height=8, width=8, resize=8))
    ) as runtime:
        assert "int8_arithmetic" not in runtime.info


@x86
def test_a_failure_is_one_line(tmp_path: Path, images: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken.xml").write_text("<net")
    (tmp_path / "broken.bin").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"broken\.xml cannot be run as on the other kind of CPU: .*") as caught:
        run_on_other_cpu(artifact(tmp_path / "broken.xml"), images)
    assert "\n" not in str(caught.value)
    monkeypatch.setattr(openvino_isa, "int8_arithmetic", lambda: "32-bit sums")
    assert run_on_other_cpu(artifact(tmp_path / "broken.xml"), images) is None


def test_every_kind_has_a_name() -> None:
    assert set(NAMES) == {VNNI, SATURATING, IN_FLOAT}
    assert NAMES[SATURATING] == "without VNNI (AVX2)"
