"""A manifest reads back as it was written; a damaged one says which field of which file."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest

from ghostedge.compare import Difference
from ghostedge.errors import ManifestError
from ghostedge.manifest import ArtifactRecord, FileRecord, Manifest
from ghostedge.model import InputSpec

EXACT, NEAR = Difference(3, 0.0, math.inf, 1.0), Difference(3, 0.25, 41.5, 1.0)


@pytest.fixture
def manifest() -> Manifest:
    record = ArtifactRecord(
        recipe="tflite_fp16",
        recipe_sha256="a" * 64,
        target="tflite",
        precision="fp16",
        source="net.onnx",
        classes=7,
        build_key="b" * 64,
        verify_key="c" * 64,
        packages={"onnx": "1.19"},
        build_seconds=1.5,
        runtime={"name": "tiny", "threads": 2, "operators_outside_delegate": {}},
        difference=EXACT,
        reference_difference=NEAR,
        bounds={"min_snr_db": 40.0, "min_top1_agreement": 0.9},
        float16_difference=NEAR,
        cpu_differences={"with VNNI": EXACT},
        files=(FileRecord("net.tflite", "d" * 64, 5),),
        input=InputSpec(layout="NHWC"),
    )
    return Manifest(
        {"file": "net.ckpt", "sha256": "e" * 64},
        ({"name": "a.jpg", "sha256": "f" * 64},),
        {"tflite_fp16": record},
        {"ghostedge": "0"},
        ("all alike",),
        {"process": 7},
        FileRecord("net.golden.npz", "0" * 64, 9),
        "1" * 64,
    )


def test_what_is_written_is_read_back(manifest: Manifest, tmp_path: Path) -> None:
    manifest.write(tmp_path)
    read = Manifest.read(tmp_path)
    assert read == manifest
    assert read.to_json() == manifest.to_json()
    record = json.loads(manifest.to_json())["artifacts"]["tflite_fp16"]
    assert record["difference"]["snr_db"] is None
    assert list(record)[:2] + list(record)[-2:] == ["recipe", "recipe_sha256", "files", "input"]


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert Manifest.read(tmp_path) is None


def test_what_older_versions_left_out_has_its_default(manifest: Manifest, tmp_path: Path) -> None:
    document = json.loads(manifest.to_json())
    for name in ("calibration", "float16_difference", "cpu_differences"):
        del document["artifacts"]["tflite_fp16"][name]
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    read = Manifest.read(tmp_path)
    assert read is not None
    expected = dataclasses.replace(
        manifest.artifacts["tflite_fp16"], float16_difference=None, cpu_differences={}, calibration={}
    )
    assert read.artifacts["tflite_fp16"] == expected


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"schema_version": 99}, "has schema version 99, this ghostedge reads 1"),
        ({"artifacts": None}, r"is damaged: Expected `object`, got `null` - at `\$\.artifacts`"),
        ({"artifacts": {"r": {}}}, "missing required field `recipe`"),
        ({"warnings": "x"}, r"at `\$\.warnings`"),
        ({"golden": {"name": 3}}, r"at `\$\.golden"),
        ({"source": []}, r"at `\$\.source`"),
    ],
)
def test_a_damaged_one_says_where(manifest: Manifest, tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps({**json.loads(manifest.to_json()), **changes}))
    with pytest.raises(ManifestError, match=reason) as caught:
        Manifest.read(tmp_path)
    assert str(caught.value).startswith(str(path))
    assert str(caught.value).endswith("move it away, or choose another --output")


def test_who_reads_an_export_is_not_told_to_move_it_away(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{")
    for folder in (tmp_path, tmp_path / "manifest.json"):
        with pytest.raises(ManifestError, match=r"; give the whole --output of ghostedge export$"):
            Manifest.of_export(folder)


@pytest.mark.parametrize("text", ["", "[]", "not JSON", "[" * 100_000, "{}"])
def test_what_is_no_manifest_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ManifestError, match=r"manifest\.json"):
        Manifest.read(tmp_path)
