"""Plots put values where they belong and say what they show."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from ghostedge.accuracy.attribution import Attribution, AttributionStep
from ghostedge.accuracy.statistics import PairedDrop, Verdict
from ghostedge.reports.format import signed
from ghostedge.reports.plots import interval_plot, rate_plot, reliability_plot, waterfall_plot
from ghostedge.reports.svg import broken, responsive, ticks


def drop(value: float, low: float, high: float) -> PairedDrop:
    return PairedDrop(1000, 0, 0, value, low, high, 1.0)


ROWS: list[tuple[str, PairedDrop, Verdict]] = [
    ("fp16.tflite", drop(0.02, -0.05, 0.09), "PASS"),
    ("int8.tflite", drop(0.6, 0.3, 0.9), "INCONCLUSIVE"),
    ("ruined.tflite", drop(40.0, 39.0, 41.0), "FAIL"),
]


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 100, [0, 20, 40, 60, 80, 100]),
        (-0.3, 1.1, [0.0, 0.5, 1.0]),
        (74.2, 75.6, [74.5, 75.0, 75.5]),
        (0, 0.04, [0, 0.01, 0.02, 0.03, 0.04]),
    ],
)
def test_ticks_are_round_numbers_inside_the_range(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == pytest.approx(expected)


def test_numbers_have_a_true_minus_and_no_negative_zero() -> None:
    assert [signed(-0.5), signed(0.5), signed(-0.001)] == ["−0.50", "0.50", "0.00"]


def shapes(drawing: str, name: str) -> list[dict[str, str]]:
    return [dict(node.attrib) for node in ElementTree.fromstring(drawing).iter(name)]


@pytest.mark.parametrize("width", [340, 720])
def test_interval_dots_lie_on_one_scale_with_the_margin(width: int) -> None:
    drawing = interval_plot(ROWS, 0.5, width)
    [fp16, int8] = [float(dot["cx"]) for dot in shapes(drawing, "circle")]
    [zero] = {float(line["x1"]) for line in shapes(drawing, "line") if line["class"] == "zero"}
    [margin] = {float(line["x1"]) for line in shapes(drawing, "line") if line["class"] == "margin"}
    unit = (margin - zero) / 0.5
    assert fp16 == pytest.approx(zero + 0.02 * unit, abs=0.1)
    assert int8 == pytest.approx(zero + 0.6 * unit, abs=0.1)


def test_a_ruined_model_becomes_an_arrow_and_leaves_the_others_room() -> None:
    drawing = interval_plot(ROWS, 0.5, 720)
    assert len(shapes(drawing, "circle")) == 2
    [arrow] = shapes(drawing, "polygon")
    assert arrow["class"] == "mark-fail"
    assert "40.00 (39.00 to 41.00)" in drawing


def test_nothing_is_drawn_outside_a_plot() -> None:
    for drawing in (interval_plot(ROWS, 0.5, 340), interval_plot(ROWS, 0.5, 720)):
        _, _, width, height = map(float, re.findall(r'viewBox="([^"]+)"', drawing)[0].split())
        for node in ElementTree.fromstring(drawing).iter():
            for key in ("x", "x1", "x2", "cx"):
                assert 0 <= float(node.get(key, 0)) <= width
            for key in ("y", "y1", "y2", "cy"):
                assert 0 <= float(node.get(key, 0)) <= height


def test_waterfall_bars_span_before_and_after() -> None:
    steps = (
        AttributionStep("weights", "dynamic.tflite", 74.0, drop(1.0, 0.8, 1.2), 0.01, 30.0),
        AttributionStep("activations", "int8.tflite", 74.5, drop(-0.5, -0.8, -0.2), 1.0, 30.0),
    )
    drawing = waterfall_plot("m.ckpt", Attribution(75.0, steps, drop(0.5, 0.0, 1.0), "weights"), 720)
    loss, gain = shapes(drawing, "rect")
    start, end = (float(dot["cx"]) for dot in shapes(drawing, "circle"))
    unit = (start - end) / 0.5
    assert (loss["class"], gain["class"]) == ("loss", "gain")
    assert float(loss["width"]) == pytest.approx(unit, abs=0.1)
    assert float(gain["width"]) == pytest.approx(unit / 2, abs=0.1)
    assert float(loss["x"]) + float(loss["width"]) == pytest.approx(start, abs=0.1)
    assert "−1.00 points" in drawing
    assert "+0.50 points" in drawing


def test_rates_are_bars_with_their_counts() -> None:
    drawing = rate_plot("Flips", [0, 50, 100], [(5, 10), (5, 20)], "confidence")
    high, low = (float(bar["height"]) for bar in shapes(drawing, "rect"))
    assert high == pytest.approx(2 * low, abs=0.1)


def test_reliability_of_a_calibrated_model_lies_on_the_diagonal() -> None:
    drawing = reliability_plot([(0.5, 20, 20), (0.5, 80, 80)], [(1.0, 50, 90)], "before", "after")
    low, high, other = [(float(d["cx"]), float(d["cy"])) for d in shapes(drawing, "circle") if float(d["r"]) != 5]
    [diagonal] = [line for line in shapes(drawing, "line") if line["class"] == "zero"]
    slope = (float(diagonal["y2"]) - float(diagonal["y1"])) / (float(diagonal["x2"]) - float(diagonal["x1"]))
    assert (high[1] - low[1]) / (high[0] - low[0]) == pytest.approx(slope, abs=1e-3)
    assert other[1] < float(diagonal["y1"]) + slope * (other[0] - float(diagonal["x1"]))  # above it: y grows downwards


def test_a_long_name_is_broken_after_separators_and_nothing_is_cut_out() -> None:
    name = "blocks.15.ghost2.primary_conv_and_more_than_fits"
    assert broken("int8.tflite", 200) == ["int8.tflite"]
    assert broken(name, 150) == ["blocks.15.ghost2.", "primary_conv_and_", "more_than_fits"]
    assert "".join(broken("x" * 50, 150)) == "x" * 50
    for width in (340, 720):
        rows: list[tuple[str, PairedDrop, Verdict]] = [(name * 2, drop(0.0, -0.1, 0.1), "PASS"), *ROWS]
        drawing = ElementTree.fromstring(interval_plot(rows, 0.5, width))
        texts = [node for node in drawing.iter("text") if node.get("class") == "strong"]
        assert "".join(node.text or "" for node in texts).startswith(name * 2 + "fp16.tflite")
        assert len({node.get("y") for node in texts}) == len(texts), "two lines lie on each other"


def test_every_plot_says_what_it_shows() -> None:
    drawing = responsive(lambda width: interval_plot(ROWS, 0.5, width))
    assert drawing.count('role="img"') == drawing.count("aria-label=") == 2
    assert "int8.tflite: 0.60 (0.30 to 0.90), INCONCLUSIVE" in drawing
