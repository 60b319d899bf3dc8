"""Read models' accuracies from parity reports and ledgers, to stand beside their latencies."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ghostedge.accuracy.statistics import Proportion
from ghostedge.errors import UsageError
from ghostedge.reports.format import ModelKey, model_key

__all__ = ["read_accuracies"]


def read_accuracies(files: Sequence[Path]) -> dict[ModelKey, Proportion]:
    """Top-1 accuracies by the model file's sha256, and the arithmetic it was computed in.

    Args:
        files: parity reports (``.json``, as ``ghostedge parity --report`` puts beside its page) and ledgers
            (``.parquet``); where two know a model, the later one counts.

    Raises:
        UsageError: a file is neither, or the models of two files were run on different numbers of images: accuracies
            on other images do not belong on one axis.
        LedgerError: a ledger is damaged.
    """
    found: dict[ModelKey, Proportion] = {}
    for file in files:
        found |= _of_ledger(file) if file.suffix == ".parquet" else _of_parity_report(file)
    counts = {accuracy.images for accuracy in found.values()}
    if len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in sorted(counts))
        raise UsageError(f"--accuracy: the models were run on {numbers} images; give accuracies on the same images")
    return found


def _of_ledger(file: Path) -> dict[ModelKey, Proportion]:
    from ghostedge.accuracy.parity import accuracy_of
    from ghostedge.evaluation.ledger import read_ledger

    ledger = read_ledger(file)
    return {model_key(ledger.metadata.model, ledger.metadata.runtime): accuracy_of(ledger).top1}


def _of_parity_report(file: Path) -> dict[ModelKey, Proportion]:
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
        return {
            model_key(metadata["model"], metadata["runtime"]): Proportion(**comparison["result"]["candidate"]["top1"])
            for comparison in report["comparisons"]
            for metadata in [comparison["ledger"]["metadata"]]
        }
    except OSError as exc:
        raise UsageError(f"--accuracy {file} cannot be read: {exc.strerror}") from exc
    except (ValueError, KeyError, TypeError) as exc:
        raise UsageError(
            f"--accuracy {file} is neither a parity report (.json) nor a ledger (.parquet); "
            "ghostedge parity --report writes the one, ghostedge evaluate the other"
        ) from exc
