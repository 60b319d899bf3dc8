"""Pages escape what they are given, stand alone, and can be read in light and dark."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html
import math
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from jinja2 import UndefinedError

from ghostedge.compare import Difference
from ghostedge.explain import Explanation, LayerError
from ghostedge.reports import breakable, environment
from ghostedge.reports.explanation import explanation_html
from ghostedge.reports.format import Stacked
from ghostedge.reports.svg import Markup, element


def written(call: str, **values: Any) -> str:
    """What a macro of the templates writes, without the line ends between its elements."""
    template = environment().from_string(f'{{% import "parts.html.j2" as parts %}}{{{{ parts.{call} }}}}')
    return re.sub(r"\n\s*", "", template.render(values))


def test_text_is_escaped_and_markup_is_not() -> None:
    assert element("p", "a < b & c", class_="x") == '<p class="x">a &lt; b &amp; c</p>'
    assert element("p", element("b", "x"), None) == "<p><b>x</b></p>"
    assert element("p", alt='"quoted"') == '<p alt="&quot;quoted&quot;"></p>'
    assert element("text", "x", text_anchor="end", x=1 / 3) == '<text text-anchor="end" x="0.33">x</text>'
    assert written("figure(drawing, text)", drawing=Markup("<svg></svg>"), text="a < b") == (
        "<figure><svg></svg><figcaption>a &lt; b</figcaption></figure>"
    )


def test_a_hostile_file_name_stays_text() -> None:
    name = "<script>alert(1)</script>.JPEG"
    assert "<script" not in written("table([name], [[name, name]], name)", name=name)


def test_a_name_without_a_value_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'absent' is undefined"):
        written("figure(absent, absent)")


def test_names_break_after_their_separators() -> None:
    assert breakable("a_b.tflite") == "a_<wbr>b.<wbr>tflite"
    assert breakable("<b>_x") == "&lt;b&gt;_<wbr>x"


def test_a_table_names_its_rows_and_scrolls() -> None:
    cells = ["m", "PASS", Stacked("74%", "73 to 75")]
    page = written("table(['Model', 'Verdict', 'Top-1'], [cells], 'Models', [2], 1)", cells=cells)
    assert '<th class="number" scope="col">Top-1</th>' in page
    assert '<th scope="row">m</th><td><span class="verdict pass">PASS</span></td>' in page
    assert '<td class="number">74%<small>73 to 75</small></td>' in page
    assert 'class="scroll" role="region" aria-label="Models" tabindex="0"' in page


def test_stacked_text_is_one_line_elsewhere() -> None:
    assert Stacked("74%", "73 to 75") == "74% (73 to 75)"
    assert Stacked("74%") == "74%"


def test_a_page_fetches_nothing_and_runs_nothing_but_its_own_script(explanation: Explanation) -> None:
    page = explanation_html(explanation)
    assert "<title>Quantisation report</title>" in page
    assert "default-src 'none'" in page
    assert not re.search(r"<link|https?:|@import|url\(", page)
    [script] = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "unsafe-inline" not in page.partition("script-src")[2].partition(";")[0]
    assert not re.search(r">\s+<", page), "line ends of the template are in the page"


def test_every_layer_is_explained(explanation: Explanation) -> None:
    page = html.unescape(explanation_html(explanation)).replace("<wbr>", "")
    assert "q.tflite beside f.tflite on 2 images" in page
    assert "9.5 dB of its own: values lie beyond the output's range and are cut off" in page
    stages, kinds, layers = re.findall(r"<tbody>.*?</tbody>", page)
    assert [stages.count(text) for text in ("<tr>", "30.0 dB", "exact")] == [4, 3, 1]
    assert kinds.count("<tr>") == 1
    assert ["conv stem" in row for row in layers.split("</tr>")] == [False, True, False]
    assert page.count('class="after"') == 2  # one dot at each width: the exact layer is not drawn
    alone = dataclasses.replace(explanation, layers=explanation.layers[1:])
    assert "No layer has an error." in explanation_html(alone)


@pytest.fixture
def explanation() -> Explanation:
    """A layer that its range spoils, and one without an error of its own."""
    spoilt = LayerError(
        name="t", place="dw", kind="pointwise", operator="CONV_2D", dtype="int8", scale=0.5, zero_point=-3,
        sqnr_db=8.25, mse=0.5, cosine=0.99, own_sqnr_db=9.5, drop_db=1.5, weights_share=0.0, clipped_share=1.0,
        offset_share=0.0, step_excess=9.0, ends=0.25, saturated=0.125, worst_channel=0, worst_channel_share=1.0,
        cause="range",
    )  # fmt: skip
    exact = dataclasses.replace(
        spoilt, place="conv stem", sqnr_db=None, own_sqnr_db=None, drop_db=None, scale=None, cause="none"
    )
    noise, none = Difference(2, 0.25, 30.0, 0.5), Difference(2, 0.0, math.inf, 1.0)
    return Explanation(Path("q.tflite"), Path("f.tflite"), 2, (spoilt, exact), noise, noise, noise, 7, (), none)


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
