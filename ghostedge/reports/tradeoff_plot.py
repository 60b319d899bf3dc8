"""Draw what each artifact costs in time against what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghostedge.reports.page import Markup, element
from ghostedge.reports.plots import Scale, signed, svg_line, svg_root, svg_text, ticks

__all__ = ["TradeOff", "efficient", "tradeoff_plot"]


@dataclass(frozen=True)
class TradeOff:
    """One artifact: its number in the table, median latency in ms, drop of top-1 in points with its 90% interval."""

    number: int
    label: str
    latency_ms: float
    drop: float
    low_drop: float
    high_drop: float


def efficient(points: Sequence[TradeOff]) -> list[TradeOff]:
    """The points that no other one beats: none is at least as fast and as accurate, and better in one of the two."""

    def beats(a: TradeOff, b: TradeOff) -> bool:
        better = a.latency_ms < b.latency_ms or a.drop < b.drop
        return better and a.latency_ms <= b.latency_ms and a.drop <= b.drop

    return [point for point in points if not any(beats(other, point) for other in points)]


def tradeoff_plot(points: Sequence[TradeOff], width: int) -> Markup:
    """Latency to the right from zero, drop of top-1 downwards: the best place is the upper left corner.

    Filled dots are `efficient`. Points of nearly the same place keep their numbers apart by the side they stand on.

    Args:
        points: at least one.
        width: SVG units.
    """
    top, bottom, left = 12, 282, 44
    across = Scale(0.0, 1.1 * max(point.latency_ms for point in points) or 1.0, left, width - 10)
    least = min(0.0, *(point.low_drop for point in points))
    most = max(0.1, *(point.high_drop for point in points))
    pad = 0.06 * (most - least)
    down = Scale(least - pad, most + pad, top, bottom)
    drawn = []
    for value in ticks(down.low, down.high, 6):
        style = "zero" if value == 0 else "grid"
        drawn.append(svg_line(left, down(value), across.end, down(value), style))
        drawn.append(svg_text(left - 6, down(value) + 4, signed(value, 1), anchor="end", class_="axis"))
    for value in ticks(0, across.high, 6):
        drawn.append(svg_line(across(value), top, across(value), bottom, "grid"))
        drawn.append(svg_text(across(value), bottom + 16, f"{value:g}", anchor="middle", class_="axis"))
    label = "median latency, ms; upwards: smaller drop of top-1, points"
    drawn.append(svg_text((left + across.end) / 2, bottom + 34, label, anchor="middle", class_="axis"))
    best = efficient(points)
    previous: float | None = None
    for point in sorted(points, key=lambda p: p.latency_ms):
        x, y = across(point.latency_ms), down(point.drop)
        near = previous is not None and x - previous < 16
        drawn.append(svg_line(x, down(point.low_drop), x, down(point.high_drop), "whisker", 1.5))
        drawn.append(element("circle", cx=x, cy=y, r=5, class_="after" if point in best else "before", stroke_width=2))
        drawn.append(svg_text(x + 8, y + (18 if near else -8), str(point.number), class_="strong"))
        previous = None if near else x
    said = "; ".join(
        f"{point.number}, {point.label}: {point.latency_ms:.2f} ms, drop {signed(point.drop)} points"
        + (", not beaten" if point in best else "")
        for point in points
    )
    return svg_root(width, bottom + 42, "Latency and drop of top-1 accuracy", said, *drawn)
