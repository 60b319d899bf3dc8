"""Make the peers' artifacts and ours from the same weights, measure them side by side, and write the tables.

    python benchmarks/peers/compare.py --images PHOTOS          # everything; three hours the first time
    python benchmarks/peers/compare.py --skip-arm64             # without QEMU, or with what was counted before
    python benchmarks/peers/compare.py --skip-times             # counts alone; they do not mind a busy machine
    python benchmarks/peers/compare.py --rounds 3 --seconds 0.2 --results build/look    # a first look

What was made and counted before is kept in OUTPUT; times are measured anew each time. A file that ghostedge makes and
this folder does not know yet joins in by itself: whatever lies in OUTPUT/VARIANT/ours is a contestant. Answers that are
not the network's are neither timed nor counted, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import shlex
from pathlib import Path

import artifacts
import environments
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
    add("--peers", type=Path, default=ROOT / "build" / "peers", metavar="DIR", help="the peers' environments")
    add("--images", type=Path, metavar="DIR", help="photos for calibration (default: those of the package)")
    add("--variant", default=",".join(artifacts.VARIANTS), metavar="V,V", help="of the network (default: both)")
    add("--ours", type=Path, metavar="DIR", help="an export to measure, of the same weights, instead of a new one")
    add("--export-options", default="", metavar="TEXT", help="further arguments of ghostedge export")
    add("--threads", default="1,2", metavar="N,N", help="for the times; instructions are counted on one")
    add("--rounds", type=int, default=40)
    add("--seconds", type=float, default=0.5, help="that each contestant works in each round")
    add("--cpu", default="cortex-a72,cortex-a76,cortex-a710", metavar="C,C", help="for the ARM64 instructions")
    add("--skip-arm64", action="store_true", help="nothing is counted: counts of earlier runs are shown again")
    add("--skip-times", action="store_true", help="no times: those of the last run are shown again")
    args = parser.parse_args()
    for variant in args.variant.split(","):
        compare(variant, args)


def compare(variant: str, args: argparse.Namespace) -> None:
    """Make, measure and write one variant of the network."""
    output = args.output.absolute() / variant
    output.mkdir(parents=True, exist_ok=True)
    weights, ours, peers = output / f"{variant}.safetensors", args.ours or output / "ours", output / "peers"
    artifacts.write_weights(weights)
    say(f"making the peers' artifacts of the {variant} variant")
    missing = artifacts.make_peers(weights, peers, artifacts.pictures(args.images), args.peers.absolute())
    if not args.ours:
        say("making ours")
        artifacts.make_ours(weights, ours, args.images, shlex.split(args.export_options))
    found = artifacts.contestants(weights, ours, peers)
    needed = sorted({each.environment for each in found if each.environment})
    pythons = {name: environments.python(name, args.peers.absolute()) for name in needed}
    agreement = measure.agreement(found, pythons, artifacts.pictures(None))
    right = [each for each in found if not agreement[each.key]["fault"]]
    sysroots = None if args.skip_arm64 else {}
    if sysroots is not None:
        try:
            environments.litert_sysroots()
        except environments.NotInstallableError as exc:
            raise SystemExit(f"{exc}; or give --skip-arm64") from None
        for name in (name for name in needed if environments.ENVIRONMENTS[name].arm64):
            try:
                sysroots[name] = environments.sysroot(name, args.peers.absolute())
            except environments.NotInstallableError as exc:
                missing[f"{name} on ARM64"] = str(exc)
    counts, newest = (
        measure.instructions(right, args.cpu.split(","), sysroots, output / "instructions.json", say, litert)
        for litert in (None, environments.newest_litert())
    )
    times = output / "times.json"
    if not args.skip_times:
        threads = [int(part) for part in args.threads.split(",")]
        walls = [measure.interleaved(right, pythons, each, args.rounds, args.seconds, say) for each in threads]
        times.write_text(json.dumps(walls))
    walls = json.loads(times.read_text()) if times.exists() else []
    rows = results.rows(found, agreement, walls, counts, newest)
    args.results.mkdir(parents=True, exist_ok=True)
    for path in results.write(rows, walls, args.results, variant, missing):
        say(f"wrote {path}")
    print(results.markdown(rows, walls, missing))


if __name__ == "__main__":
    main()
