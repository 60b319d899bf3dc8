"""The latency page shows every run, what spoils a number, and nothing that is not in the records."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from ghostedge.errors import UsageError
from ghostedge.reports.latency import latency_html, write_latency_report
from ghostedge.reports.latency_plots import Curve, LatencyRow, curve_plot, latency_plot


@pytest.fixture
def record() -> dict[str, Any]:
    """A valid record of a Raspberry Pi, with what the page reads of it."""
    end = {"governor": ["performance"] * 4, "temperature_c": 51.0}
    return {
        "created_utc": "2026-11-23T12:00:00+00:00",
        "artifact": {"file": "model_fp32.tflite"},
        "runtime": {"name": "litert", "version": "2.1.0"},
        "settings": {"threads": 4, "xnnpack": True},
        "device": {
            "model": "Raspberry Pi 5 Model B",
            "soc": "brcm,bcm2712",
            "cpu": None,
            "architecture": "aarch64",
            "cores": 4,
            "system": "Debian GNU/Linux 12 (bookworm)",
            "kernel": "6.12",
        },
        "context": {"before": end, "after": {"temperature_c": 63.0}},
        "latency_ms": {"p50": 9.87, "p90": 10.5, "p99": 12.25},
        "load_ms": 80.0,
        "first_ms": 21.0,
        "memory": {"rss_peak_mib": 120.0},
        "input": {"source": "noise"},
        "split_ms": None,
        "sustained": None,
        "valid": True,
        "invalid_reasons": [],
        "warnings": [],
    }


def test_a_valid_run(record: dict[str, Any]) -> None:
    page = latency_html([("ssh:pi@pi5", record)])
    for text in (
        "1 run on 1 device",
        "1 valid",
        "9.87",
        "12.25",
        "Raspberry Pi 5 Model B",
        "51 °C before, 63 °C after",
    ):
        assert text in page
    assert "not one to quote" not in page
    assert 'class="note"' not in page


def test_a_number_that_is_not_valid_says_why(record: dict[str, Any]) -> None:
    bad = copy.deepcopy(record)
    bad |= {"valid": False, "invalid_reasons": [{"code": "throttled", "text": "the firmware reports: throttled"}]}
    page = latency_html([("local", record), ("ssh:pi@pi5", bad)])
    assert "2 runs on 2 devices" in page
    assert "not one to quote" in page
    assert "the firmware reports: throttled" in page
    assert page.count('class="before"') == 2  # hollow, at both widths


def test_the_parts_of_a_photo_and_the_curve_are_shown(record: dict[str, Any]) -> None:
    parts = {name: {"p50": value, "p90": value + 1} for name, value in {"decode": 3.25, "inference": 9.75}.items()}
    curve = [{"t_s": 60.0 * minute, "p50_ms": 10.0 + minute} for minute in range(10)]
    record |= {"split_ms": parts, "sustained": {"last_to_first": 1.9, "curve": curve}}
    page = latency_html([("local", record)])
    assert "3.25" in page
    assert "10.75" in page
    assert "the last tenth takes 1.90 of the first" in page
    assert "19.00 ms after 9.0 minutes" in page


def test_a_hostile_name_stays_text(record: dict[str, Any]) -> None:
    record["artifact"]["file"] = record["device"]["model"] = "<script>alert(1)</script>"
    assert "<script" not in latency_html([("<script>", record)])


def test_a_long_tail_does_not_squeeze_the_rest() -> None:
    rows = [LatencyRow("a", 10.0, 11.0, 12.0, True), LatencyRow("b", 10.0, 11.0, 900.0, True)]
    centres = [float(x) for x in re.findall(r'cx="([\d.]+)"', latency_plot(rows, 720))]
    assert min(centres) > 0.33 * 720 + 100  # 10 ms is not at the left edge


def test_a_curve_goes_down_where_time_goes_up() -> None:
    drawn = curve_plot(Curve("m", ((0.0, 10.0), (1.0, 20.0))), 720)
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    (_, early), (_, late) = (map(float, point.split(",")) for point in points.split())
    assert late < early  # SVG counts from the top: twice the time is drawn higher


def test_another_suffix_is_refused_before_anything_is_written(record: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_latency_report([("local", record)], tmp_path / "latency.pdf")
    assert list(tmp_path.iterdir()) == []
