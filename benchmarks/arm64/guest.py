"""What cost.py runs under QEMU: load a model, infer and mark some times, mark once more, infer and mark some times.

    python-CPU guest.py MODEL SETTINGS REPORT

SETTINGS is JSON: ``threads``, ``xnnpack`` and ``precision``. REPORT is written: what is seen of the CPU, and where in
memory the libraries are. Little is imported: an emulated import takes seconds.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

#: What the kernel is asked for to mark a place; count_instructions.c knows the same number.
MARK = 0x47450000
WARMUPS, INFERENCES = 2, 3


def load(model: str, threads: int, xnnpack: bool, precision: str | None) -> Any:
    """The runtime, its input set to noise."""
    sys.path[:0] = [str(HERE.parent), str(HERE.parent / "peers")]
    import edge_benchmark
    import runtimes

    if runtimes.is_for(model):
        runtime = runtimes.load(model, threads, precision)
        runtime.set_input(edge_benchmark.noise(None, runtime))
        return runtime
    settings = {"threads": threads, "xnnpack": xnnpack, "precision_hint": None}
    try:
        name = edge_benchmark.choose_runtime(edge_benchmark.model_format(model), "auto")
        runtime, _, _ = edge_benchmark.load_runtime(name, model, settings)
        runtime.set_input(edge_benchmark.noise(edge_benchmark.input_spec(runtime.description, runtime.shape), runtime))
    except edge_benchmark.BenchmarkError as exc:
        raise SystemExit(str(exc)) from exc
    return runtime


def mark() -> None:
    """Mark a place."""
    try:  # noqa: SIM105 - contextlib is one import more
        os.getpgid(MARK)
    except ProcessLookupError:
        pass


def main() -> None:
    """Load, infer, report."""
    model, settings, report = sys.argv[1:]
    runtime = load(model, **json.loads(settings))
    for _ in range(WARMUPS):  # the first allocates and packs weights, the second specialises Python's loop
        runtime.run()
        mark()
    mark()
    for _ in range(INFERENCES):
        runtime.run()
        mark()
    import profiles

    said = {"seen": profiles.seen(), "maps": Path("/proc/self/maps").read_text()}
    Path(report).write_text(json.dumps(said))


if __name__ == "__main__":
    main()
