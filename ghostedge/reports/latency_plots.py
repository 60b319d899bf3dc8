"""Draw latencies: one row a run with its percentiles, and curves under lasting load."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghostedge.reports.page import Markup, element
from ghostedge.reports.plots import Rows, Scale, svg_line, svg_root, svg_text, ticks

__all__ = ["Curve", "LatencyRow", "curve_plot", "latency_plot"]


@dataclass(frozen=True)
class LatencyRow:
    """One run: percentiles in milliseconds."""

    label: str
    p50_ms: float
    p90_ms: float
    p99_ms: float
    valid: bool


@dataclass(frozen=True)
class Curve:
    """One run under lasting load: (minutes, median in milliseconds) of each stretch."""

    label: str
    points: tuple[tuple[float, float], ...]


def latency_plot(rows: Sequence[LatencyRow], width: int) -> Markup:
    """Median, 90th and 99th percentile of each run on one axis that begins at zero.

    Args:
        rows: at least one.
        width: SVG units.
    """
    layout = Rows(len(rows), width, top=10)
    # One run with rare long pauses must not squeeze the others: the axis ends at twice the largest p90.
    high = min(max(row.p99_ms for row in rows), 2 * max(row.p90_ms for row in rows))
    scale = Scale(0.0, 1.05 * high or 1.0, *layout.ends)
    drawn = layout.axis(scale, "milliseconds")
    for place, row in enumerate(rows):
        y, start = layout.middle(place), scale(row.p50_ms)
        drawn += layout.texts(place, row.label, f"{row.p50_ms:.2f} ms")
        drawn.append(svg_line(start, y, scale(row.p99_ms), y, "whisker", 1.5))
        drawn.append(svg_line(start, y, scale(row.p90_ms), y, "whisker", 5))
        drawn.append(element("circle", cx=start, cy=y, r=5, class_="after" if row.valid else "before", stroke_width=2))
    said = "; ".join(
        f"{row.label}: median {row.p50_ms:.2f} ms, p90 {row.p90_ms:.2f}, p99 {row.p99_ms:.2f}"
        + ("" if row.valid else ", not valid")
        for row in rows
    )
    return svg_root(width, layout.bottom + 42, "Latency of each run", said, *drawn)


def curve_plot(curve: Curve, width: int) -> Markup:
    """The median over time, on an axis that begins at zero, so that a fall looks as large as it is.

    Args:
        curve: at least one point.
        width: SVG units.
    """
    top, bottom = 12, 212
    across = Scale(0.0, max(minutes for minutes, _ in curve.points) or 1.0, 44, width - 10)
    up = Scale(0.0, 1.1 * max(value for _, value in curve.points) or 1.0, bottom, top)
    drawn = []
    for value in ticks(up.low, up.high, 5):
        drawn.append(svg_line(across.start, up(value), across.end, up(value), "grid"))
        drawn.append(svg_text(across.start - 6, up(value) + 4, f"{value:g}", anchor="end", class_="axis"))
    for value in ticks(across.low, across.high, 6):
        drawn.append(svg_text(across(value), bottom + 16, f"{value:g}", anchor="middle", class_="axis"))
    drawn.append(svg_text((across.start + across.end) / 2, bottom + 34, "minutes", anchor="middle", class_="axis"))
    drawn.append(svg_text(0, top - 2, "ms", class_="axis"))
    path = " ".join(f"{across(minutes):.1f},{up(value):.1f}" for minutes, value in curve.points)
    drawn.append(element("polyline", points=path, class_="after-line", stroke_width=2))
    (_, first), (minutes, last) = curve.points[0], curve.points[-1]
    said = f"{curve.label}: {first:.2f} ms at first, {last:.2f} ms after {minutes:.1f} minutes"
    return svg_root(width, bottom + 42, "Median latency over time", said, *drawn)
