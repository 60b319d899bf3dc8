"""Make the peers' artifacts and ours from the same weights, measure them side by side, and write the table.

    python benchmarks/peers/compare.py                          # everything; half an hour the first time
    python benchmarks/peers/compare.py --skip-arm64             # without QEMU
    python benchmarks/peers/compare.py --rounds 3 --seconds 0.2 --results build/look    # a first look

What was made and counted before is kept in OUTPUT; times are measured anew each time. A file that ghostedge makes and
this folder does not know yet joins in by itself: whatever lies in OUTPUT/ours is a contestant.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import artifacts
import measure
import results

from ghostedge.latency.edge import say

ROOT = artifacts.ROOT


def main() -> None:
    """Parse the command line; make, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--output", type=Path, default=ROOT / "build" / "peers-comparison", metavar="DIR", help="what is made")
    add("--results", type=Path, default=artifacts.HERE, metavar="DIR", help="where CSV, plots and README.md's table go")
    add("--peers", type=Path, default=ROOT / "build" / "peers", metavar="DIR", help="the peers' environment")
    add("--images", type=Path, metavar="DIR", help="photos for calibration (default: those of the package)")
    add("--ours", type=Path, metavar="DIR", help="an export to measure, of the same weights, instead of a new one")
    add("--export-options", default="", metavar="TEXT", help="further arguments of ghostedge export")
    add("--threads", default="1,2", metavar="N,N")
    add("--rounds", type=int, default=40)
    add("--seconds", type=float, default=0.5, help="that each contestant works in each round")
    add("--cpu", default="cortex-a72,cortex-a76", metavar="C,C", help="for the ARM64 instructions")
    add("--skip-arm64", action="store_true", help="no instruction counts")
    add("--skip-times", action="store_true", help="no times: those of the last run are shown again")
    args = parser.parse_args()
    output = args.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    weights, ours, peers = output / "weights.safetensors", args.ours or output / "ours", output / "peers"
    python = artifacts.peers_python(args.peers.absolute())
    artifacts.write_weights(weights)
    say("making the peers' artifacts")
    artifacts.make_peers(weights, peers, artifacts.pictures(args.images), python)
    if not args.ours:
        say("making ours")
        artifacts.make_ours(weights, ours, args.images, shlex.split(args.export_options))
    found = artifacts.contestants(weights, ours, peers)
    agreement = measure.agreement(found, python, artifacts.pictures(None))
    counts = {}
    if not args.skip_arm64:
        counts = measure.instructions(found, args.cpu.split(","), output / "instructions.json", say)
    times = output / "times.json"
    if not args.skip_times:
        counts_of_threads = [int(part) for part in args.threads.split(",")]
        walls = [
            measure.interleaved(found, python, threads, args.rounds, args.seconds, say) for threads in counts_of_threads
        ]
        times.write_text(json.dumps(walls))
    walls = json.loads(times.read_text()) if times.exists() else []
    rows = results.rows(found, agreement, walls, counts)
    args.results.mkdir(parents=True, exist_ok=True)
    for path in results.write(rows, walls, args.results):
        say(f"wrote {path}")
    print(results.markdown(rows, walls))


if __name__ == "__main__":
    main()
