"""``ghostedge demo``: the whole way, by the commands that a user would give, on the trained demo of the package."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ghostedge.cli import EXIT_CODES, Arguments, argument

if TYPE_CHECKING:
    from ghostedge.manifest import ArtifactRecord

HELP = "run the whole way on a trained checkpoint and labelled images that come with ghostedge"

EPILOG = """\
examples:
  ghostedge demo
  ghostedge demo --output build/demo

Each command is printed before it runs: with your own checkpoint and images in it, it is the real job. The checkpoint is
a GhostNetV2-1x of 200 classes that training/ made; its images were in no training picture. Interrupted, the same
command continues. The demo ends with 0 when every part was done, whatever verdicts the report holds.
"""

#: Exit codes of `parity` that are its answer and no failure: PASS, FAIL, INCONCLUSIVE.
_VERDICTS = {code: verdict for verdict, code in EXIT_CODES.items()}

#: Points of top-1 that an artifact may lose: what 2,000 images can decide of an int8 artifact.
_MAX_DROP = "1"

#: Precisions that are timed but not evaluated here: LiteRT has no fast kernels for them.
_SLOW = frozenset({"int16x8"})

#: The class whose validation images the export is verified on.
_CLASS = "tiger"

_LINE = 110


class Step:
    """One command of the demo.

    Args:
        about: one line for the reader.
        words: the command without the program's name, texts and paths.
        answers: exit codes that are not a failure.
    """

    def __init__(self, about: str, *words: object, answers: frozenset[int] = frozenset({0})) -> None:
        self.about, self.argv, self.answers = about, tuple(map(str, words)), answers


ARGUMENTS: Arguments = {"": [argument("--output DIR", "default: build/demo", Path, default=Path("build/demo"))]}


def run(args: argparse.Namespace) -> int:
    """Run the commands one after the other. Returns: 0, or the exit code of the first that failed."""
    from ghostedge.cli.main import main
    from ghostedge.demo import demo_record, verify_demo_files
    from ghostedge.errors import UsageError

    if args.json:
        raise UsageError("demo runs several commands; give --json to the one whose result is wanted")
    started = time.monotonic()
    files = verify_demo_files()
    record = demo_record()
    validation = record["validation"]["all"]
    print(
        f"GhostNetV2-1x, trained on {record['training']['pictures']:,} composed pictures; {validation['images']:,} "
        f"validation images\n{files:,} demo files have the sha256 they were published with",
        flush=True,
    )
    for step in steps(args.output):
        print(f"\n{step.about}\n$ {command_text(step.argv)}", flush=True)
        begun = time.monotonic()
        code = main([*step.argv, *(["--quiet"] if args.quiet else [])])
        if code not in step.answers:
            return code
        if code:
            print(f"({step.argv[0]} ends with {code} for {_VERDICTS[code]}: a script of yours would stop here)")
        print(f"({time.monotonic() - begun:.0f} s)", flush=True)
    report = (args.output / "report.html").resolve()
    print(f"\ndone in {time.monotonic() - started:.0f} s; accuracy, parity and latency in one page:\n{report}")
    return 0


def steps(output: Path) -> Iterator[Step]:
    """The commands in order; each is made when those before it have run.

    Args:
        output: where everything goes.

    Raises:
        DatasetError: a demo file is missing.
        ManifestError: the export left none that can be read.
    """
    from ghostedge.demo import FILES, NOISE_FLOOR, demo_file
    from ghostedge.tflite.float16 import allows_float16

    validation, calibration, labels, checkpoint, reference = (
        shown_path(demo_file(name))
        for name in ("validation", "calibration", "labels.txt", "artwork_1x.ckpt", "reference.parquet")
    )
    sample, ledgers, latency = Path(validation, _CLASS), output / "ledgers", output / "latency"
    yield Step(
        "Make every artifact, and run each beside the one it was made from:",
        *("export", "--checkpoint", checkpoint, "--target", "all", "--labels", labels),
        *("--calibration", calibration, "--images", sample, "--output", output),
    )
    artifacts = artifacts_of(output)
    evaluated = [path for path, record in artifacts.items() if record.precision not in _SLOW]
    smallest = min(evaluated, key=lambda path: artifacts[path].size_bytes)
    yield Step(
        "See what the smallest of them sees:",
        *("predict", min(sample.iterdir()), "--top", "3", "--artifact", smallest),
    )
    yield Step(
        f"Run them over all validation images, each decoded once for all. MindIR{_and_slow(artifacts)} is left out: it "
        "would take as long as all others together, and export has shown above how close it is.",
        *("evaluate", "--artifact", *evaluated, "--data", validation, "--output", ledgers),
    )
    float16 = [path for path in evaluated if path.suffix == ".tflite" and allows_float16(path)]
    if float16:
        yield Step(
            "Once more in float16 those that CPUs with float16 arithmetic (Raspberry Pi 5, phones) compute so:",
            *("evaluate", "--artifact", *float16, "--inference-precision", "f16"),
            *("--data", validation, "--output", ledgers),
        )
    yield Step(
        "Time them on this machine, a first look:",
        *("benchmark", "--artifact", *artifacts, "--quick", "--resume", "--output", latency),
    )
    noise = ["--noise-floor", shown_path(demo_file(NOISE_FLOOR))] if (FILES / NOISE_FLOOR).is_file() else []
    yield Step(
        "Judge each against MindSpore's own answers, which were recorded once, and put everything into one page:",
        *("parity", "--reference", reference, *noise, "--ledger"),
        *(ledgers / f"{path.name}.parquet" for path in evaluated),
        *(ledgers / f"{path.name}.f16.parquet" for path in float16),
        *("--max-drop", _MAX_DROP, "--data", validation, "--labels", labels),
        *("--export", output, "--latency", latency, "--report", output / "report.html"),
        answers=frozenset(_VERDICTS),
    )


def artifacts_of(output: Path) -> dict[Path, ArtifactRecord]:
    """What an export left in `output` for devices, by its path. Raises: ManifestError."""
    from ghostedge.errors import ManifestError
    from ghostedge.manifest import Manifest

    manifest = Manifest.read(output)
    if manifest is None:
        raise ManifestError(f"{output} holds no manifest.json; run the demo again")
    return {
        output / record.files[0].name: record
        for record in manifest.artifacts.values()
        if record.target != "mindir" and record.precision != "equalised"
    }


def _and_slow(artifacts: Mapping[Path, ArtifactRecord]) -> str:
    """``" (and int16x8)"`` where there are such artifacts."""
    slow = sorted(_SLOW & {record.precision for record in artifacts.values()})
    return f" (and {', '.join(slow)})" if slow else ""


def shown_path(path: Path) -> str:
    """`path` as one would type it here: relative where it is below the current folder."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def command_text(argv: tuple[str, ...]) -> str:
    """``ghostedge ARGV`` as it can be pasted into a shell, broken before options where it is long."""
    lines = ["ghostedge"]
    for word in map(shlex.quote, argv):
        if len(lines[-1]) + len(word) > _LINE or (word.startswith("--") and len(lines[-1]) > _LINE * 2 // 3):
            lines[-1] += " \\"
            lines.append(f"    {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)
