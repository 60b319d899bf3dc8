"""Draw accuracy against latency: what can be had at each speed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ghostedge.reports.page import Markup, element
from ghostedge.reports.plots import Scale, signed, svg_line, svg_root, svg_text, ticks

__all__ = ["TradeOff", "front", "tradeoff_plot"]


@dataclass(frozen=True)
class TradeOff:
    """One model on one device.

    Attributes:
        number: in the table beside the plot.
        label: its name.
        latency_ms: the median.
        score: top-1 accuracy in percent, or how many points it is above the reference's.
        low: the lower end of the score's interval.
        high: the upper end.
        valid: whether the latency is a valid measurement.
    """

    number: int
    label: str
    latency_ms: float
    score: float
    low: float
    high: float
    valid: bool = True


def front(points: Sequence[TradeOff]) -> list[TradeOff]:
    """Those that no other one beats, fastest first: none is as fast and as accurate, and better in one of both."""

    def beats(a: TradeOff, b: TradeOff) -> bool:
        better = a.latency_ms < b.latency_ms or a.score > b.score
        return better and a.latency_ms <= b.latency_ms and a.score >= b.score

    unbeaten = [point for point in points if not any(beats(other, point) for other in points)]
    return sorted(unbeaten, key=lambda point: point.latency_ms)


def tradeoff_plot(points: Sequence[TradeOff], score: str, width: int) -> Markup:
    """Score upwards, latency to the right from zero; a line joins the front, hollow dots are not valid.

    The points are numbered as in the table beside the plot: names would lie on each other.

    Args:
        points: at least one.
        score: what it is, with its unit.
        width: SVG units.
    """
    left, top, bottom = 52, 26, 312
    low, high = min(point.low for point in points), max(point.high for point in points)
    pad = max(0.08 * (high - low), 0.1)
    across = Scale(0.0, 1.12 * max(point.latency_ms for point in points) or 1.0, left, width - 14)
    up = Scale(low - pad if low < 0 else max(0.0, low - pad), min(100.0, high + pad), bottom, top)
    drawn = [svg_text(0, 12, score, class_="axis")]
    for value in ticks(up.low, up.high, 5):
        drawn.append(svg_line(left, up(value), across.end, up(value), "zero" if value == 0 else "grid"))
        drawn.append(svg_text(left - 8, up(value) + 4, signed(value, 1), anchor="end", class_="axis"))
    for value in ticks(across.low, across.high, 6):
        drawn.append(svg_text(across(value), bottom + 16, f"{value:g}", anchor="middle", class_="axis"))
    drawn.append(svg_text((left + across.end) / 2, bottom + 34, "median latency, ms", anchor="middle", class_="axis"))
    unbeaten = front(points)
    # Steps: between two models of the front there is nothing to be had but the faster one's accuracy.
    corners = [(unbeaten[0].latency_ms, up.low)]
    for point in unbeaten:
        corners += [(point.latency_ms, corners[-1][1]), (point.latency_ms, point.score)]
    corners.append((across.high, unbeaten[-1].score))
    path = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in corners[2:])
    drawn.append(element("polyline", points=path, class_="before-line", stroke_width=1.5))
    for place, point in enumerate(points):
        x, y = across(point.latency_ms), up(point.score)
        drawn.append(svg_line(x, up(point.low), x, up(point.high), "whisker", 1.5))
        drawn.append(element("circle", cx=x, cy=y, r=5, class_="after" if point.valid else "before", stroke_width=2))
        side = 9 if place % 2 else -9  # in turn, for neighbours in speed are often neighbours in accuracy too
        style = {"anchor": "start" if side > 0 else "end", "class_": "strong" if point in unbeaten else None}
        drawn.append(svg_text(x + side, y - 7, str(point.number), **style))
    said = "; ".join(
        f"{point.number}, {point.label}: {signed(point.score)} in {point.latency_ms:.2f} ms"
        + (", not beaten" if point in unbeaten else "")
        for point in points
    )
    return svg_root(width, bottom + 42, f"{score[:1].upper()}{score[1:]}, against latency", said, *drawn)
