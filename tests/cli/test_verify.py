"""`ghostedge verify` asks golden vectors where an artifact runs, and ends with 2 where the answers are wrong."""

from __future__ import annotations

import getpass
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from ghostedge.cli.main import main
from ghostedge.data.golden import Golden, write_golden
from tests.benchmarks.test_golden import SOURCE, tiny_logits
from tests.latency.devices.conftest import TINY, Server, server  # noqa: F401  (a fixture)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark lock of its own for each test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


@pytest.fixture
def export(tmp_path: Path) -> Path:
    """The tiny models and their golden vectors in one folder, as an export leaves them."""
    folder = tmp_path / "export"
    folder.mkdir()
    for name in ("tiny_fp32.tflite", "tiny.onnx", "tiny.xml", "tiny.bin"):
        shutil.copy(TINY / name, folder)
    crops = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)
    write_golden(folder / "tiny.golden.npz", Golden(crops, tiny_logits(crops), tuple("abcd"), (), SOURCE))
    return folder


def models(folder: Path) -> list[str]:
    return [str(folder / name) for name in ("tiny_fp32.tflite", "tiny.onnx", "tiny.xml")]


def test_the_golden_vectors_beside_the_artifacts_are_asked(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--artifact", *models(export)]) == 0
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if line.startswith("local  ")]
    assert len(rows) == 3
    assert all(row.endswith("right") and "100 identical" in row for row in rows)
    assert "[3/3]" in err


def test_one_json_document_and_the_records(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "records"
    assert main(["verify", "--artifact", *models(export), "--json", "--quiet", "--output", str(output)]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["errors"] == []
    assert [record["verification"]["correct"] for record in document["records"]] == [True] * 3
    assert len(list((output / "local").glob("*-verify.json"))) == 3


def test_wrong_answers_end_with_2(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    crops = np.random.default_rng(5).integers(0, 256, (4, 32, 32, 3), np.uint8)
    logits = tiny_logits(crops)[:, ::-1].copy()
    write_golden(export / "tiny.golden.npz", Golden(crops, logits, tuple("abcd"), (), SOURCE))
    assert main(["verify", "--artifact", *models(export), "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert out.count("WRONG") == 3
    assert "wrong answers: local: tiny.onnx in onnxruntime" in err


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--min-top1-agreement", "90", "--min-top1-agreement is 90; it is a share, from 0 to 1"),
        ("--min-top1-agreement", "nan", "--min-top1-agreement is nan; it is a share, from 0 to 1"),
        ("--min-snr-db", "nan", "--min-snr-db is nan; it must be a finite number of decibels"),
    ],
)
def test_a_bound_that_makes_no_sense_is_no_wrong_answer(
    export: Path, capsys: pytest.CaptureFixture[str], option: str, value: str, said: str
) -> None:
    assert main(["verify", "--artifact", *models(export), option, value]) == 1
    assert capsys.readouterr().err == f"ghostedge: error: {said}\n"


def test_a_model_that_cannot_be_asked_costs_no_other(export: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (export / "tiny.onnx").write_bytes(b"\x08\x08garbage")
    assert main(["verify", "--artifact", *models(export), "--quiet"]) == 1
    out, err = capsys.readouterr()
    assert out.count("right") == 2
    assert "tiny.onnx is refused by onnxruntime" in err


def test_on_a_device_by_ssh(
    server: Server,  # noqa: F811
    export: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = ["--identity", str(server.folder / "user"), "--known-hosts", str(server.known_hosts)]
    address = f"ssh:{getpass.getuser()}@127.0.0.1:{server.port}"
    where = ["--device", address, "--python", sys.executable, *keys]
    assert main(["verify", "--artifact", *models(export), *where, "--quiet"]) == 0
    assert capsys.readouterr().out.count("right") == 3
    assert main(["verify", "--artifact", *models(export), *where, "--min-snr-db", "1000", "--quiet"]) == 2
    assert capsys.readouterr().out.count("WRONG") == 3


def test_a_benchmark_asks_them_too(export: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["benchmark", "--artifact", str(export / "tiny.onnx"), "--quick", "--quiet", "--output"]
    assert main([*command, str(tmp_path / "a")]) == 0
    assert "right, " in capsys.readouterr().out
    assert main([*command, str(tmp_path / "b"), "--no-golden"]) == 0
    assert "not checked" in capsys.readouterr().out
    crops = np.zeros((1, 32, 32, 3), np.uint8)
    write_golden(export / "tiny.golden.npz", Golden(crops, -tiny_logits(crops), ("a",), (), SOURCE))
    assert main([*command, str(tmp_path / "c")]) == 2
    out, err = capsys.readouterr()
    assert "WRONG" in out
    assert "no: wrong_answers, quick" in out
    assert "wrong answers: local: tiny.onnx" in err


def test_what_is_missing_or_damaged_is_said_before_anything_runs(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = export / "tiny.golden.npz"
    golden.write_bytes(golden.read_bytes()[:500])
    assert main(["verify", "--artifact", *models(export)]) == 1
    _, err = capsys.readouterr()
    assert "is not a whole golden file" in err
    assert err.count("\n") == 1
    golden.unlink()
    assert main(["verify", "--artifact", *models(export)]) == 1
    assert "no golden vectors lie beside" in capsys.readouterr().err
    assert main(["verify", "--artifact", str(export / "none.tflite")]) == 1
    assert "none.tflite does not exist" in capsys.readouterr().err
    assert main(["verify", "--artifact", *models(export), "--golden", str(export / "x.npz")]) == 1
    assert "x.npz does not exist" in capsys.readouterr().err
