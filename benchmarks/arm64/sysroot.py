"""Build folders in which the real aarch64 Python, NumPy and LiteRT run on an x86 machine under QEMU.

They hold Debian's arm64 packages of Python and the manylinux aarch64 wheels at the versions of locks/export.txt: the
same bytes that a Raspberry Pi with a 64-bit system runs. Nothing is installed into the machine and root is not needed;
apt resolves the packages in a configuration of its own and verifies Debian's signatures. Programs see the files of the
board by which a runtime chooses its kernels (profiles.py), and the build fails where they do not.

    python benchmarks/arm64/sysroot.py [--litert 2.3.0] [--output DIR]

Needs (Debian, Ubuntu): apt-get install qemu-user debian-archive-keyring. Leaves, for each CPU, a command
build/arm64/python-CPU that behaves as Python does on that CPU; with --litert, which takes that LiteRT instead of the
one of locks/export.txt, build/arm64-litert-VERSION/python-CPU. Debian's packages are in build/arm64-debian, for all.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import profiles
from profiles import PROFILES

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
OUTPUT = ROOT / "build" / "arm64"
#: Debian's packages, and what each CPU sees of them; shared by every OUTPUT.
DEBIAN = ROOT / "build" / "arm64-debian"

_SUITE, _PYTHON = "bookworm", "3.11"
_PACKAGES = (f"python{_PYTHON}", "libstdc++6", "libgomp1", "zlib1g")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WHEELS = ("numpy", "ai-edge-litert", "pillow")
_NEEDED = {"apt-get": "apt", "dpkg": "dpkg", "qemu-aarch64": "qemu-user"}


def folder(litert: str | None) -> Path:
    """Where `main` puts what it builds for a version of LiteRT; None: that of locks/export.txt."""
    return OUTPUT if litert is None else OUTPUT.with_name(f"{OUTPUT.name}-litert-{litert}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options by which the other programs here choose one; after parsing, `chosen` gives its folder."""
    parser.add_argument(
        "--litert", metavar="VERSION", help="of sysroot.py --litert (default: that of locks/export.txt)"
    )
    parser.add_argument("--sysroot", type=Path, metavar="DIR", help="of sysroot.py --output")


def chosen(arguments: argparse.Namespace) -> Path:
    """The folder that `add_arguments`'s options name."""
    return Path(arguments.sysroot or folder(arguments.litert))


def python_command(cpu: str, output: Path = OUTPUT) -> Path:
    """The command that runs aarch64 Python on `cpu`; exits with what to do where it is not there."""
    command = output / f"python-{cpu}"
    if not command.exists():
        version = output.name.removeprefix(f"{OUTPUT.name}-litert-")
        how = "" if output == OUTPUT else f" --litert {version}" if output == folder(version) else f" --output {output}"
        raise SystemExit(f"{command} is not there; run: python {Path(__file__).relative_to(ROOT)}{how}")
    return command


def build(output: Path, requirements: Sequence[str]) -> None:
    """Make the folder, or leave it as it is when what is asked for is in it already.

    Args:
        output: the folder.
        requirements: of its wheels, each ``name==version``; what they depend on is not installed by itself.
    """
    _build_debian()
    qemu = (f"{cpu} {profile.qemu}" for cpu, profile in PROFILES.items())
    stamp, wanted = output / "versions.txt", "\n".join([str(DEBIAN), *qemu, *requirements, ""])
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{output} is up to date", file=sys.stderr)
        return
    stamp.unlink(missing_ok=True)
    for old in ("site-packages", "root", *(f"root-{cpu}" for cpu in PROFILES)):
        shutil.rmtree(output / old, ignore_errors=True)
    output.mkdir(parents=True, exist_ok=True)
    _unpack_wheels(output / "site-packages", requirements)
    for cpu in PROFILES:
        _write_command(output, cpu)
        check(cpu, output)
    stamp.write_text(wanted)


def check(cpu: str, output: Path) -> None:
    """Exit where a program under `python_command(cpu, output)` does not see that CPU."""
    code = "import json, profiles; print(json.dumps(profiles.seen()))"
    command = [str(python_command(cpu, output)), "-c", f"import sys; sys.path.insert(0, {str(HERE)!r}); {code}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"the aarch64 Python does not run: {done.stderr.strip() or done.returncode}")
    refuse_faults(cpu, json.loads(done.stdout))


def refuse_faults(cpu: str, found: profiles.Seen) -> None:
    """Exit where `found` is not what a program sees on that CPU's device."""
    if said := profiles.faults(PROFILES[cpu], found):
        raise SystemExit(f"the emulated {cpu} is not one: {'; '.join(said)}; remove {DEBIAN} and run sysroot.py again")


def _build_debian() -> None:
    """Unpack Debian's packages and lay out what each CPU sees, unless that is done."""
    host = re.search(r"^vendor_id.*\n", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    layouts = {cpu: profiles.files(profile, host.group() if host else "") for cpu, profile in PROFILES.items()}
    stamp, wanted = DEBIAN / "versions.json", json.dumps([_SUITE, _PACKAGES, layouts])
    if stamp.exists() and stamp.read_text() == wanted:
        return
    for command, package in _NEEDED.items():
        if shutil.which(command) is None:
            raise SystemExit(f"'{command}' is not installed; run: apt-get install {package}")
    if not _KEYRING.exists():
        raise SystemExit(f"{_KEYRING} is not there; run: apt-get install debian-archive-keyring")
    shutil.rmtree(DEBIAN, ignore_errors=True)
    root = DEBIAN / "root"
    root.mkdir(parents=True)
    _unpack_packages(root)
    for cpu, layout in layouts.items():
        _write_root(DEBIAN / f"root-{cpu}", layout)
    stamp.write_text(wanted)


def _unpack_packages(root: Path) -> None:
    """Download the packages and all they depend on, and unpack them; their install scripts do not run."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        for part in ("lists/partial", "archives/partial", "etc"):
            (state / part).mkdir(parents=True)
        (state / "status").touch()  # dpkg's list of what is installed: nothing
        (state / "sources.list").write_text(
            f"deb [arch=arm64 signed-by={_KEYRING}] http://deb.debian.org/debian {_SUITE} main\n"
        )
        options = {
            "APT::Architecture": "arm64",
            "APT::Architectures": "arm64",
            "APT::Sandbox::User": "",
            "APT::Install-Recommends": "false",
            "APT::Get::Assume-Yes": "true",
            "Acquire::Languages": "none",
            "Debug::NoLocking": "true",
            "Dir::Cache::archives": str(state / "archives"),
            "Dir::Etc": str(state / "etc"),
            "Dir::Etc::sourcelist": str(state / "sources.list"),
            "Dir::State::lists": str(state / "lists"),
            "Dir::State::status": str(state / "status"),
        }
        # As a file: read before the machine's own configuration is merged, and kept off the command line.
        config = state / "apt.conf"
        config.write_text("".join(f'{key} "{value}";\n' for key, value in options.items()))
        apt = ["apt-get", "--quiet", "--quiet", "--config-file", str(config)]
        _run([*apt, "update"])
        _run([*apt, "install", "--download-only", *_PACKAGES])
        for package in sorted((state / "archives").glob("*.deb")):
            _run(["dpkg", "-x", str(package), str(root)])


def _wheel_requirements(litert: str | None) -> list[str]:
    """``numpy==...`` and the like: what this project pins on every machine, but for LiteRT's version where given."""
    from packaging.requirements import Requirement

    lines = map(Requirement, (ROOT / "locks" / "export.txt").read_text().splitlines())
    device = {"python_version": _PYTHON, "python_full_version": f"{_PYTHON}.0", "platform_machine": "aarch64"}
    pinned = {
        line.name: str(line.specifier).removeprefix("==")
        for line in lines
        if not line.marker or line.marker.evaluate(device)
    }
    pinned |= {"ai-edge-litert": litert} if litert else {}
    return [f"{name}=={pinned[name]}" for name in _WHEELS]


def _unpack_wheels(site: Path, requirements: Sequence[str]) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise SystemExit("'uv' is not installed; run: make install")
    platform = ["--python-platform", "aarch64-manylinux_2_36", "--python-version", _PYTHON]
    # Without what they declare: LiteRT names tqdm, protobuf and others, which its interpreter does not import.
    _run([uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", *platform, "--target", str(site),
          *requirements])  # fmt: skip


def _write_root(root: Path, layout: dict[str, str]) -> None:
    """The root that QEMU shows to one CPU's programs: links to what is in root/, and the files of `layout`.

    QEMU looks up what a program opens in this root first, and takes the machine's own file where it has none.
    """
    for name, text in layout.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for entry in (root.parent / "root").iterdir():
        if not (root / entry.name).exists():  # /proc and /sys are empty in Debian's packages
            (root / entry.name).symlink_to(Path("..", "root", entry.name))


def _write_command(output: Path, cpu: str) -> None:
    """A shell script, so that anything that starts a Python (sshd, subprocess) can start this one.

    QEMU_ARGS carries further options for QEMU, such as ``-plugin``.
    """
    command, packages = output / f"python-{cpu}", output.absolute() / "site-packages"
    qemu = f"qemu-aarch64 -cpu {PROFILES[cpu].qemu} -L {DEBIAN / f'root-{cpu}'}"
    command.write_text(
        f"""#!/bin/sh
# Python {_PYTHON} for aarch64 on an emulated {cpu}; see benchmarks/arm64/sysroot.py
PYTHONPATH={packages}${{PYTHONPATH:+:$PYTHONPATH}} \\
exec {qemu} $QEMU_ARGS {DEBIAN / "root"}/usr/bin/python{_PYTHON} "$@"
"""
    )
    command.chmod(0o755)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise SystemExit(f"{command[0]} failed: {reason}")


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litert", metavar="VERSION", help="of ai-edge-litert (default: that of locks/export.txt)")
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: build/arm64, or build/arm64-litert-VERSION with --litert"
    )
    parser.add_argument(
        "--wheels", nargs="+", metavar="NAME==VERSION", help="these alone, instead of LiteRT; needs --output"
    )
    arguments = parser.parse_args()
    if arguments.wheels and not arguments.output:
        parser.error("--wheels goes into a folder of its own: name one with --output")
    output = arguments.output or folder(arguments.litert)
    build(output, arguments.wheels or _wheel_requirements(arguments.litert))
    for cpu, profile in PROFILES.items():
        print(f"{output}/python-{cpu}  ({profile.device})")


if __name__ == "__main__":
    main()
