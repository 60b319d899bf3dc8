"""`ghostedge benchmark` measures on several devices in one call, shows one table and keeps what it got."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from pathlib import Path

import pytest

from ghostedge.cli import add_arguments, benchmark
from ghostedge.errors import ArtifactError, UsageError
from ghostedge.files import sha256_file
from ghostedge.latency.api import RunSettings
from tests.latency.devices.conftest import TINY, Server, server  # noqa: F401  (a fixture)


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark lock of its own for each test, and a script that is through in no time."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    real = RunSettings.options
    monkeypatch.setattr(RunSettings, "options", lambda self, **further: (*real(self, **further), *BRIEF))


BRIEF = ("--min-samples", "5", "--min-seconds", "0", "--warmup-limit", "0")


def run(*arguments: object) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quiet", action="store_true")
    add_arguments(parser, benchmark.ARGUMENTS)
    return benchmark.run(parser.parse_args([str(argument) for argument in arguments]))


def test_a_table_of_every_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [TINY / "tiny_fp32.tflite", TINY / "tiny.onnx"]
    assert run("--artifact", *models, "--threads", "1,2", "--quick", "--output", tmp_path / "out") == 0
    out, err = capsys.readouterr()
    rows = [line for line in out.splitlines() if line.startswith("local  ")]
    assert len(rows) == 4
    assert all("no: quick" in row for row in rows)
    assert "[4/4]" in err
    assert len(list((tmp_path / "out" / "local").glob("*.json"))) == 4


def test_one_json_document(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--artifact", TINY / "tiny_fp32.tflite", "--output", tmp_path / "out", "--json", "--quiet") == 0
    out, err = capsys.readouterr()
    (record,) = json.loads(out)["records"]
    assert (record["device"], record["threads"], record["valid"]) == ("local", 1, False)
    assert Path(record["file"]).is_file()
    assert err == ""


def test_this_machine_and_another_in_one_call(
    server: Server,  # noqa: F811
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    address = f"ssh:{getpass.getuser()}@127.0.0.1:{server.port}"
    keys = ["--identity", server.folder / "user", "--known-hosts", server.known_hosts]
    devices = ["--device", "local", "--device", address, "--python", sys.executable]
    model = TINY / "tiny_fp32.tflite"
    assert run("--artifact", model, *devices, *keys, "--output", tmp_path / "out", "--json") == 0
    records = json.loads(capsys.readouterr().out)["records"]
    assert [record["device"] for record in records] == ["local", address]

    keys[1] = server.folder / "other_user"
    assert run("--artifact", model, *devices, *keys, "--output", tmp_path / "again", "--json") == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [record["device"] for record in found["records"]] == ["local"]
    assert "refuses your key" in found["errors"][0]["error"]
    assert "ghostedge: error:" in err


def test_a_model_that_fails_is_named_and_the_others_are_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((TINY / "tiny_fp32.tflite").read_bytes()[:900])
    assert run("--artifact", damaged, TINY / "tiny_int8.tflite", "--output", tmp_path / "out") == 1
    out, err = capsys.readouterr()
    assert "tiny_int8.tflite" in out
    assert "damaged.tflite" in err.splitlines()[-1]


def test_a_page_of_all_records(tmp_path: Path) -> None:
    report, model = tmp_path / "latency.html", TINY / "tiny_fp32.tflite"
    assert run("--artifact", model, "--threads", "1,2", "--output", tmp_path / "out", "--report", report) == 0
    page = report.read_text()
    assert "tiny_fp32.tflite, 2 threads" in page
    assert "How long one picture takes" in page


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--artifact", "missing.tflite"], ArtifactError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--device", "sssh:pi@pi"], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--identity", "key"], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--fixed-performance"], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--device", "adb:1", "--identity", "key"], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--report", "latency.pdf"], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--golden", "x.npz", "--no-golden"], UsageError),
        ([], UsageError),
        (["--artifact", TINY / "tiny_fp32.tflite", "--accuracy", "parity.json"], UsageError),
        (["--records", "nowhere", "--report", "latency.html"], UsageError),
    ],
)
def test_what_makes_no_sense(arguments: list[object], error: type[Exception]) -> None:
    with pytest.raises(error):
        run(*arguments)


def test_thread_counts_are_checked_here_and_not_on_the_device(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run("--artifact", TINY / "tiny_fp32.tflite", "--threads", "1,zero")
    assert "not a list of thread counts" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "value"), [("--cpus", "fast"), ("--sustained", "-1.0")])
def test_an_argument_that_the_script_refuses_is_no_success(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    assert run("--artifact", TINY / "tiny_fp32.tflite", option, value, "--json", "--output", tmp_path) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"ghostedge: error: argument {option}: '{value}' is not a ")
    assert json.loads(out)["records"] == []


def test_a_page_of_earlier_runs_with_their_accuracy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, records, page = TINY / "tiny_fp32.tflite", tmp_path / "out", tmp_path / "latency.html"
    assert run("--artifact", model, "--output", records) == 0
    top1 = {"count": 37, "images": 50, "percent": 74.0, "low_percent": 60.5, "high_percent": 84.1}
    comparison = {
        "ledger": {"metadata": {"model": {"sha256": sha256_file(model)}, "runtime": {"name": "ai-edge-litert"}}},
        "result": {"candidate": {"top1": top1}},
    }
    parity = tmp_path / "parity.json"
    parity.write_text(json.dumps({"comparisons": [comparison]}))
    capsys.readouterr()
    assert run("--records", records, "--accuracy", parity, "--report", page) == 0
    assert "tiny_fp32.tflite" in capsys.readouterr().out
    assert "Accuracy against latency" in page.read_text()
    assert "<h2>local</h2>" in page.read_text()
