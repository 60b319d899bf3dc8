"""The command line: one file a command, each arguments, one library call and what is printed; here what they share."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TypeAlias  # Python 3.9 has none, and is told that it is too old in one line

    from ghostedge.accuracy.statistics import Verdict
    from ghostedge.latency.api import Measured, RunSettings

#: What a command exits with for a verdict.
EXIT_CODES: dict[Verdict, int] = {"PASS": 0, "FAIL": 2, "INCONCLUSIVE": 3}

#: What `argparse.ArgumentParser.add_argument` takes: a name, and its settings.
Argument: TypeAlias = tuple[str, dict[str, Any]]

#: A command's arguments by the headings of its help; those under ``""`` have none, of those under one that ends in
#: ``(one of)`` exactly one must be given.
Arguments: TypeAlias = Mapping[str, Sequence[Argument]]


def argument(usage: str, text: str, kind: Callable[[str], Any] = str, **further: Any) -> Argument:
    """An argument of a command.

    Args:
        usage: as the help shows it: ``"--limit N"``, ``"--artifact A..."`` for one or more, ``"--engine {local,ray}"``;
            ``"weights WEIGHTS"`` where it stands alone, ``"--force"`` where it takes no value.
        text: its help.
        kind: parses the value.
        further: settings of `argparse.ArgumentParser.add_argument`.
    """
    name, _, value = usage.partition(" ")
    if not value:
        return name, {"help": text, "action": "store_true"}
    if value.startswith("{"):
        further["choices"] = value[1:-1].split(",")
    else:
        further["metavar"] = value.removesuffix("...")
    if value.endswith("..."):
        further |= {"nargs": "+", "action": "extend"}
    return name, {"help": text, "type": kind, **further}


def add_arguments(parser: argparse.ArgumentParser, arguments: Arguments) -> None:
    """Define a command's arguments."""
    for heading, group_arguments in arguments.items():
        group: Any = parser.add_argument_group(heading) if heading else parser
        if heading.endswith("(one of)"):
            group = group.add_mutually_exclusive_group(required=True)
        for name, settings in group_arguments:
            group.add_argument(name, **settings)


def options_given(args: argparse.Namespace, names: Iterable[str]) -> str:
    """Those of the options `names` that are given, for a message: ``"--data and --labels"``; empty where none is."""
    values = {name: getattr(args, name) for name in names}
    given = [name for name, value in values.items() if value is not None and value is not False]
    return " and ".join(f"--{name.replace('_', '-')}" for name in given)


def thread_counts(text: str) -> tuple[int, ...]:
    """Parse ``"1,2,4"``."""
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of thread counts such as 1,2,4")
    return counts


LABELS = argument("--labels F", "class names, one a line (default for 1,000: ImageNet)", Path)
INPUT_SPEC = argument("--input-spec F", "JSON that says what the models' input holds", Path)
NETWORK = argument(
    "--network N", "what a checkpoint is of: mindcv:NAME, a network of MindCV (default: GhostNetV2)", default=""
)
GOLDEN = argument("--golden F", "golden vectors (default: those beside the artifact)", Path)

GROUND_TRUTH = argument("--ground-truth F", "label file (default: looked for beside D), or none", Path)
LIMIT = argument("--limit N", "N images spread evenly over all (default: all)", int)
LOGITS = argument("--logits", "keep every logit in the ledger, as float16")

#: Which images an evaluation runs.
IMAGES: Arguments = {
    "images": [
        argument("--data D", "folder, .tar or .parquet of images", Path, required=True),
        GROUND_TRUTH,
        LIMIT,
        argument(
            "--on-error {fail,skip}",
            "images that cannot be read: fail after naming them (default), or skip: count them as wrong",
            default="fail",
        ),
        LOGITS,
    ]
}

#: On which machines an evaluation runs.
ENGINE: Arguments = {
    "where": [
        argument("--engine {local,ray}", "this machine (default), or Ray", default="local"),
        argument("--address HOST:PORT", "head of the Ray cluster (default: that of this machine: ray start --head)"),
    ]
}

#: Where a benchmark or a verification runs.
DEVICES = [
    argument("--device D", "local, ssh:USER@HOST[:PORT] or adb:SERIAL; repeat for several", action="append"),
    argument("--python P", "the Python there (ssh: python3; adb: none, but the demo app)"),
    argument("--identity KEY", "ssh: private key (default: as ssh would choose)", Path),
    argument("--known-hosts F", "ssh: default ~/.ssh/known_hosts", Path),
]

#: How a benchmark or a verification runs.
SETTINGS = [
    argument("--threads N,N", "one run each (default: 1)", thread_counts, default=(1,)),
    argument("--xnnpack {on,off,both}", "for .tflite (default: on)", default="on"),
    argument(
        "--precision-hint {f32,f16,bf16,default}",
        "for OpenVINO (default: f32, as evaluate; its own default is f16 or bf16 where the CPU has it)",
    ),
]


def warn_of_changed(artifacts: Sequence[Path]) -> None:
    """Say on stderr which files are not those that the manifest beside them records; they are used all the same."""
    from ghostedge.provenance import changed

    weights = [path.with_suffix(".bin") for path in artifacts if path.suffix == ".xml"]
    for line in changed([*artifacts, *weights]):
        print(f"ghostedge: warning: {line}", file=sys.stderr)


def settings_of(args: argparse.Namespace) -> RunSettings:
    """What the arguments in `DEVICES` and `SETTINGS` say."""
    from ghostedge.latency.api import RunSettings

    return RunSettings(
        devices=args.device or ["local"],
        threads=args.threads,
        xnnpack=args.xnnpack,
        precision_hint=args.precision_hint,
        python=args.python,
        identity=args.identity,
        known_hosts=args.known_hosts,
        fixed_performance=getattr(args, "fixed_performance", False),
    )


def device_progress(args: argparse.Namespace) -> Callable[[str, str], None]:
    """What shows each line of a device's progress."""
    from ghostedge.console import ProgressWriter  # Python 3.10 reads this file too, to say that it is too old

    writer = ProgressWriter(quiet=args.quiet)
    return lambda device, text: writer.line(f"{device:24}  {text}")


def tell(measured: Measured, args: argparse.Namespace, entry: Callable[..., Any], table: Callable[..., str]) -> int:
    """Print the records of a benchmark or a verification, and say on stderr what failed and which answers are wrong.

    Args:
        measured: the records and the errors.
        args: whether one JSON document is wanted.
        entry: makes a record's entry in it.
        table: makes the table of all records.

    Returns:
        The exit code: 1, 2 or 0.
    """
    if args.json:
        errors = [{"device": device, "error": error} for device, error in measured.errors]
        print(json.dumps({"records": list(map(entry, measured.records)), "errors": errors}))
    elif measured.records:
        print(table(measured.records))
    for _, error in measured.errors:
        print(f"ghostedge: error: {error}", file=sys.stderr)
    for record in measured.records:
        if record.correct is False:
            model, runtime = record.content["artifact"], record.content["runtime"]
            print(
                f"ghostedge: wrong answers: {record.device}: {model['file']} in {runtime['name']} "
                f"{runtime['version']}: {record.content['verification']['reason']}",
                file=sys.stderr,
            )
    return measured.exit_code
