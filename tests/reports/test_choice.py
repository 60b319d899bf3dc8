"""The report answers first which file to ship, on each device, and why a faster one was not chosen."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ghostedge.compare import Difference
from ghostedge.latency.instructions import Count
from ghostedge.manifest import Manifest
from ghostedge.reports.artifact_table import Beside
from ghostedge.reports.choice import choice
from ghostedge.reports.parity import ParityReport
from ghostedge.reports.parity_page import parity_html, parity_markdown
from tests.reports.test_artifact_table import exported, hashes, in_float16, timed

__all__ = ["hashes"]  # the fixture


@pytest.fixture
def beside(hashes: dict[str, str]) -> Beside:
    """fp32 passes, dynamic is undecided, int8 fails: each faster than the one before."""
    records = [exported(name, digest, 60.0) for name, digest in hashes.items()]
    small = dataclasses.replace(records[-1].files[0], size_bytes=4_000_000)
    records[-1] = dataclasses.replace(records[-1], files=(small,))
    manifest = Manifest({"file": "m.ckpt"}, ({"name": "a.jpg"},), {record.recipe: record for record in records})
    speeds = {"fp32.tflite": 11.25, "dynamic.tflite": 9.5, "int8.tflite": 7.5}
    return Beside(manifest, tuple(("pi", timed(name, hashes[name], p50)) for name, p50 in speeds.items()))


def test_the_fastest_that_passes_is_chosen_and_faster_ones_are_explained(report: ParityReport, beside: Beside) -> None:
    found = choice(report, beside)
    pi, small = found["rows"]
    assert (pi[0].value, pi[0].below, *pi[1:]) == (
        "pi, 1 thread", ("x", "3 files compared"), "fp32.tflite", "74.00%", "0.00 (−0.15 to 0.15)", "24.6", "11.25 ms"
    )  # fmt: skip
    assert small[:2] == ("any device, where size counts most", "fp32.tflite")  # the ruined one is smaller
    [note] = found["notes"]
    assert note.startswith("Cheaper on pi, 1 thread, and not chosen: int8.tflite (7.50 ms, top-1 drops by at least 1.")
    assert "dynamic.tflite (9.50 ms, undecided, about " in note


def test_what_is_not_valid_comes_last_and_says_so(report: ParityReport, beside: Beside, hashes: dict[str, str]) -> None:
    invalid = timed("fp32.tflite", hashes["fp32.tflite"], 1.0) | {"valid": False}
    found = choice(report, dataclasses.replace(beside, latencies=(("pi", invalid), *beside.latencies[1:])))
    assert found["rows"][0][-1] == "1.00 ms (not a valid measurement)"
    assert "Cheaper on pi" in found["notes"][0]


def test_without_a_board_instructions_rank_and_the_core_decides_the_arithmetic(
    report: ParityReport, beside: Beside, hashes: dict[str, str]
) -> None:
    manifest = beside.manifest
    assert manifest is not None
    allows = dataclasses.replace(manifest.artifacts["fp32.tflite"], float16_difference=Difference(10, 0.0, 63.4, 1.0))
    manifest = dataclasses.replace(manifest, artifacts={**manifest.artifacts, "fp32.tflite": allows})
    counts = [
        Count(name, cpu, True, instructions, hashes[name] if name == "int8.tflite" else "")
        for cpu in ("cortex-a72", "cortex-a76")
        for name, instructions in (("fp32.tflite", 98e6), ("dynamic.tflite", 97e6), ("int8.tflite", 88e6))
    ]
    counts.append(Count("fp32.tflite", "cortex-a72", False, 1e6))  # LiteRT's own kernels are no choice
    alone = Beside(manifest, counts=tuple(counts))
    found = choice(report, alone)
    a72, a76, _ = found["rows"]
    assert (a72[0].value, a72[0].below, a72[1], a72[-1]) == (
        "cortex-a72", ("Raspberry Pi 4", "3 files compared"), "fp32.tflite", "98.0 M instructions"
    )  # fmt: skip
    assert a76[1] == "none yet", "its accuracy in float16 is not known"
    assert any("int8.tflite (88.0 M instructions, top-1 drops by" in note for note in found["notes"])
    evaluated = choice(in_float16(report, "fp32.tflite"), alone)
    assert evaluated["rows"][1][1] == "fp32.tflite in float16"


def test_where_nothing_passes_none_is_named(report: ParityReport, beside: Beside) -> None:
    failing = dataclasses.replace(report, comparisons=report.comparisons[1:])
    rows = choice(failing, dataclasses.replace(beside, latencies=beside.latencies[1:]))["rows"]
    assert [row[1] for row in rows] == ["none yet", "none yet"]


def test_without_sizes_and_latencies_the_answer_names_what_passes(report: ParityReport) -> None:
    found = choice(report, Beside())
    assert found["rows"] == []
    assert found["notes"] == [
        "Within the margin: fp32.tflite. Which is smallest or fastest this report does not know: --export and "
        "--latency say."
    ]


def test_wrong_answers_are_not_shipped(report: ParityReport, beside: Beside) -> None:
    wrong: dict[str, Any] = {"correct": False, "finite": True, "snr_db": 3.0}
    latencies = tuple((device, {**record, "verification": wrong}) for device, record in beside.latencies)
    found = choice(report, dataclasses.replace(beside, latencies=latencies))
    assert [row[0] for row in found["rows"]] == ["any device, where size counts most"]
    assert "Runs with wrong answers are not considered: on pi." in found["notes"]


def test_page_and_markdown_answer_before_they_show(report: ParityReport, beside: Beside) -> None:
    page = parity_html(report, [], {}, beside)
    assert page.index('id="ship"') < page.index("<svg") < page.index("All models")
    text = parity_markdown(report, [], beside)
    assert (
        text.index("## Which file to ship")
        < text.index("| pi, 1 thread (x; 3 files compared) | fp32.tflite |")
        < text.index("## All")
    )
