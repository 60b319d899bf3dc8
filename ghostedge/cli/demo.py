"""``ghostedge demo``: the whole way, by the commands that a user would give, on what comes with the package."""

from __future__ import annotations

import argparse
import shlex
import time
from pathlib import Path

HELP = "run the whole way on a checkpoint and photos that come with ghostedge"

EPILOG = """\
examples:
  ghostedge demo
  ghostedge demo --output build/demo

Each command is printed before it runs: with your own checkpoint and photos in it, it is the real job. The weights are
made by a rule from the parameters' names, not trained: the class names of `predict` mean nothing, but every fault of a
conversion would show in the differences.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument("--output", type=Path, default=Path("build/demo"), metavar="DIR", help="default: build/demo")


def run(args: argparse.Namespace) -> int:
    """Run the commands one after the other. Returns: 0, or the exit code of the first that failed."""
    from ghostedge.cli.main import main
    from ghostedge.data.images import sample_images
    from ghostedge.demo.weights import write_demo_checkpoint
    from ghostedge.errors import UsageError

    if args.json:
        raise UsageError("demo runs several commands; give --json to the one whose result is wanted")
    output: Path = args.output
    checkpoint = output / "demo_1x.ckpt"
    started = time.monotonic()
    print("GhostNetV2-1x with weights made by a rule (untrained: class names below mean nothing)", flush=True)
    write_demo_checkpoint(checkpoint)
    cat, coffee = (str(path) for path in sample_images() if path.stem in ("cat", "coffee"))
    commands = [
        ["export", "--checkpoint", str(checkpoint), "--target", "all", "--output", str(output)],
        ["predict", cat, coffee, "--artifact", str(output / "demo_1x_fp16.tflite"), "--top", "3"],
        ["predict", cat, coffee, "--artifact", str(output / "demo_1x_fp16.xml"), "--top", "3"],
        ["inspect", str(output / "demo_1x_fp32.tflite")],
    ]
    for command in commands:
        print(f"\n$ ghostedge {shlex.join(command)}", flush=True)
        quiet = ["--quiet"] if args.quiet else []
        if code := main([*command, *quiet]):
            return code
    print(f"\ndone in {time.monotonic() - started:.0f} s; the artifacts and their manifest are in {output}")
    return 0
