"""What a small project's CI gives its gate: two artifacts, their ledgers, counts of instructions, a latency record."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ghostedge.model import KEY, InputSpec, Model
from ghostedge.regression.measure import Inputs

DATA = Path(__file__).parents[1] / "data"

Project = Callable[..., Inputs]


def described(path: Path, **what: Any) -> None:
    """Make `path` tests/data's small .tflite with a description; `what` are fields of `Model`."""
    shutil.copy(DATA / "tiny" / "tiny_fp32.tflite", path)
    spec = what.pop("input", InputSpec(layout="NHWC", height=32, width=32, resize=36))
    text = Model(path, "tflite", spec, source_sha256=what.pop("source_sha256", "c" * 64), **what).to_json()
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{KEY}.json", text)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def project(tmp_path: Path, make_ledger: Any, paired_logits: Any) -> Project:
    """`project(losses=..., gains=...)`: files in the test's folder; the ledger differs from the reference in these."""
    pytest.importorskip("pyarrow")
    from ghostedge.evaluation.ledger import write_ledger

    def make(*, instructions: float = 100e6, **flips: Any) -> Inputs:
        described(tmp_path / "int8.tflite")
        shutil.copy(DATA / "tiny" / "tiny.onnx", tmp_path)
        labels, reference, candidate = paired_logits(**flips)
        model = {"file": "int8.tflite", "sha256": sha256(tmp_path / "int8.tflite"), "format": "tflite"}
        truth = make_ledger(reference, labels, file="m.ckpt", runtime="MindSpore")
        write_ledger(tmp_path / "reference.parquet", truth)
        write_ledger(tmp_path / "int8.tflite.parquet", make_ledger(candidate, labels, model=model))
        counts = [
            {"model": "int8.tflite", "cpu": cpu, "xnnpack": True, "instructions": instructions, "spread_percent": 0.0}
            for cpu in ("cortex-a72", "cortex-a76")
        ]
        (tmp_path / "counts.json").write_text(json.dumps(counts))
        record = json.loads((DATA / "latency_record.json").read_text()) | {"valid": True, "invalid_reasons": []}
        (tmp_path / "latency" / "pi5").mkdir(parents=True, exist_ok=True)
        (tmp_path / "latency" / "pi5" / f"{record['name']}.json").write_text(json.dumps(record))
        return Inputs(
            (tmp_path / "int8.tflite", tmp_path / "tiny.onnx"),
            tmp_path / "reference.parquet",
            (tmp_path / "int8.tflite.parquet",),
            tmp_path / "counts.json",
            tmp_path / "latency",
        )

    return make
