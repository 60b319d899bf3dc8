"""The environments of the peers' runtimes: one on this machine, and one with the aarch64 wheels for QEMU.

Their pins fit neither beside each other nor beside ghostedge. `peers` has PyTorch, timm and litert-torch; the others a
runtime each with its converter. A peer whose packages cannot be installed is left out, and the table says why.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
_SYSROOT = ROOT / "benchmarks" / "arm64" / "sysroot.py"


@dataclass(frozen=True)
class Environment:
    """What to install.

    Attributes:
        here: arguments of ``uv pip install`` on this machine.
        arm64: wheels for aarch64, without their dependencies; empty where nothing is counted.
    """

    here: tuple[str, ...]
    arm64: tuple[str, ...] = ()


#: Suffix of a model -> the environment that runs it; others are run by ghostedge's own.
OF_SUFFIX = {
    ".mnn": "mnn",
    ".param": "ncnn",
    ".pte": "executorch",
    ".onnx": "onnxruntime",
    ".safetensors": "peers",
}

_NUMPY = "numpy==2.4.6"
ENVIRONMENTS = {
    "peers": Environment(("-r", str(HERE.parent / "peers-requirements.txt"))),
    "mnn": Environment(("mnn==3.6.1", _NUMPY), ("mnn==3.6.1", _NUMPY)),
    # Without what they declare: a download client for example models, and for pnnx's Python side PyTorch with CUDA.
    "ncnn": Environment(("--no-deps", "ncnn==1.0.20261020", "pnnx==20261020", _NUMPY), ("ncnn==1.0.20261020", _NUMPY)),
    "onnxruntime": Environment(
        ("onnxruntime==1.32.0", "onnx==1.19.1", "sympy==1.14.0", _NUMPY),
        ("onnxruntime==1.32.0", _NUMPY, "flatbuffers==25.12.19", "protobuf==7.36.2", "packaging==26.4"),
    ),
    "executorch": Environment(
        ("executorch==1.5.1", "torch==2.14.0", "torchvision", "timm==1.0.31", "safetensors==0.8.0", _NUMPY),
        ("executorch==1.5.1", _NUMPY),
    ),
}


class NotInstallableError(Exception):
    """A peer's packages cannot be had here; the message says which and why, in one line."""


def uv() -> str:
    """The installer; exits where it is not there."""
    beside = Path(sys.executable).with_name("uv")
    found = str(beside) if beside.exists() else shutil.which("uv")
    if found is None:
        raise SystemExit("'uv' is not installed; run: make install")
    return found


def python(name: str, folder: Path) -> Path:
    """The interpreter of an environment on this machine, made where it is not there.

    Args:
        name: of `ENVIRONMENTS`.
        folder: holds the environments.

    Raises:
        NotInstallableError: a package is not to be had.
    """
    environment, place = ENVIRONMENTS[name], folder / name
    found, stamp = place / "bin" / "python", place / "installed"
    wanted = "\n".join(Path(part).read_text() if Path(part).is_file() else part for part in environment.here)
    if stamp.exists() and stamp.read_text() == wanted:
        return found
    if not found.exists():
        _run(name, [uv(), "venv", "--quiet", "--python", "3.11", str(place)])
    _run(name, [uv(), "pip", "install", "--quiet", "--python", str(found), *environment.here])
    if name == "executorch":
        _build_runner(next(place.glob("lib/python*/site-packages/executorch")), "c++")
    stamp.write_text(wanted)
    return found


def sysroot(name: str, folder: Path) -> Path:
    """The folder of ../arm64/sysroot.py with an environment's aarch64 wheels, made where it is not there.

    Raises:
        NotInstallableError: a wheel for aarch64 is not to be had.
    """
    output = folder / f"arm64-{name}"
    _run(name, [sys.executable, str(_SYSROOT), "--output", str(output), "--wheels", *ENVIRONMENTS[name].arm64])
    if name == "executorch":
        _build_runner(output / "site-packages" / "executorch", "aarch64-linux-gnu-g++")
    return output


def newest_litert() -> str:
    """The newest LiteRT that ../compatibility.py has run."""
    said = (HERE.parent / "compatibility-newest.txt").read_text(encoding="utf-8")
    return re.findall(r"\bai-edge-litert==(\S+)", said)[0]


def litert_sysroots() -> None:
    """Make the folders of ../arm64/sysroot.py with the pinned LiteRT and the newest, where they are not there.

    Raises:
        NotInstallableError: QEMU or a wheel for aarch64 is not to be had.
    """
    for chosen in ([], ["--litert", newest_litert()]):
        _run("LiteRT on ARM64", [sys.executable, str(_SYSROOT), *chosen])


def _build_runner(package: Path, compiler: str) -> None:
    """Compile executorch_runner.cpp into the libraries of an unpacked wheel of ExecuTorch, unless that is done.

    Raises:
        NotInstallableError: the compiler is not installed, or fails.
    """
    library, source = package / "lib" / "librunner.so", HERE / "executorch_runner.cpp"
    if library.exists() and library.stat().st_mtime > source.stat().st_mtime:
        return
    if shutil.which(compiler) is None:
        debian = {"c++": "g++"}.get(compiler, "g++-aarch64-linux-gnu")
        raise NotInstallableError(f"executorch: '{compiler}' is not installed; run: apt-get install {debian}")
    include = package / "include"
    portable = include / "executorch" / "runtime" / "core" / "portable_type" / "c10"
    # The operators and the delegate register themselves when they are loaded: nothing refers to them.
    linked = ["-lexecutorch", "-lexecutorch_threadpool", "-Wl,--no-as-needed"]
    linked += ["-lexecutorch_kernels_optimized", "-lexecutorch_kernels_quantized", "-lexecutorch_backend_xnnpack"]
    options = ["-w", "-std=c++17", "-O1", "-shared", "-fPIC", "-DC10_USING_CUSTOM_GENERATED_MACROS"]
    paths = [
        f"-I{include}",
        f"-I{portable}",
        f"-L{library.parent}",
        "-Wl,-rpath,$ORIGIN",
        "-Wl,--allow-shlib-undefined",
    ]
    partial = library.with_suffix(".partial")
    _run("executorch", [compiler, *options, *paths, "-o", str(partial), str(source), *linked])
    partial.replace(library)


def _run(name: str, command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
        raise NotInstallableError(f"{name}: {said[-1].strip()}")
