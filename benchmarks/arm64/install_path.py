"""Run the install commands of docs/raspberry-pi.md and docs/install.md as they stand there, on fresh Debian systems.

    python benchmarks/arm64/install_path.py [--artifacts build/demo] [--arch arm64] [--block raspberry-pi]

A block of commands that is marked ``<!-- run: NAME -->`` in one of these files is run line by line in a new minimal
Debian: arm64 under QEMU, with the /proc/cpuinfo of a Raspberry Pi 5, and amd64. Its home folder holds what the docs
tell the reader to copy there: this clone (the files that git tracks), the demo's artwork_1x_fp16.tflite and its golden
vectors, and a photo. Ends with 1 at the first command that fails, where a package was compiled instead of downloaded,
and where the environment that the commands made is larger than the docs say.

On two busy cores an ARM64 block with `benchmark` took half an hour, one without half of that; the system itself, made
once, eight minutes. An x86-64 block takes half a minute.

Packages come from where this machine's own apt and pip take them. Needs root, Linux 6.7 and, on Debian or Ubuntu:
apt-get install debootstrap qemu-user-static. The machine itself stays as it is: QEMU is registered for a user
namespace of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from profiles import PROFILES, files

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "raspberry-pi.md", ROOT / "docs" / "install.md")


@dataclass(frozen=True)
class Run:
    """Where a block of the docs is run."""

    architectures: tuple[str, ...]
    #: On a Raspberry Pi and a PC a user who may use sudo; in Termux's Debian one is root.
    user: str
    #: Of the environment made, in MB; what the docs say beside the block.
    most_mb: int


#: Mark in the docs -> where it is run. An Ubuntu is not made here: its commands are run on Debian.
RUNS = {
    "raspberry-pi": Run(("arm64", "amd64"), "pi", 200),
    "debian": Run(("arm64", "amd64"), "pi", 200),
    "ubuntu": Run(("amd64",), "pi", 460),
    "termux": Run(("arm64",), "root", 200),
}

_ARTIFACTS = ("artwork_1x_fp16.tflite", "artwork_1x.golden.npz")
_PHOTOS = ROOT / "ghostedge" / "demo" / "files" / "validation" / "tiger"
#: What a Raspberry Pi OS has from the start and a minimal Debian has not. python3-venv is not among it.
_PACKAGES = ("ca-certificates", "python3", "sudo")
_NEEDED = {"debootstrap": "debootstrap", "qemu-aarch64-static": "qemu-user-static"}

#: ELF header of a 64-bit little-endian ARM program, and which of its bits count; F: opened now, outside the new system.
_BINFMT = (
    r":ghostedge-arm64:M::\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    r":\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff:{qemu}:OCF"
)

#: Of a Raspberry Pi 5.
_CPU = "cortex-a76"

# Runs in the new namespaces until chroot; waits for its user ids first. $1: the system; $2: QEMU's line or nothing.
_ENTER = """\
set -e
read -r _
root=$1 binfmt=$2
shift 2
if [ -n "$binfmt" ]; then
    mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
    printf %s "$binfmt" > /proc/sys/fs/binfmt_misc/register
fi
[ -n "$root" ] || exec "$@" < /dev/null
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
mount -t proc proc "$root/proc"
[ ! -e "$root/etc/cpuinfo" ] || mount --bind "$root/etc/cpuinfo" "$root/proc/cpuinfo"
exec chroot "$root" "$@" < /dev/null
"""

_STATUS, _SIZE = "install_path: status", "install_path: size"


def blocks(text: str) -> dict[str, list[str]]:
    """Mark -> the commands of the fenced block below it, a line each; lines that end in a backslash are joined.

    Raises:
        ValueError: a mark without a block, or twice.
    """
    found: dict[str, list[str]] = {}
    for mark in re.finditer(r"^<!-- run: (\S+) -->\n", text, flags=re.MULTILINE):
        block = re.compile(r"```\w*\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL).match(text, mark.end())
        if block is None or not (lines := list(command_lines(block[1]))):
            raise ValueError(f"below the mark '{mark[1]}' there is no block of commands")
        if mark[1] in found:
            raise ValueError(f"the mark '{mark[1]}' is there twice")
        found[mark[1]] = lines
    return found


def command_lines(block: str) -> Iterator[str]:
    """The lines of a shell block that hold commands; those that end in a backslash are joined to the next."""
    for line in re.sub(r"\\\n\s*", "", block).splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            yield line.strip()


def missing(artifacts: Path) -> str | None:
    """What has to be there and is not, in one line."""
    for command, package in _NEEDED.items():
        if shutil.which(command) is None:
            return f"'{command}' is not installed; run: apt-get install {package}"
    if os.geteuid() != 0:
        return "a fresh system has files of several users, which only root can make; run it with sudo"
    for name in _ARTIFACTS:
        if not (artifacts / name).is_file():
            return f"{artifacts / name} is not there; run: make demo, or give --artifacts"
    probe = _enter(None, "arm64", ["true"], subprocess.PIPE)
    if probe.wait() != 0:
        return "this system does not register QEMU in a user namespace, which wants Linux 6.7 or newer"
    return None


def _enter(
    root: Path | None, architecture: str, command: Sequence[str], stdout: IO[str] | int | None = None
) -> subprocess.Popen[str]:
    """Start `command` in `root`, or with None in the machine's own, where `architecture`'s programs run."""
    binfmt = _BINFMT.format(qemu=shutil.which("qemu-aarch64-static")) if architecture == "arm64" else ""
    unshare = ["unshare", "--user", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _ENTER, "sh"]
    process = subprocess.Popen(
        [*unshare, str(root or ""), binfmt, *command],
        stdin=subprocess.PIPE,
        text=True,
        # debootstrap's word for a place where device files cannot be made but are there.
        env={**os.environ, "container": "lxc", "QEMU_CPU": _CPU},
        stdout=stdout,
        stderr=None if stdout is None else subprocess.STDOUT,
    )
    assert process.stdin is not None
    own, new = Path("/proc/self/ns/user"), Path(f"/proc/{process.pid}/ns/user")
    with contextlib.suppress(OSError):  # it has ended: unshare was not allowed, and said so
        while process.poll() is None and new.readlink() == own.readlink():
            time.sleep(0.01)
        for ids in ("uid_map", "gid_map"):  # all of Debian's, each as itself
            Path(f"/proc/{process.pid}/{ids}").write_text("0 0 65536")
        process.stdin.write("\n")
        process.stdin.close()
    return process


def base(suite: str, architecture: str, output: Path) -> Path:
    """A minimal Debian with a user pi as on a Raspberry Pi OS; made once."""
    root, log = output / f"{suite}-{architecture}", output / f"{suite}-{architecture}.log"
    done = root / "etc" / "install_path.done"
    if done.exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    print(f"making a Debian {suite} for {architecture} in {root}", flush=True)
    include = f"--include={','.join(_PACKAGES)}"
    bootstrap = ["debootstrap", f"--arch={architecture}", "--variant=minbase", include, suite, str(root), *_mirror()]
    user = "useradd -m -s /bin/bash pi && echo 'pi ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/pi"
    with open(log, "w") as file:
        steps = [(None, bootstrap), (root, ["/bin/sh", "-c", user])]
        for where, command in steps:
            if _enter(where, architecture, command, stdout=file).wait() != 0:
                lines = log.read_text().strip().splitlines()
                raise SystemExit(
                    f"install_path.py: {command[0]} failed: {lines[-1] if lines else 'no message'}; see {log}"
                )
    done.touch()
    return root


def _mirror() -> list[str]:
    """The mirror of Debian that this machine's apt uses; none: debootstrap's own."""
    said = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(REPO_URI) $(ORIGIN) $(LABEL) $(COMPONENT)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    return [uri for uri, *what in map(str.split, said.stdout.splitlines()) if what == ["Debian", "Debian", "main"]][:1]


def copy_settings(root: Path) -> None:
    """Give the system this machine's settings of apt and pip: proxies, indexes and certificates."""
    apt = subprocess.run(["apt-config", "dump"], capture_output=True, text=True, check=True).stdout
    kept = [line for line in apt.splitlines() if line.startswith("Acquire::")]
    (root / "etc/apt/apt.conf.d/99machine").write_text("\n".join([*kept, ""]))
    pip = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    config = re.findall(r"^(?!:env:)([\w-]+)\.([\w.-]+)=(['\"])(.*)\3$", pip.stdout, flags=re.MULTILINE)
    sections = {section: "".join(f"{k} = {v}\n" for s, k, _, v in config if s == section) for section, *_ in config}
    (root / "etc/pip.conf").write_text("".join(f"[{name}]\n{lines}" for name, lines in sections.items()))
    names = re.compile(r"PIP_\w+|(https?|all|no)_proxy|SSL_CERT_FILE|REQUESTS_CA_BUNDLE|CURL_CA_BUNDLE", re.IGNORECASE)
    environment = {name: value for name, value in os.environ.items() if names.fullmatch(name)}
    exports = [f"export {name}={_quoted(value)}\n" for name, value in environment.items()]
    (root / "etc/profile.d/machine.sh").write_text("".join(exports))
    for value in [*environment.values(), *(value for *_, value in config)]:
        for path in map(Path, value.split()):
            if path.is_absolute() and path.exists():
                target = root / path.relative_to("/")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copytree(path, target, dirs_exist_ok=True) if path.is_dir() else shutil.copy(path, target)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(Path("/etc", name), root / "etc" / name)


def fill_home(root: Path, run: Run, artifacts: Path) -> None:
    """Put there what the docs tell the reader to copy: the clone, an artifact, its golden vectors and a photo."""
    home = root / ("root" if run.user == "root" else f"home/{run.user}")
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, text=True, check=True).stdout
    for name in filter(None, tracked.split("\0")):
        target = home / "ghostedge" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    for name in _ARTIFACTS:
        shutil.copy(artifacts / name, home / name)
    shutil.copy(min(_PHOTOS.glob("*.jpg")), home / "photo.jpg")
    owner = home.stat()
    for path in home.rglob("*"):
        os.chown(path, owner.st_uid, owner.st_gid)


def script(commands: Sequence[str]) -> str:
    """A shell script that runs `commands` in one shell, shows each, and ends at the first that fails."""
    lines = []
    for command in commands:
        lines += [f"printf '\\n$ %s\\n' {_quoted(command)}", command]
        lines += [f'status=$?; printf "{_STATUS} %s\\n" "$status"; [ "$status" = 0 ] || exit 1']
    # Where the environment is, the commands say themselves.
    return "\n".join([*lines, f"printf '{_SIZE} '; du -sm ~/ghostedge-venv", ""])


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def run_block(
    name: str, commands: Sequence[str], architecture: str, suite: str, artifacts: Path, output: Path
) -> str | None:
    """Run a block of the docs in a fresh system; what is wrong, in one line."""
    run, root = RUNS[name], output / "run"
    system = base(suite, architecture, output)
    shutil.rmtree(root, ignore_errors=True)
    subprocess.run(["cp", "--archive", "--reflink=auto", system, root], check=True)
    copy_settings(root)
    fill_home(root, run, artifacts)
    if architecture == "arm64":
        (root / "etc/cpuinfo").write_text(files(PROFILES[_CPU])["proc/cpuinfo"])  # _ENTER puts it where it belongs
    (root / "tmp/block.sh").write_text(script(commands))
    print(f"\n== {name} on Debian {suite}, {architecture}, as {run.user}", flush=True)
    process = _enter(
        root,
        architecture,
        ["/bin/su", "--login", run.user, "-c", "bash /tmp/block.sh"],
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    passed, size, compiled, last, started = 0, None, [], "", time.monotonic()
    for line in process.stdout:
        if line.startswith(_STATUS):
            status, seconds = line.removeprefix(_STATUS).strip(), time.monotonic() - started
            print(f"-- {'done' if status == '0' else f'FAILED with {status}'}, {seconds:.0f} s", flush=True)
            passed, started = passed + (status == "0"), time.monotonic()
        elif line.startswith(_SIZE):
            size = int(line.removeprefix(_SIZE).split()[0])
        else:
            print(line, end="", flush=True)
            compiled += re.findall(r"Building wheel for (?!ghostedge\b)([\w.-]+)", line)
            last = line.strip() or last
    process.wait()
    if passed < len(commands):
        return f"{name}, {architecture}: failed: {commands[passed]}: {last}"
    if compiled:
        return f"{name}, {architecture}: compiled on the device: {', '.join(sorted(set(compiled)))}"
    if size is None:
        return f"{name}, {architecture}: the commands made no ~/ghostedge-venv"
    print(f"-- ~/ghostedge-venv: {size} MB", flush=True)
    if size > run.most_mb:
        return f"{name}, {architecture}: ~/ghostedge-venv is {size} MB, the docs say {run.most_mb}"
    return None


def main() -> int:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=ROOT / "build" / "demo", metavar="DIR", help="of make demo")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "install", metavar="DIR", help="for the systems"
    )
    parser.add_argument("--suite", default="trixie", metavar="S", help="Debian's name (default: trixie, Debian 13)")
    parser.add_argument("--arch", nargs="+", choices=("arm64", "amd64"), default=["amd64", "arm64"])
    parser.add_argument("--block", nargs="+", choices=RUNS, default=list(RUNS), metavar="NAME", help="default: all")
    parser.add_argument(
        "--skip-missing", action="store_true", help="where something it needs is missing, say so and end with 0"
    )
    args = parser.parse_args()
    if problem := missing(args.artifacts):
        print(f"install_path.py: {'left out: ' if args.skip_missing else ''}{problem}", file=sys.stderr)
        return 0 if args.skip_missing else 1
    found = {name: commands for path in DOCS for name, commands in blocks(path.read_text()).items()}
    for architecture in args.arch:
        for name in args.block:
            if architecture in RUNS[name].architectures:
                problem = run_block(name, found[name], architecture, args.suite, args.artifacts, args.output)
                if problem:
                    print(f"install_path.py: {problem}", file=sys.stderr)
                    return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
