"""Draw the signal-to-noise ratios of layers: own and accumulated, one row a layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghostedge.reports.page import Markup, element
from ghostedge.reports.plots import Rows, Scale, signed, svg_line, svg_root

__all__ = ["LayerRow", "sqnr_plot"]


@dataclass(frozen=True)
class LayerRow:
    """One layer: SQNRs in dB; `accumulated_db` is None where there is no error."""

    label: str
    own_db: float
    accumulated_db: float | None
    cause: str


def sqnr_plot(rows: Sequence[LayerRow], width: int) -> Markup:
    """Own SQNR as a filled dot, accumulated as a hollow one, joined by a line.

    Args:
        rows: at least one, worst first.
        width: SVG units.
    """
    layout = Rows(len(rows), width, top=10)
    values = [value for row in rows for value in (row.own_db, row.accumulated_db) if value is not None]
    # A layer with far more noise than signal is drawn at the edge; the numbers beside it say how far.
    low, high = max(min([0.0, *values]), -20.0), max([10.0, *values])
    scale = Scale(low, high + 0.05 * (high - low), *layout.ends)
    drawn = layout.axis(scale, "SQNR, dB")
    for place, row in enumerate(rows):
        y, own = layout.middle(place), scale(row.own_db)
        drawn += layout.texts(place, row.label, f"{signed(row.own_db, 1)} dB, {row.cause}")
        if row.accumulated_db is not None:
            drawn.append(svg_line(scale(row.accumulated_db), y, own, y, "whisker", 1.5))
            drawn.append(element("circle", cx=scale(row.accumulated_db), cy=y, r=4, class_="before", stroke_width=1.5))
        drawn.append(element("circle", cx=own, cy=y, r=5, class_="after"))
    said = "; ".join(
        f"{row.label}: own {signed(row.own_db, 1)} dB"
        + ("" if row.accumulated_db is None else f", accumulated {signed(row.accumulated_db, 1)} dB")
        + f", {row.cause}"
        for row in rows
    )
    return svg_root(width, layout.bottom + 42, "Signal-to-noise ratio of each layer", said, *drawn)
