"""Benchmark and verify models on devices by one call."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from ghostedge.data.golden import SUFFIX, golden_beside, read_golden
from ghostedge.errors import UsageError
from ghostedge.files import scratch_folder
from ghostedge.latency.devices import BenchmarkRequest, Device, open_device, run
from ghostedge.latency.records import read_record
from ghostedge.model import Model

__all__ = ["DeviceRecord", "Measured", "Models", "RunSettings", "benchmark", "verify"]

#: Models that a device can run: ``.tflite``, ``.xml`` or ``.onnx``.
Models: TypeAlias = "Model | Path | str | Iterable[Model | Path | str]"

#: Settings of a connection -> the kinds of devices that take them.
_TAKEN_BY = {"python": ("ssh", "adb"), "identity": ("ssh",), "known_hosts": ("ssh",), "fixed_performance": ("adb",)}


@dataclass(frozen=True)
class RunSettings:
    """Where models are run, and how.

    Attributes:
        devices: ``"local"``, ``"ssh:USER@HOST[:PORT]"`` or ``"adb:SERIAL"``.
        threads: one run each.
        xnnpack: ``"on"``, ``"off"`` or ``"both"``, for ``.tflite``.
        precision_hint: ``"f32"``, ``"f16"``, ``"bf16"`` or ``"default"``, for OpenVINO; None for ``"f32"``.
        python: the Python on the devices: None for ``python3`` by ssh, and for the demo app by adb.
        identity: the private key for ssh; None for what ssh would choose.
        known_hosts: the file of hosts for ssh; None for ``~/.ssh/known_hosts``.
        fixed_performance: measure at fixed clocks, by adb (Android 11 or newer).
    """

    devices: Sequence[str] = ("local",)
    threads: Sequence[int] = (1,)
    xnnpack: Literal["on", "off", "both"] = "on"
    precision_hint: str | None = None
    python: str | None = None
    identity: Path | None = None
    known_hosts: Path | None = None
    fixed_performance: bool = False

    def options(self, **further: Any) -> tuple[str, ...]:
        """The options of edge_benchmark.py; of `further` those that are given, True for one without a value."""
        words = ["--xnnpack", self.xnnpack]
        for name, value in {"precision_hint": self.precision_hint, **further}.items():
            if value is not None and value is not False:
                words += [f"--{name.replace('_', '-')}", *([] if value is True else [str(value)])]
        return tuple(words)


#: This machine, one thread.
LOCAL = RunSettings()


@dataclass(frozen=True)
class DeviceRecord:
    """One run of one model on one device.

    Attributes:
        device: the device's name.
        path: the record's file; gone after a `verify` that keeps none.
        content: the record, as ``latency_record.schema.json`` or, of `verify`, ``verification_record.schema.json``
            describes it.
    """

    device: str
    path: Path
    content: Mapping[str, Any]

    @property
    def correct(self) -> bool | None:
        """Whether the model's answers were right there; None where they were not checked."""
        found = self.content["verification"]
        return None if not found else bool(found["correct"])


@dataclass(frozen=True)
class Measured:
    """What came from the devices.

    Attributes:
        records: one a run.
        errors: (device, reason) of what failed; the records of other runs and devices are there all the same.
    """

    records: tuple[DeviceRecord, ...]
    errors: tuple[tuple[str, str], ...] = ()

    @property
    def exit_code(self) -> Literal[0, 1, 2]:
        """0; 1 when a device or a run failed; 2 when answers are wrong."""
        return 1 if self.errors else 2 if any(record.correct is False for record in self.records) else 0


def benchmark(
    models: Models,
    output: Path | str,
    settings: RunSettings = LOCAL,
    *,
    golden: Path | str | None = "beside",
    image: Path | str | None = None,
    cpus: str | None = None,
    quick: bool = False,
    sustained: float | None = None,
    resume: bool = False,
    on_progress: Callable[[str, str], None] = lambda device, text: None,
) -> Measured:
    """Time models on this machine and on devices; where golden vectors lie beside a model, check its answers first.

    >>> import ghostedge
    >>> done = ghostedge.benchmark("model_fp32.tflite", "latency", quick=True)
    >>> [record] = done.records
    >>> record.device, record.content["settings"]["threads"], record.content["latency_ms"]["p50"] > 0
    ('local', 1, True)

    Args:
        models: one or several ``.tflite``, ``.xml`` or ``.onnx`` files.
        output: the folder for the records, JSON, in a folder of its own for each device.
        settings: where, and how.
        golden: golden vectors; ``"beside"`` for those beside each model, None to check nothing.
        image: a photo whose decoding and preprocessing are timed too.
        cpus: the CPUs of the device to run on: ``"0-3"`` or ``"big"``.
        quick: take a few seconds a run; the records are marked as not valid.
        sustained: go on for so many minutes and record the curve.
        resume: leave out runs whose record is already in `output` (local).
        on_progress: called with a device's name and a line of text.

    Raises:
        ArtifactError: a model or golden file is missing or damaged, or cannot be timed.
        UsageError: no model, a device that does not exist, or a setting that none of the devices takes.
    """
    paths = _paths(models)
    goldens = _goldens(paths, golden)
    options = settings.options(cpus=cpus, sustained=sustained, quick=quick, resume=resume)
    return _measure(
        paths, goldens, Path(output), settings, options, None if image is None else Path(image), on_progress
    )


def verify(
    models: Models,
    settings: RunSettings = LOCAL,
    *,
    golden: Path | str | None = None,
    min_snr_db: float | None = None,
    min_top1_agreement: float | None = None,
    output: Path | str | None = None,
    on_progress: Callable[[str, str], None] = lambda device, text: None,
) -> Measured:
    """Check that models give MindSpore's answers to golden vectors, on this machine or on devices.

    >>> import ghostedge
    >>> done = ghostedge.verify("model_fp32.tflite")
    >>> [(record.device, record.correct) for record in done.records]
    [('local', True)]

    Args:
        models: one or several ``.tflite``, ``.xml`` or ``.onnx`` files.
        settings: where, and how.
        golden: golden vectors (``NAME.golden.npz``); None for those beside each model.
        min_snr_db: instead of the model's own bound, dB.
        min_top1_agreement: instead of the model's own bound, 0..1.
        output: keep the records here; None to keep none.
        on_progress: called with a device's name and a line of text.

    Raises:
        ArtifactError: a model or golden file is missing or damaged, or cannot be run.
        UsageError: there is no model, or no golden vectors; a bound, device or setting that makes no sense.
    """
    if min_snr_db is not None and not math.isfinite(min_snr_db):
        raise UsageError(f"--min-snr-db is {min_snr_db}; it must be a finite number of decibels")
    if min_top1_agreement is not None and not 0 <= min_top1_agreement <= 1:
        raise UsageError(f"--min-top1-agreement is {min_top1_agreement:g}; it is a share, from 0 to 1")
    paths = _paths(models)
    goldens = _goldens(paths, golden or "beside")
    for path, own in zip(paths, goldens, strict=True):
        if own is None and path.exists():
            raise UsageError(
                f"no golden vectors lie beside {path} (NAME{SUFFIX}, which ghostedge export writes); name the file "
                "with --golden"
            )
    options = settings.options(verify_only=True, min_snr_db=min_snr_db, min_top1_agreement=min_top1_agreement)
    with scratch_folder(prefix="ghostedge-verify-") as scratch:
        return _measure(paths, goldens, Path(output or scratch), settings, options, None, on_progress)


def _paths(models: Models) -> list[Path]:
    """The files of the models. Raises: UsageError where there is none: nothing would be wrong with nothing."""
    several = [models] if isinstance(models, Model | Path | str) else models
    if not (paths := [model.path if isinstance(model, Model) else Path(model) for model in several]):
        raise UsageError("there is no model to run; name at least one")
    return paths


def _goldens(paths: Sequence[Path], golden: Path | str | None) -> list[Path | None]:
    """The golden file for each model. Raises: ArtifactError for a damaged one."""
    own = None if golden is None else Path(golden)
    found = [golden_beside(path) if golden == "beside" else own for path in paths]
    for file in dict.fromkeys(found):
        if file is not None:
            read_golden(file)  # here, and not on each device
    return found


def _measure(
    paths: Sequence[Path],
    goldens: Sequence[Path | None],
    output: Path,
    settings: RunSettings,
    options: tuple[str, ...],
    image: Path | None,
    on_progress: Callable[[str, str], None],
) -> Measured:
    """Run the script on every device, once for all models that have the same golden file."""
    devices = _open_devices(settings)
    requests = []
    for golden in dict.fromkeys(goldens):
        same = tuple(path for path, own in zip(paths, goldens, strict=True) if own == golden)
        requests.append(BenchmarkRequest(same, tuple(settings.threads), image, options, golden))
    files: dict[tuple[str, Path], None] = {}
    errors: list[tuple[str, str]] = []
    for request in requests:
        for result in run(devices, request, output, on_progress):
            files |= {(result.device, path): None for path in result.files}
            errors += [(result.device, result.error)] if result.error else []
    return Measured(tuple(DeviceRecord(device, path, read_record(path)) for device, path in files), tuple(errors))


def _open_devices(settings: RunSettings) -> list[Device]:
    """Each device, with the options that its kind takes. Raises: UsageError for one that none of them takes."""
    given = {key: value for key in _TAKEN_BY if (value := getattr(settings, key))}
    names = [settings.devices] if isinstance(settings.devices, str) else settings.devices
    kinds = {name: name.partition(":")[0] for name in names}
    for key in given:
        if not {*kinds.values()} & set(_TAKEN_BY[key]):
            where = " or ".join({"ssh": "ssh:USER@HOST", "adb": "adb:SERIAL"}[kind] for kind in _TAKEN_BY[key])
            raise UsageError(f"--{key.replace('_', '-')}: only for --device {where}")
    return [
        open_device(name, **{key: value for key, value in given.items() if kind in _TAKEN_BY[key]})
        for name, kind in kinds.items()
    ]
