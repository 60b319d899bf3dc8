"""Write a parity report as a page, as Markdown and as JSON."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ghostedge.accuracy.attribution import STEPS
from ghostedge.accuracy.parity import ParityResult
from ghostedge.accuracy.reliability import Calibration
from ghostedge.data.datasets import NO_LABELS, Dataset, open_dataset
from ghostedge.data.imagenet import imagenet_labels, load_labels
from ghostedge.errors import ImageError, UsageError
from ghostedge.files import atomic_write
from ghostedge.lazy import require
from ghostedge.reports import check_report_path, render
from ghostedge.reports.artifact_table import Beside, artifact_table
from ghostedge.reports.choice import choice
from ghostedge.reports.format import class_name, computed_in, flips_text, provenance
from ghostedge.reports.latency import device_parts
from ghostedge.reports.parity import (
    Comparison,
    ParityReport,
    explain,
    headline,
    noise_runs,
    noise_text,
    step_rows,
    summary_rows,
)
from ghostedge.reports.plots import interval_plot, rate_plot, reliability_plot, waterfall_plot
from ghostedge.reports.svg import Markup, responsive

#: Flips that the page lists for each artifact; the JSON has more.
MOST_FLIPS = 20

_MOST_CLASSES = 12

#: Flips, and classes, that the Markdown lists for each artifact.
_MOST_IN_MARKDOWN = 10

#: A bin of fewer images says nothing about calibration.
_FEWEST_IN_BIN = 10

#: Twice the size that pictures are shown at, for dense screens. Pixels.
_SIDE = 112


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
    """Write a report as HTML, and Markdown and JSON beside it, each whole or not at all. Returns: their paths.

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
    paths = (check_report_path(path), path.with_suffix(".md"), path.with_suffix(".json"))
    pictures = {}
    if data is not None:
        on_progress(f"reading pictures from {data}")
        wanted = [flip.image_id for c in report.comparisons for flip in c.result.flips[:MOST_FLIPS]]
        pictures = thumbnails(open_dataset(data, NO_LABELS), wanted)
        if wanted and not pictures:
            warn(f"{data} has none of the {len(set(wanted))} images to show")
    names = _class_names(labels, report.reference.metadata.classes)
    contents = (parity_html(report, names, pictures, beside), parity_markdown(report, names, beside), report.to_json())
    for target, content in zip(paths, contents, strict=True):
        atomic_write(target, content)
    on_progress("wrote " + ", ".join(map(str, paths)))
    return paths


def _class_names(labels: Path | None, classes: int) -> Sequence[str]:
    if labels is None:
        return imagenet_labels() if classes == 1000 else ()
    names = load_labels(labels)
    if len(names) != classes:
        raise UsageError(f"{labels} names {len(names)} classes, the ledgers have {classes}")
    return names


def parity_markdown(report: ParityReport, class_names: Sequence[str] = (), beside: Beside | None = None) -> str:
    """The report as GitHub-flavoured Markdown; arguments as of `parity_html`."""
    most = _MOST_IN_MARKDOWN
    parts = [_part(report, comparison, class_names, most, most) for comparison in report.comparisons]
    return render("parity.md", **_shared(report, beside), artifacts=parts)


def parity_html(
    report: ParityReport, class_names: Sequence[str], thumbnails: Mapping[str, str], beside: Beside | None = None
) -> str:
    """The whole page.

    Args:
        report: what to show.
        class_names: in the order of the logits; empty where unknown.
        thumbnails: image id -> ``data:`` address of a small picture.
        beside: size, difference at export and latency of the artifacts, to be shown too; None for none.
    """
    reference, margin, attribution = report.reference, report.max_drop_points, report.attribution
    drops = [(each.source.name, each.result.drop, each.result.verdict) for each in report.comparisons]
    found = [verdict for _, _, verdict in drops]
    noise = report.noise_floor
    band = None if noise is None else (noise.low_points, noise.high_points)
    counts = [f"{found.count(verdict)} {verdict}" for verdict in ("PASS", "INCONCLUSIVE", "FAIL") if verdict in found]
    return render(
        "parity.html",
        **_shared(report, beside),
        labelled=report.comparisons[0].result.labelled,
        counts=", ".join(counts),
        intervals=responsive(lambda width: interval_plot(drops, margin, width, band)),
        every_artifact=None if beside is None else artifact_table(report, beside),
        waterfall=attribution and responsive(lambda width: waterfall_plot(reference.name, attribution, width)),
        artifacts=[
            {
                **_part(report, comparison, class_names, MOST_FLIPS, _MOST_CLASSES),
                "confidence": _confidence(comparison.result),
                "reliability": _reliability(comparison.result),
                "flips_caption": _flips_caption(comparison.result),
                "pictures": any(flip.image_id in thumbnails for flip in comparison.result.flips[:MOST_FLIPS]),
            }
            for comparison in report.comparisons
        ],
        thumbnails=thumbnails,
        most_failures=MOST_FLIPS,
        devices=device_parts(() if beside is None else beside.latencies, "Latency: "),
    )


def _shared(report: ParityReport, beside: Beside | None) -> dict[str, Any]:
    """What both templates are given of the whole report."""
    return {
        "report": report,
        "headline": headline(report),
        "ship": choice(report, beside or Beside()),
        "summary": summary_rows(report),
        "steps": None if report.attribution is None else step_rows(report.attribution),
        "step_names": STEPS,
        "noise_runs": noise_runs(report),
        "computed_in": computed_in(report.reference.metadata),
        "sources": [(source, provenance(source.metadata)) for source in report.sources],
    }


def _part(
    report: ParityReport, comparison: Comparison, class_names: Sequence[str], most_flips: int, most_classes: int
) -> dict[str, Any]:
    """What both templates are given of one artifact."""
    result = comparison.result
    return {
        "name": comparison.source.name,
        "metadata": comparison.source.metadata,
        "computed_in": computed_in(comparison.source.metadata),
        "result": result,
        "explained": f"{explain(result)} {noise_text(report, result)}".rstrip(),
        "flipped": flips_text(result),
        "flips": result.flips[:most_flips],
        "worse": [change for change in result.classes if change.losses > change.gains][:most_classes],
        "class_name": partial(class_name, names=class_names),
    }


def _flips_caption(result: ParityResult) -> str:
    total, listed = sum(result.flip_counts.values()), len(result.flips)
    shown = min(listed, MOST_FLIPS)
    more = f"; the JSON lists {'all' if listed == total else f'{listed:,}'}" if total > shown else ""
    return f"{shown:,} of {total:,} flips{more}"


# -- Plots and pictures -------------------------------------------------------------------------------------


def _confidence(result: ParityResult) -> Markup | None:
    bins = result.confidence_bins
    if not any(entry.flips for entry in bins):
        return None
    edges = [*(entry.low_percent for entry in bins), bins[-1].high_percent]
    counts = [(entry.flips, entry.images) for entry in bins]
    return rate_plot("Flips by the reference's confidence", edges, counts, "confidence of the reference, %")


def _reliability(result: ParityResult) -> Markup | None:
    """None where no image changed its best class: then both are the same."""
    if not sum(result.flip_counts.values()):
        return None
    before, after = (_points(model.calibration) for model in (result.reference, result.candidate))
    return reliability_plot(before, after, "the reference", "this artifact")


def _points(calibration: Calibration) -> list[tuple[float, float, float]]:
    images = sum(entry.images for entry in calibration.bins)
    filled = [entry for entry in calibration.bins if entry.images]
    large = [entry for entry in filled if entry.images >= _FEWEST_IN_BIN] or filled
    return [(e.images / images, e.confidence_percent or 0.0, e.accuracy_percent or 0.0) for e in large]


def thumbnails(dataset: Dataset, image_ids: Iterable[str]) -> dict[str, str]:
    """Image id -> ``data:image/jpeg`` address of its centre, 112 x 112 pixels, about 4 kB.

    Images that the data set does not have or that cannot be decoded are left out: a report is no place to fail on them.

    Args:
        dataset: where the images are.
        image_ids: of the images to show.
    """
    image_module, operations = require("PIL.Image", "evaluate"), require("PIL.ImageOps", "evaluate")
    place = {name.decode(): index for index, name in enumerate(dataset.image_ids)}
    made: dict[str, str] = {}
    for name in image_ids:
        if name in made or name not in place:
            continue
        try:
            with image_module.open(io.BytesIO(dataset.source(place[name]).read())) as image:
                image.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # a JPEG is decoded at a fraction of its size
                small = operations.fit(image.convert("RGB"), (_SIDE, _SIDE))
        except (ImageError, OSError, ValueError, SyntaxError, image_module.DecompressionBombError):
            continue
        buffer = io.BytesIO()
        small.save(buffer, "JPEG", quality=72, optimize=True)
        made[name] = "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return made
