"""Write a parity report to its three files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ghostedge.files import atomic_write
from ghostedge.reports.artifact_table import Beside
from ghostedge.reports.page import check_report_path
from ghostedge.reports.parity import ParityReport
from ghostedge.reports.parity_html import parity_html
from ghostedge.reports.parity_markdown import parity_markdown

__all__ = ["check_report_path", "write_report"]


def write_report(
    report: ParityReport,
    path: Path,
    *,
    class_names: Sequence[str] = (),
    thumbnails: Mapping[str, str] | None = None,
    beside: Beside | None = None,
) -> tuple[Path, Path, Path]:
    """Write the report as HTML, and under the same name as Markdown and JSON; each whole or not at all.

    Args:
        report: what to write.
        path: the HTML file.
        class_names: in the order of the logits; empty where unknown.
        thumbnails: image id -> ``data:`` address of a small picture.
        beside: what the HTML shows beside the accuracies.

    Returns:
        The paths of HTML, Markdown and JSON.

    Raises:
        OutputError: a file cannot be written.
        UsageError: see `check_report_path`.
    """
    paths = (check_report_path(path), path.with_suffix(".md"), path.with_suffix(".json"))
    contents = (
        parity_html(report, class_names, thumbnails or {}, beside),
        parity_markdown(report, class_names),
        report.to_json(),
    )
    for target, content in zip(paths, contents, strict=True):
        atomic_write(target, content)
    return paths
