"""Ask the kernel what the device is and what it is doing."""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ghostedge.latency.edge import BenchmarkError, Record

#: Bits of the Raspberry Pi firmware's get_throttled; the same 16 bits higher: since boot.
_THROTTLED_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}
#: Where the kernel tells about the device.
SYS, PROC = Path("/sys"), Path("/proc")


def read_text(path: Path | str, default: Any = None) -> Any:
    """A small file's text without the end of line and zero bytes; `default` where it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().replace("\0", "\n").strip()
    except OSError:
        return default


def read_number(path: Path | str) -> float | None:
    """A number from a small file, or None."""
    try:
        return float(read_text(path, ""))
    except ValueError:
        return None


def said_by(*command: str) -> str | None:
    """What a command prints, or None where it does not exist or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.decode("utf-8", "replace").strip() or None


def is_android() -> bool:
    """Whether this Python is built for Android (Termux); that of a Debian inside Termux is not."""
    return hasattr(sys, "getandroidapilevel")


def is_emulated() -> bool:
    """Whether this is an ARM program on a processor that is not ARM (QEMU's user mode): its times mean nothing.

    The kernel of such a machine still describes the real processor.
    """
    if platform.machine() not in ("aarch64", "arm64", "armv7l", "armv8l"):
        return False
    modalias = read_text(SYS / "devices/system/cpu/modalias", "")
    return modalias.startswith("cpu:type:x86") or "vendor_id" in read_text(PROC / "cpuinfo", "")


def cpu_folders() -> list[Path]:
    """The folders of the CPUs in sysfs, in order."""
    folders = (SYS / "devices/system/cpu").glob("cpu[0-9]*")
    return sorted(folders, key=lambda folder: int(folder.name[len("cpu") :]))


def per_cpu(name: str, divisor: float | None = None) -> list[Any] | None:
    """One value a CPU from its cpufreq folder; None where the system does not tell."""
    values = []
    for folder in cpu_folders():
        path = folder / "cpufreq" / name
        number = read_number(path) if divisor else None
        values.append(read_text(path) if divisor is None else None if number is None else number / divisor)
    return values if any(value is not None for value in values) else None


def describe_device() -> Record:
    """What the device is: does not change during a run."""
    cpuinfo = read_text(PROC / "cpuinfo", "")
    fields = dict(line.partition(":")[::2] for line in cpuinfo.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    compatible = read_text(PROC / "device-tree/compatible", "").split()
    memory = read_text(PROC / "meminfo", "").partition("MemTotal:")[2].split()
    system = dict(line.partition("=")[::2] for line in read_text("/etc/os-release", "").splitlines() if "=" in line)
    model = (
        said_by("/system/bin/getprop", "ro.product.model")
        or read_text(PROC / "device-tree/model")
        or read_text(SYS / "class/dmi/id/product_name")
        or None
    )
    soc = said_by("/system/bin/getprop", "ro.soc.model") or (compatible[-1] if compatible else None)
    return {
        "host": platform.node(),
        "model": model,
        "soc": soc,
        "cpu": fields.get("model name") or fields.get("Model") or platform.processor() or None,
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "max_frequency_mhz": per_cpu("cpuinfo_max_freq", 1000),
        "memory_mib": round(int(memory[0]) / 1024) if memory else None,
        "system": system.get("PRETTY_NAME", "").strip('"') or platform.system(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "emulated": is_emulated(),
    }


def throttle_flags() -> Record | None:
    """The Raspberry Pi firmware's flags, now and since boot; None on other devices."""
    # In the file "50005", from the command "throttled=0x50005"; the folders are named otherwise on each board.
    files = list((SYS / "devices/platform").glob("soc*/soc*firmware/get_throttled"))
    text = read_text(files[0]) if files else (said_by("vcgencmd", "get_throttled") or "").partition("=")[2]
    try:
        value = int(text, 16)
    except ValueError:
        return None
    return {
        "value": f"0x{value:x}",
        "now": [name for bit, name in _THROTTLED_BITS.items() if value >> bit & 1],
        "since_boot": [name for bit, name in _THROTTLED_BITS.items() if value >> (bit + 16) & 1],
    }


def temperatures() -> dict[str, float] | None:
    """Thermal zone -> degrees Celsius; None where the system does not tell."""
    found = {}
    for folder in sorted((SYS / "class/thermal").glob("thermal_zone*")):
        value = read_number(folder / "temp")
        if value is not None:
            found[read_text(folder / "type") or folder.name] = value / 1000
    return found or None


def cpu_temperature() -> float | None:
    """The temperature of the processor, degrees Celsius: the hottest zone that is named like one, else the hottest."""
    zones = temperatures() or {}
    named = [v for k, v in zones.items() if any(mark in k.lower() for mark in ("cpu", "soc", "pkg", "core"))]
    return max(named or zones.values(), default=None)


def power() -> Record:
    """Where the power comes from: "mains", "battery" or, as on a Raspberry Pi, None: the system does not tell."""
    source, percent = None, None
    for folder in (SYS / "class/power_supply").glob("*"):
        kind = read_text(folder / "type")
        if kind == "Battery":
            percent = read_number(folder / "capacity")
            discharging = read_text(folder / "status") == "Discharging"
            source = "battery" if discharging else source or "mains"
        elif kind in ("Mains", "USB") and read_text(folder / "online") == "1":
            source = source or "mains"
    return {"source": source, "battery_percent": percent}


def load_average() -> float | None:
    """Of the last minute; None where the system has none."""
    try:
        return round(os.getloadavg()[0], 2)
    except (AttributeError, OSError):
        return None


def snapshot() -> Record:
    """What the device is doing before or after a run."""
    return {
        "time_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "governor": per_cpu("scaling_governor"),
        "frequency_mhz": per_cpu("scaling_cur_freq", 1000),
        "temperature_c": cpu_temperature(),
        "temperatures_c": temperatures(),
        "throttle_flags": throttle_flags(),
        "load_average_1m": load_average(),
        "power": power(),
    }


def glance(seconds: float) -> Record:
    """What the device is doing during a run: only what a few small files tell, for this runs between samples."""
    return {
        "t_s": round(seconds, 2),
        "frequency_mhz": per_cpu("scaling_cur_freq", 1000),
        "temperature_c": cpu_temperature(),
        "load_average_1m": load_average(),
    }


def busy_seconds() -> float | None:
    """Seconds that all CPUs were at work since the system started; None where it does not tell."""
    fields = read_text(PROC / "stat", "").split("\n")[0].split()
    if len(fields) < 9 or fields[0] != "cpu":
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class OtherWork:
    """How many cores other programs, and a hypervisor's other machines, used since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds that all CPUs were at work, that this process was, and of the clock."""
        busy, own = busy_seconds(), os.times()
        return None if busy is None else (busy, own.user + own.system, time.monotonic())

    def cores(self) -> float | None:
        """Cores in use by others on average; None where the system does not tell.

        Android hides the file, and a Debian inside Termux shows one that stands still: then less is at work than
        this process is.
        """
        now = self._now()
        if now is None or self._before is None:
            return None
        busy, own, seconds = (after - before for after, before in zip(now, self._before))
        if seconds <= 0 or busy < own / 2:
            return None
        return round(max(0.0, busy - own) / seconds, 3)


def memory_mib(which: str) -> float | None:
    """Resident memory of this process: ``"VmRSS"`` now or ``"VmHWM"`` at its peak, MiB; None where unknown."""
    fields = read_text(PROC / "self/status", "").partition(which + ":")[2].split()
    return round(int(fields[0]) / 1024, 1) if fields else None


@contextlib.contextmanager
def device_lock(path: Path | None = None) -> Iterator[None]:
    """Hold this device's lock: two benchmarks at once would measure each other."""
    path = path or Path(tempfile.gettempdir()) / "ghostedge-benchmark.lock"
    busy = BenchmarkError(f"another benchmark is running on this device (it holds {path}); wait for it")
    # Opened for reading where it exists: a file of another user in /tmp may be locked, but not opened for writing.
    try:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        except FileExistsError:
            handle = os.open(path, os.O_RDONLY)
    except OSError as exc:
        raise BenchmarkError(f"cannot make the lock {path}: {exc.strerror}") from exc
    try:
        try:
            import fcntl
        except ImportError:  # Windows
            import msvcrt

            try:
                msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
            except OSError:
                raise busy from None
        else:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise busy from None
        yield
    finally:
        os.close(handle)
