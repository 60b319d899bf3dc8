"""``ghostedge fetch``: download a published checkpoint."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ghostedge.cli import Arguments, argument
from ghostedge.console import ProgressWriter, time_left

HELP = "download a published checkpoint, continuing where an earlier try stopped"

EPILOG = """\
examples:
  ghostedge fetch ghostnetv2_1x
  ghostedge fetch ghostnetv2_1x --output checkpoints --sha256 0123...cdef
  ghostedge fetch flowers --url https://example.org/flowers.ckpt

Address, size and SHA-256 are recorded in <file>.json. A file that is there and matches its record is left alone.
"""


ARGUMENTS: Arguments = {
    "": [
        argument("name NAME", "ghostnetv2_1x; with --url any name; the file gets it, and the ending of URL"),
        argument("--url URL", "another address, http or https"),
        argument("--output DIR", "folder (default: this one)", Path, default=Path()),
        argument("--sha256 HEX", "the hash that the file must have"),
    ]
}


def run(args: argparse.Namespace) -> int:
    """Run the command. Returns: 0; failures are raised."""
    from ghostedge.ghostnet.fetch import fetch

    with ProgressWriter(quiet=args.quiet or args.json) as progress:
        shown = _Transfer(args.name, progress)
        fetched = fetch(args.name, args.output, url=args.url, sha256=args.sha256, on_progress=shown)
    path, record = fetched.path, fetched.record
    if args.json:
        known = {"url": record.url, "size_bytes": record.size_bytes, "sha256": record.sha256}
        print(json.dumps({"path": str(path), **known, "received_bytes": fetched.received_bytes}))
    elif fetched.received_bytes == 0:
        print(f"{path} is there and whole ({record.size_bytes} bytes, SHA-256 {record.sha256}); nothing to do")
    else:
        print(f"{path}: {record.size_bytes} bytes, SHA-256 {record.sha256}, recorded in {path.name}.json")
    return 0


class _Transfer:
    """What is shown of a download: bytes, speed and time left, from the first byte on."""

    def __init__(self, name: str, progress: ProgressWriter) -> None:
        self.name = name
        self.progress = progress
        self.begun: tuple[float, int] | None = None

    def __call__(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        started, before = self.begun = self.begun or (now, done)  # what an earlier run brought is no speed
        speed = (done - before) / max(now - started, 1e-3)
        parts = [f"{self.name}: {done / 1e6:.1f} MB"]
        if total:
            parts[0] += f" of {total / 1e6:.1f} MB ({done / total:.0%})"
        if speed > 0:
            parts.append(f"{speed / 1e6:.1f} MB/s")
            parts += [time_left((total - done) / speed)] if total else []
        self.progress.status("  ".join(parts), last=done == total)
