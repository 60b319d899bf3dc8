"""A parity report of four synthetic artifacts that pass, need more images, fail, and are ruined."""

from __future__ import annotations

from typing import Any

import pytest

from ghostedge.accuracy.attribution import attribute
from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.evaluation.ledger import Ledger
from ghostedge.reports.parity import Comparison, LedgerSource, ParityReport


def source(ledger: Ledger) -> LedgerSource:
    file = str(ledger.metadata.model["file"])
    return LedgerSource(file, f"{file}.parquet", "5" * 64, ledger.metadata)


@pytest.fixture(scope="session")
def report(make_ledger: Any, paired_logits: Any) -> ParityReport:
    labels, reference, _ = paired_logits()
    truth = make_ledger(reference, labels, file="m.ckpt", runtime="MindSpore", keep_logits=True)
    flips: dict[str, dict[str, Any]] = {
        "fp32.tflite": {"noise": 1e-5},
        "dynamic.tflite": {"losses": 12, "gains": 3, "others": 5, "noise": 0.01},
        "int8.tflite": {"losses": 60, "gains": 20, "others": 30, "noise": 0.05},
        "ruined.tflite": {"losses": 900, "gains": 40, "others": 200, "noise": 0.05},
    }
    ledgers = {
        file: make_ledger(paired_logits(**what)[2], labels, file=file, keep_logits=file != "dynamic.tflite")
        for file, what in flips.items()
    }
    stages = list(zip(("float", "weights", "activations"), list(ledgers.values())[:3], strict=True))
    return ParityReport(
        reference=source(truth),
        comparisons=tuple(Comparison(source(ledger), compare_ledgers(truth, ledger)) for ledger in ledgers.values()),
        max_drop_points=0.5,
        attribution=attribute(truth, stages),
        attribution_sources=tuple(source(ledger) for _, ledger in stages),
    )
