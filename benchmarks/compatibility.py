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
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from compat.cells import run
from compat.environments import OWN_PYTHON, UnavailableError, make, move_on, read_lock
from compat.matrix import NEWEST, PACKAGES, PINNED, ROOT, Environment, Model, Row
from compat.page import as_json, page

from ghostedge.data.golden import golden_beside
from ghostedge.errors import GhostedgeError, UsageError
from ghostedge.files import atomic_write
from ghostedge.latency.edge import say
from ghostedge.manifest import Manifest

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

#: The versions that `--only newest` installs. The index is not asked there: continuous integration must give the same
#: answer today and tomorrow for the same commit, and a release that breaks something must not stop a change that has
#: nothing to do with it. `make compat` finds new releases, and moves this file on to those in which all is right.
LOCK = ROOT / "benchmarks" / "compatibility-newest.txt"


def environments(only: list[str]) -> list[Environment]:
    """The rows of `TABLE` that are asked for; "newest" stands for the newest of each on one Python."""
    every = [Environment(package, version, python) for package, version, pythons in TABLE for python in pythons]
    if "newest" in only:
        every = [Environment(package, version, OWN_PYTHON) for package, version, _ in TABLE if version == NEWEST]
    packages = set(only) - {"newest"}
    return [each for each in every if not packages or each.package in packages]


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
