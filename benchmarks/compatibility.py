"""Run every artifact of an export in old, pinned and new versions of each runtime, and write down how each did.

    python benchmarks/compatibility.py --page docs/compatibility.md    (make compat: asks the index what is newest)
    python benchmarks/compatibility.py --only newest                   (what continuous integration does)

Each row of `TABLE` becomes a small environment of its own under build/compat: one Python, one package and what it
depends on. In it runs what runs on a device: ``edge_benchmark.py --verify-only`` against the export's golden vectors;
for the onnx package, its checker and its strict shape inference. A runtime that refuses a model or crashes costs a
cell, not the run.

Exit codes: 0 all right, 1 something could not be run, 2 something is wrong (wins over 1): answers outside their
recipe's bounds, a float artifact that does not agree on every picture, a TFLite that is not one XNNPACK partition.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ghostedge.data.golden import golden_beside
from ghostedge.errors import GhostedgeError, UsageError
from ghostedge.files import atomic_write
from ghostedge.manifest import Manifest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "benchmarks" / "edge_benchmark.py"

#: In place of a version: the one that locks/export.txt pins, with what it pins beside it; the newest on the index.
PINNED, NEWEST = "pinned", "newest"

#: Package, version, the Pythons it is run on. What a package depends on is the newest that it and its Python take,
#: except beside pinned ones: so NumPy 1 and 2 are both met.
TABLE = (
    ("tflite-runtime", "2.14.0", ("3.11",)),
    ("onnxruntime", PINNED, ("3.11", "3.12")),
    ("onnxruntime", "1.23.0", ("3.13",)),
    ("onnxruntime", NEWEST, ("3.11", "3.12", "3.13")),
    ("ai-edge-litert", "1.1.2", ("3.11",)),
    ("ai-edge-litert", PINNED, ("3.11", "3.12")),
    ("ai-edge-litert", "2.1.0", ("3.13",)),
    ("ai-edge-litert", "2.1.2", ("3.11", "3.13")),
    ("ai-edge-litert", "2.1.6", ("3.11", "3.13")),
    ("ai-edge-litert", "2.2.0", ("3.11", "3.13")),
    ("ai-edge-litert", NEWEST, ("3.11", "3.12", "3.13")),
    ("openvino", "2025.0.0", ("3.11",)),
    ("openvino", "2025.4.1", ("3.11", "3.13")),
    ("openvino", PINNED, ("3.11", "3.12")),
    ("openvino", NEWEST, ("3.11", "3.12", "3.13")),
    ("onnx", PINNED, ("3.11", "3.12")),
    ("onnx", "1.19.1", ("3.13",)),
    ("onnx", NEWEST, ("3.11", "3.12", "3.13")),
)


@dataclass(frozen=True)
class Package:
    """What a package is used for: heading, formats it is given, its name in the script (None: not run by that)."""

    title: str
    formats: tuple[str, ...]
    runtime: str | None


PACKAGES = {
    "onnxruntime": Package("ONNX Runtime", ("onnx",), "onnxruntime"),
    "ai-edge-litert": Package("LiteRT", ("tflite",), "litert"),
    "tflite-runtime": Package("tflite-runtime", ("tflite",), "tflite-runtime"),
    # It reads ONNX too, and the script takes it for that where ONNX Runtime is not installed.
    "openvino": Package("OpenVINO", ("openvino", "onnx"), "openvino"),
    "onnx": Package("onnx", ("onnx",), None),
}

#: What is installed beside a package that does not ask for it itself.
BESIDE = {"tflite-runtime": ("numpy<2",)}  # it is built for NumPy 1

#: Package and version -> precision -> why it cannot be right there. Such a cell is no fault; being right is one, so
#: that what stands here is never out of date.
_DENSE = "refuses a dense layer of int8 weights with a scale a class, which it would compute wrongly"
KNOWN = {("tflite-runtime", "2.14.0"): {"dynamic": _DENSE, "int8": _DENSE}}

#: The versions that `--only newest` installs. The index is not asked there: continuous integration must give the same
#: answer today and tomorrow for the same commit, and a release that breaks something must not stop a change that has
#: nothing to do with it. `make compat` finds new releases, and moves this file on to those in which all is right.
LOCK = ROOT / "benchmarks" / "compatibility-newest.txt"
#: The oldest Python there is: what is found on it can be installed on the others.
LOCK_PYTHON = "3.11"
#: The one that runs this, and that `--only newest` takes: it is there for sure.
OWN_PYTHON = ".".join(platform.python_version_tuple()[:2])
LOCK_HEAD = """\
# The newest versions in which `make compat` found every artifact right (on Python 3.11); `make compat-newest` and
# continuous integration run these. Written by benchmarks/compatibility.py: package: all that its environment holds.
"""

#: Whose numbers are those of float32: they must agree with the golden answers on every picture.
FLOAT = ("fp32", "fp16", "equalised")
#: XNNPACK has no operators for these; everything else must be one partition.
NO_XNNPACK = ("int16x8",)
#: How far from the pinned version's a number may be before the page says so.
NOTABLE_DB = 1.0

INSTALL_LIMIT_S, RUN_LIMIT_S = 900, 300
#: Characters of a reason in a cell, and below the tables.
SHORT, NOTE = 70, 300

#: What the onnx package is asked. A model that it refuses is an answer; only a failure to ask ends with another code.
CHECK_ONNX = """\
import json, sys
import onnx
try:
    model = onnx.load(sys.argv[1])
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    refused = None
except Exception as exc:
    refused = type(exc).__name__ + ": " + " ".join(str(exc).split())
print(json.dumps({"refused": refused}))
"""


class UnavailableError(Exception):
    """An environment that cannot be made, and why, on one line."""


@dataclass(frozen=True)
class Environment:
    """A row of the matrix: one package in one version, `PINNED` or `NEWEST` among them, on one Python."""

    package: str
    version: str
    python: str

    @property
    def name(self) -> str:
        """Of its folder, and for people."""
        return f"{self.package}-{self.version}-py{self.python}"


@dataclass(frozen=True)
class Model:
    """An artifact of the export: its file, format and precision; on a CPU with the instructions of `isa` alone."""

    path: Path
    form: str
    precision: str
    isa: str | None = None

    @property
    def title(self) -> str:
        """Of its column: the precision and the file's ending."""
        return f"{self.precision} {self.path.suffix}" + (f", {self.isa} alone" if self.isa else "")

    @property
    def name(self) -> str:
        """Of its cells."""
        return self.path.name + (f", {self.isa} alone" if self.isa else "")


@dataclass(frozen=True)
class Cell:
    """How one artifact did in one environment.

    Attributes:
        artifact: the file's name.
        state: "right", "wrong", "not run", or "known": it is not right, and `KNOWN` says so.
        reason: why it is not right, whole; None where it is.
        numbers: SNR, agreement and delegation, as far as there are any.
        brief: the reason for the table, where it is not the beginning of `reason`.
    """

    artifact: str
    state: str
    reason: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    brief: str | None = None

    @property
    def text(self) -> str:
        """For the table."""
        if self.state == "right" and not self.numbers:
            return "passes"
        parts = []
        if self.numbers:
            snr = self.numbers["snr_db"]
            alike = "identical" if self.numbers["finite"] else "not finite"
            parts.append(alike if snr is None else f"{round(snr, 1) + 0.0:.1f} dB")  # + 0.0: not "-0.0"
            parts.append(f"{self.numbers['top1_agreement']:.0%}")
            if (delegate := self.numbers["delegate"]) is not None:
                count, share = delegate["partitions"], delegate["delegated_share"]
                shared = f" ({share:.0%})" if count and share != 1 else ""
                parts.append(f"{count or 'no'} part{'' if count == 1 else 's'}{shared}")
        if self.reason is not None:
            parts.append(f"**{self.state}**: {self.brief or shortened(self.reason)}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Row:
    """What became of an environment: what it holds and its cells, or why it could not be made."""

    environment: Environment
    versions: dict[str, str]
    python: str | None
    cells: tuple[Cell, ...]
    unavailable: str | None = None

    @property
    def version(self) -> str:
        """The exact version, where one was found."""
        return self.versions.get(self.environment.package, self.environment.version)

    @property
    def code(self) -> int:
        """The exit code that this row asks for."""
        states = {cell.state for cell in self.cells}
        return 2 if "wrong" in states else 1 if self.unavailable or "not run" in states else 0


# ---------------------------------------------------------------------------------------------------------------------
# Environments
# ---------------------------------------------------------------------------------------------------------------------


def environments(only: list[str]) -> list[Environment]:
    """The rows of `TABLE` that are asked for; "newest" stands for the newest of each on one Python."""
    every = [Environment(package, version, python) for package, version, pythons in TABLE for python in pythons]
    if "newest" in only:
        every = [Environment(package, version, OWN_PYTHON) for package, version, _ in TABLE if version == NEWEST]
    packages = set(only) - {"newest"}
    return [each for each in every if not packages or each.package in packages]


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


# ---------------------------------------------------------------------------------------------------------------------
# One artifact in one environment
# ---------------------------------------------------------------------------------------------------------------------


def verify(python: Path, runtime: str, version: str, model: Model, golden: Path) -> Cell:
    """Ask the script whether `model` gives the right answers in this Python's runtime, which is `version` of it."""
    with tempfile.TemporaryDirectory() as folder:
        command = [python, "-I", SCRIPT, model.path, "--runtime", runtime, "--golden", golden, "--verify-only"]
        # TMPDIR: nothing is timed here, so that no benchmark need be waited for, and the lock lies in that folder.
        done = finished([*command, "--output", folder], {**os.environ, "TMPDIR": folder, **_limited(model)})
        if isinstance(done, str):
            return Cell(model.name, "not run", done)
        records = list(Path(folder).glob("*.json"))
        if done.returncode not in (0, 2) or len(records) != 1:
            return Cell(model.name, "not run", failure(done, model.path))
        record = json.loads(records[0].read_text(encoding="utf-8"))
    if (ran := record["runtime"]["version"]) != version:
        return Cell(model.name, "not run", f"it was version {ran} that ran, not {version}")
    wrong = fault(record, model)
    found = record["verification"]
    numbers = {name: found[name] for name in ("snr_db", "top1_agreement", "finite")}
    numbers |= {"pictures": found["golden"]["images"], "delegate": record["delegate"]}
    return Cell(model.name, "wrong" if wrong else "right", wrong, numbers)


def fault(record: dict[str, Any], model: Model) -> str | None:
    """What is wrong with a verification record, or None."""
    found, delegate = record["verification"], record["delegate"]
    if not found["correct"]:
        return str(found["reason"])
    if model.precision in FLOAT and found["top1_agreement"] < 1:
        return f"another answer than MindSpore's to {', '.join(found['disagreeing'])}"
    if delegate is not None and model.precision not in NO_XNNPACK and delegate["partitions"] != 1:
        inside, nodes = delegate["delegated_nodes"], delegate["nodes"]
        return f"{delegate['partitions']} XNNPACK partitions with {inside} of {nodes} operators, not one"
    return None


def expected(environment: Environment, model: Model, cell: Cell) -> Cell:
    """The cell in the light of `KNOWN`."""
    why = KNOWN.get((environment.package, environment.version), {}).get(model.precision)
    if why is None:
        return cell
    if cell.state == "right":
        return replace(cell, state="wrong", reason=f"it is right, but KNOWN says: {why}; take that out")
    return replace(cell, state="known", reason=f"{why} ({cell.reason})", brief=why)


def _limited(model: Model) -> dict[str, str]:
    """What keeps oneDNN, OpenVINO's kernels, to a CPU's older instructions."""
    return {"ONEDNN_MAX_CPU_ISA": model.isa} if model.isa else {}


def check_onnx(python: Path, model: Model) -> Cell:
    """Ask the onnx package about `model`."""
    done = finished([python, "-I", "-c", CHECK_ONNX, model.path], dict(os.environ))
    if isinstance(done, str):
        return Cell(model.name, "not run", done)
    if done.returncode:
        return Cell(model.name, "not run", failure(done, model.path))
    refused = json.loads(done.stdout)["refused"]
    return Cell(model.name, "wrong" if refused else "right", refused and without_folders(refused))


def finished(command: list[Any], environment: dict[str, str]) -> subprocess.CompletedProcess[str] | str:
    """Run a command to its end, or say why it had none."""
    text = [str(part) for part in command]
    try:
        return subprocess.run(
            text, capture_output=True, text=True, errors="replace", env=environment, timeout=RUN_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {RUN_LIMIT_S} s"
    except OSError as exc:
        return f"did not start: {exc.strerror}"


def failure(done: subprocess.CompletedProcess[str], path: Path) -> str:
    """Why a program failed, on one line without the advice: it is for the device's user, and not for this table."""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    said = [line for line in lines if line.startswith("edge_benchmark: error: ")]
    if not said:
        last = without_folders(lines[-1]) if lines else "no message"
        return f"crashed (signal {-done.returncode})" if done.returncode < 0 else f"exit code {done.returncode}: {last}"
    text = said[-1].removeprefix("edge_benchmark: error: ").replace(str(path), path.name)
    text = re.sub(r"; (the file is whole|try another version|compare the file|it may be built).*$", "", text)
    text = text.removeprefix(f"{path.name}: ").removeprefix(f"{path.name} ").removeprefix("is ")
    return without_folders(text)


def without_folders(text: str) -> str:
    """`text` with the bare names of files: where they lie on this machine is nobody's business."""
    return re.sub(r"(?<![\w.])/(?:[^/\s'\"]+/)+", "", text)


def shortened(text: str, most: int = SHORT) -> str:
    """`text` in at most so many characters."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."


def run(environment: Environment, models: list[Model], golden: Path, made: tuple[Path, dict[str, str]]) -> Row:
    """Every artifact that the environment's package reads."""
    python, versions = made
    package = PACKAGES[environment.package]
    cells = []
    for model in models:
        if model.form in package.formats:
            if package.runtime is None:
                cell = check_onnx(python, model)
            else:
                cell = verify(python, package.runtime, versions[environment.package], model, golden)
            cells.append(expected(environment, model, cell))
            say(f"{environment.name}: {model.name}: {cells[-1].text}")
    said = subprocess.run([python, "--version"], capture_output=True, text=True, check=False)
    return Row(environment, versions, said.stdout.removeprefix("Python ").strip() or None, tuple(cells))


# ---------------------------------------------------------------------------------------------------------------------
# What is written
# ---------------------------------------------------------------------------------------------------------------------


def page(rows: list[Row], models: list[Model], manifest: Manifest) -> str:
    """The whole matrix as Markdown."""
    pictures = {cell.numbers["pictures"] for row in rows for cell in row.cells if cell.numbers}
    count = "/".join(map(str, sorted(pictures))) or "no"
    maker, source = manifest.environment.get("ghostedge", "unknown"), manifest.source
    lines = [
        "# Compatibility",
        "",
        "Written by `make compat` (`benchmarks/compatibility.py`); do not edit. Every artifact of the demo's export,",
        "run by `benchmarks/edge_benchmark.py --verify-only`, which is what runs on devices; an environment a row.",
        "",
        f"- A cell: SNR of the logits to MindSpore's and top-1 agreement with it, on {count} photos; for LiteRT the",
        "  XNNPACK partitions, and the share of operators in them where that is not all. What is wrong or was not run",
        "  says why; *known*: not right, and cannot be in that version.",
        "- *pinned*: what ghostedge itself installs, with the NumPy it pins; *newest*: the newest on the index then.",
        f"- The machine: {cpu()}; one thread.",
        f"- The artifacts: by ghostedge {maker} from `{source['file']}` (sha256 `{str(source['sha256'])[:12]}`).",
    ]
    for name, package in PACKAGES.items():
        found = [row for row in rows if row.environment.package == name]
        if found:
            checked = "" if package.runtime else ": checker and strict shape inference"
            lines += ["", f"## {package.title}{checked}", "", *table(found, models, package)]
    lines += ["", "## What differs", "", *(notes(rows) or [nothing(rows)])]
    return "\n".join(lines) + "\n"


def table(rows: list[Row], models: list[Model], package: Package) -> list[str]:
    """One package's part of the matrix: a row an environment, a column an artifact."""
    columns = [model for model in models if model.form in package.formats]
    lines = [
        "| Version | Python | NumPy | " + " | ".join(model.title for model in columns) + " |",
        "|---" * (3 + len(columns)) + "|",
    ]
    for row in rows:
        wanted = row.environment.version
        version = f"{row.version} *{wanted}*" if wanted in (PINNED, NEWEST) and row.versions else row.version
        cells = {cell.artifact: cell.text for cell in row.cells}
        texts = [cells.get(model.name, f"**not run**: {shortened(row.unavailable or '-')}") for model in columns]
        head = [version, row.python or row.environment.python, row.versions.get("numpy", "-")]
        lines.append("| " + " | ".join(text.replace("|", "\\|") for text in head + texts) + " |")
    return lines


def notes(rows: list[Row]) -> list[str]:
    """What is wrong or was not run, and numbers that are not those of the pinned version."""
    pinned = {
        (row.environment.package, cell.artifact): cell
        for row in reversed(rows)  # of several Pythons' the first
        for cell in row.cells
        if row.environment.version == PINNED
    }
    found: dict[tuple[str, str], list[str]] = {}  # (version, what) -> the Pythons with it
    for row in rows:
        package, version = row.environment.package, f"{PACKAGES[row.environment.package].title} {row.version}"
        said = [f"not run: {row.unavailable}"] if row.unavailable else []
        for cell in row.cells:
            base = pinned.get((package, cell.artifact))
            text = f"{cell.state}: {cell.reason}" if cell.reason is not None else base and changed(cell, base)
            said += [f"`{cell.artifact}`: {shortened(text, NOTE)}"] if text else []
        for text in said:
            found.setdefault((version, text), []).append(row.environment.python)
    return [f"- {version}, Python {', '.join(pythons)}: {text}" for (version, text), pythons in found.items()]


def nothing(rows: list[Row]) -> str:
    """What is said where `notes` finds nothing."""
    if not any(row.environment.version == PINNED for row in rows):
        return "Everything is right. The pinned versions are not in this run."
    return f"Nothing: to {NOTABLE_DB:g} dB, with the same answers and delegation, every version is as the pinned one."


def changed(cell: Cell, base: Cell) -> str | None:
    """How a cell that is right differs from the pinned version's, or None."""
    if not cell.numbers or not base.numbers:
        return f"{cell.text}; pinned: {base.text}" if base.state != "right" else None
    one, other = cell.numbers["snr_db"], base.numbers["snr_db"]
    same = abs(one - other) < NOTABLE_DB if None not in (one, other) else one == other
    keys = ("partitions", "delegated_nodes", "nodes")
    delegates = [tuple((each.numbers["delegate"] or {}).get(key) for key in keys) for each in (cell, base)]
    agree = cell.numbers["top1_agreement"] == base.numbers["top1_agreement"]
    if same and agree and delegates[0] == delegates[1]:
        return None
    graphs = ["" if each[2] is None else f", {each[1]} of {each[2]} operators in XNNPACK" for each in delegates]
    if delegates[0] == delegates[1]:
        graphs = ["", ""]
    return f"{cell.text}{graphs[0]}; pinned: {base.text}{graphs[1]}"


def cpu() -> str:
    """This machine's processor, with the instructions that decide how int8 is computed."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = set((fields.get("flags") or fields.get("Features") or "").split())
    known = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "fphp")
    name = fields.get("model name") or platform.processor() or "unknown"
    return ", ".join([f"{name} ({platform.machine()})", *(flag for flag in known if flag in flags)])


def as_json(rows: list[Row]) -> str:
    """The matrix for programs."""
    found = [
        {
            "package": row.environment.package,
            "asked": row.environment.version,
            "version": row.version,
            "python": row.python or row.environment.python,
            "packages": row.versions,
            "unavailable": row.unavailable,
            "cells": [vars(cell) for cell in row.cells],
        }
        for row in rows
    ]
    return json.dumps({"schema_version": 1, "cpu": cpu(), "environments": found}, indent=2) + "\n"


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


def say(text: str) -> None:
    """Progress, for people, on stderr."""
    print(text, file=sys.stderr, flush=True)


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------


def read_export(folder: Path) -> tuple[list[Model], Path, Manifest]:
    """What an export left for devices: its models, golden file and manifest. Raises: GhostedgeError."""
    manifest = Manifest.read(folder)
    if manifest is None:
        raise UsageError(f"{folder} holds no export (no manifest.json); run: make demo")
    forms = {form for package in PACKAGES.values() for form in package.formats}
    records = [record for record in manifest.artifacts.values() if record.target in forms]
    models = [Model(folder / record.files[0].name, record.target, record.precision) for record in records]
    # x86 CPUs without VNNI add 8-bit products in another way; on one of them both columns are the same.
    models += [replace(model, isa="AVX2") for model in models if (model.form, model.precision) == ("openvino", "int8")]
    golden = golden_beside(models[0].path) if models else None
    if golden is None:
        raise UsageError(f"{folder} holds no artifact with golden vectors (NAME.golden.npz); export it again")
    return models, golden, manifest


def matrix(chosen: list[Environment], models: list[Model], golden: Path, folder: Path, frozen: bool) -> Iterator[Row]:
    """Make each environment and run it. `frozen`: the newest are those of the lock file."""
    locked = read_lock(LOCK) if frozen else {}
    for environment in chosen:
        if frozen and environment.package not in locked:
            raise UsageError(f"{LOCK.name} has no line for {environment.package}; make compat writes it")
        try:
            made = make(environment, folder, locked.get(environment.package))
        except UnavailableError as exc:
            say(f"{environment.name}: not made: {exc}")
            yield Row(environment, {}, None, (), str(exc))
        else:
            yield run(environment, models, golden, made)


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run. Returns: the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--artifacts", type=Path, default=ROOT / "build" / "demo", metavar="DIR", help="default: build/demo")
    add(
        "--only",
        action="append",
        default=[],
        choices=["newest", *PACKAGES],
        help=f"newest: the versions in {LOCK.name}, on this Python; or one package; repeatable",
    )
    add("--page", type=Path, metavar="F", help="write the matrix there, as Markdown (default: print it)")
    add("--json", action="store_true", help="print JSON instead")
    add("--environments", type=Path, default=ROOT / "build" / "compat", metavar="DIR", help="default: build/compat")
    args = parser.parse_args(argv)
    frozen = "newest" in args.only
    try:
        models, golden, manifest = read_export(args.artifacts)
        rows = list(matrix(environments(args.only), models, golden, args.environments, frozen))
        if not frozen:
            move_on(LOCK, rows)
        text = page(rows, models, manifest)
        if args.page:
            atomic_write(args.page, text)
    except GhostedgeError as exc:
        say(f"compatibility: error: {exc}")
        return exc.exit_code
    except KeyboardInterrupt:
        say("compatibility: interrupted; the environments are kept")
        return 130
    print(as_json(rows) if args.json else "" if args.page else text, end="")
    codes = [row.code for row in rows]
    wrong, unrun = (sum(code == which for code in codes) for which in (2, 1))
    right = len(rows) - wrong - unrun
    say(f"{len(rows)} environments: {right} right, {wrong} with something wrong, {unrun} not run in full")
    return 2 if wrong else 1 if unrun else 0


if __name__ == "__main__":
    sys.exit(main())
