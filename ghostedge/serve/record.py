"""Make a verification or latency record of what a phone sent, by the functions that all devices' results pass."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np

import ghostedge
from ghostedge.errors import DeviceError
from ghostedge.latency.edge.timing import MAX_DRIFT, judge, summarise
from ghostedge.latency.edge.verification import DEFAULT_BOUNDS, bounds_of, compare_again, compared, noise_power
from ghostedge.latency.records import parse_record
from ghostedge.serve.job import Subject
from ghostedge.serve.messages import Checked, PhoneMessage, RunMessage, Setting, Timed, floats

__all__ = ["make_record", "run_name", "runtime_of"]


#: The step of a clock that spoils a median, as a share of it: no more than the drift that spoils one.
_MAX_CLOCK_SHARE = MAX_DRIFT

#: Browsers' clocks step by 5 us on a page that is isolated, which takes HTTPS, and by 100 us on others.
_FINE_CLOCK_MS = 0.02


def run_name(subject: Subject, setting: Setting) -> str:
    """What a run's files are called: ``"model_fp32-litertjs-wasm-1t"``."""
    return f"{subject.model.path.stem}-litertjs-{setting.accelerator}-{setting.threads}t"


def runtime_of(setting: Setting, version: str) -> dict[str, Any]:
    """What records and ledgers say of what ran a model. The page asks GPUs for float32 too."""
    return {
        "name": "litert.js",
        "version": version,
        "inference_precision": "f32",
        "accelerator": setting.accelerator,
        "build": setting.build,
    }


def make_record(subject: Subject, phone: PhoneMessage, message: RunMessage, version: str) -> dict[str, Any]:
    """The record of a run, checked against its type.

    Args:
        subject: the model that was run.
        phone: where.
        message: what came from there.
        version: of LiteRT.js.

    Raises:
        DeviceError: what came does not fit the model or its golden vectors.
    """
    if message.checked is None and message.timed is None:
        raise DeviceError("the upload holds neither answers nor samples; reload the page")
    if message.checked is not None and subject.golden is None:
        raise DeviceError(f"{subject.model.path.name} has no golden vectors; reload the page")
    verification = message.checked and _verification(subject, message.checked, message.timed)
    record = {**_head(subject, phone, message, version), "verification": verification}
    if message.timed is not None:
        record |= _timed(subject, message, message.timed)
        reasons, warnings = judge(record)
        reasons += _page_reasons(message.timed, record["latency_ms"]["p50"])
        if not message.whole:
            text = f"{message.setting.accelerator} runs some of the operators, WebAssembly the others"
            warnings.append({"code": "not_all_delegated", "text": text})
        record |= {"valid": not reasons, "invalid_reasons": reasons, "warnings": warnings}
    return parse_record(json.dumps(record, allow_nan=False).encode(), "the record")


def _head(subject: Subject, phone: PhoneMessage, message: RunMessage, version: str) -> dict[str, Any]:
    model, timed = subject.model, message.timed is not None
    setting = message.setting
    runtime = runtime_of(setting, version)
    return {
        "schema_version": 2,
        "kind": "latency_record" if timed else "verification_record",
        "created_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "benchmark": {"program": "ghostedge serve", "version": ghostedge.__version__, "sha256": None},
        # A first look does not take the place of a whole measurement.
        "name": run_name(subject, setting) + ("-verify" if not timed else "-quick" if message.mode == "quick" else ""),
        "mode": message.mode if timed else "verify",
        "artifact": {
            "file": model.path.name,
            "format": "tflite",
            "size_bytes": len(subject.content),
            "sha256": model.sha256,
            "files": [{"file": model.path.name, "sha256": model.sha256}],
            "precision": model.precision,
        },
        "device": {
            "host": phone.name,
            "model": phone.model,
            "soc": None,
            "cpu": None,
            "architecture": phone.architecture or "unknown",
            "cores": phone.cores,
            "max_frequency_mhz": None,
            "memory_mib": None if phone.memory_gib is None else 1024 * phone.memory_gib,
            "system": phone.system or "unknown",
            "kernel": None,
            "python": None,
            "emulated": False,
            "browser": phone.user_agent,
        },
        "settings": {
            "threads": setting.threads,
            "xnnpack": True if setting.accelerator == "wasm" else None,
            "precision_hint": None,
            "cpus": None,
        },
        "runtime": {**runtime, "import_ms": message.import_ms} if timed else runtime,
        "delegate": None,  # LiteRT.js does not tell which operators a delegate took
        "load_ms": message.load_ms,
        "first_ms": message.first_ms,
    }


def _verification(subject: Subject, checked: Checked, timed: Timed | None) -> dict[str, Any]:
    assert subject.golden is not None
    path, golden = subject.golden
    count, classes = golden.logits.shape
    found, first = floats(checked.answers, count, classes), floats(checked.first, classes)
    if (checked.worst is None) is not (checked.first_different is None):
        raise DeviceError("the upload says of one picture both that it got other answers and that it did not")
    worst = 0.0 if checked.worst is None else noise_power(first, floats(checked.worst, classes))
    asked: dict[str, Any] = dict.fromkeys(DEFAULT_BOUNDS)
    told = SimpleNamespace(description={"bounds": dict(subject.model.bounds)}, details={})
    record = compared(
        {"logits": golden.logits, "names": np.array(golden.names), "source_sha256": golden.source_sha256},
        {"file": path.name, "sha256": subject.golden_sha256},
        found,
        {"inferences": checked.inferences, "first_different": checked.first_different, "worst": worst},
        bounds_of(asked, told),
        checked.duration_s,
    )
    if timed is not None:
        if timed.again is None:
            raise DeviceError("the upload lacks the answer after the samples; reload the page")
        compare_again(record, first, floats(timed.again, classes))
    return record


def _timed(subject: Subject, message: RunMessage, timed: Timed) -> dict[str, Any]:
    spec = subject.model.input
    output = floats(timed.output, subject.classes) if subject.classes else floats(timed.output, -1)
    finite = bool(np.isfinite(output).all())
    best = np.argsort(-output, kind="stable")[:5] if finite else ()
    after = datetime.now(UTC)
    before = after - timedelta(seconds=min(timed.duration_s + timed.warmup["duration_s"], 1e6))
    unknown: dict[str, Any] = dict.fromkeys(
        ("governor", "frequency_mhz", "temperature_c", "temperatures_c", "throttle_flags", "load_average_1m")
    )
    return {
        "input": {"shape": list(spec.shape()), "dtype": spec.dtype, "source": "noise"},
        "output": {
            "shape": [1, len(output)],
            "finite": finite,
            "top5": [{"index": int(index), "value": round(float(output[index]), 6)} for index in best],
        },
        "warmup": timed.warmup,
        "duration_s": timed.duration_s,
        "latency_ms": summarise(timed.samples_ms),
        "samples_ms": [round(value, 6) for value in timed.samples_ms],
        "overhead_us": timed.overhead_us,
        "split_ms": None,
        "sustained": None,
        "memory": {"rss_before_mib": None, "rss_loaded_mib": None, "rss_peak_mib": None},
        "context": {
            "before": {"time_utc": before.isoformat(timespec="seconds"), **unknown, "power": timed.before},
            "during": [],
            "after": {"time_utc": after.isoformat(timespec="seconds"), **unknown, "power": timed.after},
            "other_cores": None,
        },
    }


def _page_reasons(timed: Timed, p50: float) -> list[dict[str, str]]:
    """What spoils a number in a browser and nowhere else."""
    reasons = []
    if timed.hidden_s:
        text = f"the page was out of sight {len(timed.hidden_s)} times meanwhile; keep it in front"
        reasons.append({"code": "hidden", "text": text})
    if p50 and timed.clock_ms / p50 > _MAX_CLOCK_SHARE:
        advice = ": open the page by HTTPS, where it is finer" if timed.clock_ms > _FINE_CLOCK_MS else ""
        text = f"the browser's clock moves in steps of {timed.clock_ms:g} ms{advice}"
        reasons.append({"code": "coarse_clock", "text": text})
    return reasons
