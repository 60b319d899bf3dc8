"""A refused file is called damaged only where the manifest beside it shows other bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ghostedge.files import sha256_file
from ghostedge.provenance import as_exported, refusal


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"weights")
    return path


def record(model: Path, name: str = "m.tflite") -> None:
    files = [{"name": name, "sha256": sha256_file(model), "size_bytes": 7}]
    (model.parent / "manifest.json").write_text(json.dumps({"artifacts": [{"recipe": "r", "files": files}]}))


def test_no_manifest_says_nothing(model: Path) -> None:
    assert as_exported(model) == "unknown"
    message = refusal(model, "runtime 1.2", "does not load", "no operator 7")
    assert message == f"runtime 1.2 does not load {model}: no operator 7"


def test_the_bytes_that_were_exported_are_not_called_damaged(model: Path) -> None:
    record(model)
    assert as_exported(model) == "same"
    message = refusal(model, "runtime 1.2", "does not load", ValueError("no operator 7\nat line 3"))
    assert message.startswith(f"runtime 1.2 does not load {model}: no operator 7; ")
    assert "try another version of the runtime" in message
    assert "again" not in message
    assert "\n" not in message


def test_other_bytes_are_to_be_copied_again(model: Path) -> None:
    record(model)
    model.write_bytes(b"weighty")
    assert as_exported(model) == "other"
    assert "copy or export it again" in refusal(model, "runtime 1.2", "crashes on", "signal 11")


@pytest.mark.parametrize("text", ["", "[]", '{"artifacts": 3}', "not JSON", "[" * 100_000])
def test_a_manifest_that_says_nothing_of_it(model: Path, text: str) -> None:
    (model.parent / "manifest.json").write_text(text)
    assert as_exported(model) == "unknown"


def test_a_manifest_of_other_files(model: Path) -> None:
    record(model, "other.tflite")
    assert as_exported(model) == "unknown"
