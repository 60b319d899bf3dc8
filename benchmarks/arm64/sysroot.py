"""Build a folder in which the real aarch64 Python, NumPy and LiteRT run on an x86 machine under QEMU.

It holds Debian's arm64 packages of Python and the manylinux aarch64 wheels at the versions of constraints.txt: the same
bytes that a Raspberry Pi with a 64-bit system runs. Nothing is installed into the machine and root is not needed; apt
resolves the packages in a configuration of its own and verifies Debian's signatures.

    python benchmarks/arm64/sysroot.py [--output build/arm64]

Needs (Debian, Ubuntu): apt-get install qemu-user debian-archive-keyring. Leaves, for each CPU, a command
build/arm64/python-CPU that behaves as Python does on that CPU.
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

_SUITE, _PYTHON = "bookworm", "3.11"
_PACKAGES = (f"python{_PYTHON}", "libstdc++6", "libgomp1", "zlib1g")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_WHEELS = ("numpy", "ai-edge-litert", "pillow")
_NEEDED = {"apt-get": "apt", "dpkg": "dpkg", "qemu-aarch64": "qemu-user"}


def python_command(cpu: str, output: Path = OUTPUT) -> Path:
    """The command that runs aarch64 Python on `cpu`; exits with what to do where it is not there."""
    command = output / f"python-{cpu}"
    if not command.exists():
        raise SystemExit(f"{command} is not there; run: python {Path(__file__).relative_to(ROOT)}")
    return command


def build(output: Path) -> None:
    """Make the folder, or leave it as it is when the versions asked for are in it already."""
    stamp, wanted = output / "versions.txt", "\n".join([_SUITE, *_PACKAGES, *CPUS, *_wheel_requirements(), ""])
    if stamp.exists() and stamp.read_text() == wanted:
        print(f"{output} is up to date", file=sys.stderr)
        return
    for command, package in _NEEDED.items():
        if shutil.which(command) is None:
            raise SystemExit(f"'{command}' is not installed; run: apt-get install {package}")
    if not _KEYRING.exists():
        raise SystemExit(f"{_KEYRING} is not there; run: apt-get install debian-archive-keyring")
    root, site = output / "root", output / "site-packages"
    for old in (stamp, root, site):
        shutil.rmtree(old, ignore_errors=True) if old.is_dir() else old.unlink(missing_ok=True)
    root.mkdir(parents=True)
    _unpack_packages(root)
    _unpack_wheels(site)
    for cpu in CPUS:
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


def _wheel_requirements() -> list[str]:
    """``numpy==...`` and the like: what this project pins on every machine."""
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))
    return [f"{name}=={pinned[name]}" for name in _WHEELS]


def _unpack_wheels(site: Path) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise SystemExit("'uv' is not installed; run: make install")
    platform = ["--python-platform", "aarch64-manylinux_2_36", "--python-version", _PYTHON]
    # What LiteRT declares beside these (tqdm, protobuf, ...) its interpreter does not import.
    _run([uv, "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:", *platform, "--target", str(site),
          *_wheel_requirements()])  # fmt: skip


def _write_command(output: Path, cpu: str) -> None:
    """A shell script, so that anything that starts a Python (sshd, subprocess) can start this one.

    QEMU_ARGS carries further options for QEMU, such as ``-plugin``.
    """
    command, root = output / f"python-{cpu}", output.absolute() / "root"
    command.write_text(
        f"""#!/bin/sh
# Python {_PYTHON} for aarch64 on an emulated {cpu}; see benchmarks/arm64/sysroot.py
PYTHONPATH={output.absolute() / "site-packages"}${{PYTHONPATH:+:$PYTHONPATH}} \\
exec qemu-aarch64 -cpu {cpu} -L {root} $QEMU_ARGS {root}/usr/bin/python{_PYTHON} "$@"
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
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR", help="default: build/arm64")
    output = parser.parse_args().output
    build(output)
    for cpu, board in CPUS.items():
        print(f"{output}/python-{cpu}  ({board})")


if __name__ == "__main__":
    main()
