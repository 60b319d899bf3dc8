"""The latency page shows every run, what spoils a number, and nothing that is not in the records."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest

from ghostedge.accuracy.statistics import Proportion, proportion
from ghostedge.errors import UsageError
from ghostedge.evaluation.ledger import write_ledger
from ghostedge.reports import write_page
from ghostedge.reports.latency import latency_html, read_accuracies
from ghostedge.reports.parity import ParityReport
from ghostedge.reports.plots import TradeOff, curve_plot, front, latency_plot, tradeoff_plot


@pytest.fixture
def record() -> dict[str, Any]:
    """A valid record of a Raspberry Pi, with what the page reads of it."""
    end = {"governor": ["performance"] * 4, "temperature_c": 51.0}
    return {
        "created_utc": "2026-11-23T12:00:00+00:00",
        "artifact": {"file": "model_fp32.tflite", "sha256": "a" * 64},
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
        "verification": None,
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


def checked(record: dict[str, Any], *, correct: bool) -> dict[str, Any]:
    """The record of a model whose answers were checked."""
    found = {"correct": correct, "finite": True, "snr_db": 122.5 if correct else 3.25}
    reason = {"code": "wrong_answers", "text": "its answers are 3.2 dB from MindSpore's"}
    spoiled = {} if correct else {"valid": False, "invalid_reasons": [reason]}
    return {**copy.deepcopy(record), "verification": found, **spoiled}


def test_answers_are_shown_beside_the_times(record: dict[str, Any]) -> None:
    page = latency_html([("a", record), ("b", checked(record, correct=True))])
    assert "not checked" in page
    assert "right, 122.5 dB" in page
    assert "wrong answers" not in page
    page = latency_html([("a", checked(record, correct=False))])
    assert "WRONG, 3.2 dB" in page
    assert "1 of them gave wrong answers" in page


def test_a_phones_browser_and_its_gpu_are_named(record: dict[str, Any]) -> None:
    for name in ("soc", "kernel", "cores"):
        record["device"][name] = None
    record["device"]["browser"] = "Mozilla/5.0 (Linux; Android 15)"
    record["runtime"] = {"name": "litert.js", "version": "2.5.3", "accelerator": "webgpu"}
    record["settings"] = {"threads": 1, "xnnpack": None}
    page = latency_html([("pixel", record)])
    assert "litert.js 2.5.3 (WebGPU)" in page
    assert "Mozilla/5.0 (Linux; Android 15)" in page
    assert "None" not in page


def test_a_latency_with_wrong_answers_is_never_a_best(record: dict[str, Any]) -> None:
    slow, fast = checked(record, correct=True), checked(record, correct=False)
    slow["settings"] = {"threads": 1, "xnnpack": True}
    slow["latency_ms"] = {"p50": 40.0, "p90": 41.0, "p99": 42.0}
    accuracies = {("a" * 64, ""): proportion(790, 1000)}
    page = latency_html([("pi", slow), ("pi", fast)], accuracies)
    table = page.partition("Accuracy and latency")[2].partition("</table>")[0]
    assert "40.00" in table
    assert "9.87" not in table
    assert "Left out for wrong answers: model_fp32.tflite, 4 threads." in page
    alone = latency_html([("pi", fast)], accuracies)
    assert "Accuracy and latency" not in alone


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
    assert latency_html([("<script>", record)]).count("<script") == 1  # the page's own


def test_a_long_tail_does_not_squeeze_the_rest() -> None:
    runs = [(label, {"p50": 10.0, "p90": 11.0, "p99": p99}, True) for label, p99 in (("a", 12.0), ("b", 900.0))]
    centres = [float(x) for x in re.findall(r'cx="([\d.]+)"', latency_plot(runs, 720))]
    assert min(centres) > 0.33 * 720 + 100  # 10 ms is not at the left edge


def test_a_curve_goes_down_where_time_goes_up() -> None:
    drawn = curve_plot("m", [(0.0, 10.0), (1.0, 20.0)], 720)
    (points,) = re.findall(r'points="([^"]+)"', drawn)
    (_, early), (_, late) = (map(float, point.split(",")) for point in points.split())
    assert late < early  # SVG counts from the top: twice the time is drawn higher


def test_another_suffix_is_refused_before_anything_is_written(record: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_page(tmp_path / "latency.pdf", latency_html([("local", record)]))
    assert list(tmp_path.iterdir()) == []


# -- accuracy against latency -----------------------------------------------------------------------------------------


def trade_off(label: str, p50_ms: float, percent: float) -> TradeOff:
    return TradeOff(0, label, p50_ms, percent, percent - 1, percent + 1)


def test_the_front_is_what_no_other_model_beats() -> None:
    int8, fp16, fp32 = trade_off("int8", 5.0, 70.0), trade_off("fp16", 9.0, 74.0), trade_off("fp32", 9.5, 74.0)
    slow, ruined = trade_off("slow", 30.0, 69.0), trade_off("ruined", 5.0, 10.0)
    assert front([fp32, slow, int8, fp16, ruined]) == [int8, fp16]
    twin = trade_off("twin", 5.0, 70.0)
    assert front([twin, fp16, int8]) == [twin, int8, fp16], "equals do not beat each other"


def test_more_accurate_is_higher_and_faster_is_left() -> None:
    drawn = tradeoff_plot([trade_off("a", 5.0, 70.0), trade_off("b", 10.0, 74.0)], "accuracy", 720)
    (ax, ay), (bx, by) = (map(float, found) for found in re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn))
    assert ax < bx
    assert ay > by  # SVG counts from the top


def test_the_trade_off_takes_each_model_at_its_fastest_and_names_those_without_accuracy(
    record: dict[str, Any],
) -> None:
    one_thread, other = copy.deepcopy(record), copy.deepcopy(record)
    one_thread["settings"]["threads"] = 1
    one_thread["latency_ms"]["p50"] = 30.0
    other["artifact"] = {"file": "other.tflite", "sha256": "b" * 64}
    known = {("a" * 64, ""): proportion(37_000, 50_000)}
    page = latency_html([("pi", one_thread), ("pi", record), ("pi", other)], known)
    assert "1. model_fp32, 4 threads" in page.replace("<wbr>", "")
    assert "74.00" in page
    assert "50,000 images" in page
    assert "No accuracy was given of: other.tflite." in page
    assert "Accuracy against latency" not in latency_html([("pi", record)])


def test_a_number_that_is_not_valid_does_not_stand_for_a_model_that_has_a_valid_one(record: dict[str, Any]) -> None:
    bad = copy.deepcopy(record) | {"valid": False, "invalid_reasons": [{"code": "quick", "text": "--quick"}]}
    bad["latency_ms"]["p50"] = 1.0
    bad["settings"]["threads"] = 8
    page = latency_html([("pi", bad), ("pi", record)], {("a" * 64, ""): proportion(37, 50)}).replace("<wbr>", "")
    assert "1. model_fp32.tflite, 4 threads" in page


def test_float16_is_another_model_at_another_speed(record: dict[str, Any]) -> None:
    float16 = copy.deepcopy(record)
    for each in (record, float16):
        each["artifact"]["format"] = "tflite"
    float16["runtime"]["inference_precision"] = "f16"
    float16["latency_ms"]["p50"] = 1.25
    known = {("a" * 64, ""): proportion(37_000, 50_000), ("a" * 64, "float16"): proportion(36_000, 50_000)}
    page = latency_html([("pi", record), ("pi", float16)], known).replace("<wbr>", "")
    assert "1. model_fp32.tflite in float16, 4 threads" in page
    assert "2. model_fp32.tflite, 4 threads" in page
    assert ("74.00" in page, "72.00" in page) == (True, True)
    del known["a" * 64, "float16"]
    page = latency_html([("pi", record), ("pi", float16)], known).replace("<wbr>", "")
    assert "No accuracy was given of: model_fp32.tflite in float16." in page
    assert "1. model_fp32.tflite, 4 threads" in page


def test_accuracies_of_a_parity_report(report: ParityReport, tmp_path: Path) -> None:
    path = tmp_path / "parity.json"
    path.write_text(report.to_json())
    found = read_accuracies([path])
    expected = {
        (comparison.source.metadata.model["sha256"], ""): comparison.result.candidate.top1
        for comparison in report.comparisons
    }
    assert found == expected
    assert len(found) == 4


def test_accuracies_of_a_ledger(make_ledger: Any, paired_logits: Any, tmp_path: Path) -> None:
    labels, _, logits = paired_logits(losses=12)
    ledger = make_ledger(logits, labels, file="int8.tflite")
    write_ledger(tmp_path / "int8.parquet", ledger)
    (accuracy,) = read_accuracies([tmp_path / "int8.parquet"]).values()
    assert isinstance(accuracy, Proportion)
    assert (accuracy.count, accuracy.images) == (1480 - 12, 2000)


def test_accuracies_on_other_images_do_not_share_an_axis(report: ParityReport, tmp_path: Path) -> None:
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(report.to_json())
    other.write_text(report.to_json().replace('"images": 2000', '"images": 1000').replace("5" * 64, "6" * 64))
    changed = other.read_text()
    for comparison in report.comparisons:
        sha256 = comparison.source.metadata.model["sha256"]
        changed = changed.replace(sha256, sha256[::-1])
    other.write_text(changed)
    with pytest.raises(UsageError, match="1,000 and 2,000 images"):
        read_accuracies([one, other])


@pytest.mark.parametrize("content", ["", "[]", '{"comparisons": [{}]}', None])
def test_what_is_no_accuracy(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "parity.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match="--accuracy"):
        read_accuracies([path])


def test_a_plot_names_runs_by_what_tells_them_apart(record: dict[str, Any]) -> None:
    records = []
    for precision in ("fp32", "fp16", "int8_mixed"):
        each = copy.deepcopy(record)
        each["artifact"]["file"] = f"ghostnetv2_1x_{precision}.tflite"
        records.append(("pi", each))
    page = latency_html(records)
    for label in ("fp32, 4 threads", "fp16, 4 threads", "int8_mixed, 4 threads"):
        assert f">{label}</text>" in page
    records[0][1]["artifact"]["file"] = "ghostnetv2_1x_fp32.xml"
    assert ">fp32.xml, 4 threads</text>" in latency_html(records)
    assert ">ghostnetv2_1x_fp32.xml, 4 threads</text>" in latency_html(records[:1])
