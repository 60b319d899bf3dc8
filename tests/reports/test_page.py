"""Pages escape what they are given, stand alone, and can be read in light and dark."""

from __future__ import annotations

import re
from importlib import resources

import pytest

from ghostedge.reports.page import Markup, breakable, element, figure, page, table


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b & c", class_="x") == '<p class="x">a &lt; b &amp; c</p>'
    assert element("p", element("b", "x"), None) == "<p><b>x</b></p>"
    assert element("img", alt='"quoted"') == '<img alt="&quot;quoted&quot;">'
    assert element("text", "x", text_anchor="end", x=1 / 3) == '<text text-anchor="end" x="0.33">x</text>'


def test_a_hostile_file_name_stays_text() -> None:
    name = "<script>alert(1)</script>.JPEG"
    written = table(["Image", name], [[name, name]], caption=name)
    assert "<script" not in written
    assert "<script" not in page(name, Markup(""))


def test_names_break_after_their_separators() -> None:
    assert breakable("a_b.tflite") == "a_<wbr>b.<wbr>tflite"
    assert breakable("<b>_x") == "&lt;b&gt;_<wbr>x"


def test_a_table_names_its_rows_and_scrolls() -> None:
    written = table(["Model", "Top-1"], [["m", "74"]], caption="Models", numeric=[1])
    assert '<th scope="row">m</th><td class="number">74</td>' in written
    assert 'class="scroll" role="region" aria-label="Models" tabindex="0"' in written


def test_a_page_fetches_nothing_and_runs_nothing() -> None:
    written = page("Title & more", figure(element("svg"), "caption"))
    assert "<title>Title &amp; more</title>" in written
    assert "default-src 'none'" in written
    assert not re.search(r"<script|<link|https?:|@import|url\(", written)


def luminance(colour: str) -> float:
    """Relative luminance of ``#rrggbb`` (WCAG 2.2)."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_contrast_is_wcags() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_colour_can_be_read(theme: int) -> None:
    css = resources.files("ghostedge.reports").joinpath("templates", "report.css").read_text(encoding="utf-8")
    block = re.findall(r":root \{(.*?)\}", css, re.DOTALL)[theme]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", block))
    for name in ("ink", "soft", "accent", "pass", "fail", "unsure"):
        # WCAG 2.2, 1.4.3: 4.5 to 1 for text.
        assert contrast(colours[name], colours["paper"]) >= 4.5, name
    for name in ("loss", "gain"):
        # WCAG 2.2, 1.4.11: 3 to 1 for graphics.
        assert contrast(colours[name], colours["paper"]) >= 3, name
