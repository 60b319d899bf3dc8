"""What ``benchmark`` and ``verify`` share: the devices, the golden vectors, and running the script on them."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


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


def measure(
    args: argparse.Namespace, goldens: Sequence[Path | None], options: Sequence[str], output: Path
) -> tuple[list[tuple[str, Path]], list[tuple[str, str]]]:
    """Run the script on every device, once for all artifacts that have the same golden file.

    Args:
        args: with what the two functions above define, ``artifact`` and ``quiet``.
        goldens: of each artifact; None for none.
        options: further ones for edge_benchmark.py.
        output: the folder for records.

    Returns:
        (device, record's file) and (device, error).
    """
    from ghostedge.latency.devices import BenchmarkRequest, open_device
    from ghostedge.latency.devices import run as benchmark

    names = list(dict.fromkeys(args.device or ["local"]))
    devices = [open_device(name, **own) for name, own in _device_options(args, names)]
    files: list[tuple[str, Path]] = []
    errors: list[tuple[str, str]] = []
    requests = [
        BenchmarkRequest(
            artifacts=tuple(a for a, own in zip(args.artifact, goldens, strict=True) if own == golden),
            threads=args.threads,
            image=getattr(args, "image", None),
            options=tuple(options),
            golden=golden,
        )
        for golden in dict.fromkeys(goldens)
    ]
    for request in requests:
        for result in benchmark(devices, request, output, _silent if args.quiet else _show):
            files += [(result.device, path) for path in result.files if (result.device, path) not in files]
            errors += [(result.device, result.error)] if result.error else []
    return files, errors


def choose_goldens(artifacts: Sequence[Path], given: Path | None) -> list[Path | None]:
    """The golden file for each artifact: `given`, or the one beside it. Raises: ArtifactError for a damaged one."""
    from ghostedge.data.golden import golden_beside, read_golden

    found = [given or golden_beside(artifact) for artifact in artifacts]
    for golden in dict.fromkeys(found):
        if golden is not None:
            read_golden(golden)  # here, and not on each device
    return found


def setting_options(args: argparse.Namespace) -> list[str]:
    """The settings as edge_benchmark.py takes them."""
    return ["--xnnpack", args.xnnpack, *(["--precision-hint", args.precision_hint] if args.precision_hint else [])]


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table: columns of one width, a rule under the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def as_json(records: Sequence[dict[str, Any]], errors: Sequence[tuple[str, str]]) -> str:
    """The one JSON document of ``--json``."""
    return json.dumps(
        {"records": list(records), "errors": [{"device": device, "error": error} for device, error in errors]}
    )


def tell(records: Sequence[tuple[str, Path, dict[str, Any]]], errors: Sequence[tuple[str, str]]) -> int:
    """Say on stderr what failed and which answers are wrong. Returns: the exit code, 1, 2 or 0."""
    for _, error in errors:
        print(f"ghostedge: error: {error}", file=sys.stderr)
    for device, text in (wrong := _wrong_answers(records)):
        print(f"ghostedge: wrong answers: {device}: {text}", file=sys.stderr)
    return 1 if errors else 2 if wrong else 0


def _wrong_answers(records: Sequence[tuple[str, Path, dict[str, Any]]]) -> list[tuple[str, str]]:
    """(device, one line) of each record whose answers are wrong."""
    from ghostedge.reports.format import answers_wrong

    return [
        (
            device,
            f"{record['artifact']['file']} in {record['runtime']['name']} {record['runtime']['version']}: "
            + record["verification"]["reason"],
        )
        for device, _, record in records
        if answers_wrong(record)
    ]


def _threads(text: str) -> tuple[int, ...]:
    try:
        counts = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        counts = ()
    if not counts or counts[0] < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of thread counts such as 1,2,4")
    return counts


#: Options of the command line -> the kinds of devices that take them.
_TAKEN_BY = {"python": ("ssh", "adb"), "identity": ("ssh",), "known_hosts": ("ssh",), "fixed_performance": ("adb",)}


def _device_options(args: argparse.Namespace, names: list[str]) -> list[tuple[str, dict[str, Any]]]:
    """Each device with the options that its kind takes. Raises: UsageError for one that none of them takes."""
    from ghostedge.errors import UsageError

    given = {key: value for key in _TAKEN_BY if (value := getattr(args, key, None))}
    kinds = [name.partition(":")[0] for name in names]
    for key in given:
        if not set(kinds) & set(_TAKEN_BY[key]):
            where = " or ".join({"ssh": "ssh:USER@HOST", "adb": "adb:SERIAL"}[kind] for kind in _TAKEN_BY[key])
            raise UsageError(f"--{key.replace('_', '-')}: only for --device {where}")
    return [
        (name, {key: value for key, value in given.items() if kind in _TAKEN_BY[key]})
        for name, kind in zip(names, kinds, strict=True)
    ]


def _silent(device: str, text: str) -> None:
    """Show nothing."""


def _show(device: str, text: str) -> None:
    print(f"{device:24}  {text}", file=sys.stderr, flush=True)
