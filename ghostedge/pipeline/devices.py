"""Choose the artifact for a device: the cheapest there, as measured, of those that keep their accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ghostedge.lazy import choose
from ghostedge.pipeline.plan import needs_calibration
from ghostedge.pipeline.recipe import recipes

__all__ = ["DEVICES", "DROPS", "Choice", "Device", "choose_artifact"]


@dataclass(frozen=True)
class Device:
    """A kind of device, and what one inference costs on it.

    Attributes:
        about: the board and its core, for people.
        unit: of `costs`, with a place for the number.
        float16: whether its cores compute in float16. Where none does, what is made for it is not shaped for that.
        costs: recipe -> cost of one inference of the demo's GhostNetV2-1x, one thread.
    """

    about: str
    unit: str
    float16: bool
    costs: Mapping[str, float]


_CYCLES, _RATIO = "{:.1f} M cycles of a model of its core", "{:.2f} times the time of tflite_fp32"

#: What ``--for`` takes. ARM: model_cycles of ``benchmarks/arm64/cost.py --profile``, emulated cores, LiteRT 2.1.0: a
#: rank and no time, nearer to a board's than instructions (docs/notes/arm64.md). PC: processor time on an AMD EPYC with
#: AVX2 and no VNNI, one thread, in turn, median of 100 rounds.
DEVICES: Mapping[str, Device] = {
    "pi4": Device(
        "Raspberry Pi 4, Cortex-A72",
        _CYCLES,
        False,
        {"tflite_fp32": 67.0, "tflite_fp16": 67.0, "tflite_dynamic": 54.0, "tflite_int8": 40.7, "tflite_mixed": 43.1},
    ),
    "pi5": Device(
        "Raspberry Pi 5, Cortex-A76",
        _CYCLES,
        True,
        {"tflite_fp32": 35.8, "tflite_fp16": 20.4, "tflite_dynamic": 17.9, "tflite_int8": 22.5, "tflite_mixed": 23.4},
    ),
    "phone": Device(
        "a phone, Cortex-A710",
        _CYCLES,
        True,
        {"tflite_fp32": 31.8, "tflite_fp16": 17.6, "tflite_dynamic": 13.4, "tflite_int8": 19.0, "tflite_mixed": 19.3},
    ),
    "pc": Device(
        "an x86 CPU",
        _RATIO,
        False,
        {
            "tflite_fp32": 1.0,
            "tflite_dynamic": 0.9,
            "tflite_int8": 0.95,
            "tflite_mixed": 0.9,
            "openvino_fp32": 1.16,
            "openvino_int8": 1.02,
        },
    ),
}

#: Recipe -> points of top-1 that it loses on the demo's 2,000 images, and the upper end of the 90% interval:
#: ``ghostedge demo``, "Every artifact" of its page. Float16 arithmetic loses no more; not shaped for it, dynamic loses
#: 0.15 (0.41).
DROPS: Mapping[str, tuple[float, float]] = {
    "tflite_fp32": (0.0, 0.15),
    "tflite_fp16": (0.0, 0.15),
    "tflite_dynamic": (0.30, 0.61),
    "tflite_int8": (0.25, 0.70),
    "tflite_mixed": (0.20, 0.59),
    "openvino_fp32": (0.0, 0.15),
    "openvino_int8": (0.15, 0.60),
}

#: Points of top-1 that an artifact may lose to be chosen, and that the interval may reach.
_MAX_DROP, _MAX_UPPER = 0.5, 1.0


@dataclass(frozen=True)
class Choice:
    """The artifact for a device.

    Attributes:
        device: a key of `DEVICES`.
        recipe: what to make.
        better: a recipe that costs less but needs calibration images, which there are none of; else empty.
    """

    device: str
    recipe: str
    better: str = ""

    def __str__(self) -> str:
        known = DEVICES[self.device]
        said = f"for {self.device} ({known.about}): {self.recipe}, {known.unit.format(known.costs[self.recipe])}"
        said += f", {DROPS[self.recipe][0]:.2f} points of top-1 lost on the demo"
        if not self.better:
            return said
        return f"{said}; with --calibration {self.better}: {known.unit.format(known.costs[self.better])}"


def choose_artifact(device: str, calibrated: bool) -> Choice:
    """The recipe whose artifact costs least on a device, of those that lose little.

    What counts is measured on the demo: another network of the family costs more or less, in about these proportions;
    what its own quantised artifacts lose, `ghostedge evaluate` and `parity` say.

    Args:
        device: a key of `DEVICES`.
        calibrated: whether there are images to calibrate on.

    Raises:
        UsageError: no such device.
    """
    costs = DEVICES[choose("device", device, DEVICES)].costs
    accurate = [name for name in costs if DROPS[name][0] <= _MAX_DROP and DROPS[name][1] <= _MAX_UPPER]
    best, *_ = ranked = sorted(accurate, key=lambda name: (costs[name], DROPS[name]))
    if calibrated or not needs_calibration(recipes()[best]):
        return Choice(device, best)
    return Choice(device, next(name for name in ranked if not needs_calibration(recipes()[name])), best)
