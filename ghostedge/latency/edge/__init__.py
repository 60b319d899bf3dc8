"""Measure how long one picture takes on this device: a Raspberry Pi, a phone or a PC.

This file runs alone: copy it and a model to the device. It needs Python >= 3.9, NumPy and one runtime (ai-edge-litert
or tflite-runtime for .tflite, openvino for .xml, onnxruntime for .onnx), Pillow for --image; it says what is missing.

    python3 edge_benchmark.py model.tflite --threads 1,2,4 --golden model.golden.npz

What a sample is: copy the input tensor in, infer, copy the output tensor out; one picture, one request at a time.

What the timer is NOT aware of: what the model computes, file formats, decoding and preprocessing (measured apart with
--image), batches, requests in parallel, power. It times a function. Whether the answers are right is checked before the
timer starts, with --golden: pictures and the right logits, as ghostedge export writes them beside the model. The same
loaded model is asked that is timed afterwards, one picture a hundred times. A latency whose answers are wrong is not
valid. --runtime null
times a function that does nothing: the script's own overhead, which is also in every record.

How a run goes, each in a fresh process: load, first inference, warm-up until steady, timed samples, all kept.

- Steady: the medians of three windows in a row lie within 3% of each other; a window is at least 0.5 s and 8 samples.
  Medians, because one interrupted sample must not prolong the warm-up; three, because two agree by chance in a slow
  drift; 0.5 s, because the kernel's frequency governors decide every 10 to 100 ms and must have settled within one.
- Valid: at least 1,024 samples and 60 s (the rule of MLPerf for a single stream), steady, and nothing seen that made
  the number another one: other programs at work, throttling, a falling frequency, a drift, an emulated CPU. Each
  reason is written down; the number is too.

The result is one JSON record a run, schema version 2 (latency_record.schema.json of ghostedge). Units are in the names.
--verify-only does not time: its record (kind "verification_record") says whether the answers are right.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Run = Callable[[], object]
Record = dict[str, Any]
VERSION = "1.1"
SCHEMA_VERSION = 2


class BenchmarkError(Exception):
    """One line: what is wrong and what to do."""


def one_line(exc: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(exc).split())[:400] or type(exc).__name__


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block succeeds, and is removed when it does not."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as exc:
        reason = "the disk is full" if exc.errno == 28 else exc.strerror
        raise BenchmarkError(f"cannot write {path}: {reason}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def say(text: str) -> None:
    """Progress, for people, on stderr."""
    print(text, file=sys.stderr, flush=True)
