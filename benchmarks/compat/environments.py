"""Make the environment of a row: one Python, one package in one version, and what it depends on."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

from compat.matrix import NEWEST, PACKAGES, PINNED, ROOT, Environment, Row, without_folders

from ghostedge.errors import UsageError
from ghostedge.files import atomic_write

#: What is installed beside a package that does not ask for it itself.
BESIDE = {"tflite-runtime": ("numpy<2",)}  # it is built for NumPy 1

#: The oldest Python there is: what is found on it can be installed on the others.
LOCK_PYTHON = "3.11"

#: The one that runs this, and that `--only newest` takes: it is there for sure.
OWN_PYTHON = ".".join(platform.python_version_tuple()[:2])

LOCK_HEAD = """\
# The newest versions in which `make compat` found every artifact right (on Python 3.11); `make compat-newest` and
# continuous integration run these. Written by benchmarks/compatibility.py: package: all that its environment holds.
"""

INSTALL_LIMIT_S = 900


class UnavailableError(Exception):
    """An environment that cannot be made, and why, on one line."""


def make(environment: Environment, folder: Path, locked: tuple[str, ...] | None) -> tuple[Path, dict[str, str]]:
    """Make an environment, or leave it as it is where it holds the right versions already.

    Args:
        locked: the requirements to install; None: what the index says.

    Returns: its Python, and the version of each distribution in it.

    Raises: UnavailableError.
    """
    home = folder / environment.name
    python, stamp = home / "bin" / "python", home / "requirements.txt"
    if not (stamp.exists() and works(python)):
        shutil.rmtree(home, ignore_errors=True)
        make_venv(environment, home)
    requirements = locked or resolve(environment, python)
    text = "".join(f"{line}\n" for line in requirements)
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != text:
        stamp.unlink(missing_ok=True)
        wanted = home / "wanted.txt"
        wanted.write_text(text, encoding="utf-8")
        uv("pip", "sync", "--python", python, "--only-binary", ":all:", wanted, environment=environment)
        wanted.replace(stamp)
    return python, dict(line.split("==") for line in requirements)


def make_venv(environment: Environment, home: Path) -> None:
    """An empty environment of the right Python. Raises: UnavailableError."""
    wanted = sys.executable if environment.python == OWN_PYTHON else environment.python
    try:
        uv("venv", "--quiet", "--python", wanted, home, environment=environment)
    except UnavailableError as exc:
        # pyenv's commands, such as python3.13, answer only for the version that is chosen. Not at first: chosen and
        # absent from pyenv, they fail, and uv looks no further.
        try:
            uv("venv", "--quiet", "--python", wanted, home, environment=environment, PYENV_VERSION=environment.python)
        except UnavailableError:
            raise exc from None


def works(python: Path) -> bool:
    """Whether a Python starts: that of a folder left from another machine does not."""
    try:
        return subprocess.run([python, "-c", ""], capture_output=True, check=False, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def resolve(environment: Environment, python: Path) -> tuple[str, ...]:
    """All that an environment shall hold, each as NAME==VERSION, by the index. Raises: UnavailableError."""
    exact = environment.version not in (PINNED, NEWEST)
    wanted = f"{environment.package}=={environment.version}" if exact else environment.package
    arguments = ["pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--only-binary", ":all:"]
    arguments += ["--python", str(python), *(["--upgrade"] if environment.version == NEWEST else [])]
    if environment.version == PINNED:
        arguments += ["--constraint", str(ROOT / "locks" / "export.txt")]
    given = "\n".join((wanted, *BESIDE.get(environment.package, ())))
    lines = uv(*arguments, environment=environment, given=given).split("\n")
    return tuple(line.partition(";")[0].strip() for line in lines if "==" in line)


def uv(*arguments: object, environment: Environment, given: str | None = None, **variables: str) -> str:
    """Run uv, with these environment variables, and return what it prints. Raises: UnavailableError."""
    beside = Path(sys.executable).with_name("uv")
    program = str(beside) if beside.exists() else shutil.which("uv")
    if program is None:
        raise UnavailableError("'uv' is not installed; run: make install")
    try:
        done = subprocess.run(
            [program, *map(str, arguments)],
            input=given,
            capture_output=True,
            text=True,
            env={**os.environ, "UV_PYTHON_DOWNLOADS": "never", **variables},
            timeout=INSTALL_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UnavailableError(f"uv {arguments[0]} took longer than {INSTALL_LIMIT_S} s") from None
    if done.returncode:
        raise UnavailableError(uv_reason(done.stderr, environment))
    return done.stdout


def uv_reason(said: str, environment: Environment) -> str:
    """Why uv could not do it, from what it says."""
    text = " ".join(said.split())
    if "No interpreter found" in text:
        return f"there is no Python {environment.python} here"
    if "no wheels with a matching Python" in text or "no usable wheels" in text:
        return f"no wheel for Python {environment.python}"
    if "there is no version of" in text or "was not found in the package registry" in text:
        return "the index has no such version"
    text = re.sub(r"https?://\S+", "the index", text.partition("cause: ")[2] or text.partition("error: ")[2] or text)
    return without_folders(text.partition("hint:")[0].strip() or "uv failed without a message")


def read_lock(path: Path) -> dict[str, tuple[str, ...]]:
    """Package -> the requirements of its newest environment. Raises: UsageError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as exc:
        raise UsageError(f"{path.name} cannot be read ({exc.strerror}); make compat writes it") from exc
    pairs = (line.partition(":") for line in lines if line.strip() and not line.startswith("#"))
    return {name: tuple(rest.split()) for name, _, rest in pairs}


def move_on(path: Path, rows: list[Row]) -> None:
    """Write the newest versions in which all is right to the lock file; others keep what it says."""
    held = read_lock(path) if path.exists() else {}
    for row in rows:
        asked = row.environment
        if (asked.version, asked.python, row.code) == (NEWEST, LOCK_PYTHON, 0):
            held[asked.package] = tuple(f"{name}=={version}" for name, version in row.versions.items())
    atomic_write(path, LOCK_HEAD + "".join(f"{name}: {' '.join(held[name])}\n" for name in PACKAGES if name in held))
