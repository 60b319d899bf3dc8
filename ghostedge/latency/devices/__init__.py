"""The places where a model is timed, this machine or one reached by ssh or adb, and what they are asked to do."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from ghostedge.errors import ArtifactError, GhostedgeError
from ghostedge.lazy import choose, resolve

__all__ = [
    "DEVICES",
    "SCRIPT",
    "BenchmarkRequest",
    "Device",
    "DeviceResult",
    "Progress",
    "device_folder",
    "open_device",
    "run",
]

_PACKAGE = Path(__file__).resolve().parents[2]
_INSTALLED = _PACKAGE / "_benchmarks" / "edge_benchmark.py"  # the wheel carries it here

#: Called with a line of text now and then.
Progress: TypeAlias = Callable[[str], None]

#: The script that measures, in the wheel or in the checkout.
SCRIPT = _INSTALLED if _INSTALLED.exists() else _PACKAGE.parent / "benchmarks" / "edge_benchmark.py"


@dataclass(frozen=True)
class BenchmarkRequest:
    """What shall be measured.

    Attributes:
        artifacts: ``.tflite``, ``.xml`` or ``.onnx`` files.
        threads: one run each.
        image: a photo for the split into decoding, preprocessing and inference; None for none.
        options: further arguments of edge_benchmark.py, e.g. ``("--quick",)``.
        golden: golden vectors (`ghostedge.data.golden`) on which each artifact is checked there; None for none.

    Raises:
        ArtifactError: an artifact is missing or of a kind that cannot be timed.
    """

    artifacts: tuple[Path, ...]
    threads: tuple[int, ...] = (1,)
    image: Path | None = None
    options: tuple[str, ...] = ()
    golden: Path | None = None

    def __post_init__(self) -> None:
        for file in self.files():
            if not file.is_file():
                raise ArtifactError(f"{file} {'is not a file' if file.exists() else 'does not exist'}")
        for artifact in self.artifacts:
            if artifact.suffix not in (".tflite", ".xml", ".onnx"):
                raise ArtifactError(f"{artifact} cannot be timed; only .tflite, OpenVINO .xml and .onnx can")

    def files(self) -> tuple[Path, ...]:
        """Every file that a device needs beside the script."""
        weights = [path.with_suffix(".bin") for path in self.artifacts if path.suffix == ".xml"]
        return (*self.artifacts, *weights, *filter(None, (self.image, self.golden)))

    def arguments(self, places: Mapping[Path, str], output: str) -> list[str]:
        """The command line of edge_benchmark.py on a device where `files` have these names."""
        extra = {"--image": self.image, "--golden": self.golden}
        named = [word for option, file in extra.items() if file for word in (option, places[file])]
        threads = ",".join(map(str, self.threads))
        artifacts = [places[artifact] for artifact in self.artifacts]
        return [*artifacts, "--threads", threads, *named, *self.options, "--output", output]


class Device(Protocol):
    """A machine that runs edge_benchmark.py.

    Attributes:
        name: as on the command line, e.g. ``"ssh:pi@raspberrypi"`` or ``"adb:R58M12ABCDE"``.
    """

    name: str

    async def benchmark(self, request: BenchmarkRequest, output: Path, progress: Progress) -> tuple[Path, ...]:
        """Measure, and bring the records to the folder `output`.

        Args:
            request: what to measure.
            output: the folder; each record appears in it whole or not at all.
            progress: called with a line of text now and then.

        Returns:
            The records' files.

        Raises:
            DeviceError: the device cannot be reached or used, or a run failed there; records of other runs stay.
            OutputError: a record cannot be written.
        """
        ...


@dataclass(frozen=True)
class DeviceResult:
    """What came from one device.

    Attributes:
        device: its name.
        files: the records.
        error: why there are not more; None when all went well.
    """

    device: str
    files: tuple[Path, ...]
    error: str | None = None


#: The part of ``--device`` before the colon -> class; called with the part after it and the options of its kind.
DEVICES: dict[str, str] = {
    "local": "ghostedge.latency.devices.local:LocalDevice",
    "ssh": "ghostedge.latency.devices.ssh:SshDevice",
    "adb": "ghostedge.latency.devices.adb:AdbDevice",
}


def open_device(name: str, **options: object) -> Device:
    """The device that ``"local"``, ``"ssh:USER@HOST[:PORT]"`` or ``"adb:SERIAL"`` names; nothing is connected yet.

    Args:
        name: as on the command line.
        options: for ssh `python`, `identity`, `known_hosts`, for adb `python`, `fixed_performance`; see the classes.

    Raises:
        UsageError: an unknown kind of device, or an address that makes no sense.
    """
    kind, _, address = name.partition(":")
    device: Device = resolve(DEVICES[choose("device", kind, DEVICES)])(address, **options)
    return device


def device_folder(name: str) -> str:
    """The name of the folder of a device's records: ``"ssh:pi@raspberrypi:2222"`` -> ``"pi@raspberrypi-2222"``."""
    return re.sub(r"[^A-Za-z0-9.@_-]+", "-", name.removeprefix("ssh:")).strip("-.") or "device"


def records_in(folder: Path) -> dict[Path, int]:
    """The records that lie in a folder, and when each was written, nanoseconds."""
    files = sorted(path for path in folder.glob("*.json") if not path.name.startswith("."))
    return {path: path.stat().st_mtime_ns for path in files}


def new_records(request: BenchmarkRequest, folder: Path, before: Mapping[Path, int]) -> tuple[Path, ...]:
    """The records that came since `records_in` gave `before`; of a resumed request those from before too."""
    resumed = "--resume" in request.options
    return tuple(path for path, written in records_in(folder).items() if resumed or before.get(path) != written)


def run(
    devices: Sequence[Device], request: BenchmarkRequest, output: Path, progress: Callable[[str, str], None]
) -> tuple[DeviceResult, ...]:
    """Measure on every device: remote ones all at once, then this machine alone, so that nothing disturbs it.

    Args:
        devices: `open_device` makes them.
        request: what to measure.
        output: records go to a folder of its own for each device in it.
        progress: called with a device's name and a line of text.

    Returns:
        One result a device, in their order; a device that fails does not stop the others.
    """

    async def ask(device: Device) -> DeviceResult:
        folder = output / device_folder(device.name)
        before = records_in(folder)
        try:
            files = await device.benchmark(request, folder, lambda text: progress(device.name, text))
        except GhostedgeError as exc:
            return DeviceResult(device.name, new_records(request, folder, before), str(exc))
        return DeviceResult(device.name, files)

    async def ask_all() -> list[DeviceResult]:
        remote = [device for device in devices if device.name != "local"]
        results = dict(zip(remote, await asyncio.gather(*map(ask, remote)), strict=True))
        for device in devices:
            if device not in results:
                results[device] = await ask(device)
        return [results[device] for device in devices]

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return tuple(asyncio.run(ask_all()))
    with ThreadPoolExecutor(1) as thread:  # in a notebook a loop runs here already, and a thread has one
        return tuple(thread.submit(lambda: asyncio.run(ask_all())).result())
