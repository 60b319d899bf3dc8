"""Draw inline SVG that takes its colours from the page: elements, scales, and the axes that all plots share."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from ghostedge.reports.format import signed

#: Widths in SVG units, which are CSS pixels on a desk and on a phone: text is as large as it was meant to be.
WIDE, NARROW = 720, 340

#: Mean width of a character of the 13 px label font, pixels.
_CHARACTER = 7.2

#: From one line of a label to the next, units.
_LINE = 16


# -- Elements -----------------------------------------------------------------------------------------------


class Markup(str):
    """Text that is HTML or SVG already; every other string is escaped where it enters an element or a template."""

    __slots__ = ()

    def __html__(self) -> Markup:
        """Itself: what Jinja asks for before it escapes."""
        return self


def join(parts: Iterable[str | None]) -> Markup:
    """One piece of markup out of several; plain strings are escaped, None is left out."""
    return Markup(
        "".join(
            part if isinstance(part, Markup) else html.escape(part, quote=False) for part in parts if part is not None
        )
    )


def element(name: str, *children: str | None, **attributes: str | float | None) -> Markup:
    """``<name attribute="...">children</name>``.

    Args:
        name: of the SVG element.
        children: strings are escaped unless they are `Markup`; None is left out.
        attributes: ``class_`` becomes ``class``, ``text_anchor`` becomes ``text-anchor``; None is left out; numbers
            are written with at most two decimals.
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_attribute(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{written}>{join(children)}</{name}>")


def _attribute(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(value)
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _root(width: float, bottom: float, title: str, description: str, drawn: Iterable[Markup]) -> Markup:
    """An ``<svg>`` that ends below an axis, with `title` and `description` for those who do not see it."""
    box = f"0 0 {width:g} {bottom + 42:g}"
    return element("svg", *drawn, viewBox=box, role="img", aria_label=f"{title}. {description}")


def svg_text(x: float, y: float, content: str, *, anchor: str | None = None, class_: str | None = None) -> Markup:
    """A ``<text>`` at (x, y); `anchor` is SVG's text-anchor."""
    return element("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def svg_line(x1: float, y1: float, x2: float, y2: float, class_: str, width: float = 1) -> Markup:
    """A ``<line>`` from (x1, y1) to (x2, y2); `class_` gives its colour."""
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=class_, stroke_width=None if width == 1 else width)


def svg_dot(x: float, y: float, class_: str, radius: float = 5, width: float | None = None) -> Markup:
    """A ``<circle>`` around (x, y); `width` is that of its outline."""
    return element("circle", cx=x, cy=y, r=radius, class_=class_, stroke_width=width)


def svg_path(points: Iterable[tuple[float, float]], class_: str, width: float) -> Markup:
    """A ``<polyline>`` through `points`."""
    return element(
        "polyline", points=" ".join(f"{x:.1f},{y:.1f}" for x, y in points), class_=class_, stroke_width=width
    )


def responsive(draw: Callable[[int], Markup]) -> Markup:
    """A plot in two widths of which the page shows the one that fits; `draw` is called with each width."""
    return join([element("div", draw(WIDE), class_="wide"), element("div", draw(NARROW), class_="narrow")])


def broken(text: str, pixels: float) -> list[str]:
    """`text` in lines of at most `pixels`, broken after separators; a longer piece breaks where the line ends.

    Nothing is cut out: of `blocks.15.ghost1.conv` and `blocks.15.ghost2.conv` the middle is what tells them apart.
    """
    most = max(int(pixels / _CHARACTER), 5)
    pieces = [
        piece[at : at + most] for piece in re.findall(r"[^_./, -]*[_./, -]*", text) for at in range(0, len(piece), most)
    ]
    lines = [""]
    for piece in pieces:
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > most:
            lines.append("")
        lines[-1] += piece
    return [line.rstrip() for line in lines]


# -- Axes ---------------------------------------------------------------------------------------------------


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten, at most `most` of them."""
    rough = (high - low) / max(most - 1, 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def decimals(values: Sequence[float]) -> int:
    """How many decimals tell ascending `values` apart."""
    step = min((b - a for a, b in pairwise(values)), default=1.0)
    return max(0, -math.floor(math.log10(step) + 1e-9))


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


def _below(scale: Scale, bottom: float, values: Iterable[tuple[float, str]], label: str) -> list[Markup]:
    """What stands below a drawing area: the values of the axis at their places, and what they are."""
    middle = (scale.start + scale.end) / 2
    return [
        *(svg_text(scale(value), bottom + 16, text, anchor="middle", class_="axis") for value, text in values),
        svg_text(middle, bottom + 34, label, anchor="middle", class_="axis"),
    ]


@dataclass(frozen=True)
class Plane:
    """Two axes that cross: one value to the right, and one upwards, where SVG counts from the top."""

    across: Scale
    up: Scale

    def axes(
        self, label: str, up_label: str, up_text: Callable[[float], str], *, most: int = 5, verticals: bool = False
    ) -> list[Markup]:
        """Grid lines, their values and what they are.

        Args:
            label: of the axis to the right.
            up_label: of the axis upwards.
            up_text: writes a value of the axis upwards.
            most: values on the axis upwards.
            verticals: whether the axis to the right has grid lines too.
        """
        values = ticks(self.across.low, self.across.high)
        drawn = [svg_text(0, self.up.end - 14, up_label, class_="axis")]
        for value in ticks(self.up.low, self.up.high, most):
            drawn.append(self.level(value, "zero" if value == 0 and self.up.low < 0 else "grid"))
            drawn.append(
                svg_text(self.across.start - 8, self.up(value) + 4, up_text(value), anchor="end", class_="axis")
            )
        if verticals:
            drawn += [
                svg_line(self.across(value), self.up.end, self.across(value), self.up.start, "grid") for value in values
            ]
        return drawn + _below(self.across, self.up.start, ((value, f"{value:g}") for value in values), label)

    def level(self, value: float, class_: str) -> Markup:
        """A line at one height."""
        return svg_line(self.across.start, self.up(value), self.across.end, self.up(value), class_)

    def at(self, x: float, y: float) -> tuple[float, float]:
        """The pixel of two values."""
        return self.across(x), self.up(y)

    def root(self, width: float, title: str, description: str, drawn: Iterable[Markup]) -> Markup:
        """The whole plot, `width` units wide."""
        return _root(width, self.up.start, title, description, drawn)


@dataclass(frozen=True)
class Rows:
    """Where the rows of a plot and their texts are: in columns on a desk, above each other on a phone.

    Attributes:
        labelled: each row's label, and the numbers at its end.
        width: of the plot, units.
        top: where the first row begins, units.
    """

    labelled: Sequence[tuple[str, str]]
    width: float
    top: float

    @property
    def count(self) -> int:
        """How many rows there are."""
        return len(self.labelled)

    @cached_property
    def lines(self) -> list[list[str]]:
        """The lines of each row's label."""
        if not self.stacked:
            return [broken(label, self.ends[0] - 18) for label, _ in self.labelled]
        return [broken(label, self.width - 12 - _CHARACTER * len(numbers)) for label, numbers in self.labelled]

    @property
    def stacked(self) -> bool:
        """Whether a row's texts stand above its marks, for want of width."""
        return self.width < 500

    @property
    def height(self) -> float:
        """Height of one row, units: the same for all, that of the row with the most lines."""
        most = max(map(len, self.lines))
        return 48 + _LINE * (most - 1) if self.stacked else max(34, _LINE * most + 6)

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

    def texts(self, place: int, *, strong: bool = True) -> list[Markup]:
        """The label and the numbers of row `place`."""
        lines, numbers = self.lines[place], self.labelled[place][1]
        baseline = self.top + place * self.height + 18 if self.stacked else self.middle(place) + 4.5
        first = baseline if self.stacked else baseline - _LINE * (len(lines) - 1) / 2
        style = "strong" if strong else None
        labels = [svg_text(0, first + _LINE * number, line, class_=style) for number, line in enumerate(lines)]
        return [*labels, svg_text(self.width, baseline, numbers, anchor="end")]

    def verticals(self, x: float, class_: str, stroke: float = 1) -> list[Markup]:
        """A vertical line through every row that leaves out the texts between stacked rows."""
        if not self.stacked:
            return [svg_line(x, self.top, x, self.bottom, class_, stroke)]
        return [svg_line(x, self.middle(i) - 11, x, self.middle(i) + 11, class_, stroke) for i in range(self.count)]

    def axis(self, scale: Scale, label: str) -> list[Markup]:
        """Grid lines, their values and what they are."""
        values = ticks(scale.low, scale.high, 5)
        texts = [(value, signed(value, decimals(values))) for value in values]
        lines = [line for value in values for line in self.verticals(scale(value), "grid")]
        return lines + _below(scale, self.bottom, texts, label)

    def root(self, title: str, description: str, drawn: Iterable[Markup]) -> Markup:
        """The whole plot."""
        return _root(self.width, self.bottom, title, description, drawn)
