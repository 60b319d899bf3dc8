"""Which artifact a device gets: the cheapest that was measured there, of those that lose little and can be made."""

from __future__ import annotations

from pathlib import Path

import pytest

from ghostedge.errors import UsageError
from ghostedge.pipeline import devices
from ghostedge.pipeline.devices import DEVICES, DROPS, Device, choose_artifact
from ghostedge.pipeline.recipe import recipes

GUIDE = Path(__file__).parents[2] / "export" / "README.md"


def test_every_figure_is_of_a_recipe_whose_loss_is_known() -> None:
    for device in DEVICES.values():
        assert device.costs.keys() <= recipes().keys() & DROPS.keys()


@pytest.mark.parametrize("device", DEVICES)
def test_the_cheapest_is_taken_and_nothing_that_needs_images_without_them(device: str) -> None:
    costs = DEVICES[device].costs
    best, plain = choose_artifact(device, calibrated=True), choose_artifact(device, calibrated=False)
    assert costs[best.recipe] == min(costs.values())
    assert best.better == ""
    assert not plain.recipe.endswith("int8")
    assert plain.better == (best.recipe if best.recipe != plain.recipe else "")


def test_what_loses_more_is_not_taken_however_cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    costs = {"tflite_fp32": 4.0, "tflite_fp16": 3.0, "tflite_dynamic": 2.0, "tflite_int8": 1.0}
    monkeypatch.setattr(devices, "DEVICES", {"board": Device("a board", "{:.0f} M", False, costs)})
    drops = {"tflite_fp32": (0.0, 0.1), "tflite_fp16": (0.0, 0.1)}
    found = {}
    for int8, dynamic in (((0.5, 1.0), (0, 0)), ((0.51, 0.6), (0.4, 0.9)), ((0.6, 1.1), (0.4, 1.1))):
        monkeypatch.setattr(devices, "DROPS", drops | {"tflite_int8": int8, "tflite_dynamic": dynamic})
        found[int8] = choose_artifact("board", calibrated=True).recipe
    assert list(found.values()) == ["tflite_int8", "tflite_dynamic", "tflite_fp16"]


def test_of_two_that_cost_the_same_the_more_accurate_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for worse, better in (("tflite_fp32", "tflite_int8"), ("tflite_int8", "tflite_fp32")):
        monkeypatch.setattr(devices, "DEVICES", {"board": Device("a board", "{:.0f} M", False, {worse: 1, better: 1})})
        monkeypatch.setattr(devices, "DROPS", {worse: (0.2, 0.3), better: (0.1, 0.4)})
        assert choose_artifact("board", calibrated=True).recipe == better


def test_the_reason_is_told_and_what_images_would_bring() -> None:
    said = str(devices.Choice("pi4", "tflite_fp32", better="tflite_int8"))
    assert said.startswith("for pi4 (Raspberry Pi 4, Cortex-A72): tflite_fp32, ")
    assert "0.00 points of top-1 lost on the demo; with --calibration tflite_int8: " in said


def test_a_device_that_is_not_known_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown device 'pi6'; did you mean 'pi5'"):
        choose_artifact("pi6", calibrated=True)


def test_the_guide_has_the_same_figures() -> None:
    rows = {
        cells[0].strip("` "): cells[1:]
        for line in GUIDE.read_text("utf-8").partition("## Which to take")[2].splitlines()
        if line.startswith("| `") and len(cells := [cell.strip() for cell in line.strip("| ").split("|")]) == 6
    }
    assert rows.keys() == {name for device in DEVICES.values() for name in device.costs}
    for name, (*costs, drop) in rows.items():
        expected = [device.costs.get(name) for device in DEVICES.values()]
        assert costs == ["" if cost is None else f"{cost:g}" for cost in expected], name
        assert drop == "{:.2f} (up to {:.2f})".format(*DROPS[name]), name
