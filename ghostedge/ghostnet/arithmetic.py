"""Set in which arithmetic MindSpore computes on a device, and record what it then says of itself.

What MindSpore does by itself depends on the card and on the version (docs/notes/reference.md has the sources): on
Ascend, convolutions take HF32 (11 bits after the point) in place of float32, and ``precision_mode`` has had three
defaults; on NVIDIA's cards they take TF32 (10 bits). A reference that does not say which it was is one to guess about.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ghostedge.errors import UsageError, first_line
from ghostedge.lazy import choose, require

#: What can be asked for.
ARITHMETICS = ("float32", "default", "float16")

#: (device target, arithmetic) -> MindSpore's settings, by the names that its functions and `set_context` share. What is
#: not here has no setting: "default" leaves all as it is, a CPU computes what the network says, and float16 on CPU and
#: GPU is a matter of the network, whose layers are cast.
_SETTINGS: Mapping[tuple[str, str], Mapping[str, str | bool]] = {
    ("Ascend", "float32"): {
        "precision_mode": "must_keep_origin_dtype",
        "conv_allow_hf32": False,
        "matmul_allow_hf32": False,
    },
    ("Ascend", "float16"): {"precision_mode": "force_fp16"},
    ("GPU", "float32"): {"conv_allow_tf32": False, "matmul_allow_tf32": False},
}

#: Device target -> what it has to report, whether it was set or not.
_REPORTED: Mapping[str, tuple[str, ...]] = {
    "Ascend": ("precision_mode", "conv_allow_hf32", "matmul_allow_hf32"),
    "GPU": ("conv_allow_tf32", "matmul_allow_tf32"),
}

#: Where the drivers say their versions; CANN's place is in the environment (``ASCEND_HOME_PATH``), as MindSpore looks.
ASCEND_DRIVER = Path("/usr/local/Ascend/driver/version.info")
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
LOADED_LIBRARIES = Path("/proc/self/maps")
CPU = Path("/proc/cpuinfo")

#: Vector instructions by which oneDNN, MindSpore's library on CPUs, chooses its code, the widest first: as
#: ``/proc/cpuinfo`` has them. Sums in another order differ in the last bits.
_INSTRUCTIONS = ("avx512f", "avx2", "avx", "sse4_1", "sve", "asimd")


@dataclass(frozen=True)
class Arithmetic:
    """In which arithmetic MindSpore computed, as far as it is known.

    Attributes:
        asked: one of `ARITHMETICS`; another text where a script stood in for a device.
        settings: what MindSpore reports: ``precision_mode``, ``conv_allow_hf32``, ``matmul_allow_hf32`` on Ascend,
            ``conv_allow_tf32``, ``matmul_allow_tf32`` on GPU (``"not set"``: as the device decides), and
            ``network`` where its layers were cast; of a CPU the vector ``instructions`` that it has.
        deterministic: whether deterministic computing was asked for.
        card: the device's name; None on a CPU, or where it is not known.
        versions: of the software below MindSpore: ``cann`` and ``driver``, or ``cuda``, ``cudnn`` and ``driver``.
        device_ids: the cards that the run, or the last of its parts, was given; empty on a CPU. They decide no row.
    """

    asked: str
    settings: Mapping[str, str | bool] = field(default_factory=dict)
    deterministic: bool = False
    card: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    device_ids: tuple[int, ...] = ()

    def __str__(self) -> str:
        """E.g. ``"float32 (conv_allow_hf32 False, precision_mode must_keep_origin_dtype)"``."""
        details = [f"{name} {value}" for name, value in sorted(self.settings.items())]
        details += ["deterministic"] if self.deterministic else []
        return f"{self.asked} ({', '.join(details)})" if details else self.asked


def set_arithmetic(
    device_target: str, device_id: int | None = None, asked: str = "float32", *, deterministic: bool = False
) -> Arithmetic:
    """Set MindSpore's arithmetic on the device that this process uses, before anything runs there.

    Args:
        device_target: ``"CPU"``, ``"GPU"`` or ``"Ascend"``; `ghostedge.ghostnet.cell.mindspore_on` has set it.
        device_id: the card; None for MindSpore's own choice, 0.
        asked: ``"float32"``: no HF32, no TF32, every type as the network has it; ``"default"``: what MindSpore does by
            itself; ``"float16"``: as far as the device goes.
        deterministic: the same inputs give the same outputs, at the price of speed.

    Returns:
        What was asked for and what MindSpore and the device say.

    Raises:
        UsageError: an unknown arithmetic, or MindSpore already computes in another one in this process.
    """
    choose("arithmetic", asked, ARITHMETICS)
    ms = require("mindspore", "mindspore")
    wanted = _SETTINGS.get((device_target, asked), {})
    try:
        _set(ms, device_target, wanted)
        if deterministic:
            _set_deterministic(ms)
    except (RuntimeError, ValueError) as exc:
        raise UsageError(
            f"MindSpore does not take the arithmetic {asked} on {device_target} in this process: {first_line(exc)}"
        ) from exc
    reported = {name: _reported(ms, device_target, name, wanted) for name in _REPORTED.get(device_target, ())}
    if casts_network(device_target, asked):
        reported["network"] = "float16"
    if device_target == "CPU":
        reported |= _instructions()
    on_card = device_target != "CPU"
    number = device_id or 0
    return Arithmetic(
        asked=asked,
        settings=reported,
        deterministic=deterministic,
        card=_card(ms, device_target, number) if on_card else None,
        versions=_versions(device_target),
        device_ids=(number,) if on_card else (),
    )


def casts_network(device_target: str, asked: str) -> bool:
    """Whether the network's own layers must be cast, because the device has no setting for `asked`."""
    return asked == "float16" and (device_target, asked) not in _SETTINGS


def _set(ms: Any, device_target: str, wanted: Mapping[str, str | bool]) -> None:
    """By the functions of MindSpore 2.5 and newer, or by `set_context` before that."""
    functions = _functions(ms, device_target)
    if functions is not None:
        for name, value in wanted.items():
            getattr(functions, name)(value)
    elif wanted:
        ms.set_context(**{f"{device_target.lower()}_config": dict(wanted)})


def _functions(ms: Any, device_target: str) -> Any:
    """The module with the functions that set a device's precision; None before MindSpore 2.5."""
    device = getattr(getattr(ms, "device_context", None), device_target.lower(), None)
    return getattr(device, "op_precision", None)


def _set_deterministic(ms: Any) -> None:
    if not hasattr(ms, "set_deterministic"):
        ms.set_context(deterministic="ON")
        return
    try:
        ms.set_deterministic(True)
    except RuntimeError as exc:  # it may be set once a process, even to what it is
        if "repeatedly" not in str(exc):
            raise


def _reported(ms: Any, device_target: str, name: str, wanted: Mapping[str, str | bool]) -> str | bool:
    """What MindSpore says of a setting.

    Ascend's functions keep their values in an object that can be asked; the GPU's can only be set. What neither holds
    is a parameter of MindSpore's context. Texts "1" and "0" are flags, and no text is no setting.
    """
    value: Any = None
    if device_target == "Ascend" and _functions(ms, device_target) is not None:
        conf = require("mindspore._c_expression", "mindspore").AscendOpPrecisionConf.get_instance()
        value = getattr(conf, name)()
    elif name in wanted and _functions(ms, device_target) is not None:
        value = wanted[name]
    else:
        value = ms.get_context(name)
    texts: Mapping[Any, str | bool] = {"1": True, "0": False, "": "not set", None: "not set"}
    said: str | bool = texts.get(value, value)
    return said


def _instructions() -> dict[str, str | bool]:
    """The CPU's widest vector instructions, and the limit that the environment sets to them."""
    flags = (_find(CPU, r"^(?:flags|Features)\s*:(.*)$") or "").split()
    found: dict[str, str | bool] = {"instructions": next((each for each in _INSTRUCTIONS if each in flags), "unknown")}
    if limit := os.environ.get("ONEDNN_MAX_CPU_ISA"):
        found["onednn_max_cpu_isa"] = limit
    return found


def device_count(device_target: str) -> int:
    """How many devices of this kind MindSpore sees; 1 for the CPU. Raises: UsageError."""
    ms = require("mindspore", "mindspore")
    device = getattr(getattr(ms, "device_context", None), device_target.lower(), None)
    try:
        return int(device.device_count() if device is not None else ms.hal.device_count(device_target))
    except (RuntimeError, ValueError, NameError) as exc:  # NameError: a package without the device's part
        raise UsageError(f"MindSpore sees no {device_target} here: {first_line(exc)}") from exc


def _card(ms: Any, device_target: str, device_id: int) -> str | None:
    """The card's name, as MindSpore gives it."""
    with contextlib.suppress(Exception):  # a name is not worth a run; what fails there is an open set
        return str(ms.hal.get_device_name(device_id, device_target))
    return None


def _versions(device_target: str) -> dict[str, str]:
    """The versions of driver and libraries, as far as they are found."""
    if device_target == "Ascend":
        cann = Path(os.environ.get("ASCEND_HOME_PATH", ""), "compiler", "version.info")
        found = {"cann": _find(cann, r"^Version=(\S+)"), "driver": _find(ASCEND_DRIVER, r"^Version=(\S+)")}
    elif device_target == "GPU":
        found = {
            "driver": _find(NVIDIA_DRIVER, r"Kernel Module.*?\s(\d+\.\d[\d.]*)"),
            "cuda": _find(LOADED_LIBRARIES, r"libcudart\.so\.(\d+\.\d[\d.]*)"),
            "cudnn": _find(LOADED_LIBRARIES, r"libcudnn\.so\.(\d+\.\d[\d.]*)"),
        }
    else:
        found = {}
    return {name: version for name, version in found.items() if version is not None}


def _find(path: Path, pattern: str) -> str | None:
    """The first group of the first match in a text file; None where there is no such file or no match."""
    try:
        match = re.search(pattern, path.read_text(encoding="utf-8", errors="replace"), flags=re.MULTILINE)
    except OSError:
        return None
    return match[1] if match else None
