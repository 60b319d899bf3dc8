"""Draw plots as inline SVG that takes its colours from the page and says in words what it shows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ghostedge.reports.page import Markup, element, join

__all__ = [
    "IntervalRow",
    "Rows",
    "Scale",
    "WaterfallStep",
    "interval_plot",
    "rate_plot",
    "reliability_plot",
    "responsive",
    "signed",
    "svg_line",
    "svg_root",
    "svg_text",
    "ticks",
    "waterfall_plot",
]

#: Widths in SVG units, which are CSS pixels on a desk and on a phone: text is as large as it was meant to be.
_WIDE, _NARROW = 720, 340

#: Mean width of a character of the 13 px label font, pixels.
_CHARACTER = 7.2


def responsive(draw: Callable[[int], Markup]) -> Markup:
    """A plot in two widths of which the page shows the one that fits; `draw` is called with each width."""
    return join([element("div", draw(_WIDE), class_="wide"), element("div", draw(_NARROW), class_="narrow")])


def signed(value: float, decimals: int = 2) -> str:
    """A number with a true minus sign and without a negative zero."""
    text = f"{value:.{decimals}f}"
    return "−" + text[1:] if text.startswith("-") and float(text) != 0 else text.removeprefix("-")


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, at most `most` of them."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


@dataclass(frozen=True)
class Scale:
    """A linear map of values to pixels; values outside stay at the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of `value`."""
        share = (min(max(value, self.low), self.high) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def outside(self, value: float) -> bool:
        """Whether `value` lies beyond the ends, and is drawn at one."""
        return not self.low <= value <= self.high


def svg_root(width: float, height: float, title: str, description: str, *children: Markup) -> Markup:
    """An ``<svg>`` of `width` x `height` units, with `title` and `description` for those who do not see it."""
    return element(
        "svg",
        *children,
        viewBox=f"0 0 {width:g} {height:g}",
        role="img",
        aria_label=f"{title}. {description}",
    )


def svg_text(x: float, y: float, content: str, *, anchor: str | None = None, class_: str | None = None) -> Markup:
    """A ``<text>`` at (x, y); `anchor` is SVG's text-anchor."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def svg_line(x1: float, y1: float, x2: float, y2: float, class_: str, width: float = 1) -> Markup:
    """A ``<line>`` from (x1, y1) to (x2, y2); `class_` gives its colour."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, stroke_width=width)


def _shorten(text: str, pixels: float) -> str:
    """`text`, its middle cut out where it would be wider than `pixels`."""
    most = max(int(pixels / _CHARACTER), 5)
    if len(text) <= most:
        return text
    head = (most - 1) // 2
    return f"{text[:head]}…{text[len(text) - (most - 1 - head) :]}"


@dataclass(frozen=True)
class Rows:
    """Where the rows of a plot and their texts are: in columns on a desk, above each other on a phone."""

    count: int
    width: float
    top: float

    @property
    def stacked(self) -> bool:
        """Whether a row's texts stand above its marks, for want of width."""
        return self.width < 500

    @property
    def height(self) -> float:
        """Height of one row, units."""
        return 48 if self.stacked else 34

    @property
    def bottom(self) -> float:
        """Where the last row ends, units."""
        return self.top + self.count * self.height

    @property
    def ends(self) -> tuple[float, float]:
        """Left and right end of the drawing area."""
        return (10, self.width - 10) if self.stacked else (0.33 * self.width, 0.74 * self.width)

    def middle(self, place: int) -> float:
        """The height at which row `place` is drawn."""
        return self.top + (place + 1) * self.height - (14 if self.stacked else self.height / 2)

    def texts(self, place: int, label: str, numbers: str, *, strong: bool = True) -> list[Markup]:
        """The label and the numbers of row `place`."""
        baseline = self.top + place * self.height + 18 if self.stacked else self.middle(place) + 4.5
        room = self.width - 12 - _CHARACTER * len(numbers) if self.stacked else self.ends[0] - 18
        return [
            svg_text(0, baseline, _shorten(label, room), class_="strong" if strong else None),
            svg_text(self.width, baseline, numbers, anchor="end"),
        ]

    def verticals(self, x: float, class_: str, stroke: float = 1) -> list[Markup]:
        """A vertical line through every row that leaves out the texts between stacked rows."""
        if not self.stacked:
            return [svg_line(x, self.top, x, self.bottom, class_, stroke)]
        return [svg_line(x, self.middle(i) - 11, x, self.middle(i) + 11, class_, stroke) for i in range(self.count)]

    def axis(self, scale: Scale, label: str) -> list[Markup]:
        """Grid lines, their values and what they are."""
        most = 5
        decimals = _decimals(scale.low, scale.high, most)
        drawn = []
        for value in ticks(scale.low, scale.high, most):
            drawn += self.verticals(scale(value), "grid")
            drawn.append(
                svg_text(scale(value), self.bottom + 16, signed(value, decimals), anchor="middle", class_="axis")
            )
        middle = (scale.start + scale.end) / 2
        return [*drawn, svg_text(middle, self.bottom + 34, label, anchor="middle", class_="axis")]


def _x_axis(scale: Scale, top: float, bottom: float, label: str) -> list[Markup]:
    """The axis of a square plot from 0 to 100%."""
    drawn = []
    for value in ticks(scale.low, scale.high):
        drawn.append(svg_line(scale(value), top, scale(value), bottom, "grid"))
        drawn.append(svg_text(scale(value), bottom + 16, f"{value:g}", anchor="middle", class_="axis"))
    return [*drawn, svg_text((scale.start + scale.end) / 2, bottom + 34, label, anchor="middle", class_="axis")]


def _decimals(low: float, high: float, most: int) -> int:
    """How many decimals tell the ticks from `low` to `high` apart."""
    values = ticks(low, high, most)
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    return max(0, -math.floor(math.log10(step) + 1e-9))


# -- Intervals against a margin -----------------------------------------------------------------------------


@dataclass(frozen=True)
class IntervalRow:
    """One estimate with its interval; `verdict` is PASS, FAIL or INCONCLUSIVE."""

    label: str
    value: float
    low: float
    high: float
    verdict: str


def interval_plot(rows: Sequence[IntervalRow], margin: float, width: int) -> Markup:
    """Drops of accuracy with their intervals, one row each, against the margin.

    Rows far beyond the margin do not squeeze the others: the axis ends at six margins and an arrow points on.

    Args:
        rows: values in percentage points.
        margin: percentage points.
        width: SVG units.
    """
    layout = Rows(len(rows), width, top=30)
    low = max(min([0.0, *(row.low for row in rows)]), -6 * margin)
    high = min(max([margin, *(row.high for row in rows)]), 6 * margin)
    pad = 0.08 * (high - low)
    scale = Scale(low - pad, high + pad, *layout.ends)
    beyond = scale(margin)
    drawn = [
        element("rect", x=beyond, y=30, width=scale.end - beyond, height=layout.bottom - 30, class_="zone"),
        *layout.axis(scale, "drop of top-1 accuracy, points"),
        *layout.verticals(scale(0), "zero"),
        *layout.verticals(beyond, "margin", 1.5),
        svg_text(beyond, 20, f"margin {margin:g}", anchor="middle", class_="margin-label"),
    ]
    for place, row in enumerate(rows):
        drawn += layout.texts(place, row.label, f"{signed(row.value)} ({signed(row.low)} to {signed(row.high)})")
        drawn += _interval(row, scale, layout.middle(place))
    summary = "; ".join(
        f"{row.label}: {signed(row.value)} ({signed(row.low)} to {signed(row.high)}), {row.verdict}" for row in rows
    )
    title = f"Drop of top-1 accuracy with 90% intervals against a margin of {margin:g} points"
    return svg_root(width, layout.bottom + 40, title, summary, *drawn)


def _interval(row: IntervalRow, scale: Scale, y: float) -> list[Markup]:
    """A dot with its interval; what lies beyond an edge of the axis becomes an arrow that points there."""
    mark = f"mark-{row.verdict.lower()}"
    beyond = (row.high < scale.low) - (row.low > scale.high)  # the whole interval: left 1, right -1
    if beyond:
        edge = scale(row.value)
        return [svg_line(edge + 26 * beyond, y, edge, y, mark, 3), _arrow(edge, y, -beyond, mark)]
    drawn = [svg_line(scale(row.low), y, max(scale(row.high), scale(row.low) + 0.5), y, mark, 3)]
    for end, direction in ((row.low, -1), (row.high, 1)):
        x = scale(end)
        drawn.append(_arrow(x, y, direction, mark) if scale.outside(end) else svg_line(x, y - 5, x, y + 5, mark, 2))
    if not scale.outside(row.value):
        drawn.append(element("circle", cx=scale(row.value), cy=y, r=5, class_=mark))
    return drawn


def _arrow(x: float, y: float, direction: int, class_: str) -> Markup:
    """An arrow head with its tip at (x, y), to the right where `direction` is 1 and to the left where it is -1."""
    back = x - 10 * direction
    return element("polygon", points=f"{back:.1f},{y - 6:.1f} {x:.1f},{y:.1f} {back:.1f},{y + 6:.1f}", class_=class_)


# -- Waterfall ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WaterfallStep:
    """One change: accuracy before and after, percent, and the 90% interval of its drop, points."""

    label: str
    before: float
    after: float
    low_drop: float
    high_drop: float


def waterfall_plot(start_label: str, steps: Sequence[WaterfallStep], end_label: str, width: int) -> Markup:
    """Accuracy from a start over its changes to the end, top to bottom.

    Levels are dots and changes are bars, because the axis does not begin at 0 and a bar from its edge would mislead.
    """
    layout = Rows(len(steps) + 2, width, top=8)
    ends = [
        value
        for step in steps
        for value in (step.before, step.after, step.before - step.low_drop, step.before - step.high_drop)
    ]
    pad = max(0.08 * (max(ends) - min(ends)), 0.02)
    scale = Scale(min(ends) - pad, max(ends) + pad, *layout.ends)
    drawn = layout.axis(scale, "top-1 accuracy, % (the axis does not begin at 0)")
    for place, label, level in ((0, start_label, steps[0].before), (len(steps) + 1, end_label, steps[-1].after)):
        drawn += layout.texts(place, label, f"{level:.2f}%")
        drawn.append(element("circle", cx=scale(level), cy=layout.middle(place), r=5, class_="level"))
    for place, step in enumerate(steps, start=1):
        drawn += _waterfall_step(step, place, scale, layout)
    drawn += _link(steps[-1].after, len(steps) + 1, scale, layout)
    summary = "; ".join(
        f"{step.label}: {step.before:.2f} to {step.after:.2f}%, drop between {signed(step.low_drop)} and "
        f"{signed(step.high_drop)} points"
        for step in steps
    )
    title = f"Top-1 accuracy from {start_label} to {end_label}"
    return svg_root(width, layout.bottom + 40, title, summary, *drawn)


def _waterfall_step(step: WaterfallStep, place: int, scale: Scale, layout: Rows) -> list[Markup]:
    y = layout.middle(place)
    left, right = sorted((scale(step.before), scale(step.after)))
    change = step.after - step.before
    return [
        *layout.texts(place, step.label, ("+" if change >= 0.005 else "") + f"{signed(change)} points", strong=False),
        *_link(step.before, place, scale, layout),
        element(
            "rect", x=left, y=y - 8, width=max(right - left, 2), height=16, class_="gain" if change > 0 else "loss"
        ),
        svg_line(scale(step.before - step.high_drop), y, scale(step.before - step.low_drop), y, "whisker", 2),
    ]


def _link(level: float, place: int, scale: Scale, layout: Rows) -> list[Markup]:
    """The level that row `place` takes over from the row above it; texts are in the way where rows are stacked."""
    if layout.stacked:
        return []
    return [svg_line(scale(level), layout.middle(place - 1) + 8, scale(level), layout.middle(place) - 6, "link")]


# -- Small plots --------------------------------------------------------------------------------------------

#: (share of all images, confidence in percent, accuracy in percent) of each bin that holds images.
ReliabilityPoints = Sequence[tuple[float, float, float]]


def reliability_plot(
    before: ReliabilityPoints, after: ReliabilityPoints, before_label: str, after_label: str
) -> Markup:
    """How often each model is right at each confidence; on the diagonal it is as right as it is sure."""
    width, left, top, bottom = _NARROW, 36, 50, 300
    x, y = Scale(0, 100, left, width - 12), Scale(0, 100, bottom, top)
    drawn = _x_axis(x, top, bottom, "confidence, %")
    for value in ticks(0, 100, 6):
        drawn.append(svg_line(left, y(value), width - 12, y(value), "grid"))
        drawn.append(svg_text(left - 8, y(value) + 4, f"{value:g}", anchor="end", class_="axis"))
    drawn.append(svg_line(x(0), y(0), x(100), y(100), "zero"))
    for points, style in ((before, "before"), (after, "after")):
        line = " ".join(f"{x(c):.1f},{y(a):.1f}" for _, c, a in points)
        drawn.append(element("polyline", points=line, class_=f"{style}-line", stroke_width=1.5))
        drawn += [
            element("circle", cx=x(c), cy=y(a), r=2.5 + 5 * math.sqrt(share), class_=style) for share, c, a in points
        ]
    for place, label, style in ((0, before_label, "before"), (1, after_label, "after")):
        start = place * 200
        drawn.append(element("circle", cx=start + 6, cy=10, r=5, class_=style))
        drawn.append(svg_text(start + 17, 14.5, _shorten(label, 170 if place == 0 else 120)))
    drawn.append(svg_text(0, 36, "accuracy, %", class_="axis"))
    summary = "; ".join(
        f"{label}: " + ", ".join(f"{a:.0f}% right at {c:.0f}%" for _, c, a in points)
        for points, label in ((before, before_label), (after, after_label))
    )
    return svg_root(width, bottom + 40, "Accuracy by confidence", summary, *drawn)


def rate_plot(title: str, edges: Sequence[float], counts: Sequence[tuple[int, int]], x_label: str) -> Markup:
    """The share of images with some property in each of several ranges.

    Args:
        title: what the property is.
        edges: n + 1 edges of the ranges.
        counts: n pairs (images with the property, images).
        x_label: what the ranges are of.
    """
    width, left, top, bottom = _NARROW, 36, 50, 300
    rates = [100 * part / whole if whole else 0.0 for part, whole in counts]
    highest = max([*rates, 0.1])
    x = Scale(edges[0], edges[-1], left, width - 12)
    y = Scale(0, highest * 1.12, bottom, top)
    drawn = [svg_text(0, 36, "share of images, %", class_="axis")]
    decimals = _decimals(0, y.high, 5)
    for value in ticks(0, y.high, 5):
        drawn.append(svg_line(left, y(value), width - 12, y(value), "grid"))
        drawn.append(svg_text(left - 8, y(value) + 4, f"{value:.{decimals}f}", anchor="end", class_="axis"))
    for value in ticks(edges[0], edges[-1], 6):
        drawn.append(svg_text(x(value), bottom + 16, f"{value:g}", anchor="middle", class_="axis"))
    drawn.append(svg_text((left + width - 12) / 2, bottom + 34, x_label, anchor="middle", class_="axis"))
    for (low, high), rate, (part, _) in zip(pairwise(edges), rates, counts, strict=True):
        if part:
            drawn.append(
                element(
                    "rect", x=x(low) + 1.5, y=y(rate), width=x(high) - x(low) - 3, height=bottom - y(rate), class_="bar"
                )
            )
            drawn.append(svg_text((x(low) + x(high)) / 2, y(rate) - 5, f"{part}", anchor="middle", class_="axis"))
    drawn.append(svg_line(left, bottom, width - 12, bottom, "zero"))
    summary = "; ".join(
        f"{low:g} to {high:g}: {part} of {whole}"
        for (low, high), (part, whole) in zip(pairwise(edges), counts, strict=True)
    )
    return svg_root(width, bottom + 40, title, summary, *drawn)
