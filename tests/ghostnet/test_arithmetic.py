"""The arithmetic that is asked for is what MindSpore is told, by the functions it has, and what it says is recorded."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ghostedge.errors import UsageError
from ghostedge.ghostnet import arithmetic as module
from ghostedge.ghostnet import cell
from ghostedge.ghostnet.arithmetic import Arithmetic, casts_network, set_arithmetic

Call = tuple[Any, ...]


class FakeMindSpore(SimpleNamespace):
    """What MindSpore's functions keep, and the calls in their order: of version 2.5 and newer, or of before."""

    def __init__(self, target: str, *, old: bool = False, cards: int = 8) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.context: dict[str, Any] = {"device_target": "CPU", "conv_allow_tf32": True, "matmul_allow_tf32": False}
        self.context |= dict.fromkeys(("precision_mode", "conv_allow_hf32", "matmul_allow_hf32"), "")
        self.hal = SimpleNamespace(
            get_device_name=lambda number, target: f"{target}910B{number}", device_count=lambda target: cards
        )
        if not old:
            self.device_context = SimpleNamespace(
                ascend=self._device(cards), gpu=self._device(cards), cpu=self._device(1)
            )
            self.set_device = self._call("set_device")
            self.set_deterministic = self._call("set_deterministic")

    def _call(self, name: str) -> Callable[..., None]:
        return lambda *values: self.calls.append((name, *values))

    def _device(self, cards: int) -> SimpleNamespace:
        names = ("precision_mode", "conv_allow_hf32", "matmul_allow_hf32", "conv_allow_tf32", "matmul_allow_tf32")
        functions = {name: self._setting(name) for name in names}
        return SimpleNamespace(op_precision=SimpleNamespace(**functions), device_count=lambda: cards)

    def _setting(self, name: str) -> Callable[[Any], None]:
        def set_it(value: Any) -> None:
            self.calls.append((name, value))
            self.context[name] = {True: "1", False: "0"}.get(value, value) if "hf32" in name else value

        return set_it

    def set_context(self, **values: Any) -> None:
        self.calls.append(("set_context", values))
        for group in ("ascend_config", "gpu_config"):
            for name, value in values.get(group, {}).items():
                self.context[name] = {True: "1", False: "0"}.get(value, value) if "hf32" in name else value

    def get_context(self, name: str) -> Any:
        return self.context[name]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., FakeMindSpore]:
    (tmp_path / "cpuinfo").write_text("model name : AMD EPYC\nflags\t\t: fpu sse4_1 avx avx2 fma\n")
    monkeypatch.setattr(module, "CPU", tmp_path / "cpuinfo")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)

    def make(target: str, **what: Any) -> FakeMindSpore:
        ms = FakeMindSpore(target, **what)
        conf = SimpleNamespace(
            get_instance=lambda: SimpleNamespace(
                **{name: lambda name=name: ms.context[name] for name in ms.context if name != "device_target"}
            )
        )
        modules = {"mindspore": ms, "mindspore._c_expression": SimpleNamespace(AscendOpPrecisionConf=conf)}
        for room in (module, cell):
            monkeypatch.setattr(room, "require", lambda name, extra: modules[name])
        return ms

    return make


STRICT_ASCEND: dict[str, str | bool] = {
    "precision_mode": "must_keep_origin_dtype",
    "conv_allow_hf32": False,
    "matmul_allow_hf32": False,
}


@pytest.mark.parametrize(
    ("target", "asked", "calls", "reported"),
    [
        ("Ascend", "float32", list(STRICT_ASCEND.items()), STRICT_ASCEND),
        ("Ascend", "default", [], dict.fromkeys(STRICT_ASCEND, "not set")),
        (
            "Ascend",
            "float16",
            [("precision_mode", "force_fp16")],
            {**dict.fromkeys(STRICT_ASCEND, "not set"), "precision_mode": "force_fp16"},
        ),
        (
            "GPU",
            "float32",
            [("conv_allow_tf32", False), ("matmul_allow_tf32", False)],
            {"conv_allow_tf32": False, "matmul_allow_tf32": False},
        ),
        ("GPU", "default", [], {"conv_allow_tf32": True, "matmul_allow_tf32": False}),
        ("GPU", "float16", [], {"conv_allow_tf32": True, "matmul_allow_tf32": False, "network": "float16"}),
        ("CPU", "float32", [], {"instructions": "avx2"}),
        ("CPU", "float16", [], {"network": "float16", "instructions": "avx2"}),
    ],
)
@pytest.mark.parametrize("old", [False, True], ids=["2.5 and newer", "set_context"])
def test_each_device_is_told_what_it_has(
    old: bool,
    target: str,
    asked: str,
    calls: list[Call],
    reported: dict[str, Any],
    fake: Callable[..., FakeMindSpore],
) -> None:
    ms = fake(target, old=old)
    found = set_arithmetic(target, 3, asked)
    assert ms.calls == (
        calls if not old else [("set_context", {f"{target.lower()}_config": dict(calls)})] if calls else []
    )
    assert (found.asked, found.settings, found.deterministic) == (asked, reported, False)
    assert (found.card, found.device_ids) == ((None, ()) if target == "CPU" else (f"{target}910B3", (3,)))
    assert casts_network(target, asked) is ("network" in reported)


def test_deterministic_computing_is_asked_for_in_both_ways(fake: Callable[..., FakeMindSpore]) -> None:
    ms = fake("CPU")
    assert set_arithmetic("CPU", asked="float32", deterministic=True).deterministic
    assert ms.calls == [("set_deterministic", True)]
    ms = fake("CPU", old=True)
    set_arithmetic("CPU", asked="float32", deterministic=True)
    assert ms.calls == [("set_context", {"deterministic": "ON"})]


def test_an_arithmetic_that_is_none(fake: Callable[..., FakeMindSpore]) -> None:
    fake("CPU")
    with pytest.raises(UsageError, match="unknown arithmetic 'float23'; did you mean 'float32'"):
        set_arithmetic("CPU", asked="float23")


def test_another_arithmetic_in_the_same_process_is_one_line(fake: Callable[..., FakeMindSpore]) -> None:
    """MindSpore takes a setting once."""
    ms = fake("Ascend")

    def repeated(value: str) -> None:
        raise RuntimeError("The 'precision_mode' can not be set repeatedly.\n\nmore")

    ms.device_context.ascend.op_precision.precision_mode = repeated
    with pytest.raises(UsageError, match=r"does not take the arithmetic float32 on Ascend .*set repeatedly\.$"):
        set_arithmetic("Ascend")


@pytest.mark.parametrize("old", [False, True], ids=["2.5 and newer", "set_context"])
def test_a_card_is_set_by_its_number_and_must_be_there(old: bool, fake: Callable[..., FakeMindSpore]) -> None:
    ms = fake("Ascend", old=old, cards=4)
    cell.mindspore_on("Ascend", 3)
    where = {"device_target": "Ascend", "device_id": 3}
    assert ms.calls == [("set_context", where) if old else ("set_device", "Ascend", 3)]
    with pytest.raises(UsageError, match=r"^there is no Ascend 4 here: 4 are, numbered from 0$"):
        cell.mindspore_on("Ascend", 4)
    ms = fake("CPU", old=old)
    cell.mindspore_on("CPU", 7)  # a CPU is one, whatever its number
    assert ms.calls == [("set_context", {"device_target": "CPU"}) if old else ("set_device", "CPU")]


def test_the_software_below_is_recorded_where_it_says_its_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Callable[..., FakeMindSpore]
) -> None:
    (tmp_path / "compiler").mkdir()
    (tmp_path / "compiler" / "version.info").write_text("Name=compiler\nVersion=8.2.0.1\ninner=1\n")
    (tmp_path / "driver.info").write_text("Version=25.0.rc1\nascendhal_version=7\n")
    (tmp_path / "nvidia").write_text(
        "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19 01:15:15\nGCC version: 12.3.0\n"
    )
    (tmp_path / "maps").write_text("7f r-xp 0 /usr/lib/libcudart.so.11.6.55\n7e r--p 0 /usr/lib/libcudnn.so.8.5.0\n")
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path))
    monkeypatch.setattr(module, "ASCEND_DRIVER", tmp_path / "driver.info")
    monkeypatch.setattr(module, "NVIDIA_DRIVER", tmp_path / "nvidia")
    monkeypatch.setattr(module, "LOADED_LIBRARIES", tmp_path / "maps")
    fake("Ascend")
    assert set_arithmetic("Ascend").versions == {"cann": "8.2.0.1", "driver": "25.0.rc1"}
    fake("GPU")
    assert set_arithmetic("GPU").versions == {"driver": "535.104.05", "cuda": "11.6.55", "cudnn": "8.5.0"}
    monkeypatch.setattr(module, "NVIDIA_DRIVER", tmp_path / "absent")
    assert "driver" not in set_arithmetic("GPU").versions


def test_the_instructions_of_the_cpu_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake: Callable[..., FakeMindSpore]
) -> None:
    """They decide the last bits: measured, 64 of 64 images, by 3e-6 at most, and no flip."""
    fake("CPU")
    (tmp_path / "cpuinfo").write_text("flags\t\t: sse4_1 avx2 avx512f\n")
    assert set_arithmetic("CPU").settings == {"instructions": "avx512f"}
    (tmp_path / "cpuinfo").write_text("Features\t: fp asimd evtstrm\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert set_arithmetic("CPU").settings == {"instructions": "asimd", "onednn_max_cpu_isa": "AVX2"}
    monkeypatch.setattr(module, "CPU", tmp_path / "absent")
    assert set_arithmetic("CPU").settings["instructions"] == "unknown"


def test_in_words() -> None:
    assert str(Arithmetic("float32")) == "float32"
    strict = Arithmetic("float32", STRICT_ASCEND, deterministic=True)
    assert str(strict) == (
        "float32 (conv_allow_hf32 False, matmul_allow_hf32 False, precision_mode must_keep_origin_dtype, deterministic)"
    )


# -- MindSpore's own functions --------------------------------------------------------------------------------------


@pytest.fixture
def ms() -> Any:
    return pytest.importorskip("mindspore")


def test_mindspores_own_functions_take_what_they_are_given(ms: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """They run down to the object that an Ascend or GPU package brings, which is the only thing stood in for."""
    kept: dict[str, Any] = {}

    def conf(names: tuple[str, ...], setter: str) -> Any:
        made: dict[str, Any] = {}
        for name in names:
            made[f"is_{name}_configured"] = lambda name=name: name in kept
            made[f"{setter}{name}"] = lambda value, name=name: kept.__setitem__(name, value)
            made.setdefault(name, lambda name=name: kept.get(name, ""))
        return SimpleNamespace(get_instance=lambda: SimpleNamespace(**made))

    ascend = ("precision_mode", "conv_allow_hf32", "matmul_allow_hf32")
    stand_ins = {
        "ascend": ("AscendOpPrecisionConf", conf(ascend, "set_")),
        "gpu": ("GPUOpPrecisionConf", conf(("conv_allow_tf32", "matmul_allow_tf32"), "")),
    }
    for device, (name, stand_in) in stand_ins.items():
        functions = getattr(ms.device_context, device).op_precision
        monkeypatch.setattr(functions, name, stand_in, raising=False)
        monkeypatch.setattr(functions, "_is_supported", lambda: True)
        monkeypatch.setattr(ms._c_expression, name, stand_in, raising=False)
    found = set_arithmetic("Ascend", 0, "float32")
    assert kept == {"precision_mode": "must_keep_origin_dtype", "conv_allow_hf32": "0", "matmul_allow_hf32": "0"}
    assert found.settings == STRICT_ASCEND
    assert set_arithmetic("Ascend", 0, "float32").settings == STRICT_ASCEND, "once more changes nothing"
    with pytest.raises(UsageError, match=r"does not take the arithmetic float16 on Ascend.*set repeatedly"):
        set_arithmetic("Ascend", 0, "float16")
    kept.clear()
    assert set_arithmetic("Ascend", 0, "float16").settings["precision_mode"] == "force_fp16"
    kept.clear()
    assert set_arithmetic("GPU", 0, "float32").settings == {"conv_allow_tf32": False, "matmul_allow_tf32": False}
    assert kept == {"conv_allow_tf32": False, "matmul_allow_tf32": False}


def test_mindspores_own_context_takes_the_older_form(ms: Any) -> None:
    """`set_context(ascend_config=..., gpu_config=...)` passes them to these setters on a machine with the device."""
    context = ms.context._context()
    before = {name: ms.get_context(name) for names in module._REPORTED.values() for name in names}
    try:
        for (target, _), wanted in module._SETTINGS.items():
            getattr(context, f"set_{target.lower()}_config")(dict(wanted))
            for name, value in wanted.items():
                kept = ms.get_context(name)
                assert {"1": True, "0": False}.get(kept, kept) == value
    finally:
        for name, value in before.items():
            context.set_param(ms.context.ms_ctx_param.__members__[name], value)


def test_mindspore_has_the_functions_by_these_names(ms: Any) -> None:
    assert list(inspect.signature(ms.set_device).parameters) == ["device_target", "device_id"]
    assert list(inspect.signature(ms.set_deterministic).parameters) == ["deterministic"]
    assert ms.device_context.cpu.device_count() == 1
    assert list(inspect.signature(ms.hal.get_device_name).parameters) == ["device_id", "device_target"]
