"""edge_benchmark.py times what it says, notices what spoils a number, and tells its user what is wrong."""

from __future__ import annotations

import ast
import copy
import ctypes
import errno
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ghostedge.data import preprocess
from ghostedge.latency.devices import SCRIPT
from ghostedge.model import InputSpec
from ghostedge.tflite.coverage import partition
from tests.heed import heed
from tests.latency.schemas import check_record
from tests.pythons import find_python
from tests.scripts import load_script

Bench = Callable[..., "subprocess.CompletedProcess[str]"]
Records = Callable[[], dict[str, dict[str, Any]]]

# -- the timer --------------------------------------------------------------------------------------------------------


class Clock:
    """A clock that stands still but for the runs; it takes the place of the module `time`."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def perf_counter(self) -> float:
        return self.now_s

    def perf_counter_ns(self) -> int:
        return round(self.now_s * 1e9)

    def runs(self, durations_ms: Iterator[float]) -> Callable[[], None]:
        def run() -> None:
            self.now_s += next(durations_ms) / 1e3

        return run


@pytest.fixture
def clock(edge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(edge, "time", clock)
    return clock


def constant(value_ms: float) -> Iterator[float]:
    while True:
        yield value_ms


def test_a_sample_is_the_time_of_one_run(edge: ModuleType, clock: Clock) -> None:
    samples, seconds = edge.collect(clock.runs(iter([5.0, 6.0, 7.0])), 3, 0.0)
    assert samples == pytest.approx([5.0, 6.0, 7.0])
    assert seconds == pytest.approx(0.018)


@pytest.mark.parametrize(("samples", "seconds", "expected"), [(100, 0.0, 100), (1, 2.0, 200), (500, 2.0, 500)])
def test_both_the_samples_and_the_seconds_are_reached(
    edge: ModuleType, clock: Clock, samples: int, seconds: float, expected: int
) -> None:
    found, _ = edge.collect(clock.runs(constant(10.0)), samples, seconds)
    assert len(found) == expected


def test_looking_at_the_device_is_in_no_sample(edge: ModuleType, clock: Clock) -> None:
    looks = []

    def slow_look(seconds: float) -> None:
        looks.append(seconds)
        clock.now_s += 1.0

    samples, _ = edge.collect(clock.runs(constant(10.0)), 1, 10.0, slow_look)
    assert samples == pytest.approx([10.0] * len(samples))
    assert np.diff(looks) == pytest.approx([2.0] * (len(looks) - 1), abs=0.02)


def test_warm_up_ends_when_the_time_is_steady(edge: ModuleType, clock: Clock) -> None:
    def slow_then_fast() -> Iterator[float]:
        for step in range(100):
            yield 40.0 - 0.3 * step  # 2.5 s of getting faster
        yield from constant(10.0)

    warmup = edge.warm_up(clock.runs(slow_then_fast()), 0.5, 30.0)
    assert warmup["steady"]
    assert warmup["window_medians_ms"][-3:] == pytest.approx([10.0] * 3)
    assert 2.5 < warmup["duration_s"] < 6.0


def test_one_interrupted_sample_does_not_prolong_the_warm_up(edge: ModuleType, clock: Clock) -> None:
    durations = iter([10.0] * 20 + [200.0] + [10.0] * 500)
    assert edge.warm_up(clock.runs(durations), 0.5, 30.0)["duration_s"] < 2.0


def test_warm_up_gives_up_on_a_time_that_keeps_changing(edge: ModuleType, clock: Clock) -> None:
    def ever_slower() -> Iterator[float]:
        value = 10.0
        while True:
            yield value
            value *= 1.002

    warmup = edge.warm_up(clock.runs(ever_slower()), 0.5, 20.0)
    assert not warmup["steady"]
    assert warmup["spread_percent"] > 3
    assert warmup["duration_s"] == pytest.approx(20.0, abs=1.0)


def test_percentiles_are_values_that_were_measured(edge: ModuleType) -> None:
    samples = list(np.random.default_rng(0).exponential(5.0, 999))
    summary = edge.summarise(samples)
    for share in (50, 90, 95, 99):
        expected = np.percentile(samples, share, method="inverted_cdf")
        assert summary[f"p{share}"] == pytest.approx(expected, abs=1e-6)
    assert summary["mean"] == pytest.approx(np.mean(samples), abs=1e-6)
    assert summary["std"] == pytest.approx(np.std(samples, ddof=1), abs=1e-6)


def test_the_sustained_curve_shows_the_slowing_down(edge: ModuleType, clock: Clock) -> None:
    def throttled_after_30_s() -> Iterator[float]:
        while True:
            yield 10.0 if clock.now_s < 30 else 15.0

    found = edge.sustain(clock.runs(throttled_after_30_s()), 1.0, lambda text: None)
    assert found["last_to_first"] == pytest.approx(1.5)
    assert [point["p50_ms"] for point in found["curve"]] == pytest.approx([10.0] * 6 + [15.0] * 6)


def test_the_overhead_is_far_below_one_percent_of_5_ms(edge: ModuleType) -> None:
    assert edge.measure_overhead() < 50.0  # microseconds; it is about 0.1


# -- what spoils a number ---------------------------------------------------------------------------------------------


@pytest.fixture
def good_record() -> dict[str, Any]:
    """A record without a fault, as a Raspberry Pi with a fixed frequency would give it."""
    look = {"frequency_mhz": [1800.0] * 4, "temperature_c": 55.0, "load_average_1m": 1.0}
    flags = {"value": "0x50000", "now": [], "since_boot": ["under-voltage", "throttled"]}
    end = {"governor": ["performance"] * 4, "throttle_flags": flags, "power": {"source": None}}
    return {
        "mode": "full",
        "runtime": {"name": "litert"},
        "device": {"emulated": False, "cores": 4, "max_frequency_mhz": [1800.0] * 4},
        "settings": {"threads": 4, "xnnpack": True, "cpus": None},
        "delegate": {"delegated_share": 1.0, "delegated_nodes": 200, "nodes": 200},
        "output": {"finite": True},
        "verification": None,
        "samples_ms": [40.0] * 1500,
        "duration_s": 60.1,
        "latency_ms": {"p50": 40.0},
        "overhead_us": 1.0,
        "warmup": {"steady": True, "duration_s": 2.0, "spread_percent": 0.5},
        "context": {"before": end, "during": [look] * 30, "after": copy.deepcopy(end), "other_cores": 0.05},
    }


def test_a_good_record_is_valid_without_a_warning(edge: ModuleType, good_record: dict[str, Any]) -> None:
    assert edge.judge(good_record) == ([], [])


def looks(*megahertz: float) -> list[dict[str, Any]]:
    return [{"frequency_mhz": [600.0, value]} for value in megahertz]


FAULTS: dict[str, dict[str, Any]] = {
    "too_short": {"samples_ms": [40.0] * 1023},
    "quick": {"mode": "quick"},
    "emulated": {"device.emulated": True},
    "not_steady": {"warmup.steady": False},
    "drift": {"samples_ms": [40.0] * 750 + [43.0] * 750},
    "busy": {"context.other_cores": 0.9},
    "frequency_fell": {"context.during": looks(*[1800.0] * 14, *[1500.0] * 15)},  # a minute, a look every 2 s
    "throttled": {"context.after.throttle_flags.now": ["throttled"]},
    "overhead": {"overhead_us": 900.0},
    "null": {"runtime.name": "null"},
}
REMARKS: dict[str, dict[str, Any]] = {
    "not_finite": {"output.finite": False},
    "not_all_delegated": {"delegate.delegated_share": 0.9},
    "below_max_frequency": {"context.during": looks(*[1500.0] * 30)},
    "battery": {"context.before.power.source": "battery"},
    "governor": {"context.before.governor": ["ondemand"] * 4},
    "too_many_threads": {"settings.threads": 8},
}


def plant(record: dict[str, Any], fault: dict[str, Any]) -> dict[str, Any]:
    record = copy.deepcopy(record)
    for path, value in fault.items():
        *parents, last = path.split(".")
        place = record
        for name in parents:
            place = place[name]
        place[last] = value
    return record


def test_too_few_looks_do_not_judge_the_frequency(edge: ModuleType, good_record: dict[str, Any]) -> None:
    few = looks(*[1800.0] * 7, *[1500.0] * 7)
    assert edge.judge(plant(good_record, {"context.during": few}))[0] == []


@pytest.mark.parametrize("code", FAULTS)
def test_a_fault_makes_the_record_not_valid(edge: ModuleType, good_record: dict[str, Any], code: str) -> None:
    reasons, _ = edge.judge(plant(good_record, FAULTS[code]))
    assert [reason["code"] for reason in reasons] == [code]


@pytest.mark.parametrize("code", REMARKS)
def test_a_remark_leaves_it_valid(edge: ModuleType, good_record: dict[str, Any], code: str) -> None:
    reasons, warnings = edge.judge(plant(good_record, REMARKS[code]))
    assert (reasons, [warning["code"] for warning in warnings]) == ([], [code])


def test_a_flag_that_was_set_before_the_run_is_not_held_against_it(
    edge: ModuleType, good_record: dict[str, Any]
) -> None:
    new = plant(good_record, {"context.before.throttle_flags.since_boot": ["throttled"]})
    assert [reason["code"] for reason in edge.judge(new)[0]] == ["throttled"]  # under-voltage came during the run
    assert edge.judge(good_record)[0] == []  # both are of before


# -- the device -------------------------------------------------------------------------------------------------------


@pytest.fixture
def raspberry_pi(edge: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files by which the kernel of a Raspberry Pi 4 tells about it."""
    files = {
        "devices/platform/soc/soc:firmware/get_throttled": "50004\n",
        "devices/system/cpu/modalias": "cpu:type:aarch64:feature:,0000\n",
        "class/thermal/thermal_zone0/type": "cpu-thermal\n",
        "class/thermal/thermal_zone0/temp": "61835\n",
        "class/thermal/thermal_zone1/type": "board\n",
        "class/thermal/thermal_zone1/temp": "70000\n",
        "proc/device-tree/model": "Raspberry Pi 4 Model B Rev 1.4\0",
        "proc/device-tree/compatible": "raspberrypi,4-model-b\0brcm,bcm2711\0",
        "proc/meminfo": "MemTotal:        3884096 kB\n",
        "proc/cpuinfo": "processor\t: 0\nBogoMIPS\t: 108.00\nModel\t\t: Raspberry Pi 4 Model B Rev 1.4\n",
    }
    for cpu in range(4):
        folder = f"devices/system/cpu/cpu{cpu}/cpufreq"
        files |= {f"{folder}/scaling_governor": "ondemand\n", f"{folder}/scaling_cur_freq": f"{600 + 400 * cpu}000\n"}
        files |= {f"{folder}/cpuinfo_max_freq": "1800000\n"}
    for name, text in files.items():
        path = tmp_path / "sys" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(edge, "SYS", tmp_path / "sys")
    monkeypatch.setattr(edge, "PROC", tmp_path / "sys" / "proc")
    return tmp_path / "sys"


def test_what_a_raspberry_pi_tells(edge: ModuleType, raspberry_pi: Path) -> None:
    device, now = edge.describe_device(), edge.snapshot()
    assert (device["model"], device["soc"]) == ("Raspberry Pi 4 Model B Rev 1.4", "brcm,bcm2711")
    assert (device["max_frequency_mhz"], device["memory_mib"]) == ([1800.0] * 4, 3793)
    assert (now["governor"], now["frequency_mhz"]) == (["ondemand"] * 4, [600.0, 1000.0, 1400.0, 1800.0])
    assert now["temperature_c"] == 61.835  # the processor's and not the board's
    assert now["throttle_flags"] == {
        "value": "0x50004",
        "now": ["throttled"],
        "since_boot": ["under-voltage", "throttled"],
    }
    assert now["power"] == {"source": None, "battery_percent": None}


def test_throttle_flags_come_from_vcgencmd_where_there_is_no_file(
    edge: ModuleType, raspberry_pi: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(raspberry_pi / "devices/platform")
    monkeypatch.setattr(edge, "said_by", lambda *command: "throttled=0x2")
    assert edge.throttle_flags()["now"] == ["frequency capped"]
    monkeypatch.setattr(edge, "said_by", lambda *command: None)
    assert edge.throttle_flags() is None


@pytest.mark.parametrize(("status", "source"), [("Discharging", "battery"), ("Charging", "mains")])
def test_the_power_source_of_a_phone(edge: ModuleType, raspberry_pi: Path, status: str, source: str) -> None:
    battery = raspberry_pi / "class/power_supply/battery"
    battery.mkdir(parents=True)
    for name, text in {"type": "Battery", "capacity": "83", "status": status}.items():
        (battery / name).write_text(text)
    assert edge.power() == {"source": source, "battery_percent": 83.0}


@pytest.mark.parametrize(
    ("machine", "modalias", "emulated"),
    [
        ("aarch64", "cpu:type:aarch64:feature:", False),
        ("aarch64", "cpu:type:x86,ven0000", True),
        ("x86_64", "cpu:type:x86,ven0000", False),
    ],
)
def test_an_arm_program_on_an_x86_kernel_is_emulated(
    edge: ModuleType, raspberry_pi: Path, monkeypatch: pytest.MonkeyPatch, machine: str, modalias: str, emulated: bool
) -> None:
    monkeypatch.setattr(edge.platform, "machine", lambda: machine)
    (raspberry_pi / "devices/system/cpu/modalias").write_text(modalias)
    assert edge.is_emulated() is emulated


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="left out: this system has no /proc/stat")
def test_the_work_of_other_programs_is_seen(edge: ModuleType) -> None:
    other = edge.OtherWork()
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinner:
        time.sleep(1.0)
        cores = other.cores()
        spinner.kill()
    assert cores > 0.3


def test_a_proc_stat_that_stands_still_tells_nothing(edge: ModuleType, raspberry_pi: Path) -> None:
    (raspberry_pi / "proc" / "stat").write_text("cpu  100 0 100 100 0 0 0 0 0 0\n")  # as proot-distro shows it
    other, end = edge.OtherWork(), time.process_time() + 0.2
    while time.process_time() < end:
        pass
    assert other.cores() is None


# -- the input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(40))
def test_preprocessing_is_the_package_s_bit_for_bit(edge: ModuleType, seed: int) -> None:
    random = np.random.default_rng(seed)
    height, width = (int(value) for value in random.integers(8, 700, 2))
    layout, colours = ("NCHW", "NHWC")[seed % 2], ("RGB", "BGR")[seed // 2 % 2]
    size = int(random.integers(16, 225))
    spec = InputSpec(layout=layout, colour_order=colours, height=size, width=size, resize=size + seed)  # type: ignore[arg-type]
    image = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    cropped = edge.resize_and_crop(image, spec.to_dict())
    np.testing.assert_array_equal(cropped, preprocess.resize_and_crop(image, spec))
    runtime = SimpleNamespace(dtype="float32", quantization=None, shape=spec.shape())
    tensor = edge.to_tensor(cropped, spec.to_dict(), runtime)
    np.testing.assert_array_equal(tensor, preprocess.to_spec(cropped[None], spec))


def test_a_raw_input_is_not_normalised(edge: ModuleType) -> None:
    spec = InputSpec(layout="NHWC", dtype="uint8", range="raw", height=16, width=16, resize=16)
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    runtime = SimpleNamespace(dtype="uint8", quantization=None, shape=spec.shape())
    np.testing.assert_array_equal(edge.to_tensor(image, spec.to_dict(), runtime), image[None])


def test_a_quantised_input_is_rounded_and_clipped(edge: ModuleType) -> None:
    runtime = SimpleNamespace(dtype="int8", quantization=(0.02, -10), shape=(1, 5))
    values = np.array([[0.0, 0.02, 0.031, 9.0, -9.0]], np.float32)
    assert edge.quantised(values, runtime).tolist() == [[-10, -9, -8, 127, -128]]


def test_models_allow_float16_by_the_rule_of_the_package(
    edge: ModuleType, tiny: Path, float16_tflite: Path, tmp_path: Path
) -> None:
    from ghostedge.tflite.float16 import allows_float16

    other = tmp_path / "accumulates_in_fp32.tflite"
    other.write_bytes(float16_tflite.read_bytes().replace(b"fp16accfp16", b"fp16accfp32"))
    found = {path: edge.allows_float16(str(path)) for path in (float16_tflite, other, *tiny.glob("*.tflite"))}
    assert found == {path: allows_float16(path) for path in found}
    assert [path for path, allowed in found.items() if allowed] == [float16_tflite]


@pytest.mark.parametrize("machine", ["aarch64", "x86_64"])
@pytest.mark.parametrize("hwcap", [0x119FFB, 0x8FB, 0x2FB, 0x4FB])
def test_cpus_have_float16_by_the_rule_of_the_package(
    edge: ModuleType, monkeypatch: pytest.MonkeyPatch, machine: str, hwcap: int
) -> None:
    from ghostedge.tflite.delegation import cpu_has_float16

    def getauxval(kind: int) -> int:
        return hwcap if kind == 16 else 0

    monkeypatch.setattr(platform, "machine", lambda: machine)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace(getauxval=getauxval))
    assert edge.cpu_has_float16() is cpu_has_float16() is ((machine, hwcap) == ("aarch64", 0x119FFB))


def test_the_artifact_s_own_description_is_used(edge: ModuleType, tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "described.tflite"
    shutil.copy(tiny / "tiny_fp32.tflite", model)
    spec = InputSpec(layout="NHWC", height=32, width=32, resize=40, range="raw")
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("ghostedge.json", json.dumps({"input": spec.to_dict(), "precision": "fp32"}))
    assert edge.input_spec(edge.zipped_description(str(model)), (1, 32, 32, 3)) == spec.to_dict() | {}
    assert edge.input_spec({}, (1, 3, 224, 224))["resize"] == 256
    content = bytearray(model.read_bytes())
    content[content.rindex(b'"precision"')] ^= 1
    model.write_bytes(content)
    with pytest.raises(edge.BenchmarkError, match="the files at its end are damaged"):
        edge.zipped_description(str(model))


def test_the_delegated_share_is_counted_as_the_exporter_counts_it(edge: ModuleType) -> None:
    def node(name: str, inputs: list[int], outputs: list[int]) -> dict[str, Any]:
        return {"op_name": name, "inputs": inputs, "outputs": outputs}

    nodes = [
        *(node("CONV_2D", [index], [index + 1]) for index in range(3)),
        node("CUSTOM", [3], [4]),
        node("ADD", [4], [5]),
        node("DELEGATE", [0], [3]),
        node("DELEGATE", [4], [5]),
    ]
    found, expected = edge.delegation(nodes), partition(nodes)
    assert (found["nodes"], found["delegated_nodes"], found["partitions"]) == (5, 4, 2)
    assert (expected.nodes, expected.delegated, expected.partitions) == (5, 4, 2)


# -- whole runs -------------------------------------------------------------------------------------------------------


def test_every_runtime_gives_a_record_of_the_schema(bench: Bench, records: Records, tiny: Path) -> None:
    models = [tiny / name for name in ("tiny_fp32.tflite", "tiny_int8.tflite", "tiny.onnx", "tiny.xml")]
    done = bench(*models, "--threads", "1,2", "--xnnpack", "both")
    assert done.returncode == 0, done.stderr
    found = records()
    assert len(found) == 2 * (2 + 2 + 1 + 1)
    fast, slow = found["tiny_fp32-litert-1t"], found["tiny_fp32-litert-1t-noxnnpack"]
    assert (fast["delegate"]["delegated_share"], slow["delegate"]["delegated_share"]) == (1.0, 0.0)
    assert found["tiny-openvino-2t"]["settings"]["threads"] == 2
    assert found["tiny-openvino-1t"]["runtime"]["inference_precision"]
    for record in found.values():
        assert len(record["samples_ms"]) == 20
        assert record["input"]["shape"] in ([1, 32, 32, 3], [1, 3, 32, 32])
        assert record["memory"]["rss_peak_mib"] > record["memory"]["rss_before_mib"]
        assert not record["valid"]


def test_the_runtimes_compute_the_same(bench: Bench, records: Records, tiny: Path, tmp_path: Path) -> None:
    # All three get the same noise, so that a wrong layout or a wrong tensor shows.
    done = bench(tiny / "tiny_fp32.tflite", tiny / "tiny.onnx", "--save-output")
    assert done.returncode == 0, done.stderr
    litert, onnx = (
        np.load(tmp_path / "records" / f"{name}-1t.npy") for name in ("tiny_fp32-litert", "tiny-onnxruntime")
    )
    np.testing.assert_allclose(litert, onnx, atol=1e-5)
    top5 = records()["tiny_fp32-litert-1t"]["output"]["top5"]
    assert [entry["index"] for entry in top5] == np.argsort(-litert[0])[:5].tolist()


def test_a_photo_is_split_into_its_parts(bench: Bench, records: Records, tiny: Path, tmp_path: Path) -> None:
    from PIL import Image

    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(photo)
    assert bench(tiny / "tiny_fp32.tflite", "--image", photo).returncode == 0
    (record,) = records().values()
    assert record["input"]["source"] == "photo.jpg"
    assert all(record["split_ms"][part]["p50"] > 0 for part in ("decode", "preprocess", "inference"))


def test_the_null_runtime_measures_the_script_itself(bench: Bench, records: Records) -> None:
    assert bench("--runtime", "null").returncode == 0
    record = records()["null"]
    assert record["artifact"] is None
    assert record["latency_ms"]["p50"] < 0.05


def test_the_process_runs_on_the_cpus_it_is_told(bench: Bench, records: Records, tiny: Path) -> None:
    assert bench(tiny / "tiny_fp32.tflite", "--cpus", "0").returncode == 0
    assert records()["tiny_fp32-litert-1t-cpu0"]["settings"]["cpus"] == [0]


def test_resuming_leaves_out_what_is_there_and_the_same(bench: Bench, tiny: Path, tmp_path: Path) -> None:
    model = tmp_path / "model.tflite"
    shutil.copy(tiny / "tiny_fp32.tflite", model)
    bench(model)
    record = tmp_path / "records" / "model-litert-1t.json"
    first = record.read_bytes()
    assert "already measured" in bench(model, "--resume").stderr
    assert record.read_bytes() == first
    shutil.copy(tiny / "tiny_int8.tflite", model)
    assert "already measured" not in bench(model, "--resume").stderr
    assert record.read_bytes() != first


def test_two_models_of_one_name_give_two_records(bench: Bench, records: Records, tiny: Path, tmp_path: Path) -> None:
    for name in ("fp32", "int8"):
        (tmp_path / name).mkdir()
        shutil.copy(tiny / f"tiny_{name}.tflite", tmp_path / name / "model.tflite")
    bench(tmp_path / "fp32" / "model.tflite", tmp_path / "int8" / "model.tflite")
    assert len({record["artifact"]["sha256"] for record in records().values()}) == 2


# -- what a user does wrong -------------------------------------------------------------------------------------------


def errors(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return [line for line in done.stderr.splitlines() if line.startswith("edge_benchmark: error: ")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tflite", b"", "is empty (0 bytes)"),
        ("text.tflite", b"hello, world", "is not a model"),
        ("model.mindir", b"anything", "ghostedge export"),
        ("model.xml", b"<?xml?><net name='x'>", "the .bin file of the same name"),
        ("damaged.onnx", b"\x08\x08garbage", "is refused by onnxruntime"),
        (None, b"", "does not exist"),
    ],
)
def test_what_is_not_a_model(bench: Bench, tmp_path: Path, name: str | None, content: bytes, message: str) -> None:
    path = tmp_path / (name or "missing.tflite")
    if name:
        path.write_bytes(content)
    (error,) = errors(bench(path))
    assert message in error
    assert path.name in error


def test_a_model_that_crashes_its_runtime_is_one_line_and_stops_no_other(
    edge: ModuleType, bench: Bench, records: Records, tiny: Path, tmp_path: Path
) -> None:
    truncated = tmp_path / "truncated.tflite"
    truncated.write_bytes((tiny / "tiny_fp32.tflite").read_bytes()[:900])
    (error,) = errors(bench(truncated, tiny / "tiny_int8.tflite"))
    assert "truncated.tflite" in error
    assert f"litert {edge.version_of('ai_edge_litert')}" in error
    assert "damaged" not in error  # nothing here says which bytes it should have
    assert list(records()) == ["tiny_int8-litert-1t"]


def test_an_operator_that_the_runtime_does_not_have(edge: ModuleType) -> None:
    message = edge.load_error("litert", "m.tflite", "Encountered unresolved custom op: Foo. Node 3 failed to prepare.")
    assert f"holds an operator that litert {edge.version_of('ai_edge_litert')} does not have" in message
    assert "Edge TPU" in edge.load_error("litert", "m.tflite", "Encountered unresolved custom op: edgetpu-custom-op.")


def test_damage_is_named_only_where_the_manifest_says_so(edge: ModuleType, bench: Bench, tmp_path: Path) -> None:
    """A whole file that a runtime refuses needs another runtime, not another copy."""
    good = b"\x08\x08garbage"
    (tmp_path / "model.onnx").write_bytes(good)
    (error,) = errors(bench(tmp_path / "model.onnx"))
    assert "compare the file's sha256 with the one in its manifest.json" in error

    files = [{"name": "model.onnx", "sha256": hashlib.sha256(good).hexdigest()}]
    (tmp_path / "manifest.json").write_text(json.dumps({"artifacts": {"onnx_fp32": {"files": files}}}))
    (error,) = errors(bench(tmp_path / "model.onnx"))
    assert "the file is whole" in error
    assert f"onnxruntime {edge.version_of('onnxruntime')}" in error

    (tmp_path / "model.onnx").write_bytes(good + b"!")
    (error,) = errors(bench(tmp_path / "model.onnx"))
    assert "model.onnx is damaged, its sha256 is not the one in manifest.json: copy it again" in error


def test_a_crash_names_the_runtime_and_its_version(edge: ModuleType, tmp_path: Path) -> None:
    message = edge.crash_message({"path": str(tmp_path / "m.tflite"), "runtime": "litert"}, -11)
    assert f"litert {edge.version_of('ai_edge_litert')} crashed (signal 11)" in message
    assert "damaged" not in message


def test_an_onnx_of_before_version_0_2_says_so(edge: ModuleType) -> None:
    reason = "Node (blocks.12.ghost1.Mul) Op (Mul) [ShapeInferenceError] Incompatible dimensions"
    assert "export it again with ghostedge 0.2" in edge.load_error("onnxruntime", "m.onnx", reason)


def test_a_runtime_that_is_built_for_numpy_1(edge: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "<built-in method CreateWrapperFromFile of PyCapsule object> returned a result with an exception set"
    for version, found in (("1.26.4", False), ("2.4.6", True)):
        monkeypatch.setattr(edge, "version_of", lambda name, version=version: version if name == "numpy" else "2.14.0")
        message = edge.load_error("tflite-runtime", "m.tflite", said)
        assert ("tflite-runtime 2.14.0 is built for NumPy 1, not for 2.4.6; run: pip install" in message) is found


def test_no_runtime_is_installed(bench: Bench, tiny: Path) -> None:
    # -S: without the packages of the environment, as on a fresh device.
    (error,) = errors(bench(tiny / "tiny_fp32.tflite", python=(sys.executable, "-I", "-S")))
    assert "no runtime for tflite models is installed" in error
    assert "pip install" in error
    assert "ai-edge-litert" in error


@pytest.mark.parametrize(
    ("machine", "android", "bits", "message"),
    [
        ("aarch64", False, 64, "pip install numpy pillow ai-edge-litert"),
        ("armv7l", False, 32, "64-bit Raspberry Pi OS"),
        ("aarch64", False, 32, "64-bit Raspberry Pi OS"),  # a 32-bit system on a 64-bit kernel
        ("aarch64", True, 64, "proot-distro"),
    ],
)
def test_what_to_install_depends_on_the_device(
    edge: ModuleType, machine: str, android: bool, bits: int, message: str
) -> None:
    assert message in edge.how_to_install("litert", machine, android, bits)


def test_two_benchmarks_at_once(edge: ModuleType, bench: Bench, tiny: Path, tmp_path: Path) -> None:
    with edge.device_lock(tmp_path / "ghostedge-benchmark.lock"):
        (error,) = errors(bench(tiny / "tiny_fp32.tflite"))
    assert "another benchmark is running on this device" in error
    assert bench(tiny / "tiny_fp32.tflite").returncode == 0


def test_a_lock_of_another_user_that_cannot_be_read(
    edge: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path := tmp_path / "lock").touch()
    opened = os.open

    def refuse(file: Path, flags: int, mode: int = 0o777) -> int:  # root, as tests may be, may read everything
        if flags & os.O_CREAT:
            return opened(file, flags, mode)
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(file))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(edge.BenchmarkError, match="Permission denied"), edge.device_lock(path):
        pass


def test_a_crash_is_named_by_its_signal(edge: ModuleType) -> None:
    job = {"path": "m.tflite", "runtime": "litert"}
    assert "instructions that this processor does not have" in edge.crash_message(job, -signal.SIGILL)
    assert "memory" in edge.crash_message(job, -signal.SIGKILL)


def test_a_full_disk_leaves_the_old_record(edge: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("old")

    def write_to_a_full_disk() -> None:
        with edge.atomic(path) as partial:
            partial.write_text("half of the ne")
            raise OSError(28, "No space left on device")

    with pytest.raises(edge.BenchmarkError, match="the disk is full"):
        write_to_a_full_disk()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_leaves_no_half_record_and_no_process(tiny: Path, tmp_path: Path, number: signal.Signals) -> None:
    command: list[str | Path] = [sys.executable, SCRIPT, tiny / "tiny_fp32.tflite", "--output", tmp_path / "records"]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env={"TMPDIR": str(tmp_path)}, preexec_fn=heed
    ) as process:
        assert process.stderr
        for line in process.stderr:
            if "warming up" in line:
                break
        children = (Path("/proc") / str(process.pid) / "task" / str(process.pid) / "children").read_text().split()
        assert len(children) == 1
        process.send_signal(number)
        assert process.wait(20) == 128 + number
        assert "interrupted" in process.stderr.read()
        assert not (Path("/proc") / children[0]).exists()
    assert list((tmp_path / "records").iterdir()) == []


# -- the file ---------------------------------------------------------------------------------------------------------


def test_it_is_what_its_modules_say_today() -> None:
    """`python benchmarks/build_edge_benchmark.py` writes it anew."""
    builder = load_script(SCRIPT.with_name("build_edge_benchmark.py"))
    assert SCRIPT.read_text(encoding="utf-8") == builder.text()
    assert {path for path in builder.MODULES if path.parent == builder.PARTS} == set(builder.PARTS.glob("*.py"))


def test_it_is_python_3_9_and_imports_the_standard_library_alone() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 9))
    top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} <= set(sys.stdlib_module_names)


def test_it_runs_on_python_3_9(bench: Bench, records: Records) -> None:
    python = find_python("3.9")
    if python is None:
        pytest.skip("left out: no Python 3.9 is installed")
    done = bench("--runtime", "null", python=(python, "-I"))
    assert done.returncode == 0, done.stderr
    assert records()["null"]["device"]["python"].startswith("3.9.")


def test_the_schema_asks_a_valid_record_for_enough_samples(
    bench: Bench, records: Records, tiny: Path, tmp_path: Path
) -> None:
    import jsonschema

    bench(tiny / "tiny_fp32.tflite")
    (record,) = records().values()
    record |= {"valid": True, "invalid_reasons": []}
    with pytest.raises(jsonschema.ValidationError):
        check_record(record)


def test_ctrl_c_and_a_second_signal_leave_no_process(tiny: Path, tmp_path: Path) -> None:
    """As in a terminal, where Ctrl-C reaches the script and the command that started it, which then ends it too."""
    command = [sys.executable, str(SCRIPT), str(tiny / "tiny_fp32.tflite"), "--min-seconds", "60"]
    done = subprocess.Popen(
        [*command, "--warmup-limit", "0.1", "--output", str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.stderr
    for line in done.stderr:
        if line.rstrip().endswith(": timing"):
            break
    os.killpg(done.pid, signal.SIGINT)
    time.sleep(0.1)  # within the half second that the run is given to end by itself
    os.kill(done.pid, signal.SIGTERM)
    assert done.wait(10) == 130
    with pytest.raises(ProcessLookupError):  # nobody is left of its group
        os.killpg(done.pid, 0)
