"""What a program sees of the ARM64 CPUs that are emulated here: features, part numbers, caches, clocks.

The runtimes choose kernels by what they see. The `cpuinfo` library, which LiteRT, ExecuTorch and ONNX Runtime contain,
reads the part number from /proc/cpuinfo, the features from AT_HWCAP, which QEMU gives, and cores and caches from
/sys/devices/system/cpu; XNNPACK then takes the kernels of that core, and tiles by its first-level cache. With an x86
machine's files it takes those for any ARM64 processor, and LiteRT 2.2.0 and 2.3.0 crash.

Sources: /proc/cpuinfo and /sys of the two boards; for the phone the Snapdragon 8 Gen 1, whose kernel leaves SVE out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict


@dataclass(frozen=True)
class Profile:
    """One core as Linux describes it to programs.

    Attributes:
        cpu: its name; `--cpu` takes this or `board`.
        board: short name of the device that it is in.
        device: where it is found.
        qemu: value of QEMU's ``-cpu``.
        features: as /proc/cpuinfo lists them.
        midr: the main ID register: implementer, variant, architecture, part, revision.
        caches: kilobytes of the level 1 data and instruction cache, of level 2, and of level 3 (0: none).
        shared_l2: whether the cores share the level 2 cache.
        khz: lowest and highest clock.
    """

    cpu: str
    board: str
    device: str
    qemu: str
    features: str
    midr: int
    caches: tuple[int, int, int, int]
    shared_l2: bool
    khz: tuple[int, int]

    @property
    def part(self) -> int:
        """Part number, e.g. 0xd0b."""
        return self.midr >> 4 & 0xFFF


_ARMV8_2 = "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm"

_ALL = (
    Profile(
        "cortex-a72",
        "pi4",
        "Raspberry Pi 4",
        qemu="cortex-a72",
        features="fp asimd evtstrm crc32 cpuid",
        midr=0x410FD083,
        caches=(32, 48, 1024, 0),
        shared_l2=True,
        khz=(600_000, 1_500_000),
    ),
    Profile(
        "cortex-a76",
        "pi5",
        "Raspberry Pi 5",
        qemu="cortex-a76",
        features=f"{_ARMV8_2} lrcpc dcpop asimddp",
        midr=0x414FD0B1,
        caches=(64, 64, 512, 2048),
        shared_l2=False,
        khz=(1_500_000, 2_400_000),
    ),
    Profile(
        "cortex-a710",
        "phone",
        "phones of 2022, beside the one fastest core",
        # QEMU 7.2 has no core of 2021. Its `max` has every extension; what this one lacks for programs is taken away.
        qemu="max,sve=off,sme=off,pauth-impdef=on",
        features=(
            f"{_ARMV8_2} jscvt fcma lrcpc dcpop sha3 sm3 sm4 asimddp sha512 asimdfhm dit uscat ilrcpc flagm ssbs sb "
            "paca pacg dcpodp flagm2 frint i8mm bf16 bti"
        ),
        midr=0x412FD470,
        caches=(64, 64, 512, 6144),
        shared_l2=False,
        khz=(633_600, 2_496_000),
    ),
)

#: Name of a CPU -> its profile.
PROFILES = {profile.cpu: profile for profile in _ALL}

_CORES = 4
_CORE_LIST = f"0-{_CORES - 1}\n"

#: Feature -> its bit of AT_HWCAP or AT_HWCAP2 (<asm/hwcap.h>): those by which the runtimes choose kernels.
_HWCAP = {"atomics": 8, "fphp": 9, "asimdhp": 10, "asimdrdm": 12, "asimddp": 20, "sve": 22, "asimdfhm": 23}
_HWCAP2 = {"sve2": 1, "i8mm": 13, "bf16": 14, "sme": 23}


def named(name: str) -> Profile:
    """The profile of a CPU or of a board; exits where there is none of that name."""
    for profile in _ALL:
        if name in (profile.cpu, profile.board):
            return profile
    known = ", ".join(f"{profile.cpu} ({profile.board})" for profile in _ALL)
    raise SystemExit(f"--cpu {name}: not known; known are {known}")


def files(profile: Profile, vendor_line: str = "") -> dict[str, str]:
    """Path below the root -> text, of every file that a runtime reads to know its CPU.

    Args:
        profile: the CPU.
        vendor_line: a line of this machine's /proc/cpuinfo, left in it for those who ask whether the CPU is emulated.
    """
    midr = profile.midr
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {profile.features}\nCPU implementer\t: {midr >> 24:#04x}\n"
        f"CPU architecture: 8\nCPU variant\t: {midr >> 20 & 0xF:#x}\nCPU part\t: {profile.part:#x}\n"
        f"CPU revision\t: {midr & 0xF}\n"
    )
    listed = [f"processor\t: {number}\n{core}" for number in range(_CORES)]
    cpus = "sys/devices/system/cpu"
    found = {"proc/cpuinfo": "\n".join([*listed, *([vendor_line] if vendor_line else [])])}
    found |= {f"{cpus}/{name}": _CORE_LIST for name in ("possible", "present", "online")}
    found[f"{cpus}/kernel_max"] = f"{_CORES - 1}\n"
    for number in range(_CORES):
        found |= {f"{cpus}/cpu{number}/{name}": text for name, text in _of_core(profile, number)}
    return found


def _of_core(profile: Profile, number: int) -> Iterator[tuple[str, str]]:
    yield "regs/identification/midr_el1", f"{profile.midr:#018x}\n"
    for name, khz in zip(("min", "max"), profile.khz, strict=True):
        yield f"cpufreq/cpuinfo_{name}_freq", f"{khz}\n"
    alone = f"{number}\n"
    topology = {"physical_package_id": "0\n", "core_id": alone, "core_cpus_list": alone, "thread_siblings_list": alone}
    topology |= dict.fromkeys(("core_siblings_list", "cluster_cpus_list", "package_cpus_list"), _CORE_LIST)
    yield from ((f"topology/{name}", text) for name, text in topology.items())
    kinds = ((1, "Data", False), (1, "Instruction", False), (2, "Unified", profile.shared_l2), (3, "Unified", True))
    for index, (kilobytes, (level, kind, shared)) in enumerate(zip(profile.caches, kinds, strict=True)):
        if kilobytes:
            described = {"level": level, "type": kind, "size": f"{kilobytes}K", "coherency_line_size": 64}
            yield from ((f"cache/index{index}/{name}", f"{value}\n") for name, value in described.items())
            yield f"cache/index{index}/shared_cpu_list", _CORE_LIST if shared else alone


class Seen(TypedDict):
    """What a program in the emulator says of its CPU."""

    cpuinfo: str
    possible: str
    hwcap: tuple[int, int]


def seen() -> Seen:
    """Ask for it; runs inside the emulator."""
    import ctypes

    ask = ctypes.CDLL(None).getauxval
    ask.argtypes, ask.restype = [ctypes.c_ulong], ctypes.c_ulong
    at_hwcap, at_hwcap2 = 16, 26  # <elf.h>
    return {
        "cpuinfo": Path("/proc/cpuinfo").read_text(),
        "possible": Path("/sys/devices/system/cpu/possible").read_text(),
        "hwcap": (ask(at_hwcap), ask(at_hwcap2)),
    }


def faults(profile: Profile, found: Seen) -> list[str]:
    """What a program sees otherwise than it would on `profile`'s device; each one would change the kernels."""
    lines = [line.partition(":") for line in found["cpuinfo"].splitlines()]
    parts = {value.strip() for name, _, value in lines if name.strip() == "CPU part"}
    features = {value.strip() for name, _, value in lines if name.strip() == "Features"}
    said = []
    if parts != {f"{profile.part:#x}"}:
        said.append(f"/proc/cpuinfo has CPU part {', '.join(sorted(parts)) or 'none'}, not {profile.part:#x}")
    if features != {profile.features}:
        said.append("/proc/cpuinfo lists other features")
    if found["possible"] != _CORE_LIST:
        said.append(f"/sys has CPUs {found['possible'].strip()}, not {_CORE_LIST.strip()}")
    intended = set(profile.features.split())
    for bits, known in zip(found["hwcap"], (_HWCAP, _HWCAP2), strict=True):
        for name, bit in known.items():
            if bool(bits >> bit & 1) != (name in intended):
                said.append(f"QEMU's CPU {'lacks' if name in intended else 'has'} {name}")
    return said
