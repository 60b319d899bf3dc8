"""What needs no emulator: the profiles of the CPUs, the kinds of instructions, the model of cycles."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.scripts import load_script

ARM64 = Path(__file__).parents[2] / "benchmarks" / "arm64"
_MODULES = ("profiles", "instructions", "model", "profiling", "cost")


@pytest.fixture(scope="module")
def arm64() -> Iterator[SimpleNamespace]:
    """The modules of benchmarks/arm64 by name."""
    yield SimpleNamespace(**{name: load_script(ARM64 / f"{name}.py") for name in _MODULES})
    for name in _MODULES:
        sys.modules.pop(name, None)


# As the GNU assembler encodes them: (instruction, word, kind, bytes moved, on 128 bits).
WORDS = [
    ("ldr q0, [x0]", 0x3DC00000, "load", 16, False),
    ("ldr d0, [x0]", 0xFD400000, "load", 8, False),
    ("ldr x0, [x0]", 0xF9400000, "load", 8, False),
    ("ldrb w0, [x0]", 0x39400000, "load", 1, False),
    ("ldrsw x0, [x0]", 0xB9800000, "load", 4, False),
    ("ldr w0, #0", 0x18000000, "load", 4, False),
    ("ldp q0, q1, [x0]", 0xAD400400, "load", 32, False),
    ("ldp x0, x1, [x0]", 0xA9400400, "load", 16, False),
    ("ld1 {v0.16b-v3.16b}, [x0]", 0x4C402000, "load", 64, False),
    ("ld1r {v0.4s}, [x0]", 0x4D40C800, "load", 4, False),
    ("str q0, [x0]", 0x3D800000, "store", 16, False),
    ("str w0, [x0]", 0xB9000000, "store", 4, False),
    ("stp q0, q1, [x0]", 0xAD000400, "store", 32, False),
    ("st1 {v0.s}[1], [x0]", 0x0D009000, "store", 4, False),
    ("fmla v0.4s, v1.4s, v2.s[0]", 0x4F821020, "float multiply", 0, True),
    ("fmla v0.4s, v1.4s, v2.4s", 0x4E22CC20, "float multiply", 0, True),
    ("fmla v0.2s, v1.2s, v2.2s", 0x0E22CC20, "float multiply", 0, False),
    ("fmla v0.8h, v1.8h, v2.8h", 0x4E420C20, "float multiply", 0, True),
    ("fmla v0.8h, v1.8h, v2.h[0]", 0x4F021020, "float multiply", 0, True),
    ("fmul v0.4s, v1.4s, v2.4s", 0x6E22DC20, "float multiply", 0, True),
    ("fmadd s0, s1, s2, s3", 0x1F020C20, "float multiply", 0, False),
    ("fadd v0.4s, v1.4s, v2.4s", 0x4E22D420, "float", 0, True),
    ("fadd v0.8h, v1.8h, v2.8h", 0x4E421420, "float", 0, True),
    ("fmax v0.4s, v1.4s, v2.4s", 0x4E22F420, "float", 0, True),
    ("fadd s0, s1, s2", 0x1E222820, "float", 0, False),
    ("fdiv v0.4s, v1.4s, v2.4s", 0x6E22FC20, "float divide", 0, True),
    ("scvtf v0.4s, v1.4s", 0x4E21D820, "float convert", 0, True),
    ("fcvtns v0.4s, v1.4s", 0x4E21A820, "float convert", 0, True),
    ("sdot v0.4s, v1.16b, v2.16b", 0x4E829420, "dot", 0, True),
    ("sdot v0.4s, v1.16b, v2.4b[0]", 0x4F82E020, "dot", 0, True),
    ("smmla v0.4s, v1.16b, v2.16b", 0x4E82A420, "matrix", 0, True),
    ("smlal v0.4s, v1.4h, v2.4h", 0x0E628020, "widening multiply", 0, False),
    ("smlal v0.4s, v1.4h, v2.h[0]", 0x0F422020, "widening multiply", 0, False),
    ("smull2 v0.8h, v1.16b, v2.16b", 0x4E22C020, "widening multiply", 0, True),
    ("mul v0.4s, v1.4s, v2.4s", 0x4EA29C20, "vector multiply", 0, True),
    ("sqrdmulh v0.4s, v1.4s, v2.4s", 0x6EA2B420, "vector multiply", 0, True),
    ("srshl v0.4s, v1.4s, v2.4s", 0x4EA25420, "vector shift", 0, True),
    ("shl v0.4s, v1.4s, #1", 0x4F215420, "vector shift", 0, True),
    ("sqxtn v0.4h, v1.4s", 0x0E614820, "vector shift", 0, False),
    ("xtn v0.4h, v1.4s", 0x0E612820, "vector", 0, False),
    ("add v0.4s, v1.4s, v2.4s", 0x4EA28420, "vector", 0, True),
    ("dup v0.4s, w1", 0x4E040C20, "vector", 0, True),
    ("zip1 v0.4s, v1.4s, v2.4s", 0x4E823820, "vector", 0, True),
    ("movi v0.4s, #0", 0x4F000400, "vector", 0, True),
    ("add x0, x1, x2", 0x8B020020, "integer", 0, False),
    ("subs x0, x0, #16", 0xF1004000, "integer", 0, False),
    ("mul x0, x1, x2", 0x9B027C20, "integer multiply", 0, False),
    ("sdiv w0, w1, w2", 0x1AC20C20, "integer multiply", 0, False),
    ("b.ne #0", 0x54000001, "branch", 0, False),
    ("ret", 0xD65F03C0, "branch", 0, False),
    ("nop", 0xD503201F, "other", 0, False),
]


@pytest.mark.parametrize(("text", "word", "kind", "size", "wide"), WORDS, ids=[text for text, *_ in WORDS])
def test_an_instruction_is_of_its_kind(
    arm64: SimpleNamespace, text: str, word: int, kind: str, size: int, wide: bool
) -> None:
    assert arm64.instructions.decode(word) == (kind, size, wide)
    assert kind in arm64.instructions.KINDS


def test_every_core_has_every_kind_that_its_features_allow(arm64: SimpleNamespace) -> None:
    only_with = {"dot": "asimddp", "matrix": "i8mm"}
    assert arm64.model.CORES.keys() == arm64.profiles.PROFILES.keys()
    for cpu, core in arm64.model.CORES.items():
        features = arm64.profiles.PROFILES[cpu].features.split()
        expected = {kind for kind in arm64.instructions.KINDS if only_with.get(kind, "fp") in features}
        assert core.needs.keys() == expected
        assert {unit for units, _, _ in core.needs.values() for unit in units} == core.units.keys()


def test_the_model_knows_which_unit_is_the_narrowest(arm64: SimpleNamespace) -> None:
    make, cores = arm64.instructions.Instruction, arm64.model.CORES
    multiplies = {make("float multiply", 0, True): 1000}
    # The A72 multiplies 64 bits in each of two pipelines, the others 128.
    found = {cpu: arm64.model.cycles(core, [multiplies]) for cpu, core in cores.items()}
    assert found == {"cortex-a72": 1000, "cortex-a76": 500, "cortex-a710": 500}
    loads = {make("load", 16): 1000, make("load", 32): 500}
    assert arm64.model.bounds(cores["cortex-a72"], loads)["load"] == 2000
    assert arm64.model.bounds(cores["cortex-a76"], loads)["memory"] == 1000
    # Two loops one after the other do not overlap; in one loop multiplications hide behind loads.
    core = cores["cortex-a76"]
    apart = arm64.model.cycles(core, [multiplies, loads])
    together = arm64.model.cycles(core, [multiplies | loads])
    assert (apart, together) == (500 + 1000, 1000)
    with pytest.raises(KeyError):
        arm64.model.bounds(cores["cortex-a72"], {make("dot", 0, True): 1})


def test_blocks_are_attributed_to_functions_and_kinds(
    arm64: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = [0xD503201F, 0x4F821020, 0x3DC00000, 0x54000001]
    library = tmp_path / "lib.so"
    library.write_bytes(b"".join(word.to_bytes(4, "little") for word in code))
    monkeypatch.setattr(arm64.profiling, "_symbols", lambda path: ([4, 12], ["kernel", "loop"]))
    gone = tmp_path / "telemetry.db-shm"
    gone.write_bytes(b"")
    maps = f"400000-401000 r-xp 00000000 00:00 1 {library}\n500000-501000 rw-p 00000000 00:00 0\n"
    maps += f"600000-601000 rw-s 00000000 00:00 2 {gone}\n"
    monkeypatch.setattr(arm64.profiling, "_mappings", deleting(gone, arm64.profiling._mappings))
    blocks = "400004 2 10\n40000c 1 5\n500000 3 1\n"
    found = arm64.profiling.attribute(blocks, maps)
    make = arm64.instructions.Instruction
    expected = {
        "kernel": {make("float multiply", 0, True): 10, make("load", 16): 10},
        "loop": {make("branch"): 5},
        "": {make("other"): 3},
    }
    assert found.functions == expected
    assert found.blocks == list(expected.values())


def deleting(file: Path, function: Callable[[str], Any]) -> Callable[[str], Any]:
    """`function`, and then `file` is gone: its program deletes it at any time."""

    def wrapped(text: str) -> Any:
        result = function(text)
        file.unlink()
        return result

    return wrapped


def test_a_guest_sees_nothing_of_who_counts_nor_where(
    arm64: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lengths of paths and variables move what is allocated, and with it what ncnn executes."""
    sysroot, seen = tmp_path / "sysroot", tmp_path / "seen.txt"
    sysroot.mkdir()
    guest = sysroot / "python-cortex-a72"  # tells what it sees, and fails
    guest.write_text(f'#!/bin/sh\n{{ env; echo "$@"; pwd; ls "$2"; }} >> {seen}\necho "$2: no" >&2\nexit 1\n')
    guest.chmod(0o755)
    monkeypatch.setattr(arm64.cost, "_build_plugin", lambda sysroot: sysroot / "plugin.so")
    told = []
    for folder, variables in (("a", {}), ("deep" * 20, {"ANOTHER_VARIABLE": "x" * 777})):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "m.tflite").touch()
        monkeypatch.chdir(tmp_path / folder)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        model = Path("m.tflite")
        with pytest.raises(SystemExit, match=r"^m\.tflite on cortex-a72: m\.tflite: no$"):
            arm64.cost.count(model, "cortex-a72", Path("..") / "sysroot")
        lines = sorted(seen.read_text().splitlines())
        told.append([len(line) for line in lines])
        assert any(line.endswith("/model/m.tflite") for line in lines), "the guest does not find the model"
        seen.unlink()
    assert told[0] == told[1]


def seen_on(arm64: SimpleNamespace, cpu: str) -> dict[str, object]:
    """What a right emulator shows."""
    profile = arm64.profiles.PROFILES[cpu]
    files = arm64.profiles.files(profile)
    tables = (arm64.profiles._HWCAP, arm64.profiles._HWCAP2)
    features = profile.features.split()
    return {
        "cpuinfo": files["proc/cpuinfo"],
        "possible": files["sys/devices/system/cpu/possible"],
        "hwcap": tuple(sum(1 << bit for name, bit in table.items() if name in features) for table in tables),
    }


def test_another_cpu_is_refused(arm64: SimpleNamespace) -> None:
    profiles = arm64.profiles
    for cpu, profile in profiles.PROFILES.items():
        assert profiles.faults(profile, seen_on(arm64, cpu)) == []
        for other in profiles.PROFILES.keys() - {cpu}:
            said = "; ".join(profiles.faults(profile, seen_on(arm64, other)))
            assert f"CPU part {profiles.PROFILES[other].part:#x}, not {profile.part:#x}" in said
            assert "QEMU's CPU" in said
    right = seen_on(arm64, "cortex-a76")
    for planted, words in (
        ({"cpuinfo": Path("/proc/cpuinfo").read_text()}, "CPU part"),  # this machine's
        ({"possible": "0-63\n"}, "CPUs 0-63, not 0-3"),
        ({"hwcap": (0, 0)}, "lacks asimddp"),
    ):
        assert words in "; ".join(profiles.faults(profiles.PROFILES["cortex-a76"], right | planted))


def test_a_cpu_is_named_by_itself_or_its_board(arm64: SimpleNamespace) -> None:
    for name, cpu in (("pi4", "cortex-a72"), ("cortex-a76", "cortex-a76"), ("phone", "cortex-a710")):
        assert arm64.profiles.named(name).cpu == cpu
    with pytest.raises(SystemExit, match=r"m1: not known; known are cortex-a72 \(pi4\)"):
        arm64.profiles.named("m1")


def test_the_reproducer_that_is_kept_is_the_network_of_the_tests() -> None:
    pytest.importorskip("flatbuffers")
    from ghostedge.tflite.flatbuffer import pack
    from ghostedge.tflite.float16 import allow_float16
    from tests.tflite.rewrites.test_for_xnnpack import network

    model = network(size=(56, 56), channels=16)
    allow_float16(model)
    kept = ARM64.parent / "upstream" / "float16-padding" / "pad_conv.tflite"
    assert kept.read_bytes() == pack(model)
