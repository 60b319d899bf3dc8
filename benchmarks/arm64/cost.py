"""Count the ARM64 instructions that one inference of a .tflite executes, on an x86 machine, without a board.

The real aarch64 LiteRT runs under QEMU, which counts (count_instructions.c). XNNPACK picks its kernels by the CPU that
QEMU shows: Cortex-A72 (Raspberry Pi 4) has no dot product instructions, Cortex-A76 (Raspberry Pi 5) has them and fp16
arithmetic. The count is free of noise, so that a change of a graph by 1% is seen; it is a cost and not a time: it knows
neither caches nor how many instructions a core starts at once.

    python benchmarks/arm64/sysroot.py          # once
    python benchmarks/arm64/cost.py model.tflite [--cpu cortex-a72,cortex-a76] [--no-xnnpack] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

#: What the guest asks the kernel for to mark a place; count_instructions.c knows the same number.
MARK = 0x47450000
WARMUPS, INFERENCES = 2, 3

#: One thread: with more, waiting threads spin, and what they execute while spinning is not the model's.
_THREADS = 1


def count(model: Path, cpu: str, sysroot: Path, xnnpack: bool = True) -> dict[str, object]:
    """Instructions an inference: the median of three after two others, and how far they lie apart.

    Returns:
        ``model``, ``cpu``, ``xnnpack``, ``instructions`` and ``spread_percent``.
    """
    from sysroot import python_command

    python = python_command(cpu, sysroot)
    plugin = _build_plugin(sysroot)
    with tempfile.TemporaryDirectory() as folder:
        counts = Path(folder) / "counts.txt"
        guest = [str(python), str(HERE / "cost.py"), "--guest", str(model), *([] if xnnpack else ["--no-xnnpack"])]
        # PYTHONHASHSEED: the loop around the inferences executes the same instructions each time.
        environment = os.environ | {"QEMU_ARGS": f"-plugin {plugin},out={counts}", "PYTHONHASHSEED": "0"}
        done = subprocess.run(guest, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SystemExit(f"{model} on {cpu}: {reason}")
        marks = [int(line) for line in counts.read_text().split()]
    expected = WARMUPS + 1 + INFERENCES
    if len(marks) != expected:
        raise SystemExit(f"{model} on {cpu}: {len(marks)} marks were counted, not {expected}")
    between = [after - before for before, after in itertools.pairwise(marks)]
    own, inferences = between[WARMUPS - 1], between[WARMUPS:]  # two marks in a row: what marking itself takes
    median = statistics.median(inferences) - own
    return {
        "model": model.name,
        "cpu": cpu,
        "xnnpack": xnnpack,
        "instructions": median,
        "spread_percent": round(100 * (max(inferences) - min(inferences)) / median, 4),
    }


def _build_plugin(sysroot: Path) -> Path:
    """Compile the plugin for the installed QEMU, unless that is done."""
    said = subprocess.run(["qemu-aarch64", "--version"], capture_output=True, text=True, check=True).stdout
    major = int(said.split("version ")[1].split(".")[0])
    source, plugin = HERE / "count_instructions.c", sysroot / f"count_instructions-qemu{major}.so"
    if not plugin.exists() or plugin.stat().st_mtime < source.stat().st_mtime:
        # The number of the plugin interface: QEMU 6 to 8 take 1, from 9 on at least 2 is asked for.
        define = f"-DAPI_VERSION={1 if major < 9 else 2}"
        partial = plugin.with_suffix(f".{os.getpid()}")
        command = ["cc", "-Wall", "-Wextra", "-shared", "-fPIC", "-O2", define, "-o", str(partial), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"cannot compile {source.name}: {done.stderr.strip()}")
        partial.replace(plugin)
    return plugin


def guest(model: str, xnnpack: bool) -> None:
    """What runs under QEMU: load, infer and mark some times, mark once more, infer and mark some times."""
    sys.path.insert(0, str(HERE.parent))
    import edge_benchmark

    settings = {"threads": _THREADS, "xnnpack": xnnpack, "precision_hint": None}
    try:
        name = edge_benchmark.choose_runtime(edge_benchmark.model_format(model), "auto")
        runtime, _, _ = edge_benchmark.load_runtime(name, model, settings)
        runtime.set_input(edge_benchmark.noise(edge_benchmark.input_spec(runtime.description, runtime.shape), runtime))
    except edge_benchmark.BenchmarkError as exc:
        raise SystemExit(str(exc)) from exc
    for _ in range(WARMUPS):  # the first allocates and packs weights, the second specialises Python's loop
        runtime.run()
        _mark()
    _mark()
    for _ in range(INFERENCES):
        runtime.run()
        _mark()


def _mark() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(MARK)


def main() -> None:
    """Parse the command line and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76", metavar="C,C")
    parser.add_argument("--no-xnnpack", action="store_true", help="LiteRT's own kernels instead of XNNPACK's")
    parser.add_argument("--sysroot", type=Path, default=HERE.parents[1] / "build" / "arm64", metavar="DIR")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.guest:
        guest(str(args.models[0]), not args.no_xnnpack)
        return
    results = []
    if not args.json:
        print(f"{'Model':40}  {'CPU':12}  {'Instructions (M)':>16}  {'Spread':>8}")
    for model in args.models:
        for cpu in args.cpu.split(","):
            result = count(model, cpu, args.sysroot, not args.no_xnnpack)
            results.append(result)
            if not args.json:
                millions = result["instructions"] / 1e6  # type: ignore[operator]
                print(f"{model.name:40}  {cpu:12}  {millions:16.2f}  {result['spread_percent']:7.4f}%", flush=True)
    if args.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
