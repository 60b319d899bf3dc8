"""Interrupt long commands at seeded moments, or kill them: what they say, exit with and leave behind.

    python benchmarks/interruptions.py --export build/demo --only evaluate predict
    python benchmarks/interruptions.py --export build/demo --only evaluate export --kill --moments 50

A moment is drawn evenly from the time that the command takes undisturbed. Held to: the signal's exit code (130 or 143),
one line on stderr, no process two seconds later, no file of a run in progress, and the next run works: it goes on in
the same folder, and what the last one, undisturbed, leaves is byte for byte what an undisturbed command leaves. With
--kill the process is killed (SIGKILL), and held to are the bytes alone. Needs the artifacts of `make demo`.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

FILES = Path(__file__).resolve().parents[1] / "ghostedge" / "demo" / "files"
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGKILL: -9}

#: Times and memory that differ from run to run.
_NOT_COMPARED = ("manifest.json",)


@dataclass(frozen=True)
class Outcome:
    """What became of one interrupted command.

    Attributes:
        code: its exit code; as `subprocess` gives it.
        stderr: what it said.
        seconds: from the signal to its end.
        left: process ids of its session that still run two seconds after its end.
        litter: names of files of a run in progress, in its output and among the temporary files.
    """

    code: int
    stderr: str
    seconds: float
    left: tuple[int, ...]
    litter: tuple[str, ...]

    def faults(self, number: int) -> list[str]:
        """What is not as it should be after this signal; nothing where the command was done before it came."""
        if self.code == 0:
            return []
        lines = self.stderr.count("\n")
        checks = {
            f"exit code {self.code}": self.code == CODES[signal.Signals(number)],
            f"{lines} lines on stderr: {self.stderr[-300:]!r}": lines == (0 if number == signal.SIGKILL else 1),
            f"{len(self.left)} processes left": not self.left,
            f"left behind: {', '.join(self.litter)}": not self.litter or number == signal.SIGKILL,
        }
        return [fault for fault, good in checks.items() if not good]


def commands(export: Path, output: Path) -> dict[str, list[str]]:
    """The commands, by name, each writing below `output`."""
    first = [str(path) for path in sorted(FILES.glob("validation/*/*"))[:1]]
    tflite, mindir = export / "artwork_1x_fp32.tflite", export / "artwork_1x.mindir"
    checkpoint, data = ["--checkpoint", str(FILES / "artwork_1x.ckpt")], ["--data", str(FILES / "validation")]
    photos = ["--images", str(Path(first[0]).parent)]
    return {
        "export": [
            "export",
            *checkpoint,
            "--target",
            "tflite",
            "--precision",
            "fp32",
            *photos,
            "--output",
            f"{output}/x",
        ],
        "evaluate": ["evaluate", "--artifact", str(tflite), *data, "--limit", "150", "--output", f"{output}/x"],
        "reference": ["reference", *checkpoint, *data, "--limit", "48", "--output", f"{output}/x/r.parquet"],
        "benchmark": ["benchmark", "--artifact", str(tflite), "--quick", "--output", f"{output}/x"],
        "predict": ["predict", *first, "--artifact", str(mindir)],
        "onnx": ["export", "--mindir", str(mindir), "--target", "onnx", *photos, "--output", f"{output}/x"],
    }


def run(arguments: Sequence[str], scratch: Path) -> subprocess.Popen[str]:
    """Start a command quietly, in a session of its own, with temporary files of its own."""
    scratch.mkdir(parents=True, exist_ok=True)
    return subprocess.Popen(
        [sys.executable, "-m", "ghostedge", *arguments, "--quiet"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_heed,
        env={**os.environ, "TMPDIR": str(scratch)},
    )


def _heed() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a script's background jobs ignore Ctrl-C
        signal.signal(number, signal.SIG_DFL)


def session(leader: int) -> tuple[int, ...]:
    """The process ids of a session that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, sid = path.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(sid) == leader and state not in "ZX":
            found.append(int(path.parent.name))
    return tuple(found)


def interrupt(arguments: Sequence[str], number: int, wait_s: float, folder: Path) -> Outcome:
    """Run a command and send it a signal after `wait_s` seconds.

    Args:
        arguments: of ghostedge.
        number: the signal.
        wait_s: from its first own instructions on: until then (some 30 ms) Python starts, which dies of a signal.
        folder: holds what it writes; its temporary files go to ``tmp`` in it.
    """
    process = run(arguments, folder / "tmp")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while process.poll() is None and not children.read_text():
        time.sleep(0.002)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(wait_s)
    return end(process, number, folder)


def end(process: subprocess.Popen[str], number: int, folder: Path) -> Outcome:
    """Send a command that writes to `folder` a signal, unless it is done, and see what becomes of it."""
    process.send_signal(number)
    sent = time.monotonic()
    try:
        _, err = process.communicate(timeout=30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        _, err = process.communicate()
        return Outcome(99, f"{err}(not done 30 s after the signal)\n", 30.0, session(process.pid), ())
    seconds = time.monotonic() - sent
    while (left := session(process.pid)) and time.monotonic() - sent - seconds < 2:
        time.sleep(0.02)
    patterns = (".staging", ".partial-*", "tmp/ghostedge-*[!k]")  # locks may stay
    litter = tuple(str(path.relative_to(folder)) for pattern in patterns for path in folder.rglob(pattern))
    return Outcome(process.returncode, err, seconds, left, litter)


def contents(folder: Path) -> Mapping[str, str]:
    """Name -> SHA-256 of what a command left."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in _NOT_COMPARED and path.suffix != ".json" and path.name != ".lock"
    }


def undisturbed(arguments: Sequence[str], folder: Path) -> float:
    """Run a command to its end. Returns: seconds. Raises: RuntimeError where it fails."""
    started = time.monotonic()
    process = run(arguments, folder / "tmp")
    _, err = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit code {process.returncode}: {err}")
    return time.monotonic() - started


def trial(name: str, export: Path, number: int, moments: int, seed: int) -> list[str]:
    """Interrupt one command at all moments. Returns: what was wrong."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="interruptions-") as place:
        whole, folder = Path(place, "whole"), Path(place, "cut")
        takes_s = undisturbed(commands(export, whole)[name], whole)
        arguments, draw = commands(export, folder)[name], random.Random(f"{name}{number}{seed}")
        ends: list[float] = []
        done = 0
        for _ in range(moments):
            wait_s = draw.uniform(0, takes_s)
            outcome = interrupt(arguments, number, wait_s, folder)
            done += outcome.code == 0
            if outcome.code == 0:
                shutil.rmtree(folder / "x", ignore_errors=True)
            else:
                ends.append(outcome.seconds)
            faults += [f"{name} {signal.Signals(number).name} at {wait_s:.2f} s: {f}" for f in outcome.faults(number)]
        undisturbed(arguments, folder)
        if name != "predict" and (had := contents(whole / "x")) != (has := contents(folder / "x")):
            differ = sorted({key for key, _ in had.items() ^ has.items()})
            faults.append(f"{name}: after {moments} moments the files differ: {', '.join(differ)}")
    ends.sort()
    median, longest = (ends[len(ends) // 2], ends[-1]) if ends else (0.0, 0.0)
    print(
        f"{name:10} {signal.Signals(number).name:8} {moments} moments within {takes_s:.1f} s: "
        f"{moments - done} interrupted, {done} were done before; end after {median:.2f} s (median), "
        f"{longest:.2f} s (longest); {len(faults)} faults",
        flush=True,
    )
    return faults


def main() -> int:
    """Run. Returns: 0, or 1 where anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--export", type=Path, default=Path("build/demo"), metavar="DIR", help="what make demo made")
    parser.add_argument("--only", nargs="+", default=["export", "evaluate", "reference", "benchmark", "predict"])
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--signal", nargs="+", default=["SIGINT", "SIGTERM"])
    parser.add_argument("--kill", action="store_true", help="SIGKILL instead")
    args = parser.parse_args()
    numbers = [signal.SIGKILL] if args.kill else [signal.Signals[name] for name in args.signal]
    faults = [
        fault
        for name in args.only
        for number in numbers
        for fault in trial(name, args.export, number, args.moments, args.seed)
    ]
    print(*faults, sep="\n", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
