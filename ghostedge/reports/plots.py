"""Draw the plots of the reports, each of which also says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from ghostedge.accuracy.attribution import STEPS
from ghostedge.reports.format import drop_text, points_text, signed
from ghostedge.reports.svg import (
    NARROW,
    Markup,
    Plane,
    Rows,
    Scale,
    decimals,
    element,
    svg_dot,
    svg_line,
    svg_path,
    svg_text,
    ticks,
)

if TYPE_CHECKING:
    from ghostedge.accuracy.attribution import Attribution
    from ghostedge.accuracy.statistics import PairedDrop, Verdict
    from ghostedge.explain import LayerError

# -- Drops of accuracy --------------------------------------------------------------------------------------


def interval_plot(
    drops: Sequence[tuple[str, PairedDrop, Verdict]],
    margin: float,
    width: int,
    band: tuple[float, float] | None = None,
) -> Markup:
    """Drops of accuracy with their intervals, one row each, against the margin.

    Rows far beyond the margin do not squeeze the others: the axis ends at six margins and an arrow points on.

    Args:
        drops: the model's name, its drop and what was decided.
        margin: percentage points.
        width: SVG units.
        band: from and to, percentage points: the reference's own noise, drawn behind all rows; None where unknown.
    """
    layout = Rows([(label, drop_text(drop)) for label, drop, _ in drops], width, top=30)
    low = max(min([0.0, *(band or ()), *(drop.lower_points for _, drop, _ in drops)]), -6 * margin)
    high = min(max([margin, *(drop.upper_points for _, drop, _ in drops)]), 6 * margin)
    pad = 0.08 * (high - low)
    scale = Scale(low - pad, high + pad, *layout.ends)
    beyond = scale(margin)
    height = layout.bottom - 30
    drawn = [] if band is None else _band(*band, scale, height)
    drawn += [
        element("rect", x=beyond, y=30, width=scale.end - beyond, height=height, class_="zone"),
        *layout.axis(scale, "drop of top-1 accuracy, points"),
        *layout.verticals(scale(0), "zero"),
        *layout.verticals(beyond, "margin", 1.5),
        svg_text(beyond, 20, f"margin {margin:g}", anchor="middle", class_="margin-label"),
    ]
    for place, (_, drop, verdict) in enumerate(drops):
        drawn += layout.texts(place)
        drawn += _interval(drop, f"mark-{verdict.lower()}", scale, layout.middle(place))
    said = "; ".join(f"{label}: {drop_text(drop)}, {verdict}" for label, drop, verdict in drops)
    if band is not None:
        said = f"noise floor: {signed(band[0])} to {signed(band[1])}; {said}"
    title = f"Drop of top-1 accuracy with 90% intervals against a margin of {points_text(margin)}"
    return layout.root(title, said, drawn)


def _band(low: float, high: float, scale: Scale, height: float) -> list[Markup]:
    """The noise floor, behind all rows; a line where it has no width."""
    start, end = scale(low), scale(high)
    return [
        element("rect", x=start, y=30, width=max(end - start, 1), height=height, class_="noise"),
        svg_text(end, 20, "noise floor", anchor="end", class_="axis"),
    ]


def _interval(drop: PairedDrop, mark: str, scale: Scale, y: float) -> list[Markup]:
    """A dot with its interval; what lies beyond an edge of the axis becomes an arrow that points there."""
    value, low, high = drop.drop_points, drop.lower_points, drop.upper_points
    beyond = (high < scale.low) - (low > scale.high)  # the whole interval: left 1, right -1
    if beyond:
        edge = scale(value)
        return [svg_line(edge + 26 * beyond, y, edge, y, mark, 3), _arrow(edge, y, -beyond, mark)]
    drawn = [svg_line(scale(low), y, max(scale(high), scale(low) + 0.5), y, mark, 3)]
    for end, direction in ((low, -1), (high, 1)):
        x = scale(end)
        drawn.append(_arrow(x, y, direction, mark) if scale.outside(end) else svg_line(x, y - 5, x, y + 5, mark, 2))
    if not scale.outside(value):
        drawn.append(svg_dot(scale(value), y, mark))
    return drawn


def _arrow(x: float, y: float, direction: int, class_: str) -> Markup:
    """An arrow head with its tip at (x, y), to the right where `direction` is 1 and to the left where it is -1."""
    back = x - 10 * direction
    return element("polygon", points=f"{back:.1f},{y - 6:.1f} {x:.1f},{y:.1f} {back:.1f},{y + 6:.1f}", class_=class_)


def waterfall_plot(start_label: str, attribution: Attribution, width: int) -> Markup:
    """Accuracy from the model `start_label` over the steps' changes to the last one's, top to bottom.

    Levels are dots and changes are bars, because the axis does not begin at 0 and a bar from its edge would mislead.
    """
    steps, start = attribution.steps, attribution.reference_top1_percent
    levels = list(pairwise([start, *(step.top1_percent for step in steps)]))
    end_label, end = steps[-1].model, steps[-1].top1_percent
    changes = [
        (STEPS[step.step], _change_text(after - before)) for (before, after), step in zip(levels, steps, strict=True)
    ]
    layout = Rows([(start_label, f"{start:.2f}%"), *changes, (end_label, f"{end:.2f}%")], width, top=8)
    ends = [start, *(step.top1_percent for step in steps)]
    for (before, _), step in zip(levels, steps, strict=True):
        ends += [before - step.drop.lower_points, before - step.drop.upper_points]
    pad = max(0.08 * (max(ends) - min(ends)), 0.02)
    scale = Scale(min(ends) - pad, max(ends) + pad, *layout.ends)
    drawn = layout.axis(scale, "top-1 accuracy, % (the axis does not begin at 0)")
    for place, level in ((0, start), (len(steps) + 1, end)):
        drawn += layout.texts(place)
        drawn.append(svg_dot(scale(level), layout.middle(place), "level"))
    said = []
    for place, ((before, after), step) in enumerate(zip(levels, steps, strict=True), start=1):
        y, change, drop, name = layout.middle(place), after - before, step.drop, STEPS[step.step]
        left, right = sorted((scale(before), scale(after)))
        bar = {"x": left, "y": y - 8, "width": max(right - left, 2), "height": 16}
        drawn += layout.texts(place, strong=False)
        drawn += _link(before, place, scale, layout)
        drawn.append(element("rect", **bar, class_="gain" if change > 0 else "loss"))
        drawn.append(svg_line(scale(before - drop.upper_points), y, scale(before - drop.lower_points), y, "whisker", 2))
        interval = f"{signed(drop.lower_points)} and {signed(drop.upper_points)}"
        said.append(f"{name}: {before:.2f} to {after:.2f}%, drop between {interval} points")
    drawn += _link(end, len(steps) + 1, scale, layout)
    return layout.root(f"Top-1 accuracy from {start_label} to {end_label}", "; ".join(said), drawn)


def _change_text(points: float) -> str:
    """``"+0.50 points"``."""
    return f"{'+' if points >= 0.005 else ''}{signed(points)} points"


def _link(level: float, place: int, scale: Scale, layout: Rows) -> list[Markup]:
    """The level that row `place` takes over from the row above it; texts are in the way where rows are stacked."""
    if layout.stacked:
        return []
    return [svg_line(scale(level), layout.middle(place - 1) + 8, scale(level), layout.middle(place) - 6, "link")]


# -- Small plots beside each other --------------------------------------------------------------------------

#: (share of all images, confidence in percent, accuracy in percent) of each bin that holds images.
ReliabilityPoints = Sequence[tuple[float, float, float]]


def _small(low: float, high: float, up: float) -> Plane:
    """The plane of a small plot: from `low` to `high`, and from 0 to `up`."""
    return Plane(Scale(low, high, 36, NARROW - 12), Scale(0, up, 300, 50))


def reliability_plot(
    before: ReliabilityPoints, after: ReliabilityPoints, before_label: str, after_label: str
) -> Markup:
    """How often each model is right at each confidence; on the diagonal it is as right as it is sure."""
    plane = _small(0, 100, 100)
    drawn = plane.axes("confidence, %", "accuracy, %", lambda value: f"{value:g}", most=6, verticals=True)
    drawn.append(svg_line(*plane.at(0, 0), *plane.at(100, 100), "zero"))
    for points, style in ((before, "before"), (after, "after")):
        drawn.append(svg_path((plane.at(sure, right) for _, sure, right in points), f"{style}-line", 1.5))
        drawn += [svg_dot(*plane.at(sure, right), style, 2.5 + 5 * math.sqrt(share)) for share, sure, right in points]
    for start, label, style in ((0, before_label, "before"), (170, after_label, "after")):
        drawn += [svg_dot(start + 6, 10, style), svg_text(start + 17, 14.5, label)]
    said = "; ".join(
        f"{label}: " + ", ".join(f"{right:.0f}% right at {sure:.0f}%" for _, sure, right in points)
        for points, label in ((before, before_label), (after, after_label))
    )
    return plane.root(NARROW, "Accuracy by confidence", said, drawn)


def rate_plot(title: str, edges: Sequence[float], counts: Sequence[tuple[int, int]], x_label: str) -> Markup:
    """The share of images with some property in each of several ranges.

    Args:
        title: what the property is.
        edges: n + 1 edges of the ranges.
        counts: n pairs (images with the property, images).
        x_label: what the ranges are of.
    """
    rates = [100 * part / whole if whole else 0.0 for part, whole in counts]
    plane = _small(edges[0], edges[-1], 1.12 * max([*rates, 0.1]))
    places = decimals(ticks(0, plane.up.high, 5))
    drawn = plane.axes(x_label, "share of images, %", lambda value: f"{value:.{places}f}")
    for (low, high), rate, (part, _) in zip(pairwise(edges), rates, counts, strict=True):
        if part:
            (left, top), right = plane.at(low, rate), plane.across(high)
            bar = {"x": left + 1.5, "y": top, "width": right - left - 3, "height": plane.up.start - top}
            drawn.append(element("rect", **bar, class_="bar"))
            drawn.append(svg_text((left + right) / 2, top - 5, f"{part}", anchor="middle", class_="axis"))
    drawn.append(plane.level(0, "zero"))
    said = "; ".join(
        f"{low:g} to {high:g}: {part} of {whole}"
        for (low, high), (part, whole) in zip(pairwise(edges), counts, strict=True)
    )
    return plane.root(NARROW, title, said, drawn)


# -- Latency ------------------------------------------------------------------------------------------------


def latency_plot(runs: Sequence[tuple[str, Mapping[str, float], bool]], width: int) -> Markup:
    """Median, 90th and 99th percentile of each run on one axis that begins at zero.

    Args:
        runs: at least one: its label, its ``p50``, ``p90`` and ``p99`` in milliseconds, and whether it is valid.
        width: SVG units.
    """
    layout = Rows([(label, f"{ms['p50']:.2f} ms") for label, ms, _ in runs], width, top=10)
    # One run with rare long pauses must not squeeze the others: the axis ends at twice the largest p90.
    high = min(max(ms["p99"] for _, ms, _ in runs), 2 * max(ms["p90"] for _, ms, _ in runs))
    scale = Scale(0.0, 1.05 * high or 1.0, *layout.ends)
    drawn, said = layout.axis(scale, "milliseconds"), []
    for place, (label, ms, valid) in enumerate(runs):
        y, start = layout.middle(place), scale(ms["p50"])
        drawn += layout.texts(place)
        drawn.append(svg_line(start, y, scale(ms["p99"]), y, "whisker", 1.5))
        drawn.append(svg_line(start, y, scale(ms["p90"]), y, "whisker", 5))
        drawn.append(svg_dot(start, y, "after" if valid else "before", width=2))
        percentiles = f"median {ms['p50']:.2f} ms, p90 {ms['p90']:.2f}, p99 {ms['p99']:.2f}"
        said.append(f"{label}: {percentiles}{'' if valid else ', not valid'}")
    return layout.root("Latency of each run", "; ".join(said), drawn)


def curve_plot(label: str, points: Sequence[tuple[float, float]], width: int) -> Markup:
    """The median over time, on an axis that begins at zero, so that a fall looks as large as it is.

    Args:
        label: the run.
        points: at least one: (minutes, median in milliseconds) of a stretch.
        width: SVG units.
    """
    across = Scale(0.0, max(minutes for minutes, _ in points) or 1.0, 44, width - 10)
    plane = Plane(across, Scale(0.0, 1.1 * max(value for _, value in points) or 1.0, 224, 24))
    drawn = plane.axes("minutes", "ms", lambda value: f"{value:g}")
    drawn.append(svg_path((plane.at(*point) for point in points), "after-line", 2))
    (_, first), (minutes, last) = points[0], points[-1]
    said = f"{label}: {first:.2f} ms at first, {last:.2f} ms after {minutes:.1f} minutes"
    return plane.root(width, "Median latency over time", said, drawn)


# -- Accuracy against latency -------------------------------------------------------------------------------


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
    low, high = min(point.low for point in points), max(point.high for point in points)
    pad = max(0.08 * (high - low), 0.1)
    across = Scale(0.0, 1.12 * max(point.latency_ms for point in points) or 1.0, 52, width - 14)
    up = Scale(low - pad if low < 0 else max(0.0, low - pad), min(100.0, high + pad), 312, 26)
    plane = Plane(across, up)
    drawn = plane.axes("median latency, ms", score, lambda value: signed(value, 1))
    unbeaten = front(points)
    # Steps: between two models of the front there is nothing to be had but the faster one's accuracy.
    corners = [(unbeaten[0].latency_ms, up.low)]
    for point in unbeaten:
        corners += [(point.latency_ms, corners[-1][1]), (point.latency_ms, point.score)]
    corners.append((across.high, unbeaten[-1].score))
    drawn.append(svg_path((plane.at(*corner) for corner in corners[2:]), "before-line", 1.5))
    for place, point in enumerate(points):
        x, y = plane.at(point.latency_ms, point.score)
        drawn.append(svg_line(x, up(point.low), x, up(point.high), "whisker", 1.5))
        drawn.append(svg_dot(x, y, "after" if point.valid else "before", width=2))
        side = 9 if place % 2 else -9  # in turn, for neighbours in speed are often neighbours in accuracy too
        style = {"anchor": "start" if side > 0 else "end", "class_": "strong" if point in unbeaten else None}
        drawn.append(svg_text(x + side, y - 7, str(point.number), **style))
    said = "; ".join(
        f"{point.number}, {point.label}: {signed(point.score)} in {point.latency_ms:.2f} ms"
        + (", not beaten" if point in unbeaten else "")
        for point in points
    )
    return plane.root(width, f"{score[:1].upper()}{score[1:]}, against latency", said, drawn)


# -- Layers -------------------------------------------------------------------------------------------------


def sqnr_plot(layers: Sequence[LayerError], width: int) -> Markup:
    """Own SQNR as a filled dot, accumulated as a hollow one, joined by a line.

    Args:
        layers: at least one, each with an own error, worst first.
        width: SVG units.
    """
    rows = [(f"{layer.place} · {layer.kind}", layer.own_sqnr_db or 0.0, layer.sqnr_db, layer.cause) for layer in layers]
    layout = Rows([(label, f"{signed(own, 1)} dB, {cause}") for label, own, _, cause in rows], width, top=10)
    values = [value for _, own, accumulated, _ in rows for value in (own, accumulated) if value is not None]
    # A layer with far more noise than signal is drawn at the edge; the numbers beside it say how far.
    low, high = max(min([0.0, *values]), -20.0), max([10.0, *values])
    scale = Scale(low, high + 0.05 * (high - low), *layout.ends)
    drawn, said = layout.axis(scale, "SQNR, dB"), []
    for place, (label, own, accumulated, cause) in enumerate(rows):
        y, before = layout.middle(place), ""
        drawn += layout.texts(place)
        if accumulated is not None:
            before = f", accumulated {signed(accumulated, 1)} dB"
            drawn.append(svg_line(scale(accumulated), y, scale(own), y, "whisker", 1.5))
            drawn.append(svg_dot(scale(accumulated), y, "before", 4, 1.5))
        drawn.append(svg_dot(scale(own), y, "after"))
        said.append(f"{label}: own {signed(own, 1)} dB{before}, {cause}")
    return layout.root("Signal-to-noise ratio of each layer", "; ".join(said), drawn)
