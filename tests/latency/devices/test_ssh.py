"""A benchmark on a device behind a real OpenSSH server: there, back, through lost connections, and what goes wrong."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices import BenchmarkRequest, run, ssh
from ghostedge.latency.devices.ssh import SshDevice
from ghostedge.latency.records import read_record
from tests.latency.devices.conftest import TINY, Server, make_request
from tests.latency.schemas import check_record

SYSROOT = Path(__file__).parents[3] / "build" / "arm64"


def benchmark(device: SshDevice, request: BenchmarkRequest, output: Path, lines: list[str] | None = None) -> list[Path]:
    """What the device brings; `lines` takes its progress."""
    lines = [] if lines is None else lines
    return list(asyncio.run(device.benchmark(request, output, lines.append)))


def error_of(device: SshDevice, output: Path, request: BenchmarkRequest | None = None) -> str:
    with pytest.raises(DeviceError) as raised:
        benchmark(device, request or make_request(), output)
    assert "\n" not in str(raised.value)
    return str(raised.value)


# -- there and back ---------------------------------------------------------------------------------------------------


def test_records_come_back_and_nothing_stays_there(server: Server, tmp_path: Path) -> None:
    request = BenchmarkRequest(
        (TINY / "tiny_int8.tflite", TINY / "tiny.xml"), threads=(1, 2), options=make_request().options
    )
    lines: list[str] = []
    files = benchmark(server.device(), request, tmp_path / "out", lines)
    assert [path.name for path in files] == [
        "tiny-openvino-1t.json",
        "tiny-openvino-2t.json",
        "tiny_int8-litert-1t.json",
        "tiny_int8-litert-2t.json",
    ]
    for path in files:
        check_record(read_record(path))
    assert any("sending tiny.bin" in line for line in lines)
    assert any("[4/4]" in line for line in lines)
    assert not server.jobs.exists()


def test_the_model_is_not_sent_twice(server: Server, tmp_path: Path) -> None:
    # What a connection that was lost while sending leaves: a part of a file.
    device, request = server.device(), make_request()
    from ghostedge.latency.devices.remote import Job

    remote = Path(Job(request, sys.executable, str(server.jobs), print).files[request.artifacts[0]])
    remote.parent.mkdir(parents=True)
    content = request.artifacts[0].read_bytes()
    remote.with_name(remote.name + ".partial").write_bytes(content[:1000])
    (path,) = benchmark(device, request, tmp_path)
    assert read_record(path)["artifact"]["size_bytes"] == len(content)  # and the record's digest was compared


@pytest.mark.skipif("GHOSTEDGE_ARM64" not in os.environ, reason="left out: emulated ARM64 (make test-arm64 runs it)")
def test_a_device_whose_python_is_aarch64(server: Server, tmp_path: Path) -> None:
    device = server.device(python=str((SYSROOT / "python-cortex-a72").absolute()))
    (path,) = benchmark(device, make_request(), tmp_path)
    record = read_record(path)
    check_record(record)
    assert (record["device"]["architecture"], record["device"]["emulated"]) == ("aarch64", True)
    assert "emulated" in [reason["code"] for reason in record["invalid_reasons"]]
    assert record["delegate"]["delegated_share"] == 1.0


# -- lost connections -------------------------------------------------------------------------------------------------

#: Long enough that the connection can be cut while the script runs, and never restarted from the beginning unseen.
LONG = ("--min-samples", "5", "--min-seconds", "4", "--warmup-limit", "0")


def test_a_lost_connection_is_made_again_and_the_script_runs_on(server: Server, tmp_path: Path) -> None:
    lines: list[str] = []

    class Cutting(list[str]):
        def append(self, line: str) -> None:
            lines.append(line)
            if "timing" in line and len([each for each in lines if "timing" in each]) == 1:
                assert server.cut() > 0

    request = BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=LONG)
    # Less than the connection lasted: the time for another try begins with the loss.
    (path,) = benchmark(server.device(reconnect_s=0.5), request, tmp_path / "out", Cutting())
    assert "connection lost; trying again" in lines
    assert sum("sending" in line for line in lines) == 2  # script and model, once each
    assert sum("loading" in line for line in lines) == 1
    assert read_record(path)["duration_s"] >= 4
    assert not server.jobs.exists()


def test_a_connection_lost_for_good_is_resumed_by_the_same_command(server: Server, tmp_path: Path) -> None:
    request = BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=LONG)

    class Stopping(list[str]):
        def append(self, line: str) -> None:
            if "timing" in line:
                server.stop()

    with pytest.raises(DeviceError, match="the same command brings its records later"):
        benchmark(server.device(reconnect_s=0.5), request, tmp_path / "out", Stopping())
    server.start()
    lines: list[str] = []
    (path,) = benchmark(server.device(), request, tmp_path / "out", lines)
    assert not any("sending" in line for line in lines)
    assert read_record(path)["duration_s"] >= 4


def test_ctrl_c_ends_the_script_on_the_device(server: Server, tmp_path: Path) -> None:
    async def interrupt() -> None:
        started = asyncio.Event()
        request = BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=("--min-seconds", "60"))

        def progress(line: str) -> None:
            if "warming" in line:
                started.set()

        asked = server.device().benchmark(request, tmp_path, progress)
        task = asyncio.create_task(asked)
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(interrupt())
    (job,) = server.jobs.iterdir()
    process = Path("/proc") / (job / "pid").read_text().strip() / "stat"
    for _ in range(100):
        # Gone, or ended and not yet waited for by the process that adopted it.
        if not process.exists() or process.read_text().rpartition(")")[2].split()[0] == "Z":
            break
        time.sleep(0.1)
    else:
        pytest.fail("the script runs on")


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_host_that_does_not_answer(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "cannot be reached" in error_of(SshDevice(f"pi@127.0.0.1:{port}"), tmp_path)
    assert "cannot be reached" in error_of(SshDevice("pi@no-such-host.invalid"), tmp_path)


def test_a_key_that_is_refused(server: Server, tmp_path: Path) -> None:
    message = error_of(server.device(identity=server.folder / "other_user"), tmp_path)
    assert "refuses your key" in message
    assert f"ssh-copy-id -p {server.port}" in message


def test_a_host_key_that_is_not_known(server: Server, tmp_path: Path) -> None:
    nobody = tmp_path / "known_hosts"
    nobody.touch()
    assert "is not known" in error_of(server.device(known_hosts=nobody), tmp_path)


def test_a_host_key_that_has_changed(server: Server, tmp_path: Path) -> None:
    message = error_of(server.device(known_hosts=server.trust("other_host")), tmp_path)
    assert "another host key" in message
    assert f"-R '[127.0.0.1]:{server.port}'" in message


def test_no_python_there(server: Server, tmp_path: Path) -> None:
    assert "'no-such-python' does not run there" in error_of(server.device(python="no-such-python"), tmp_path)


def test_no_runtime_there(server: Server, tmp_path: Path) -> None:
    # -S: a Python without the packages of the environment
    message = error_of(server.device(python=f"{sys.executable} -I -S"), tmp_path)
    assert "no runtime for tflite models is installed" in message
    assert message.startswith("ssh:")


def test_another_benchmark_runs_there(server: Server, tmp_path: Path) -> None:
    import fcntl

    with open(server.folder / "tmp" / "ghostedge-benchmark.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "another benchmark is running on this device" in error_of(server.device(), tmp_path)
    assert benchmark(server.device(), make_request(), tmp_path)  # the failure is not remembered


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("left out: a small file system cannot be mounted here (needs root)")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_is_seen_before_anything_is_sent(server: Server, small_disk: Path, tmp_path: Path) -> None:
    message = error_of(server.device(folder=str(small_disk / "jobs")), tmp_path)
    assert "its disk is full" in message
    assert "are free" in message


def test_a_disk_that_fills_up_meanwhile(
    server: Server, small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = tmp_path / "large.tflite"
    large.write_bytes((TINY / "tiny_fp32.tflite").read_bytes().ljust(2_000_000, b"\0"))

    async def unknown(*_: object) -> None:
        """A server that does not tell how much is free."""

    monkeypatch.setattr(ssh._Session, "free_bytes", unknown)
    device = server.device(folder=str(small_disk / "jobs"))
    assert "cannot be written there" in error_of(device, tmp_path, BenchmarkRequest((large,)))


def test_a_folder_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "disk full" in error_of(server.device(folder=str(tmp_path / "file" / "jobs")), tmp_path / "out")


@pytest.mark.parametrize("address", ["", "pi@", "@host", "pi@host:port", "pi@host:0", "pi@host:99999"])
def test_an_address_that_makes_no_sense(address: str) -> None:
    with pytest.raises(UsageError):
        SshDevice(address)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("pi@raspberrypi", ("pi", "raspberrypi", None)),
        ("raspberrypi:2222", (None, "raspberrypi", 2222)),
        ("pi@[fe80::1]:2222", ("pi", "fe80::1", 2222)),
        ("pi@fe80::1", ("pi", "fe80::1", None)),
    ],
)
def test_addresses(address: str, expected: tuple[object, ...]) -> None:
    device = SshDevice(address)
    assert (device._user, device._host, device._port) == expected


def test_one_device_that_fails_does_not_stop_another(server: Server, tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = []
    devices = [server.device(identity=server.folder / "other_user"), server.device()]
    refused, measured = run(devices, make_request(), tmp_path, lambda name, line: lines.append((name, line)))
    assert refused.error
    assert "refuses your key" in refused.error
    assert measured.error is None
    assert len(measured.files) == 1
