"""`ghostedge verify-files` tells whole files from changed and missing ones."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ghostedge.cli.main import main
from ghostedge.manifest import FileRecord
from tests.fuzz.targets import TARGETS


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """A folder with a manifest and the two files that it names."""
    document = json.loads(TARGETS["manifest"].whole())
    for name in ("m.onnx", "m.golden.npz"):
        (tmp_path / name).write_bytes(name.encode())
    record = [vars(FileRecord.of(tmp_path / name)) for name in ("m.onnx", "m.golden.npz")]
    document["artifacts"]["onnx_fp32"]["files"] = record[:1]
    document["golden"] = {**record[1], "key": "k"}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    return tmp_path


def test_whole_files(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-files", str(export)]) == 0
    assert [line.split()[-1] for line in capsys.readouterr().out.splitlines()[2:]] == ["whole", "whole"]


def test_one_bit_and_a_missing_file(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (export / "m.onnx").write_bytes(b"m.onny")
    (export / "m.golden.npz").unlink()
    assert main(["verify-files", str(export), "--json"]) == 1
    said = capsys.readouterr()
    assert json.loads(said.out)["files"] == [
        {"file": "m.onnx", "state": "changed"},
        {"file": "m.golden.npz", "state": "missing"},
    ]
    assert "2 of 2 files are not as they were exported: m.onnx, m.golden.npz" in said.err


def test_a_folder_without_a_manifest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify-files", str(tmp_path)]) == 1
    assert "holds no manifest.json" in capsys.readouterr().err
