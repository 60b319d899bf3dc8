"""Read thousands of damaged files of every kind: ``python -m tests.fuzz.damage --each 100``.

Each is read within 20 s or raises a `GhostedgeError`; whatever else happens is written down with the file.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import signal
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from tests.fuzz.targets import TARGETS, attempt, available, damaged

_LIMIT_S = 20


def _late(number: int, frame: object) -> None:
    raise TimeoutError(f"not done in {_LIMIT_S} s")


def read_damaged(name: str, each: int, seed: int, keep: Path) -> Counter[str]:
    """Read `each` damaged files of a kind: how many were read, refused, and neither."""
    target, found = TARGETS[name], Counter[str]()
    whole = target.whole()
    assert attempt(target, whole) is None, f"{name}: the whole file is refused"
    signal.signal(signal.SIGALRM, _late)
    for number in range(each):
        data = damaged(whole, np.random.default_rng([seed, number]))
        signal.alarm(_LIMIT_S)
        try:
            found["read" if attempt(target, data) is None else "refused"] += 1
        except BaseException as exc:
            found["other"] += 1
            keep.mkdir(parents=True, exist_ok=True)
            (keep / f"{name}-{seed}-{number}").write_bytes(data)
            at = traceback.extract_tb(exc.__traceback__)[-1]
            what = f"{type(exc).__name__}: {exc} ({at.filename}:{at.lineno})"
            print(
                f"{name} {seed} {number}: {what}",
                file=sys.stderr,
            )
        signal.alarm(0)
    return found


def main() -> int:
    """Run. Returns: 0, or 1 where a file did anything else than being read or refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--each", type=int, default=100, help="files of each kind (default: 100)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=TARGETS, default=list(TARGETS))
    parser.add_argument("--keep", type=Path, default=Path("build/damage"), help="where files that did harm are kept")
    args = parser.parse_args()
    total = Counter[str]()
    for name in args.only:
        if missing := list(available(TARGETS[name])):
            print(f"{name:12} left out: {', '.join(missing)} missing")
            continue
        started = time.perf_counter()
        # A process of its own: one that a library crashes is counted, and memory is its own.
        queue = multiprocessing.get_context("fork").SimpleQueue()

        def child(name: str = name, queue: object = queue) -> None:
            found = read_damaged(name, args.each, args.seed, args.keep)
            queue.put((found, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))  # type: ignore[attr-defined]

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        found, peak = queue.get() if not queue.empty() else (Counter({"crashed": 1}), 0)
        total += found
        counts = ", ".join(f"{count} {what}" for what, count in found.items())
        print(f"{name:12} {counts}; {time.perf_counter() - started:.1f} s, {peak} MiB", flush=True)
    print(f"in all: {dict(total)}")
    return int(bool(total["other"] + total["crashed"]))


if __name__ == "__main__":
    sys.exit(main())
