"""Judge ledgers against the reference's, and write what was found, by one call each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ghostedge.accuracy.attribution import attribute
from ghostedge.accuracy.parity import compare_ledgers
from ghostedge.data.datasets import NO_LABELS, open_dataset
from ghostedge.data.imagenet import imagenet_labels, load_labels
from ghostedge.errors import LedgerError, UsageError
from ghostedge.evaluation.jsonl import read_json_lines
from ghostedge.evaluation.ledger import Ledger, read_ledger
from ghostedge.files import sha256_file
from ghostedge.reports.artifact_table import Beside
from ghostedge.reports.format import arithmetic_of, named
from ghostedge.reports.parity import Comparison, LedgerSource, ParityReport, published
from ghostedge.reports.parity_page import MOST_FLIPS, thumbnails, write_report

__all__ = ["parity", "write_parity"]


def parity(
    reference: Path | str,
    ledgers: Path | str | Iterable[Path | str],
    *,
    max_drop: float = 0.5,
    attribution: Iterable[tuple[str, Path | str]] = (),
    quote: str | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
) -> ParityReport:
    """Judge ledgers against the reference's, paired image by image.

    A ledger passes when the upper 95% bound of its drop of top-1 accuracy is within the margin, fails when the lower
    one is beyond it, and is inconclusive otherwise.

    >>> import ghostedge
    >>> [result] = ghostedge.evaluate("model_fp32.tflite", "photos", "ledgers")
    >>> report = ghostedge.parity("reference.parquet", result.ledger, max_drop=10)
    >>> report.verdict, report.comparisons[0].result.drop.drop_points
    ('PASS', 0.0)

    Args:
        reference: the reference's ledger (``.parquet``).
        ledgers: one or several to judge: ``.parquet``, or ``.jsonl`` of the Android demo.
        max_drop: the margin, percentage points of top-1 accuracy, above 0.
        attribution: (step, ledger after it), in order, to split the drop: ``"preprocessing"``, ``"float"``,
            ``"weights"`` or ``"activations"``.
        quote: a published accuracy to quote beside the reference, e.g. ``"ghostnetv2_1x"``.
        on_progress: called with a line of text.

    Raises:
        LedgerError: a ledger is missing or damaged, or does not fit the reference.
        UsageError: an impossible margin or step, or an unknown published accuracy.
        MissingExtraError: pyarrow is not installed.
    """
    reference = Path(reference)
    base, source = _read(reference)
    quoted = None if quote is None else published(quote, base.metadata)
    comparisons = []
    for path in map(Path, [ledgers] if isinstance(ledgers, Path | str) else ledgers):
        on_progress(f"comparing {path}")
        ledger, candidate = _read(path)  # one at a time: with whole logits a ledger of ImageNet is 100 MB
        try:
            comparisons.append(Comparison(candidate, compare_ledgers(base, ledger, max_drop)))
        except LedgerError as exc:
            raise LedgerError(f"{path} beside {reference}: {exc}") from exc
        del ledger
    split, sources = None, []
    if steps := [(step, Path(path)) for step, path in attribution]:
        on_progress("splitting the drop")
        stages = []
        for step, path in steps:
            ledger, candidate = _read(path)
            stages.append((step, ledger))
            sources.append(candidate)
        split = attribute(base, stages)
    return _with_unique_names(ParityReport(source, tuple(comparisons), max_drop, split, tuple(sources), quoted))


def _read(path: Path) -> tuple[Ledger, LedgerSource]:
    ledger = read_json_lines(path) if path.suffix == ".jsonl" else read_ledger(path)
    name = named(str(ledger.metadata.model.get("file", path.name)), arithmetic_of(ledger.metadata.runtime))
    return ledger, LedgerSource(name, path.name, sha256_file(path), ledger.metadata)


def _with_unique_names(report: ParityReport) -> ParityReport:
    """Models of one file name are told apart by their ledgers' names."""
    names = [source.name for source in report.sources]

    def rename(source: LedgerSource) -> LedgerSource:
        if names.count(source.name) == 1:
            return source
        return dataclasses.replace(source, name=f"{source.name} ({source.file})")

    return dataclasses.replace(
        report,
        reference=rename(report.reference),
        comparisons=tuple(dataclasses.replace(c, source=rename(c.source)) for c in report.comparisons),
        attribution_sources=tuple(map(rename, report.attribution_sources)),
    )


def write_parity(
    report: ParityReport,
    path: Path,
    *,
    data: Path | None = None,
    labels: Path | None = None,
    beside: Beside | None = None,
    on_progress: Callable[[str], None] = lambda text: None,
    warn: Callable[[str], None] = lambda text: None,
) -> tuple[Path, Path, Path]:
    """Write a report as HTML, and Markdown and JSON beside it. Returns: their paths.

    Args:
        report: what `parity` found.
        path: the HTML file.
        data: the images, to show flips as pictures.
        labels: class names, one a line; None for ImageNet's where there are 1,000 classes.
        beside: sizes, differences at export and latencies to show (`ghostedge.reports.artifact_table.read_beside`).
        on_progress: called with a line of text.
        warn: called with what a reader should know of.

    Raises:
        DatasetError: `data` cannot be read.
        OutputError: a file cannot be written.
        UsageError: `path` does not end in ``.html``, or `labels` does not fit.
    """
    pictures = {}
    if data is not None:
        on_progress(f"reading pictures from {data}")
        wanted = [flip.image_id for c in report.comparisons for flip in c.result.flips[:MOST_FLIPS]]
        pictures = thumbnails(open_dataset(data, NO_LABELS), wanted)
        if wanted and not pictures:
            warn(f"{data} has none of the {len(set(wanted))} images to show")
    names = _class_names(labels, report.reference.metadata.classes)
    paths = write_report(report, path, class_names=names, thumbnails=pictures, beside=beside)
    on_progress("wrote " + ", ".join(map(str, paths)))
    return paths


def _class_names(labels: Path | None, classes: int) -> Sequence[str]:
    if labels is None:
        return imagenet_labels() if classes == 1000 else ()
    names = load_labels(labels)
    if len(names) != classes:
        raise UsageError(f"{labels} names {len(names)} classes, the ledgers have {classes}")
    return names
