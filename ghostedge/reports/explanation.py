"""Write the explanation of a quantised model as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from ghostedge.explain import Explanation, LayerError
from ghostedge.files import atomic_write
from ghostedge.reports.format import plural
from ghostedge.reports.page import check_report_path, render
from ghostedge.reports.plots import sqnr_plot
from ghostedge.reports.svg import responsive

__all__ = ["CAUSES", "explanation_html", "write_explanation"]

#: What the name of a cause means.
CAUSES = {
    "range": "values lie beyond the output's range and are cut off",
    "weights": "the quantised weights themselves",
    "offset": "whole channels are shifted, as by a wrong bias",
    "rounding": "the output's steps: its range is wide for the signal, or eight bits are few",
    "input": "activations are float, and the layer quantises its input as it runs",
    "arithmetic": "more than rounding, and neither range, weights nor offset",
    "none": "no error of its own",
}

#: Layers in the plot; the table has all of them.
_PLOTTED = 25

_STAGES = {
    "float conversion": "float .tflite against MindSpore, from the manifest",
    "weight quantisation": "float .tflite with the dequantised weights against the float .tflite",
    "activation quantisation": "quantised against the float .tflite with the dequantised weights",
    "both": "quantised against the float .tflite",
}


def write_explanation(explanation: Explanation, path: Path) -> Path:
    """Write the page, whole or not at all.

    Raises:
        UsageError: `path` does not end in ``.html``.
        OutputError: it cannot be written.
    """
    atomic_write(check_report_path(path), explanation_html(explanation))
    return path


def explanation_html(explanation: Explanation) -> str:
    """The whole page."""
    noisy = [layer for layer in explanation.layers if layer.own_sqnr_db is not None]
    return render(
        "explanation.html",
        explanation=explanation,
        images=plural(explanation.images, "image"),
        causes=CAUSES,
        stages=_STAGES,
        plot=responsive(partial(sqnr_plot, noisy[:_PLOTTED])) if noisy else None,
        kinds=_kinds(noisy),
    )


def _kinds(layers: Sequence[LayerError]) -> list[tuple[str, int, float, float]]:
    """Each kind of layer by the median of its own SQNR, worst first: (kind, layers, median in dB, worst in dB)."""
    groups: dict[str, list[float]] = {}
    for layer in layers:
        groups.setdefault(layer.kind, []).append(layer.own_sqnr_db or 0.0)
    rows = [(kind, len(found), sorted(found)[len(found) // 2], min(found)) for kind, found in groups.items()]
    return sorted(rows, key=lambda row: row[2])
