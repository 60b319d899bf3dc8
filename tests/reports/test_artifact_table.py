"""Size, difference at export and latency stand beside the accuracy of the artifact with the same hash."""

from __future__ import annotations

import dataclasses
import math
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from ghostedge.compare import Difference
from ghostedge.errors import DeviceError, ManifestError
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import InputSpec
from ghostedge.reports.artifact_table import Beside, read_beside
from ghostedge.reports.parity import ParityReport
from ghostedge.reports.parity_page import parity_html

#: A record as edge_benchmark.py wrote it.
RECORD = Path(__file__).parents[1] / "data" / "latency_record.json"


def exported(name: str, sha256: str, snr_db: float) -> ArtifactRecord:
    difference = Difference(10, 0.0, snr_db, 1.0)
    return ArtifactRecord(
        recipe=name, recipe_sha256="", target="tflite", precision="fp32", files=(FileRecord(name, sha256, 24_600_000),),
        source="", input=InputSpec(), classes=20, build_key="", verify_key="", packages={}, build_seconds=0.0,
        runtime={}, difference=difference, reference_difference=difference, bounds={},
    )  # fmt: skip


def timed(name: str, sha256: str, p50: float, xnnpack: bool = True) -> dict[str, Any]:
    end = {"governor": None, "temperature_c": None}
    device = dict.fromkeys(("model", "soc", "cpu", "architecture", "kernel"), "x")
    return {
        "schema_version": 1,
        "created_utc": "2026-11-23T12:00:00+00:00",
        "artifact": {"file": name, "sha256": sha256},
        "runtime": {"name": "litert", "version": "2.1.0"},
        "settings": {"threads": 1, "xnnpack": xnnpack},
        "device": {**device, "cores": 4, "system": "Debian"},
        "context": {"before": end, "after": end},
        "latency_ms": {"p50": p50, "p90": p50, "p99": p50},
        "verification": None,
        "load_ms": 1.0,
        "first_ms": 1.0,
        "memory": {"rss_peak_mib": None},
        "input": {"source": "noise"},
        "split_ms": None,
        "sustained": None,
        "valid": True,
        "invalid_reasons": [],
        "warnings": [],
    }


def rows(page: str) -> list[str]:
    """The rows of the table of every artifact."""
    section = page.partition('id="artifacts"')[2].partition("</table>")[0]
    return section.replace("<wbr>", "").split("<tr>")[2:]


def in_float16(report: ParityReport, name: str) -> ParityReport:
    """The report with one more comparison: that of `name`, computed in float16."""
    (comparison,) = (c for c in report.comparisons if c.source.name == name)
    model = {**comparison.source.metadata.model, "format": "tflite"}
    runtime = {**comparison.source.metadata.runtime, "inference_precision": "f16"}
    metadata = dataclasses.replace(comparison.source.metadata, model=model, runtime=runtime)
    source = dataclasses.replace(comparison.source, name=f"{name} in float16", sha256="f", metadata=metadata)
    return dataclasses.replace(
        report, comparisons=(*report.comparisons, dataclasses.replace(comparison, source=source))
    )


def test_what_was_computed_in_float16_has_a_row_of_its_own(report: ParityReport, hashes: dict[str, str]) -> None:
    digest = hashes["fp32.tflite"]
    record = dataclasses.replace(
        exported("fp32.tflite", digest, 122.5), float16_difference=Difference(10, 0.0, 63.4, 1.0)
    )
    manifest = Manifest({"file": "m.ckpt"}, ({"name": "a.jpg"},), {"fp32": record})
    pi4, pi5 = timed("fp32.tflite", digest, 11.25), timed("fp32.tflite", digest, 5.5)
    pi5["artifact"]["format"], pi5["runtime"] = "tflite", pi5["runtime"] | {"inference_precision": "f16"}
    latencies = (("pi4", pi4), ("pi5", pi5))
    page = parity_html(in_float16(report, "fp32.tflite"), [], {}, Beside(manifest, latencies))
    plain, float16 = (next(row for row in rows(page) if f"{number} fp32" in row) for number in (1, 2))
    assert "fp32.tflite in float16" in float16
    assert ("122.5" in plain, "11.25 ms" in plain, "5.50 ms" in plain) == (True, True, False)
    assert ("63.4" in float16, "11.25 ms" in float16, "5.50 ms" in float16) == (True, False, True)
    # A time in float16 without an accuracy in float16 does not borrow the other's.
    page = parity_html(report, [], {}, Beside(manifest, latencies))
    (alone,) = (row for row in rows(page) if "in float16" in row)
    assert "not evaluated" in alone
    assert "5.50 ms" in alone


def test_an_int8_ir_shows_both_kinds_of_cpu(report: ParityReport, hashes: dict[str, str]) -> None:
    digest = hashes["int8.tflite"]
    of_cpus = {
        "with VNNI": Difference(10, 0.0, 31.2, 1.0),
        "without VNNI (AVX2)": Difference(10, 0.0, 19.4, 0.9),
    }
    record = dataclasses.replace(exported("int8.xml", digest, 31.2), cpu_differences=of_cpus)
    page = parity_html(report, [], {}, Beside(Manifest({"file": "m.ckpt"}, (), {"int8": record})))
    (row,) = (row for row in rows(page) if "1 int8.xml" in row)
    assert "31.2 dB with VNNI" in row
    assert "19.4 dB without VNNI (AVX2)" in row


@pytest.fixture
def hashes(report: ParityReport) -> dict[str, str]:
    """Artifact -> its hash in the ledgers."""
    return {c.source.name: str(c.source.metadata.model["sha256"]) for c in report.comparisons}


def test_what_belongs_together_stands_in_one_row(report: ParityReport, hashes: dict[str, str]) -> None:
    records = [
        exported("m.mindir", "0" * 64, math.inf),
        *(exported(name, digest, 122.5) for name, digest in hashes.items()),
    ]
    manifest = Manifest({"file": "m.ckpt"}, ({"name": "a.jpg"},), {record.recipe: record for record in records})
    latencies = (
        ("pi", timed("fp32.tflite", hashes["fp32.tflite"], 11.25)),
        ("pi", timed("fp32.tflite", hashes["fp32.tflite"], 33.0, xnnpack=False)),
        ("pi", timed("int8.tflite", hashes["int8.tflite"], 7.5)),
        ("pi", timed("old.tflite", "9" * 64, 1.75)),
    )
    page = parity_html(report, [], {}, Beside(manifest, latencies))
    mindir, fp32, dynamic, int8, ruined = rows(page)
    assert all(text in mindir for text in ("1 m.mindir", "identical", "not evaluated"))
    assert all(text in fp32 for text in ("2 fp32.tflite", "24.6", "122.5 dB", "PASS", "11.25 ms"))
    assert all(text in int8 for text in ("4 int8.tflite", "FAIL", "7.50 ms"))
    assert "ms<" not in dynamic + ruined + mindir
    assert "latency records of other files than these are not in the table: old.tflite" in page.lower()
    assert "Latency: pi" in page
    plot = page[page.index("Change of top-1, points, against latency") :]
    assert "2, fp32.tflite: " in plot
    fp32_y, int8_y = re.findall(r'cy="([\d.]+)"', plot)[:2]
    assert float(fp32_y) < float(int8_y)  # SVG counts from the top: int8 loses more
    anchors = re.findall(r'href="#([^"]+)"', page)
    assert {"artifacts", "latency"} <= set(anchors)
    assert all(page.count(f'id="{anchor}"') == 1 for anchor in anchors)


def test_the_page_is_the_same_without_them(report: ParityReport) -> None:
    assert 'id="artifacts"' not in parity_html(report, [], {})


def test_folders_that_hold_nothing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"holds no manifest\.json; give the --output of ghostedge export"):
        read_beside(tmp_path, None)
    with pytest.raises(DeviceError, match="holds no latency record; give the --output of ghostedge benchmark"):
        read_beside(None, tmp_path)


def test_records_come_with_the_name_of_their_device(tmp_path: Path) -> None:
    for device in ("pi@pi5", "local"):
        (tmp_path / device).mkdir()
        shutil.copy(RECORD, tmp_path / device / "a.json")
    (tmp_path / "local" / ".partial-a.json").write_text("{")
    assert [device for device, _ in read_beside(None, tmp_path).latencies] == ["local", "pi@pi5"]
