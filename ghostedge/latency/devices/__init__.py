"""The places where a model is timed: this machine, or one that is reached by ssh or adb."""

from __future__ import annotations

from ghostedge.latency.devices.base import BenchmarkRequest, Device, DeviceResult, device_folder, run
from ghostedge.lazy import choose, resolve

__all__ = ["DEVICES", "BenchmarkRequest", "Device", "DeviceResult", "device_folder", "open_device", "run"]

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
