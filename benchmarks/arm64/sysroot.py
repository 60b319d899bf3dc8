"""Build a folder in which the real aarch64 Python, NumPy and LiteRT run on an x86 machine under QEMU.

It holds Debian's arm64 packages of Python and the manylinux aarch64 wheels at the versions of locks/export.txt: the
same bytes that a Raspberry Pi with a 64-bit system runs. Nothing is installed into the machine and root is not needed;
apt resolves the packages in a configuration of its own and verifies Debian's signatures.

    python benchmarks/arm64/sysroot.py [--litert 2.3.0] [--output DIR]

Needs (Debian, Ubuntu): apt-get install qemu-user debian-archive-keyring. Leaves, for each CPU, a command
build/arm64/python-CPU that behaves as Python does on that CPU; with --litert, which takes that LiteRT instead of the
one of locks/export.txt, build/arm64-litert-VERSION/python-CPU.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OUTPUT = ROOT / "build" / "arm64"

#: QEMU's CPU -> where it is found.
CPUS = {"cortex-a72": "Raspberry Pi 4", "cortex-a76": "Raspberry Pi 5"}

#: QEMU's CPU -> what Linux writes of it into /proc/cpuinfo on that board: features; variant, part, revision.
_CPUINFO = {
    "cortex-a72": ("fp asimd evtstrm crc32 cpuid", ("0x0", "0xd08", 3)),
    "cortex-a76": (
        "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
        ("0x4", "0xd0b", 1),
    ),
}
_CORES = 4

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


def build(output: Path, litert: str | None = None) -> None:
    """Make the folder, or leave it as it is when what is asked for is in it already."""
    requirements = _wheel_requirements(litert)
    files = [cpuinfo(cpu) for cpu in CPUS]
    stamp, wanted = output / "versions.txt", "\n".join([_SUITE, *_PACKAGES, *CPUS, *requirements, *files, ""])
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{output} is up to date", file=sys.stderr)
        return
    for command, package in _NEEDED.items():
        if shutil.which(command) is None:
            raise SystemExit(f"'{command}' is not installed; run: apt-get install {package}")
    if not _KEYRING.exists():
        raise SystemExit(f"{_KEYRING} is not there; run: apt-get install debian-archive-keyring")
    root, site = output / "root", output / "site-packages"
    for old in (stamp, root, site, *(output / f"root-{cpu}" for cpu in CPUS)):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    root.mkdir(parents=True)
    _unpack_packages(root)
    _unpack_wheels(site, requirements)
    for cpu in CPUS:
        _write_root(output, cpu)
        _write_command(output, cpu)
    said = subprocess.run(
        [python_command(next(iter(CPUS)), output), "-c", "import platform, numpy; print(platform.machine())"],
        capture_output=True,
        text=True,
        check=False,
    )
    if said.stdout != "aarch64\n":
        raise SystemExit(f"the aarch64 Python does not run: {said.stderr.strip() or said.stdout}")
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


def _unpack_wheels(site: Path, requirements: list[str]) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise SystemExit("'uv' is not installed; run: make install")
    platform = ["--python-platform", "aarch64-manylinux_2_36", "--python-version", _PYTHON]
    # What LiteRT declares beside these (tqdm, protobuf, ...) its interpreter does not import.
    _run([uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", *platform, "--target", str(site),
          *requirements])  # fmt: skip


def cpuinfo(cpu: str) -> str:
    """The /proc/cpuinfo of a board with `cpu`.

    XNNPACK chooses kernels by the part number in it, and whether it uses float16 by the features: with an x86 machine's
    file it takes those for any ARM64 processor, and LiteRT 2.2.0 and 2.3.0 crash. The host's ``vendor_id``
    stays in it, by which edge_benchmark.py sees that the processor is emulated.
    """
    features, (variant, part, revision) = _CPUINFO[cpu]
    cores = [
        f"processor\t: {core}\nBogoMIPS\t: 108.00\nFeatures\t: {features}\nCPU implementer\t: 0x41\n"
        f"CPU architecture: 8\nCPU variant\t: {variant}\nCPU part\t: {part}\nCPU revision\t: {revision}\n"
        for core in range(_CORES)
    ]
    host = re.search(r"^vendor_id.*\n", Path("/proc/cpuinfo").read_text(), flags=re.MULTILINE)
    return "\n".join([*cores, *([host.group()] if host else [])])


def _write_root(output: Path, cpu: str) -> None:
    """The root that QEMU shows to `cpu`'s programs: links to what is in root/, and a /proc/cpuinfo.

    QEMU looks up what a program opens in this root first, and takes the machine's own file where it has none.
    """
    root = output / f"root-{cpu}"
    (root / "proc").mkdir(parents=True)
    (root / "proc" / "cpuinfo").write_text(cpuinfo(cpu))
    for entry in (output / "root").iterdir():
        (root / entry.name).symlink_to(Path("..", "root", entry.name))


def _write_command(output: Path, cpu: str) -> None:
    """A shell script, so that anything that starts a Python (sshd, subprocess) can start this one.

    QEMU_ARGS carries further options for QEMU, such as ``-plugin``.
    """
    command, folder = output / f"python-{cpu}", output.absolute()
    command.write_text(
        f"""#!/bin/sh
# Python {_PYTHON} for aarch64 on an emulated {cpu}; see benchmarks/arm64/sysroot.py
PYTHONPATH={folder / "site-packages"}${{PYTHONPATH:+:$PYTHONPATH}} \\
exec qemu-aarch64 -cpu {cpu} -L {folder / f"root-{cpu}"} $QEMU_ARGS {folder / "root"}/usr/bin/python{_PYTHON} "$@"
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
    arguments = parser.parse_args()
    output = arguments.output or folder(arguments.litert)
    build(output, arguments.litert)
    for cpu, board in CPUS.items():
        print(f"{output}/python-{cpu}  ({board})")


if __name__ == "__main__":
    main()
