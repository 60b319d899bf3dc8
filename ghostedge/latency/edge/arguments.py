"""Define the command line, and plan the runs that it asks for."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

from ghostedge.latency.edge.common import SCHEMA_VERSION, VERSION, BenchmarkError, Record, sha256_of
from ghostedge.latency.edge.runtimes import RUNTIMES, LiteRT, choose_runtime, model_format
from ghostedge.latency.edge.system import per_cpu
from ghostedge.latency.edge.timing import (
    FULL_SAMPLES,
    FULL_SECONDS,
    FULL_WARMUP_LIMIT_S,
    FULL_WINDOW_S,
    OVERHEAD_SAMPLES,
    QUICK_SAMPLES,
    QUICK_SECONDS,
    QUICK_WARMUP_LIMIT_S,
    QUICK_WINDOW_S,
)

EPILOG = """\
Fixing the frequency (what a comparison needs; what applications meet is the default governor):
  Raspberry Pi, PC: echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor
  Android:          adb shell cmd power set-fixed-performance-mode-enabled true

Exit codes: 0 every run gave a record (valid or not: the record says), 1 one did not, 2 one gave wrong answers
(--golden), 130 interrupted.
"""


def describe_artifact(path: str, form: str) -> Record:
    """The model file: OpenVINO's weights in the .bin beside the .xml are part of it."""
    files = [Path(path), Path(path).with_suffix(".bin")] if form == "openvino" else [Path(path)]
    return {
        "file": files[0].name,
        "format": form,
        "size_bytes": sum(file.stat().st_size for file in files),
        "sha256": sha256_of(files[0]),
        "files": [{"file": file.name, "sha256": sha256_of(file)} for file in files],
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
    found = numbers(text)
    if found[0] < 1:
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


def arguments() -> argparse.ArgumentParser:
    """The command line's definition."""
    parser = argparse.ArgumentParser(
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
    add("--min-samples", type=int, metavar="N", help=f"default: {FULL_SAMPLES} (--quick: {QUICK_SAMPLES})")
    add("--min-seconds", type=float, metavar="S", help=f"default: {FULL_SECONDS:g} (--quick: {QUICK_SECONDS:g})")
    add("--warmup-limit", type=float, metavar="S", help=f"default: {FULL_WARMUP_LIMIT_S:g}")
    add("--output", default="latency", metavar="DIR", help="folder of the records (default: latency)")
    add("--save-output", action="store_true", help="write the model's output beside each record, as .npy")
    add("--resume", action="store_true", help="leave out runs whose record is already there")
    add("--version", action="version", version=VERSION)
    return parser


def plan(args: argparse.Namespace) -> tuple[list[Record], list[str]]:
    """Every run that is asked for, as plain dicts."""
    window_s = QUICK_WINDOW_S if args.quick else FULL_WINDOW_S
    limit_s = QUICK_WARMUP_LIMIT_S if args.quick else FULL_WARMUP_LIMIT_S
    asked = args.min_samples is not None or args.min_seconds is not None
    common = {
        "cpus": args.cpus,
        "image": args.image,
        "golden": args.golden,
        "min_snr_db": args.min_snr_db,
        "min_top1_agreement": args.min_top1_agreement,
        "min_samples": (QUICK_SAMPLES if args.quick else FULL_SAMPLES)
        if args.min_samples is None
        else args.min_samples,
        "min_seconds": (QUICK_SECONDS if args.quick else FULL_SECONDS)
        if args.min_seconds is None
        else args.min_seconds,
        "window_s": window_s,
        "warmup_limit_s": limit_s if args.warmup_limit is None else args.warmup_limit,
        "sustained_min": args.sustained,
        "split_repeats": 10 if args.quick else 50,
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
            hint = (args.precision_hint or "f32") if runtime == "openvino" else None
            job = dict(common, path=path, runtime=runtime, threads=threads, xnnpack=xnnpack, artifact=artifact)
            job["precision_hint"] = hint
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
            and record["settings"]["threads"] == job["threads"]
            and record["settings"]["xnnpack"] == job["xnnpack"]
            and record["settings"]["precision_hint"] == job["precision_hint"]
            and record["settings"]["cpus"] == job["cpus"]
            and (record["artifact"] or {}).get("files") == (job.get("artifact") or {}).get("files")
            and len(record["samples_ms"]) >= job["min_samples"]
            and record["duration_s"] >= job["min_seconds"]
            and ((record["sustained"] or {}).get("minutes") == job["sustained_min"])
            and record["input"]["source"] == (Path(job["image"]).name if job["image"] else "noise")
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return record if same else None
