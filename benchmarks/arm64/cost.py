"""Count the ARM64 instructions that one inference of a .tflite executes, on an x86 machine, without a board.

The real aarch64 LiteRT runs under QEMU, which counts (count_instructions.c). XNNPACK picks its kernels by the CPU that
QEMU shows: Cortex-A72 (Raspberry Pi 4) has no dot product instructions, Cortex-A76 (Raspberry Pi 5) has them and fp16
arithmetic. The count is free of noise, so that a change of a graph by 1% is seen; it is a cost and not a time: it knows
neither caches nor how many instructions a core starts at once. With --profile it also says in which kernel they were.

    python benchmarks/arm64/sysroot.py          # once
    python benchmarks/arm64/cost.py model.tflite [--cpu cortex-a72,cortex-a76] [--no-xnnpack] [--profile] [--json]

Another version of LiteRT: give both --litert VERSION.
"""

from __future__ import annotations

import argparse
import bisect
import collections
import contextlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from sysroot import add_arguments, chosen, python_command

HERE = Path(__file__).resolve().parent

#: What the guest asks the kernel for to mark a place; count_instructions.c knows the same number.
MARK = 0x47450000
WARMUPS, INFERENCES = 2, 3

#: One thread: with more, waiting threads spin, and what they execute while spinning is not the model's.
_THREADS = 1

#: Functions with less than this part of the instructions are not printed.
_SMALLEST_SHARE = 0.002


def count(model: Path, cpu: str, sysroot: Path, xnnpack: bool = True, profile: bool = False) -> dict[str, object]:
    """Instructions an inference: the median of three after two others, and how far they lie apart.

    Returns:
        ``model``, ``cpu``, ``xnnpack``, ``instructions`` and ``spread_percent``; with `profile` also ``functions``:
        function of a library (``"libm.so.6"`` where it has no symbols) -> its instructions in the last inference.
    """
    python = python_command(cpu, sysroot)
    plugin = _build_plugin(sysroot)
    with tempfile.TemporaryDirectory() as folder:
        counts, blocks, maps = (Path(folder) / f"{name}.txt" for name in ("counts", "blocks", "maps"))
        guest = [str(python), str(HERE / "cost.py"), "--guest", str(model), *([] if xnnpack else ["--no-xnnpack"])]
        # PYTHONHASHSEED: the loop around the inferences executes the same instructions each time.
        arguments = f"out={counts},blocks={blocks}" if profile else f"out={counts}"
        environment = os.environ | {"QEMU_ARGS": f"-plugin {plugin},{arguments}", "PYTHONHASHSEED": "0"}
        guest += ["--maps", str(maps)] if profile else []
        done = subprocess.run(guest, capture_output=True, text=True, env=environment, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SystemExit(f"{model} on {cpu}: {reason}")
        marks = [int(line) for line in counts.read_text().split()]
        functions = _functions(blocks.read_text().split("\n\n")[-2], maps.read_text()) if profile else None
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
        **({"functions": functions} if profile else {}),
    }


def _functions(blocks: str, maps: str) -> dict[str, int]:
    """Function -> its instructions, most first.

    Args:
        blocks: lines of the address of a block, hexadecimal, and how many instructions it executed.
        maps: the guest's /proc/self/maps.
    """
    libraries = {}  # first address of a file -> the file
    for line in maps.splitlines():
        fields = line.split()
        if len(fields) == 6 and fields[5].startswith("/"):
            libraries.setdefault(fields[5], int(fields[0].split("-")[0], 16) - int(fields[2], 16))
    bases = sorted((base, path) for path, base in libraries.items())
    symbols = {path: _symbols(path) for _, path in bases}
    found: collections.Counter[str] = collections.Counter()
    for line in blocks.splitlines():
        address, instructions = int(line.split()[0], 16), int(line.split()[1])
        at = bisect.bisect_right(bases, (address, "\uffff")) - 1
        base, path = bases[at] if at >= 0 else (0, "")
        starts, names = symbols.get(path, ([], []))
        place = bisect.bisect_right(starts, address - base) - 1
        found[names[place] if place >= 0 else Path(path).name] += instructions
    return dict(found.most_common())


def _symbols(library: str) -> tuple[list[int], list[str]]:
    """The addresses of the functions of a library's symbol table, ascending, and their names."""
    done = subprocess.run(["nm", "--defined-only", library], capture_output=True, text=True, check=False)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    table = dict(sorted((int(row[0], 16), row[2]) for row in rows if len(row) == 3 and row[1] in "tTwW"))
    return list(table), list(table.values())


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


def guest(model: str, xnnpack: bool, maps: Path | None = None) -> None:
    """What runs under QEMU: load, infer and mark some times, mark once more, infer and mark some times.

    `maps` is a file to write where in memory the libraries are.
    """
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
    if maps is not None:
        maps.write_text(Path("/proc/self/maps").read_text())


def _mark() -> None:
    with contextlib.suppress(ProcessLookupError):
        os.getpgid(MARK)


def main() -> None:
    """Parse the command line and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    parser.add_argument("--cpu", default="cortex-a72,cortex-a76", metavar="C,C")
    parser.add_argument("--no-xnnpack", action="store_true", help="LiteRT's own kernels instead of XNNPACK's")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--profile", action="store_true", help="by function too (needs nm of binutils)")
    parser.add_argument("--maps", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.guest:
        guest(str(args.models[0]), not args.no_xnnpack, args.maps)
        return
    if args.profile and shutil.which("nm") is None:
        raise SystemExit("'nm' is not installed; run: apt-get install binutils")
    results = []
    if not args.json:
        print(f"{'Model':40}  {'CPU':12}  {'Instructions (M)':>16}  {'Spread':>8}")
    for model in args.models:
        for cpu in args.cpu.split(","):
            result = count(model, cpu, chosen(args), not args.no_xnnpack, args.profile)
            results.append(result)
            if not args.json:
                millions = result["instructions"] / 1e6  # type: ignore[operator]
                print(f"{model.name:40}  {cpu:12}  {millions:16.2f}  {result['spread_percent']:7.4f}%", flush=True)
                for name, instructions in result.get("functions", {}).items():  # type: ignore[attr-defined]
                    if instructions >= _SMALLEST_SHARE * result["instructions"]:  # type: ignore[operator]
                        print(f"  {instructions / 1e6:8.2f} M  {name}")
    if args.json:
        print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
