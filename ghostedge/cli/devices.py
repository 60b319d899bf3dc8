"""What ``benchmark`` and ``verify`` share: the arguments that say where and how, and what is told at the end."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ghostedge.console import ProgressWriter

if TYPE_CHECKING:
    from ghostedge.latency.api import Measured, RunSettings


def add_device_arguments(parser: argparse.ArgumentParser) -> Any:
    """Define the arguments that say where. Returns: their group."""
    where = parser.add_argument_group("where")
    where.add_argument(
        "--device", action="append", metavar="D", help="local, ssh:USER@HOST[:PORT] or adb:SERIAL; repeat for several"
    )
    where.add_argument("--python", metavar="P", help="the Python there (ssh: python3; adb: none, but the demo app)")
    where.add_argument("--identity", type=Path, metavar="KEY", help="ssh: private key (default: as ssh would choose)")
    where.add_argument("--known-hosts", type=Path, metavar="F", help="ssh: default ~/.ssh/known_hosts")
    return where


def add_setting_arguments(group: Any) -> None:
    """Define the settings of a run."""
    group.add_argument("--threads", type=_threads, default=(1,), metavar="N,N", help="one run each (default: 1)")
    group.add_argument("--xnnpack", choices=("on", "off", "both"), default="on", help="for .tflite (default: on)")
    group.add_argument(
        "--precision-hint",
        choices=("f32", "f16", "bf16", "default"),
        help="for OpenVINO (default: f32, as evaluate; its own default is f16 or bf16 where the CPU has it)",
    )


def _threads(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of thread counts such as 1,2,4")
    return counts


def settings_of(args: argparse.Namespace) -> RunSettings:
    """What the arguments above say."""
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


def progress_of(args: argparse.Namespace) -> Callable[[str, str], None]:
    """What shows each line of a device's progress."""
    writer = ProgressWriter(quiet=args.quiet)
    return lambda device, text: writer.line(f"{device:24}  {text}")


def as_json(records: Sequence[Mapping[str, Any]], errors: Sequence[tuple[str, str]]) -> str:
    """The one JSON document of ``--json``."""
    return json.dumps(
        {"records": list(records), "errors": [{"device": device, "error": error} for device, error in errors]}
    )


def tell(measured: Measured) -> int:
    """Say on stderr what failed and which answers are wrong. Returns: the exit code, 1, 2 or 0."""
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
