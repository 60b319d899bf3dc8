"""Count the ARM64 instructions that one inference of a model executes, on an x86 machine, without a board.

The real aarch64 LiteRT runs under QEMU, which counts (count_instructions.c), and chooses its kernels by the CPU that
it sees (profiles.py): a Cortex-A72 (Raspberry Pi 4) has no dot product instructions, a Cortex-A76 (Raspberry Pi 5) has
them and float16 arithmetic, a Cortex-A710 (a phone) int8 matrix products too. The count is free of noise, so that a
change of a graph by 1% is seen; it is a cost and not a time. --profile also says in which kernels the instructions are,
of which kind they are, how many bytes they load and store, and how many cycles a model of the core's units (model.py)
gives: for ranking artifacts on one core, no times either.

    python benchmarks/arm64/sysroot.py          # once
    python benchmarks/arm64/cost.py model.tflite [--cpu pi4,pi5,phone] [--no-xnnpack] [--profile] [--json]

Another version of LiteRT: give both --litert VERSION.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import itertools
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import profiles
from guest import INFERENCES, WARMUPS
from model import CORES, cycles
from profiling import Executed, attribute
from sysroot import add_arguments, chosen, python_command, refuse_faults

HERE = Path(__file__).resolve().parent

#: Instructions that other threads than the first may execute, as a part of its own; they are not counted. More, and the
#: count is not one thread's: what threads execute while they spin and wait is not the model's. ONNX Runtime's waiting
#: thread executes 0.002.
_MOST_BY_OTHERS = 0.01

#: Functions and kinds with less than this part of the instructions are not printed.
_SMALLEST_SHARE = 0.002

Json = dict[str, Any]


def count(
    model: Path,
    cpu: str,
    sysroot: Path,
    *,
    xnnpack: bool = True,
    profile: bool = False,
    precision: str | None = None,
    threads: int = 1,
) -> Json:
    """Instructions an inference: the median of three after two others, and how far they lie apart.

    Args:
        model: what is run: a .tflite, or a model of one of the peers' runtimes (../peers/runtimes.py).
        cpu: its name in profiles.py.
        sysroot: of sysroot.py.
        xnnpack: whether LiteRT takes XNNPACK's kernels or its own.
        profile: whether to say more than the number.
        precision: for runtimes that choose their arithmetic when they load a model.
        threads: that the runtime may start; one that does so is refused.

    Returns:
        ``model``, ``sha256`` of its file, ``cpu``, ``xnnpack``, ``instructions``, ``spread_percent``. With `profile`,
        of the last inference, also ``functions``: function of a library (``"libm.so.6"`` where it has no symbols) ->
        its instructions; ``kinds``: kind of instruction -> their number; ``loaded_bytes``, ``stored_bytes``;
        ``model_cycles``.
    """
    sysroot = sysroot.resolve()
    python = python_command(cpu, sysroot)
    plugin = _build_plugin(sysroot)
    with tempfile.TemporaryDirectory() as folder:
        counts, blocks, report = (Path(folder) / name for name in ("counts.txt", "blocks.txt", "report.json"))
        # What the guest sees must not depend on who counts, nor where: how long paths and variables are moves what is
        # allocated, and with it how many steps ncnn's allocations take (0.15% of its instructions).
        (Path(folder) / "model").symlink_to(model.absolute().parent, target_is_directory=True)
        linked = Path(folder) / "model" / model.name
        settings = {"threads": threads, "xnnpack": xnnpack, "precision": precision}
        guest = [str(python), str(HERE / "guest.py"), str(linked), json.dumps(settings), str(report)]
        arguments = f"out={counts},blocks={blocks}" if profile else f"out={counts}"
        environment = {"PATH": os.defpath, "HOME": folder, "QEMU_ARGS": f"-plugin {plugin},{arguments}"}
        # PYTHONHASHSEED: the loop around the inferences executes the same instructions each time.
        environment |= {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(guest, capture_output=True, text=True, env=environment, cwd=folder, check=False)
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise SystemExit(f"{model} on {cpu}: {reason.replace(str(linked), str(model))}")
        marks = [[int(part) for part in line.split()] for line in counts.read_text().splitlines()]
        said: Json = json.loads(report.read_text())
        executed = attribute(blocks.read_text().split("\n\n")[-2], said["maps"]) if profile else None
    refuse_faults(cpu, said["seen"])
    expected = WARMUPS + 1 + INFERENCES
    if len(marks) != expected:
        raise SystemExit(f"{model} on {cpu}: {len(marks)} marks were counted, not {expected}")
    differences = [(after[0] - before[0], after[1] - before[1]) for before, after in itertools.pairwise(marks)]
    between = [everything - others for everything, others in differences]
    own, totals = between[WARMUPS - 1], between[WARMUPS:]  # two marks in a row: what marking itself takes
    median = statistics.median(totals) - own
    by_others = max(others for _, others in differences[WARMUPS:])
    if by_others > _MOST_BY_OTHERS * median:
        raise SystemExit(f"{model} on {cpu}: {by_others:,} instructions were executed by other threads than the first")
    counted = {"instructions": median, "spread_percent": round(100 * (max(totals) - min(totals)) / median, 4)}
    return {
        "model": model.name,
        "sha256": hashlib.sha256(model.read_bytes()).hexdigest(),
        "cpu": cpu,
        "xnnpack": xnnpack,
        **counted,
        **(_described(executed, cpu) if executed else {}),
    }


def _described(executed: Executed, cpu: str) -> Json:
    """What `count` says of a profile, most first."""
    functions = collections.Counter({function: part.total() for function, part in executed.functions.items()})
    kinds: collections.Counter[str] = collections.Counter()
    moved = {"load": 0, "store": 0}
    for instruction, times in itertools.chain.from_iterable(block.items() for block in executed.blocks):
        kinds[instruction.kind] += times
        if instruction.kind in moved:
            moved[instruction.kind] += times * instruction.size
    return {
        "functions": dict(functions.most_common()),
        "kinds": dict(kinds.most_common()),
        "loaded_bytes": moved["load"],
        "stored_bytes": moved["store"],
        "model_cycles": round(cycles(CORES[cpu], executed.blocks)),
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


def main() -> None:
    """Parse the command line and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL")
    everything = ",".join(profiles.PROFILES)
    parser.add_argument("--cpu", default=everything, metavar="C,C", help=f"default: {everything}; or pi4,pi5,phone")
    parser.add_argument("--no-xnnpack", action="store_true", help="LiteRT's own kernels instead of XNNPACK's")
    add_arguments(parser)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--profile", action="store_true", help="by function and kind, and a model of cycles (needs nm of binutils)"
    )
    parser.add_argument("--precision", help="fp32 or fp16, of MNN and ncnn (peers/runtimes.py)")
    parser.add_argument("--threads", type=int, default=1, help=argparse.SUPPRESS)  # more are refused
    args = parser.parse_args()
    if args.profile and shutil.which("nm") is None:
        raise SystemExit("'nm' is not installed; run: apt-get install binutils")
    results = []
    if not args.json:
        print(f"{'Model':40}  {'CPU':12}  {'Instructions (M)':>16}  {'Spread':>8}")
    for model in args.models:
        for cpu in (profiles.named(name).cpu for name in args.cpu.split(",")):
            result = count(
                model,
                cpu,
                chosen(args),
                xnnpack=not args.no_xnnpack,
                profile=args.profile,
                precision=args.precision,
                threads=args.threads,
            )
            results.append(result)
            if not args.json:
                _print(result)
    if args.json:
        print(json.dumps(results, indent=2))


def _print(result: Json) -> None:
    total = result["instructions"]
    print(
        f"{result['model']:40}  {result['cpu']:12}  {total / 1e6:16.2f}  {result['spread_percent']:7.4f}%", flush=True
    )
    if "model_cycles" in result:
        moved = f"{result['loaded_bytes'] / 1e6:.1f} MB loaded, {result['stored_bytes'] / 1e6:.1f} MB stored"
        print(f"  {result['model_cycles'] / 1e6:8.2f} M  cycles of the model; {moved}")
        for group in ("kinds", "functions"):
            for name, instructions in result[group].items():
                if instructions >= _SMALLEST_SHARE * total:
                    print(f"  {instructions / 1e6:8.2f} M  {name}")


if __name__ == "__main__":
    main()
