"""A benchmark on a phone behind a real adb server: there, back, through a pulled cable, and what goes wrong.

The phone is a fake that speaks the protocol (fake_phone.py); the server is adb's own, with a port and keys of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from ghostedge.data.golden import Golden, write_golden
from ghostedge.errors import DeviceError, GhostedgeError, UsageError
from ghostedge.latency.devices import SCRIPT, BenchmarkRequest, app, run
from ghostedge.latency.devices.adb import AdbDevice
from ghostedge.latency.records import read_record
from tests.latency.devices.conftest import TINY, make_request
from tests.latency.devices.fake_phone import FakePhone
from tests.latency.schemas import check_record
from tests.scripts import load_script

QUICK = BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=("--xnnpack", "on", "--quick"))


@pytest.fixture(scope="module")
def adb_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A port for an adb server of our own, which ghostedge starts; it is stopped at the end."""
    adbutils = pytest.importorskip("adbutils", reason="left out: adbutils (ghostedge[devices]) is not installed")
    try:
        adb = adbutils.adb_path()
    except adbutils.AdbError:
        pytest.skip("left out: adb is not installed (apt-get install adb)")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    yield port
    subprocess.run([adb, "-P", str(port), "kill-server"], check=False, capture_output=True)


@pytest.fixture
def make_phone(
    adb_port: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., FakePhone]]:
    """Makes phones; they go at the end."""
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(adb_port))
    monkeypatch.setenv("HOME", str(tmp_path_factory.getbasetemp()))  # adb's keys
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))  # and the locks
    monkeypatch.setattr(app, "_POLL_S", 0.1)
    made: list[FakePhone] = []

    def make(authorised: bool = True) -> FakePhone:
        records = tmp_path_factory.getbasetemp() / "app_records"
        made.append(FakePhone(tmp_path / f"phone{len(made)}", records, authorised))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def phone(make_phone: Callable[..., FakePhone]) -> FakePhone:
    return make_phone()


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Golden vectors of tiny_fp32.tflite, and such with other answers."""
    edge = load_script(SCRIPT)
    settings = {"threads": 1, "xnnpack": True, "precision_hint": None}
    runtime, _, _ = edge.load_runtime("litert", str(TINY / "tiny_fp32.tflite"), settings)
    crops = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    rows = []
    for crop in crops:
        runtime.set_input(edge.to_tensor(crop, edge.input_spec({}, runtime.shape), runtime))
        runtime.run()
        rows.append(runtime.output().reshape(-1))
    logits, folder = np.stack(rows), tmp_path_factory.mktemp("golden")
    paths = folder / "tiny.golden.npz", folder / "wrong" / "tiny.golden.npz"
    paths[1].parent.mkdir()
    for path, answers in zip(paths, (logits, np.roll(logits, 1, axis=1)), strict=True):
        write_golden(path, Golden(crops, answers, ("a", "b", "c"), (), "0" * 64))
    return paths


def benchmark(device: AdbDevice, output: Path, request: BenchmarkRequest = QUICK) -> tuple[list[Path], list[str]]:
    """The records that the device brings, and what was said on the way."""
    lines: list[str] = []
    return list(asyncio.run(device.benchmark(request, output, lines.append))), lines


def error_of(device: AdbDevice, output: Path, request: BenchmarkRequest = QUICK) -> str:
    with pytest.raises(GhostedgeError) as raised:
        benchmark(device, output, request)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def left_behind(phone: FakePhone) -> list[str]:
    """Files on the device that a benchmark brought there."""
    found = [path for folder in (phone.sdcard, phone.tmp) for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in found if path.suffix != ".lock"]


# -- there and back ---------------------------------------------------------------------------------------------------


def test_the_app_measures_and_nothing_stays_there(phone: FakePhone, tmp_path: Path) -> None:
    spaced = tmp_path / "my model.tflite"
    spaced.write_bytes((TINY / "tiny_int8.tflite").read_bytes())
    request = BenchmarkRequest((TINY / "tiny_fp32.tflite", spaced), threads=(1, 2), options=("--quick",))
    files, lines = benchmark(AdbDevice(phone.serial), tmp_path / "out", request)
    assert [path.name for path in files] == [
        "tiny_fp32-app-1t.json",
        "tiny_fp32-app-2t.json",
        "my model-app-1t.json",
        "my model-app-2t.json",
    ]
    for path in files:
        check_record(read_record(path))
    assert [read_record(path)["settings"]["threads"] for path in files] == [1, 2, 1, 2]
    assert read_record(files[2])["artifact"]["file"] == "my model.tflite"
    assert sum("sending" in line for line in lines) == 2
    assert left_behind(phone) == []


def test_the_app_checks_the_answers_of_what_it_times(
    phone: FakePhone, tmp_path: Path, goldens: tuple[Path, Path]
) -> None:
    request = BenchmarkRequest(QUICK.artifacts, threads=(1, 2), options=QUICK.options, golden=goldens[0])
    files, lines = benchmark(AdbDevice(phone.serial), tmp_path, request)
    assert [path.name for path in files] == ["tiny_fp32-app-1t.json", "tiny_fp32-app-2t.json"]
    for path in files:
        record = read_record(path)
        check_record(record)
        assert record["kind"] == "latency_record"
        assert record["verification"]["correct"] is True
        assert record["verification"]["golden"]["file"] == "tiny.golden.npz"
    assert sum("sending tiny.golden.npz" in line for line in lines) == 1
    assert sum(line.endswith("answers right") for line in lines) == 2
    assert left_behind(phone) == []


def test_wrong_answers_come_back_in_a_record_that_is_not_valid(
    phone: FakePhone, tmp_path: Path, goldens: tuple[Path, Path]
) -> None:
    request = BenchmarkRequest(QUICK.artifacts, options=QUICK.options, golden=goldens[1])
    (path,), lines = benchmark(AdbDevice(phone.serial), tmp_path, request)
    record = read_record(path)
    assert record["verification"]["correct"] is False
    assert "wrong_answers" in [reason["code"] for reason in record["invalid_reasons"]]
    assert any(line.endswith("answers WRONG") for line in lines)


def test_the_app_verifies_alone(phone: FakePhone, tmp_path: Path, goldens: tuple[Path, Path]) -> None:
    for golden, right in zip(goldens, (True, False), strict=True):
        request = BenchmarkRequest(QUICK.artifacts, options=("--verify-only",), golden=golden)
        (path,), lines = benchmark(AdbDevice(phone.serial, fixed_performance=True), tmp_path, request)
        record = read_record(path)
        check_record(record)
        assert path.name == "tiny_fp32-app-1t-verify.json"
        assert record["kind"] == "verification_record"
        assert record["verification"]["correct"] is right
        assert any(line.endswith("answers right" if right else "answers WRONG") for line in lines)
    assert left_behind(phone) == []


def test_another_golden_file_of_the_same_name_and_size_is_sent(
    phone: FakePhone, tmp_path: Path, goldens: tuple[Path, Path]
) -> None:
    models = phone.sdcard / "Android/data/org.ghostedge.demo/files/models"
    models.mkdir(parents=True)
    (models / "tiny.golden.npz").write_bytes(bytes(goldens[0].stat().st_size))
    request = BenchmarkRequest(QUICK.artifacts, options=("--verify-only",), golden=goldens[0])
    (path,), _ = benchmark(AdbDevice(phone.serial), tmp_path, request)
    assert read_record(path)["verification"]["correct"] is True


def test_a_record_is_done_only_for_the_same_golden_file_and_mode(
    phone: FakePhone, tmp_path: Path, goldens: tuple[Path, Path]
) -> None:
    options = (*QUICK.options, "--resume")
    kinds = [
        BenchmarkRequest(QUICK.artifacts, options=options),
        BenchmarkRequest(QUICK.artifacts, options=options, golden=goldens[0]),
        BenchmarkRequest(QUICK.artifacts, options=options, golden=goldens[1]),
        BenchmarkRequest(QUICK.artifacts, options=(*options, "--verify-only"), golden=goldens[0]),
        BenchmarkRequest(QUICK.artifacts, options=(*options, "--verify-only"), golden=goldens[1]),
    ]
    runs = [app._runs(request)[0][0] for request in kinds]
    assert len({run.remote_name for run in runs}) == len(runs)
    for index, request in enumerate(kinds):
        (path,), _ = benchmark(AdbDevice(phone.serial), tmp_path, request)
        done = [run.is_done_in(path) for run in runs]
        # A record with answers that were checked serves where no check was asked for.
        assert done == [place == index or (place == 0 and index < 3) for place in range(len(runs))]
        _, lines = benchmark(AdbDevice(phone.serial), tmp_path, request)
        assert any("already measured" in line for line in lines)


def test_two_models_of_one_name_are_told_apart(phone: FakePhone, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "tiny_fp32.tflite"
    other.write_bytes((TINY / "tiny_int8.tflite").read_bytes())
    request = BenchmarkRequest((TINY / "tiny_fp32.tflite", other), options=("--quick",))
    files, _ = benchmark(AdbDevice(phone.serial), tmp_path / "out", request)
    assert len({read_record(path)["artifact"]["sha256"] for path in files}) == 2


def test_a_python_on_the_device(phone: FakePhone, tmp_path: Path) -> None:
    request = BenchmarkRequest((TINY / "tiny_fp32.tflite", TINY / "tiny.xml"), options=make_request().options)
    files, lines = benchmark(AdbDevice(phone.serial, python=sys.executable), tmp_path / "out", request)
    assert [path.name for path in files] == ["tiny-openvino-1t.json", "tiny_fp32-litert-1t.json"]
    assert any("[2/2]" in line for line in lines)
    assert left_behind(phone) == []


def test_several_phones_in_one_call(make_phone: Callable[..., FakePhone], tmp_path: Path) -> None:
    good, locked = make_phone(), make_phone()
    (locked.state / "locked").write_text("pin")
    devices = [AdbDevice(good.serial), AdbDevice(locked.serial)]
    measured, refused = run(devices, QUICK, tmp_path, lambda name, line: None)
    assert (len(measured.files), measured.error) == (1, None)
    assert refused.error is not None
    assert "is locked" in refused.error


# -- the state of the device ------------------------------------------------------------------------------------------


def test_fixed_performance_is_switched_on_and_off_and_told(phone: FakePhone, tmp_path: Path) -> None:
    (path,), _ = benchmark(AdbDevice(phone.serial, fixed_performance=True), tmp_path)
    assert (phone.state / "fixed").read_text().split() == ["true", "false"]
    assert "fixed_performance" in [note["code"] for note in read_record(path)["warnings"]]
    check_record(read_record(path))


def test_fixed_performance_is_switched_off_after_a_failure(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "locked").write_text("pin")
    assert "is locked" in error_of(AdbDevice(phone.serial, fixed_performance=True), tmp_path)
    assert (phone.state / "fixed").read_text().split() == ["true", "false"]


def test_fixed_performance_that_the_device_has_not(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "no_fixed").touch()
    assert "has no fixed-performance mode" in error_of(AdbDevice(phone.serial, fixed_performance=True), tmp_path)
    assert not (phone.state / "am.log").exists()


def test_a_sleeping_phone_is_woken_and_a_swipe_done(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "wakefulness").write_text("Dozing")
    (phone.state / "locked").write_text("swipe")
    assert len(benchmark(AdbDevice(phone.serial), tmp_path)[0]) == 1
    assert (phone.state / "wakefulness").read_text() == "Awake\n"


# -- a pulled cable ---------------------------------------------------------------------------------------------------


class Watching(list[str]):
    """Progress that does something when it first reads a word."""

    def __init__(self, word: str, action: Callable[[], object]) -> None:
        super().__init__()
        self._word, self._action = word, action

    def append(self, line: str) -> None:
        super().append(line)
        if self._word in line and sum(self._word in each for each in self) == 1:
            self._action()


def starts(phone: FakePhone) -> int:
    return (phone.state / "am.log").read_text().count("--es model")


def wait_for(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not there():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_phone_that_is_unplugged_measures_on(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "seconds").write_text("4")

    def pull() -> None:
        wait_for((phone.state / "app.pid").exists)
        time.sleep(2.7)
        phone.unplug()
        threading.Timer(1.0, phone.plug).start()

    lines = Watching("starting", lambda: threading.Thread(target=pull, daemon=True).start())
    # Less than the run lasted before: the time to come back begins with the loss.
    device = AdbDevice(phone.serial, reconnect_s=2.5)
    (path,) = asyncio.run(device.benchmark(QUICK, tmp_path, lines.append))
    assert "unplugged; waiting for it" in lines
    assert starts(phone) == 1
    assert read_record(path)["artifact"]["file"] == "tiny_fp32.tflite"


def test_an_app_that_ends_while_it_is_asked_about_is_not_started_again(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "seconds").write_text("2")
    pidof = phone.state.parent / "bin" / "pidof"

    def pull() -> None:
        wait_for((phone.state / "app.pid").exists)
        time.sleep(0.5)
        phone.unplug()
        alive = 'grep -q "^State:.[^Z]" "/proc/$(cat "$STATE/app.pid")/status"'
        pidof.write_text(f"#!/bin/sh\nwhile {alive} 2>/dev/null; do sleep 0.05; done; exit 1\n")
        phone.plug()

    lines = Watching("starting", lambda: threading.Thread(target=pull, daemon=True).start())
    asyncio.run(AdbDevice(phone.serial).benchmark(QUICK, tmp_path, lines.append))
    assert starts(phone) == 1


def test_the_same_command_brings_what_was_measured_meanwhile(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "seconds").write_text("1")
    request = BenchmarkRequest(QUICK.artifacts, threads=(1, 2), options=QUICK.options)

    def pull() -> None:
        wait_for(lambda: starts(phone) == 2)
        phone.unplug()

    lines = Watching("2t: starting", lambda: threading.Thread(target=pull, daemon=True).start())
    with pytest.raises(DeviceError, match="does not come back"):
        asyncio.run(AdbDevice(phone.serial, reconnect_s=0.3).benchmark(request, tmp_path, lines.append))
    phone.plug()
    files, lines_after = benchmark(AdbDevice(phone.serial), tmp_path, request)
    assert len(files) == 2
    assert "[1/2] tiny_fp32-app-1t: already measured" in lines_after
    assert starts(phone) == 2
    assert left_behind(phone) == []
    # And once all is fetched, the same command measures anew.
    (phone.state / "seconds").write_text("0")
    benchmark(AdbDevice(phone.serial), tmp_path)
    assert starts(phone) == 3


def test_an_interrupted_benchmark_stops_the_app(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "seconds").write_text("30")

    async def interrupted() -> None:
        device = AdbDevice(phone.serial, fixed_performance=True)
        task = asyncio.create_task(device.benchmark(QUICK, tmp_path, lambda line: None))
        while not (phone.state / "app.pid").exists():
            await asyncio.sleep(0.05)
        await asyncio.sleep(0.3)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(interrupted())
    assert phone.run("pidof org.ghostedge.demo").wait() != 0, phone.commands[-4:]
    assert (phone.state / "fixed").read_text().split() == ["true", "false"]


# -- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_phone_that_is_not_there(phone: FakePhone, tmp_path: Path) -> None:
    benchmark(AdbDevice(phone.serial), tmp_path)
    message = error_of(AdbDevice("R58M12ABCDE"), tmp_path)
    assert "adb:R58M12ABCDE is not there" in message
    assert phone.serial in message


def test_a_phone_that_has_not_allowed_this_computer(make_phone: Callable[..., FakePhone], tmp_path: Path) -> None:
    assert "Allow USB debugging" in error_of(AdbDevice(make_phone(authorised=False).serial), tmp_path)


def test_a_phone_without_the_app(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "installed").unlink()
    assert "the demo app is not installed" in error_of(AdbDevice(phone.serial), tmp_path)


@pytest.mark.parametrize("python", [None, sys.executable])
def test_a_full_phone(phone: FakePhone, tmp_path: Path, python: str | None) -> None:
    (phone.state / "free_kb").write_text("100")
    request = QUICK if python is None else make_request()
    assert "its storage is full: 4 MB are needed, 0 MB are free" in error_of(
        AdbDevice(phone.serial, python=python), tmp_path, request
    )


def test_a_phone_that_fills_up_while_the_model_is_sent(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "read_only").touch()
    assert "is its storage full?" in error_of(AdbDevice(phone.serial), tmp_path)


def test_an_app_that_dies(phone: FakePhone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "_START_S", 1.0)
    (phone.state / "dies").touch()
    assert "the app ended without a record of tiny_fp32.tflite" in error_of(AdbDevice(phone.serial), tmp_path)


def test_an_error_of_the_app_is_handed_on(phone: FakePhone, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((TINY / "tiny_fp32.tflite").read_bytes()[:300])
    request = BenchmarkRequest((damaged,), options=("--quick",))
    assert "damaged.tflite is refused by" in error_of(AdbDevice(phone.serial), tmp_path, request)


def test_an_app_that_does_not_start(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "am_error").write_text("Starting: Intent { }\nError type 3\nError: Activity class does not exist.\n")
    assert "the app does not start: Error type 3" in error_of(AdbDevice(phone.serial), tmp_path)


def test_a_python_that_is_not_there(phone: FakePhone, tmp_path: Path) -> None:
    message = error_of(AdbDevice(phone.serial, python="python4"), tmp_path, make_request())
    assert "'python4' does not run there" in message


def test_an_error_of_the_script_is_handed_on(phone: FakePhone, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes((TINY / "tiny_fp32.tflite").read_bytes()[:300])
    device = AdbDevice(phone.serial, python=sys.executable)
    assert "is refused by litert" in error_of(device, tmp_path, BenchmarkRequest((damaged,)))


def test_two_benchmarks_at_once(phone: FakePhone, tmp_path: Path) -> None:
    (phone.state / "seconds").write_text("1")

    async def both() -> Sequence[object]:
        first, second = (AdbDevice(phone.serial).benchmark(QUICK, tmp_path / n, lambda line: None) for n in "ab")
        return await asyncio.gather(first, second, return_exceptions=True)

    answers = asyncio.run(both())
    (refused,) = (each for each in answers if isinstance(each, DeviceError))
    assert "another benchmark is running on this device" in str(refused)
    assert starts(phone) == 1


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (BenchmarkRequest((TINY / "tiny.onnx",)), "measures .tflite, not tiny.onnx"),
        (BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=("--cpus", "big")), "does not take --cpus"),
        (BenchmarkRequest((TINY / "tiny_fp32.tflite",), image=TINY / "make.py"), "does not take --image"),
        (BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=("--sustained", "0.5")), "whole minutes"),
        (BenchmarkRequest((TINY / "tiny_fp32.tflite",), options=("--verify-only",)), "needs golden vectors"),
    ],
)
def test_what_the_app_cannot_measure(phone: FakePhone, tmp_path: Path, request_: BenchmarkRequest, what: str) -> None:
    assert what in error_of(AdbDevice(phone.serial), tmp_path, request_)


def test_adb_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("adbutils")
    monkeypatch.setenv("ADBUTILS_ADB_PATH", "/nowhere/adb")
    monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", "1")
    assert "the adb server does not start" in error_of(AdbDevice("R58M12ABCDE"), tmp_path)


@pytest.mark.parametrize("address", ["", "a phone"])
def test_an_address_that_makes_no_sense(address: str) -> None:
    with pytest.raises(UsageError, match="names no device"):
        AdbDevice(address)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--quick",), "--ez xnnpack true --es mode quick --es out"),
        (("--xnnpack", "off"), "--ez xnnpack false --es mode valid --es out"),
        (("--sustained", "10.0"), "--ez xnnpack true --es mode sustained --ei minutes 10 --es out"),
    ],
)
def test_what_the_app_is_told(options: tuple[str, ...], said: str) -> None:
    runs, _ = app._runs(BenchmarkRequest((TINY / "tiny_fp32.tflite",), threads=(2,), options=options))
    model = "/sdcard/Android/data/org.ghostedge.demo/files/models/tiny_fp32.tflite"
    start = "am start -S -W -n org.ghostedge.demo/.BenchmarkActivity"
    assert [run.command().startswith(f"{start} --es model {model} --ei threads 2 {said}") for run in runs] == [True]


def test_what_the_app_is_told_to_verify(goldens: tuple[Path, Path]) -> None:
    request = BenchmarkRequest(
        (TINY / "tiny_fp32.tflite",), options=("--verify-only", "--sustained", "10"), golden=goldens[0]
    )
    (run,), _ = app._runs(request)
    folder = "/sdcard/Android/data/org.ghostedge.demo/files/models"
    assert f"--es mode verify --es golden {folder}/tiny.golden.npz --es out" in run.command()
    assert "minutes" not in run.command()
