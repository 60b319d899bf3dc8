"""A benchmark on this machine, and what several devices are asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ghostedge.errors import ArtifactError, DeviceError, UsageError
from ghostedge.latency.devices import SCRIPT, BenchmarkRequest, Progress, device_folder, open_device, run
from ghostedge.latency.devices.local import LocalDevice, check_code
from ghostedge.latency.records import read_record
from tests.latency.devices.conftest import TINY, make_request


@pytest.fixture(autouse=True)
def own_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A benchmark lock of its own for each test."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def test_a_record_of_this_machine(tmp_path: Path) -> None:
    lines: list[str] = []
    output = tmp_path / "records"
    (path,) = asyncio.run(LocalDevice().benchmark(make_request(), output, lines.append))
    assert path == output / "tiny_fp32-litert-1t.json"
    assert read_record(path)["artifact"]["file"] == "tiny_fp32.tflite"
    assert any("timing" in line for line in lines)


def test_records_of_earlier_runs_are_not_taken_for_new_ones(tmp_path: Path) -> None:
    device, output = LocalDevice(), tmp_path / "records"
    asyncio.run(device.benchmark(make_request("tiny_fp32.tflite"), output, lambda line: None))
    files = asyncio.run(device.benchmark(make_request("tiny_int8.tflite"), output, lambda line: None))
    assert [path.name for path in files] == ["tiny_int8-litert-1t.json"]


class _Broken:
    """A device that gives one record and then fails."""

    name = "ssh:broken"

    async def benchmark(self, request: BenchmarkRequest, output: Path, progress: Progress) -> tuple[Path, ...]:
        (output / "new.json").write_text("{}")
        raise DeviceError("ssh:broken: went away")


def test_a_failed_device_keeps_the_records_of_this_run_alone(tmp_path: Path) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "old.json").write_text("{}")
    (result,) = run([_Broken()], make_request(), tmp_path, lambda device, line: None)
    assert result.files == (folder / "new.json",)
    (result,) = run([_Broken()], make_request("tiny_fp32.tflite", "--resume"), tmp_path, lambda device, line: None)
    assert result.files == (folder / "new.json", folder / "old.json")


def test_devices_are_asked_where_an_event_loop_runs_already(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()

    async def notebook() -> str | None:
        (result,) = run([_Broken()], make_request(), tmp_path, lambda device, line: None)
        return result.error

    assert asyncio.run(notebook()) == "ssh:broken: went away"


def test_an_error_of_the_script_is_one_line(tmp_path: Path) -> None:
    text = tmp_path / "text.tflite"
    text.write_text("hello, world")
    with pytest.raises(DeviceError, match=r"text\.tflite is not a model"):
        asyncio.run(LocalDevice().benchmark(BenchmarkRequest((text,)), tmp_path / "out", lambda line: None))


def test_errors_are_found_among_progress() -> None:
    lines = ["[1/1] m: loading", "INFO: delegate", "edge_benchmark: error: a", "edge_benchmark: error: b"]
    check_code(2, lines)
    for said, message in (
        (lines, "ssh:pi: a; b"),
        (["sh: python3: not found", ""], "ssh:pi: sh: python3: not found"),
        ([], r"ssh:pi: edge_benchmark\.py failed \(exit code 1\)"),
    ):
        with pytest.raises(DeviceError, match=f"^{message}$"):
            check_code(1, said, "ssh:pi: ")


@pytest.mark.parametrize("name", ["lokal", "adb:", "local:raspberrypi", ""])
def test_a_device_that_makes_no_sense(name: str) -> None:
    with pytest.raises(UsageError):
        open_device(name)


def test_an_artifact_that_is_not_there() -> None:
    with pytest.raises(ArtifactError, match="does not exist"):
        BenchmarkRequest((Path("missing.tflite"),))
    with pytest.raises(ArtifactError, match="tiny is not a file"):
        BenchmarkRequest((TINY,))
    with pytest.raises(ArtifactError, match="cannot be timed"):
        BenchmarkRequest((TINY / "make.py",))


def test_the_weights_travel_with_their_model() -> None:
    assert BenchmarkRequest((TINY / "tiny.xml",)).files() == (TINY / "tiny.xml", TINY / "tiny.bin")


@pytest.mark.parametrize(
    ("name", "folder"),
    [("local", "local"), ("ssh:pi@raspberrypi", "pi@raspberrypi"), ("ssh:pi@[fe80::1]:22", "pi@-fe80-1-22")],
)
def test_each_device_has_a_folder(name: str, folder: str) -> None:
    assert device_folder(name) == folder


def test_the_script_is_found() -> None:
    assert SCRIPT.is_file()
