"""Show the explanation of a quantised model on one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ghostedge.explain import Explanation, LayerError
from ghostedge.reports import render
from ghostedge.reports.format import plural
from ghostedge.reports.plots import sqnr_plot
from ghostedge.reports.svg import responsive

#: Layers in the plot; the table has all of them.
_PLOTTED = 25


def explanation_html(explanation: Explanation) -> str:
    """The whole page."""
    noisy = [layer for layer in explanation.layers if layer.own_sqnr_db is not None]
    return render(
        "explanation.html",
        explanation=explanation,
        images=plural(explanation.images, "image"),
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
