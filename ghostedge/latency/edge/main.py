"""Plan the runs that the command line asks for, carry them out and print the result."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import NoReturn

from ghostedge.latency.edge import SCHEMA_VERSION, VERSION, BenchmarkError, Record, atomic, say, sha256_of
from ghostedge.latency.edge.measure import run_job, take_signals
from ghostedge.latency.edge.runtimes import RUNTIMES, LiteRT, choose_runtime, model_format
from ghostedge.latency.edge.system import describe_device, device_lock, per_cpu
from ghostedge.latency.edge.timing import FULL, OVERHEAD_SAMPLES, QUICK, judge
from ghostedge.latency.edge.verification import check_golden_file

EPILOG = """\
Fixing the frequency (what a comparison needs; what applications meet is the default governor):
  Raspberry Pi, PC: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
  Android:          adb shell cmd power set-fixed-performance-mode-enabled true

Exit codes: 0 every run gave a record (valid or not: the record says), 1 one did not (or a wrong argument), 2 one gave
wrong answers (--golden), 130 interrupted (143 by SIGTERM, 129 by SIGHUP).
"""


def describe_artifact(path: str, form: str) -> Record:
    """The model file: OpenVINO's weights in the .bin beside the .xml are part of it."""
    files = [Path(path), Path(path).with_suffix(".bin")] if form == "openvino" else [Path(path)]
    hashed = [{"file": file.name, "sha256": sha256_of(file)} for file in files]
    return {
        "file": files[0].name,
        "format": form,
        "size_bytes": sum(file.stat().st_size for file in files),
        "sha256": hashed[0]["sha256"],
        "files": hashed,
    }


def numbers(text: str) -> list[int]:
    """``"1,2,4"`` or ``"0-3"`` as a sorted list without repetitions."""
    try:
        found: set[int] = set()
        for part in text.split(","):
            first, _, last = part.partition("-")
            found.update(range(int(first), int(last or first) + 1))
    except ValueError:
        found = set()
    if not found or min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 1,2,4 or 0-3")
    return sorted(found)


def thread_counts(text: str) -> list[int]:
    """As `numbers`, each at least 1."""
    if 0 in (found := numbers(text)):
        raise argparse.ArgumentTypeError("a run needs at least one thread")
    return found


def positive(text: str) -> float:
    """A number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above zero")
    return value


def cpu_list(text: str) -> list[int]:
    """The CPUs to run on: numbers, or "big" for those with the highest frequency."""
    if text != "big":
        return numbers(text)
    limits = per_cpu("cpuinfo_max_freq", 1000)
    if limits is None:
        raise argparse.ArgumentTypeError("'big': this system does not tell its CPUs' frequencies; give their numbers")
    return [index for index, limit in enumerate(limits) if limit == max(f for f in limits if f)]


class CommandLine(argparse.ArgumentParser):
    """A mistake in the command line ends with 1 and not with argparse's 2, which says here that answers are wrong."""

    def error(self, message: str) -> NoReturn:
        """Say it in one line."""
        self.print_usage(sys.stderr)
        self.exit(1, f"edge_benchmark: error: {message}\n")


def arguments() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = CommandLine(
        description="Measure how long one picture takes on this device.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="MODEL", help=".tflite, OpenVINO .xml (its .bin beside it) or .onnx")
    add("--threads", type=thread_counts, default=[1], metavar="N,N", help="one run each (default: 1)")
    add("--runtime", choices=["auto", "null", *RUNTIMES], default="auto", help="default: the one installed")
    add("--xnnpack", choices=["on", "off", "both"], default="on", help="the fast path of LiteRT (default: on)")
    add(
        "--precision-hint",
        choices=["f32", "f16", "bf16", "default"],
        help="for OpenVINO: f32, in which accuracies are evaluated, unless asked otherwise; its own default is f16 or "
        "bf16 where the CPU has it",
    )
    add("--cpus", type=cpu_list, metavar="0-3|big", help="run on these CPUs only; big: the fastest ones")
    add("--image", metavar="PHOTO", help="measure decoding and preprocessing of this photo too")
    add("--golden", metavar="F", help="check the answers first, against NAME.golden.npz of the model's export")
    add("--verify-only", action="store_true", help="check the answers and do not time")
    add("--min-snr-db", type=float, metavar="DB", help="what the answers must keep to (default: what the model says)")
    add("--min-top1-agreement", type=float, metavar="0..1", help="likewise, the share of pictures with the same answer")
    add("--quick", action="store_true", help="a first look in seconds; the record is marked not valid")
    add("--sustained", type=positive, metavar="MIN", help="go on for so many minutes and record the curve")
    for name, kind, metavar in (("min_samples", int, "N"), ("min_seconds", float, "S"), ("warmup_limit_s", float, "S")):
        said = f"default: {FULL[name]:g} (--quick: {QUICK[name]:g})"
        add("--" + name.removesuffix("_s").replace("_", "-"), dest=name, type=kind, metavar=metavar, help=said)
    add("--output", default="latency", metavar="DIR", help="folder of the records (default: latency)")
    add("--save-output", action="store_true", help="write the model's output beside each record, as .npy")
    add("--resume", action="store_true", help="leave out runs whose record is already there")
    add("--version", action="version", version=VERSION)
    return parser


def plan(args: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Every run that is asked for, as plain dicts."""
    given = {name: value for name, value in vars(args).items() if name in FULL and value is not None}
    asked = given.keys() & {"min_samples", "min_seconds"}
    common: Record = {
        **{name: getattr(args, name) for name in ("cpus", "image", "golden", "min_snr_db", "min_top1_agreement")},
        **(QUICK if args.quick else FULL),
        **given,
        "sustained_min": args.sustained,
        "mode": "verify" if args.verify_only else "quick" if args.quick else "custom" if asked else "full",
    }
    jobs, errors = [], []
    if args.runtime == "null":
        # A second of it is a million samples.
        common.update(min_samples=args.min_samples or OVERHEAD_SAMPLES, min_seconds=0.0, window_s=0.01)
        common.update(image=None, golden=None, precision_hint=None)
        jobs.append(dict(common, path=None, runtime="null", threads=1, xnnpack=None, name="null"))
    for path in args.models if args.runtime != "null" else ():
        try:
            form = model_format(path)
            runtime = choose_runtime(form, args.runtime)
        except BenchmarkError as exc:
            errors.append(str(exc))
            continue
        artifact = describe_artifact(path, form)
        litert = RUNTIMES[runtime][1] is LiteRT
        fast = {"on": [True], "off": [False], "both": [True, False]}[args.xnnpack] if litert else [None]
        for threads, xnnpack in itertools.product(args.threads, fast):
            name = f"{Path(path).stem}-{runtime}-{threads}t"
            name += "-noxnnpack" if xnnpack is False else ""
            name += "-" + args.precision_hint if args.precision_hint and runtime == "openvino" else ""
            name += "-cpu" + "_".join(map(str, args.cpus)) if args.cpus else ""
            name += "-verify" if args.verify_only else ""
            job = dict(common, path=path, runtime=runtime, threads=threads, xnnpack=xnnpack, artifact=artifact)
            job["precision_hint"] = (args.precision_hint or "f32") if runtime == "openvino" else None
            same = [other for other in jobs if other["name"] == name]
            if same and same[0]["artifact"]["files"] == artifact["files"]:
                continue
            jobs.append(dict(job, name=f"{name}-{artifact['sha256'][:8]}" if same else name))
    return jobs, errors


def already_done(path: Path, job: Record) -> Record | None:
    """The record at `path` if it is of the same model, settings and demands, else None."""
    try:
        with open(path, encoding="utf-8") as file:
            record = json.load(file)
        same = (
            record["schema_version"] == SCHEMA_VERSION
            and record["kind"] == "latency_record"
            and (not job["golden"] or record["verification"]["golden"]["sha256"] == sha256_of(job["golden"]))
            and record["mode"] == job["mode"]
            and all(record["settings"][key] == job[key] for key in ("threads", "xnnpack", "precision_hint", "cpus"))
            and (record["artifact"] or {}).get("files") == (job.get("artifact") or {}).get("files")
            and len(record["samples_ms"]) >= job["min_samples"]
            and record["duration_s"] >= job["min_seconds"]
            and ((record["sustained"] or {}).get("minutes") == job["sustained_min"])
            and record["input"]["source"] == (Path(job["image"]).name if job["image"] else "noise")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same else None


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


def latency_table(records: list[Record]) -> str:
    """The result for people: one row a run."""
    times = ("p50 ms", "p90 ms", "p99 ms", "Load ms", "First ms")
    rows = [("Artifact", "Runtime", "Threads", *times, "RSS MiB", "Answers", "Valid")]
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
    take_signals()
    try:
        records, errors = benchmark(args)
    except BenchmarkError as exc:
        say(f"edge_benchmark: error: {exc}")
        return 1
    except KeyboardInterrupt as exc:
        say("edge_benchmark: interrupted; finished records are kept, --resume leaves them out")
        return 128 + int(exc.args[0])
    if records:
        print(verification_table(records) if args.verify_only else latency_table(records))
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
