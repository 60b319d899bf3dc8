"""Whole files of every kind that ghostedge writes itself, and what reads them."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ghostedge.errors import GhostedgeError


def read_all(path: Path, *readers: Callable[[Path], object]) -> None:
    """Read a file with each; the first refusal is raised when all have had their turn."""
    refused: list[GhostedgeError] = []
    for read in readers:
        try:
            read(path)
        except GhostedgeError as exc:
            refused.append(exc)
    if refused:
        raise refused[0]


def written(write: Callable[[Path], object], name: str = "file") -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


def ledger(images: int = 12, *, keep_logits: bool = True) -> Any:
    from ghostedge.evaluation.columns import rows_of_logits
    from ghostedge.evaluation.ledger import Ledger, LedgerMetadata, ids_sha256
    from ghostedge.model import InputSpec

    ids = [f"{number:04d}.JPEG" for number in range(images)]
    logits = np.random.default_rng(1).normal(0, 3, (images, 7)).astype(np.float16).astype(np.float32)
    errors = [None] * (images - 1) + ["it is empty"]
    labels = (np.arange(images) % 7).astype(np.int32)
    metadata = LedgerMetadata(
        model={"file": "m.onnx", "sha256": "0" * 64, "format": "onnx", "precision": "fp32"},
        input=InputSpec(),
        preprocessing="opencv_linear",
        runtime={"name": "fake", "version": "1"},
        device="CPU",
        host={"machine": "x86_64"},
        classes=7,
        dataset={"images": images, "ids_sha256": ids_sha256(ids)},
    )
    return Ledger.of(metadata, rows_of_logits(np.array(ids), labels, logits, errors, keep_logits=keep_logits))


def parquet() -> bytes:
    from ghostedge.evaluation.ledger import write_ledger

    return written(lambda path: write_ledger(path, ledger()))


def read_parquet(path: Path) -> None:
    from ghostedge.evaluation.ledger import read_ledger, read_metadata, read_pieces

    read_all(path, read_metadata, lambda path: list(read_pieces(path)), read_ledger)


def json_lines(ledger: Any) -> bytes:
    """A ledger as the Android demo writes it, its checksum at the end."""
    import hashlib

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return [plain(entry) for entry in value]
        return None if np.isnan(value) else value.item()

    head = {"kind": "ledger", "has_logits": True, "metadata": json.loads(ledger.metadata.to_json())}
    lines = [json.dumps(head)]
    for row, error in enumerate(ledger.errors):
        names = ("top5_class", "top5_logit", "label_logit", "log_sum_exp")
        found = {name: plain(getattr(ledger, name)[row]) for name in names}
        logits = None if error else plain(ledger.logits[row])
        line = {"image_id": str(ledger.image_ids[row]), "label": int(ledger.labels[row]), **found}
        lines.append(json.dumps({**line, "logits": logits, "error": error}))
    text = "".join(f"{line}\n" for line in lines)
    end = {"kind": "end", "sha256": hashlib.sha256(text.encode()).hexdigest()}
    return f"{text}{json.dumps(end)}\n".encode()


def read_json_lines(path: Path) -> object:
    from ghostedge.evaluation.jsonl import read_json_lines

    return read_json_lines(path)


def read_record(path: Path) -> object:
    from ghostedge.latency.records import read_record

    return read_record(path)


def manifest() -> bytes:
    from ghostedge.compare import Difference
    from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
    from ghostedge.model import InputSpec

    file, difference = FileRecord("m.onnx", "0" * 64, 7), Difference(4, 1e-4, 90.0, 1.0)
    record = ArtifactRecord(
        recipe="onnx_fp32",
        recipe_sha256="1" * 64,
        target="onnx",
        precision="fp32",
        source="m.ckpt",
        classes=4,
        build_key="k",
        verify_key="v",
        packages={"onnx": "1"},
        build_seconds=1.0,
        runtime={"name": "onnxruntime"},
        difference=difference,
        reference_difference=difference,
        bounds={"min_snr_db": 90.0},
        files=(file,),
        input=InputSpec(),
    )
    images = ({"name": "a.jpg", "sha256": "2" * 64},)
    return (
        Manifest({"file": "m.ckpt", "sha256": "3" * 64}, images, {"onnx_fp32": record}, golden=file).to_json().encode()
    )


def read_manifest(path: Path) -> None:
    from ghostedge.manifest import Manifest, check_files
    from ghostedge.provenance import as_exported

    as_exported(path.with_name("m.onnx"))
    if Manifest.read(path.parent) is not None:
        check_files(path.parent)


def golden() -> bytes:
    from ghostedge.data.golden import Golden, write_golden

    rng = np.random.default_rng(2)
    crops = rng.integers(0, 256, (2, 8, 8, 3), np.uint8)
    golden = Golden(crops, rng.random((2, 4), np.float32), ("a", "b"), ("w", "x", "y", "z"), "0" * 64)
    return written(lambda path: write_golden(path, golden), "a.golden.npz")


def read_golden(path: Path) -> object:
    """By the script that runs on devices, then by the package."""
    from ghostedge.data.golden import read_golden
    from ghostedge.latency.edge import BenchmarkError
    from ghostedge.latency.edge import verification as edge

    with contextlib.suppress(BenchmarkError):
        edge.check_golden_file(str(path))
        edge.read_golden(str(path))
    return read_golden(path)


def fetched() -> bytes:
    record = {"url": "https://example.org/a.ckpt", "size_bytes": 7, "sha256": "0" * 64, "fetched_utc": "", "etag": None}
    return json.dumps(record).encode()


def read_fetched(path: Path) -> object:
    from ghostedge.ghostnet.fetch import _read_record as read

    return read(path.with_name("a.ckpt"))


def report() -> bytes:
    share = {"count": 1, "images": 2, "percent": 50.0, "low_percent": 10.0, "high_percent": 90.0}
    source = {"metadata": json.loads(ledger().metadata.to_json())}
    return json.dumps({"comparisons": [{"ledger": source, "result": {"candidate": {"top1": share}}}]}).encode()


def read_report(path: Path) -> object:
    from ghostedge.reports.latency import read_accuracies

    return read_accuracies([path])
