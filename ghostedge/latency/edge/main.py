"""Run what the command line asks for and print the result."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from ghostedge.latency.edge.arguments import already_done, arguments, plan
from ghostedge.latency.edge.common import SCHEMA_VERSION, VERSION, BenchmarkError, Record, atomic, say, sha256_of
from ghostedge.latency.edge.measure import interrupt, run_job
from ghostedge.latency.edge.system import describe_device, device_lock
from ghostedge.latency.edge.verdict import judge
from ghostedge.latency.edge.verification import check_golden_file


def complete(record: Record, job: Record, device: Record) -> Record:
    """The record with what the parent process knows, and the verdict; keys in the order of reading."""
    precision = record.pop("precision")
    head = {
        "schema_version": SCHEMA_VERSION,
        "kind": "verification_record" if job["mode"] == "verify" else "latency_record",
        "created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "benchmark": {"program": Path(__file__).name, "version": VERSION, "sha256": sha256_of(__file__)},
        "name": job["name"],
        "mode": job["mode"],
        "artifact": dict(job["artifact"], precision=precision) if job["path"] else None,
        "device": device,
    }
    whole = dict(head, **record)
    if job["mode"] == "verify":
        return whole
    reasons, warnings = judge(whole)
    whole.update(valid=not reasons, invalid_reasons=reasons, warnings=warnings)
    return whole


def table(records: list[Record]) -> str:
    """The result for people: one row a run."""
    rows = [
        (
            "Artifact",
            "Runtime",
            "Threads",
            "p50 ms",
            "p90 ms",
            "p99 ms",
            "Load ms",
            "First ms",
            "RSS MiB",
            "Answers",
            "Valid",
        )
    ]
    for record in records:
        latency, settings = record["latency_ms"], record["settings"]
        numbers = [latency["p50"], latency["p90"], latency["p99"], record["load_ms"], record["first_ms"]]
        rows.append((
            record["artifact"]["file"] if record["artifact"] else "-",
            record["runtime"]["name"] + (" (no XNNPACK)" if settings["xnnpack"] is False else ""),
            str(settings["threads"]),
            *(f"{number:.3f}" for number in numbers),
            "-" if record["memory"]["rss_peak_mib"] is None else f"{record['memory']['rss_peak_mib']:.0f}",
            answers(record["verification"]),
            "yes" if record["valid"] else "no: " + ", ".join(reason["code"] for reason in record["invalid_reasons"]),
        ))  # fmt: skip
    return aligned(rows)


def verification_table(records: list[Record]) -> str:
    """The result of --verify-only for people: one row a run."""
    rows = [("Artifact", "Runtime", "Threads", "SNR dB", "Top-1", "Pictures", "Repeats", "Answers")]
    for record in records:
        found, repeats = record["verification"], record["verification"]["repeats"]
        rows.append((
            record["artifact"]["file"],
            f"{record['runtime']['name']} {record['runtime']['version']}",
            str(record["settings"]["threads"]),
            "identical" if found["snr_db"] is None and found["finite"] else f"{found['snr_db'] or 0:.1f}",
            f"{found['top1_agreement']:.0%}",
            str(found["golden"]["images"]),
            f"{repeats['inferences']} " + ("identical" if repeats["identical"] else "NOT identical"),
            "right" if found["correct"] else "WRONG",
        ))  # fmt: skip
    return aligned(rows)


def answers(verification: Record | None) -> str:
    """One cell: whether the answers were right."""
    return "not checked" if verification is None else "right" if verification["correct"] else "WRONG"


def aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows as aligned columns, a rule under the first."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def benchmark(args: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Run everything that is asked for: (records, errors)."""
    jobs, errors = plan(args)
    if args.image and not Path(args.image).is_file():
        raise BenchmarkError(f"--image: {args.image} does not exist")
    if args.golden:
        check_golden_file(args.golden)
    if args.cpus and not hasattr(os, "sched_setaffinity"):
        raise BenchmarkError("--cpus: this system cannot bind a program to CPUs; leave it out")
    unknown = set(args.cpus or ()) - set(range(os.cpu_count() or 1))
    if unknown:
        raise BenchmarkError(f"--cpus: this device has no CPU {min(unknown)}; it has {os.cpu_count()}")
    try:
        Path(args.output).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise BenchmarkError(f"cannot make the folder {args.output}: {exc.strerror}") from exc
    records, device = [], describe_device()
    with device_lock():
        for number, job in enumerate(jobs, start=1):
            path = Path(args.output) / f"{job['name']}.json"
            label = f"[{number}/{len(jobs)}] {job['name']}"
            record = already_done(path, job) if args.resume else None
            if record is not None:
                say(f"{label}: already measured")
                records.append(record)
                continue
            job["output_npy"] = path.with_suffix(".npy") if args.save_output else None
            try:
                record = complete(run_job(job, lambda text: say(f"{label}: {text}")), job, device)  # noqa: B023
                with atomic(path) as partial, open(partial, "w", encoding="utf-8") as file:
                    json.dump(record, file, separators=(",", ":"))
            except BenchmarkError as exc:
                errors.append(str(exc))
                say(f"{label}: failed")
                continue
            if args.verify_only:
                say(f"{label}: answers {answers(record['verification'])}")
            else:
                say(f"{label}: p50 {record['latency_ms']['p50']:.3f} ms, {'valid' if record['valid'] else 'not valid'}")
            records.append(record)
    return records, errors


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run. Returns: the exit code."""
    parser = arguments()
    args = parser.parse_args(argv)
    if not args.models and args.runtime != "null":
        parser.error("name at least one MODEL (or --runtime null)")
    if args.verify_only and (not args.golden or args.runtime == "null"):
        parser.error("--verify-only needs --golden F and a runtime")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        records, errors = benchmark(args)
    except BenchmarkError as exc:
        say(f"edge_benchmark: error: {exc}")
        return 1
    except KeyboardInterrupt:
        say("edge_benchmark: interrupted; finished records are kept, --resume leaves them out")
        return 130
    if records and args.verify_only:
        print(verification_table(records))
    elif records:
        print(table(records))
    for record in records:
        for item in record.get("invalid_reasons", []) + record.get("warnings", []):
            print(f"  {record['name']}: {item['text']}")
    for error in dict.fromkeys(errors):
        say(f"edge_benchmark: error: {error}")
    wrong = [record for record in records if record["verification"] and not record["verification"]["correct"]]
    for record in wrong:
        where = f"{record['artifact']['file']} in {record['runtime']['name']} {record['runtime']['version']}"
        say(f"edge_benchmark: wrong answers: {where}: {record['verification']['reason']}")
    return 1 if errors else 2 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
