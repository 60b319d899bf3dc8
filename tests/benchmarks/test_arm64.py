"""The real aarch64 LiteRT under QEMU: the same outputs as here, a record that says so, and a count without noise."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostedge.model import Model

ROOT = Path(__file__).parents[2]
ARM64 = ROOT / "benchmarks" / "arm64"
SYSROOT = ROOT / "build" / "arm64"
#: Of the newest LiteRT that sysroot.py was told to take by `make test-arm64`.
NEWEST = "2.3.0"
NEWEST_SYSROOT = SYSROOT.with_name(f"arm64-litert-{NEWEST}")
CPUS = ("cortex-a72", "cortex-a76", "cortex-a710")
PAD_CONV = ROOT / "benchmarks" / "upstream" / "float16-padding" / "pad_conv.tflite"

pytestmark = pytest.mark.skipif(
    "GHOSTEDGE_ARM64" not in os.environ, reason="left out: emulated ARM64 (make test-arm64 runs it)"
)


def python(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ARM64 / script, *arguments]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, timeout=600)


def count(*arguments: object) -> list[dict[str, Any]]:
    done = python("cost.py", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("cpu", ["cortex-a72", "cortex-a710"])
def test_a_record_made_on_arm64(
    cpu: str,
    bench: Callable[..., subprocess.CompletedProcess[str]],
    records: Callable[[], dict[str, dict[str, Any]]],
    tiny: Path,
) -> None:
    done = bench(tiny / "tiny_fp32.tflite", tiny / "tiny_int8.tflite", python=(SYSROOT / f"python-{cpu}",))
    assert done.returncode == 0, done.stderr
    for record in records().values():
        assert (record["device"]["architecture"], record["device"]["emulated"]) == ("aarch64", True)
        assert record["delegate"]["delegated_share"] == 1.0
        assert not record["valid"]


def test_float16_where_the_cpu_has_it(
    bench: Callable[..., subprocess.CompletedProcess[str]],
    records: Callable[[], dict[str, dict[str, Any]]],
    float16_tflite: Path,
    tiny: Path,
    tmp_path: Path,
) -> None:
    for cpu, precision in (("cortex-a72", "f32"), ("cortex-a76", "f16")):
        done = bench(float16_tflite, tiny / "tiny_fp32.tflite", python=(SYSROOT / f"python-{cpu}",))
        assert done.returncode == 0, done.stderr
        found = {r["artifact"]["file"]: r["runtime"]["inference_precision"] for r in records().values()}
        assert found == {"linear.tflite": precision, "tiny_fp32.tflite": "f32"}


#: CPU -> the kernel of XNNPACK's products of matrices that it alone of the three takes, by the file's precision.
KERNELS = {
    "cortex-a72": {"fp32": "4x8__asm_aarch64_neonfma_cortex_a75", "int8": "neon_mlal"},
    "cortex-a76": {"fp32": "6x8__asm_aarch64_neonfma_cortex_a75", "int8": "neondot"},
    "cortex-a710": {"fp32": "6x8__asm_aarch64_neonfma_ld128", "int8": "neoni8mm"},
}


@pytest.mark.parametrize("cpu", CPUS)
def test_litert_takes_the_kernels_of_that_cpu(cpu: str, tiny: Path) -> None:
    # cost.py refuses a sysroot whose programs see another CPU than the board's, so that this covers that too.
    for precision, kernel in KERNELS[cpu].items():
        (profiled,) = count(tiny / f"tiny_{precision}.tflite", "--cpu", cpu, "--profile")
        functions, kinds = profiled["functions"], profiled["kinds"]
        named = [name for name in functions if name.startswith("xnn_") and "igemm_minmax" in name]
        assert any(kernel in name for name in named), named
        assert ("dot" in kinds) is (kernel == "neondot")
        assert ("matrix" in kinds) is (kernel == "neoni8mm")
        # The functions include the mark, some ten thousand instructions of Python, which the count leaves out.
        assert 0 < sum(functions.values()) - profiled["instructions"] < 20_000
        assert sum(functions.values()) == sum(kinds.values())
        assert list(functions.values()) == sorted(functions.values(), reverse=True)
        # At least a fifth: no core dispatches more than five operations a cycle.
        assert profiled["instructions"] / 5 < profiled["model_cycles"] < profiled["instructions"]
        assert 0 < profiled["stored_bytes"] < profiled["loaded_bytes"]


@pytest.mark.parametrize(("option", "words"), [("root", "has CPU part 0xd08, not 0xd0b"), ("cpu", "lacks asimddp")])
def test_an_emulator_of_another_cpu_is_refused(option: str, words: str, tiny: Path, tmp_path: Path) -> None:
    """Half of what a Cortex-A76 is becomes a Cortex-A72's: the files that are seen, or the features."""
    right = (SYSROOT / "python-cortex-a76").read_text()
    replaced = {"root": "root-cortex-a76", "cpu": "-cpu cortex-a76"}[option]
    assert replaced in right
    command = tmp_path / "python-cortex-a76"
    command.write_text(right.replace(replaced, replaced.replace("a76", "a72")))
    command.chmod(0o755)
    done = python("cost.py", tiny / "tiny_fp32.tflite", "--cpu", "pi5", "--sysroot", tmp_path)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_count_of_several_threads_is_refused() -> None:
    done = python("cost.py", PAD_CONV, "--cpu", "pi5", "--threads", "2")
    assert done.returncode == 1
    assert "were executed by other threads than the first" in done.stderr
    assert done.stderr.count("\n") == 1


def test_the_newest_litert_pads_no_pixels_in_float16(tmp_path: Path) -> None:
    from ghostedge.tflite.flatbuffer import pack, unpack
    from ghostedge.tflite.rewrites.for_float16 import pad_rows

    rows = tmp_path / "rows.tflite"
    model = unpack(PAD_CONV.read_bytes(), PAD_CONV.name)
    assert pad_rows(model) > 0
    rows.write_bytes(pack(model))
    pixels, rewritten = count(PAD_CONV, rows, "--cpu", "cortex-a76", "--litert", NEWEST, "--profile")
    for profiled in (pixels, rewritten):
        assert any("f16" in function for function in profiled["functions"])
    padding = [profiled["functions"].get("xnn_compute_pad_5d", 0) for profiled in (pixels, rewritten)]
    assert padding[1] < padding[0] / 4


def test_float16_kernels_run_where_the_cpu_has_them(tiny: Path, tmp_path: Path) -> None:
    from ghostedge.tflite.flatbuffer import pack, unpack
    from ghostedge.tflite.float16 import allow_float16

    plain, allowed = tiny / "tiny_fp32.tflite", tmp_path / "allowed.tflite"
    model = unpack(plain.read_bytes(), plain.name)
    allow_float16(model)
    allowed.write_bytes(pack(model))
    for cpu, path, expected in (("cortex-a72", allowed, False), ("cortex-a76", allowed, True)):
        (profiled,) = count(path, "--cpu", cpu, "--profile")
        assert any(name.startswith("xnn_f16_igemm") for name in profiled["functions"]) is expected
        assert any(name.startswith("xnn_f32_igemm") for name in profiled["functions"]) is not expected


def test_outputs_are_those_of_this_machine(tiny: Path) -> None:
    done = python("check_outputs.py", tiny / "tiny_fp32.tflite", tiny / "tiny_int8.tflite")
    assert done.returncode == 0, done.stdout + done.stderr
    rows = done.stdout.splitlines()[1:]
    assert len(rows) == 2 * len(CPUS)
    assert all(row.endswith("yes") for row in rows)


def test_outputs_on_photos(tiny_tflite: dict[str, Model]) -> None:
    photos = ROOT / "ghostedge" / "data" / "sample_images"
    done = python("check_outputs.py", tiny_tflite["fp32"].path, "--images", photos, "--limit", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert all("3 of 3  yes" in row for row in done.stdout.splitlines()[1:])
    done = python("check_outputs.py", tiny_tflite["fp32"].path, "--images", ROOT / "export")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_an_output_that_differs_is_found(tiny: Path) -> None:
    # More than float32 can agree to: the kernels of the two processors sum in different orders.
    done = python("check_outputs.py", tiny / "tiny_fp32.tflite", "--min-snr-db", "1000")
    assert done.returncode == 2, done.stdout + done.stderr


def test_counts_repeat_whoever_counts_and_wherever(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = count(tiny / "tiny_fp32.tflite", "--cpu", "cortex-a72")
    elsewhere = tmp_path / ("deep" * 20)
    elsewhere.mkdir()
    shutil.copy(tiny / "tiny_fp32.tflite", elsewhere)
    monkeypatch.setenv("ANOTHER_VARIABLE", "x" * 777)
    monkeypatch.chdir(elsewhere)
    (second,) = count("tiny_fp32.tflite", "--cpu", "cortex-a72")
    assert second["instructions"] == first["instructions"]
    # Between inferences Python's allocator takes another way now and then; of a real model it is a millionth.
    assert first["instructions"] * first["spread_percent"] / 100 < 5_000


def test_counts_tell_apart_what_differs(tiny: Path) -> None:
    # 16 x 16 x 8 outputs of 3 x 3 x 3 products: 55,296 multiply-adds, four a vector instruction.
    (fast,) = count(tiny / "tiny_fp32.tflite", "--cpu", "cortex-a72")
    (slow,) = count(tiny / "tiny_fp32.tflite", "--cpu", "cortex-a72", "--no-xnnpack")
    assert 55_296 / 4 < fast["instructions"] < slow["instructions"]


def test_a_damaged_model_is_one_line(tiny: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("hello, world")
    done = python("cost.py", text, "--cpu", "pi4")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "is not a model" in done.stderr
