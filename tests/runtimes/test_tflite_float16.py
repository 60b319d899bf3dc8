"""A .tflite computed in float16 here: float16 numbers, near the float32 ones, and its overflow."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError, UsageError
from ghostedge.lazy import require
from ghostedge.model import InputSpec, Model
from ghostedge.runtimes import open_runtime

pytest.importorskip("ai_edge_litert")

SPEC = InputSpec(layout="NHWC", height=8, width=8, resize=8)
LINEAR = Path(__file__).parents[1] / "data" / "linear"


def images(count: int, scale: float = 4) -> NDArray[np.float32]:
    """float32 (count, 8, 8, 3) within half of `scale`."""
    return ((np.random.default_rng(count).random((count, 8, 8, 3)) - 0.5) * scale).astype(np.float32)


@pytest.mark.parametrize("threads", [1, 2])
def test_logits_are_float16_numbers(
    float16_tflite: Path, threads: int, linear_logits: Callable[..., NDArray[Any]]
) -> None:
    with open_runtime(Model(float16_tflite, "tflite", SPEC), threads, float16=True) as runtime:
        logits = runtime.run(images(5))
        again = runtime.run(images(5))
    assert (logits.dtype, logits.shape) == (np.float32, (5, 4))
    assert np.array_equal(logits, logits.astype(np.float16))
    assert np.array_equal(logits, again)
    # Some ten roundings to 11 bits of numbers up to 1.
    np.testing.assert_allclose(logits, linear_logits(images(5)), atol=5e-3)
    info = runtime.info
    assert (info["name"], info["threads"], info["inference_precision"]) == ("ai-edge-litert", threads, "f16")


def test_the_same_file_is_computed_in_float32_otherwise(
    float16_tflite: Path, linear_logits: Callable[..., NDArray[Any]]
) -> None:
    with open_runtime(Model(float16_tflite, "tflite", SPEC)) as runtime:
        if runtime.info["inference_precision"] == "f16":
            pytest.skip("left out: this CPU has float16 arithmetic")
        np.testing.assert_allclose(runtime.run(images(5)), linear_logits(images(5)), atol=1e-6)


def test_what_overflows_in_float16_overflows_here(float16_tflite: Path) -> None:
    artifact = Model(float16_tflite, "tflite", SPEC)
    with open_runtime(artifact, float16=True) as runtime:
        assert not np.isfinite(runtime.run(images(1, 1e6))).all()
        assert np.isfinite(runtime.run(images(1))).all()
    with open_runtime(artifact) as runtime:
        assert np.isfinite(runtime.run(images(1, 1e6))).all()


def test_a_whole_network(tiny_float16: Model) -> None:
    batch = np.random.default_rng(3).standard_normal(tiny_float16.input.shape(4)).astype(np.float32)
    with open_runtime(tiny_float16) as runtime:
        float32 = runtime.run(batch)
    with open_runtime(tiny_float16, float16=True) as runtime:
        float16 = runtime.run(batch)
    noise = np.square(float32 - float16).mean() / np.square(float32).mean()
    # 11 bits a layer: GhostNetV2 keeps 63 dB.
    assert 0 < noise < 1e-5


@pytest.fixture
def tiny_float16(tiny_tflite: dict[str, Model], tmp_path: Path) -> Model:
    """`tiny_tflite`'s fp16, allowed to be computed in float16."""
    from ghostedge.tflite.flatbuffer import pack, unpack
    from ghostedge.tflite.float16 import allow_float16

    artifact = tiny_tflite["fp16"]
    model = unpack(artifact.path.read_bytes(), "tiny")
    allow_float16(model)
    (tmp_path / "tiny.tflite").write_bytes(pack(model))
    return replace(artifact, path=tmp_path / "tiny.tflite")


def test_refusals(float16_tflite: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"fp32\.tflite does not allow float16.*leave it out, or set inference"):
        open_runtime(Model(LINEAR / "fp32.tflite", "tflite", SPEC), float16=True)
    cut = tmp_path / "cut.tflite"
    cut.write_bytes(float16_tflite.read_bytes()[:-200])
    with pytest.raises(ArtifactError, match=r"cut\.tflite"):
        open_runtime(Model(cut, "tflite", SPEC), float16=True)
    with pytest.raises(ArtifactError, match="takes 768 bytes, its input spec says 3072"):
        larger = InputSpec(layout="NHWC", height=16, width=16, resize=16)
        open_runtime(Model(float16_tflite, "tflite", larger), float16=True)
    with pytest.raises(UsageError, match=r"--inference-precision f16 is for \.tflite files; leave onnx out"):
        open_runtime(Model(float16_tflite, "onnx", SPEC), float16=True)


def test_a_litert_without_either_interface_says_what_to_install(
    float16_tflite: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ghostedge.runtimes import tflite_float16

    (tmp_path / "__init__.py").touch()
    monkeypatch.setattr(require("ai_edge_litert", "tflite"), "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(UsageError, match=r"^ai-edge-litert \d.* has neither .*ai-edge-litert==2\.1\.2") as error:
        tflite_float16._open(float16_tflite, 1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("code", "message"), [(3, "^said by the child$"), (4, r"computes only a part of .* in float16 on this CPU")]
)
def test_what_the_installed_version_cannot_do_is_no_fault_of_the_file(
    float16_tflite: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: int, message: str
) -> None:
    from ghostedge.runtimes import tflite_float16

    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho said by the child >&2\nexit {code}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(UsageError, match=message):
        tflite_float16._probe(float16_tflite)


def test_logits_that_are_not_float16_numbers_are_found(float16_tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As from LiteRT 2.2 on: the flag is taken, and the end of the network computed in float32.
    from ghostedge.runtimes import tflite_float16

    monkeypatch.setattr(sys, "argv", ["tflite_float16", str(float16_tflite)])
    assert tflite_float16._main() == 0
    monkeypatch.setattr(tflite_float16, "_XNNPACK_FLAGS", type(tflite_float16._XNNPACK_FLAGS)(0x1 | 0x2 | 0x8))
    assert tflite_float16._main() == 4


def test_closing_twice_is_harmless_and_says_nothing(float16_tflite: Path) -> None:
    script = (
        "import sys\nfrom pathlib import Path\nimport numpy as np\nfrom ghostedge.runtimes import open_runtime\n"
        "from ghostedge.model import Model, InputSpec\n"
        "spec = InputSpec(layout='NHWC', height=8, width=8, resize=8)\n"
        "for _ in range(3):\n"
        "    runtime = open_runtime(Model(Path(sys.argv[1]), 'tflite', spec), float16=True)\n"
        "    runtime.run(np.zeros((1, 8, 8, 3), np.float32))\n"
        "    runtime.close()\n"
        "    runtime.close()\n"
        "print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(float16_tflite)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "done\n")
    assert "ERROR" not in done.stderr
