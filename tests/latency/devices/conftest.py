"""A real OpenSSH server on this machine, with keys of its own, and the requests that the tests send to it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ghostedge.latency.devices import BenchmarkRequest
from ghostedge.latency.devices.ssh import SshDevice

TINY = Path(__file__).parents[2] / "data" / "tiny"

#: As short as a run can be; what is tested is the way there and back.
BRIEF = ("--min-samples", "5", "--min-seconds", "0", "--warmup-limit", "0")


def make_request(model: str = "tiny_fp32.tflite", *options: str) -> BenchmarkRequest:
    return BenchmarkRequest((TINY / model,), options=(*BRIEF, *options))


class Server:
    """An sshd on a port of its own: `start`, `stop`, `cut` its connections, and the files a client needs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.jobs = folder, folder / "jobs"
        for name in ("host", "other_host", "user", "other_user"):
            keygen: list[str | Path] = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name]
            subprocess.run(keygen, check=True, stdin=subprocess.DEVNULL)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        (folder / "tmp").mkdir()
        (folder / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nStrictModes no\nPidFile none\n"
            f"Subsystem sftp internal-sftp\nSetEnv TMPDIR={folder}/tmp\n"  # a benchmark lock of its own
        )
        self.known_hosts = self.trust("host")
        self._process: subprocess.Popen[bytes] | None = None

    def trust(self, key: str) -> Path:
        """A file of known hosts in which this server has `key`."""
        path = self.folder / f"known_{key}"
        path.write_text(f"[127.0.0.1]:{self.port} {(self.folder / f'{key}.pub').read_text()}")
        return path

    def start(self) -> None:
        # sshd wants to be started by its whole path, and as root this folder
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        command = [
            shutil.which("sshd", path="/usr/sbin:/usr/local/sbin"),
            "-D",
            "-e",
            "-f",
            str(self.folder / "config"),
        ]
        with open(self.folder / "log", "ab") as log:
            self._process = subprocess.Popen([str(part) for part in command], stderr=log)
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "log").read_text())

    def cut(self) -> int:
        """Kill the processes that serve connections, as a lost network does; how many there were."""
        assert self._process
        victims = descendants(self._process.pid, name="sshd")
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(victims)

    def stop(self) -> None:
        if self._process:
            self.cut()
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def device(self, **options: object) -> SshDevice:
        """A device behind this server."""
        defaults = {
            "python": sys.executable,
            "identity": self.folder / "user",
            "known_hosts": self.known_hosts,
            "folder": str(self.jobs),
            "reconnect_s": 30.0,
        }
        return SshDevice(f"{getpass.getuser()}@127.0.0.1:{self.port}", **(defaults | options))  # type: ignore[arg-type]


def descendants(root: int, name: str) -> list[int]:
    """The processes below `root` whose program is called `name`."""
    parents: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            before, _, after = (folder / "stat").read_text().rpartition(")")
            parents[int(folder.name)] = (int(after.split()[1]), before.partition("(")[2])
    found, pending = [], [root]
    while pending:
        parent = pending.pop()
        children = [pid for pid, (above, _) in parents.items() if above == parent]
        pending += children
        found += [pid for pid in children if parents[pid][1].startswith(name)]
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running OpenSSH server; the test is skipped where sshd is not installed."""
    pytest.importorskip("asyncssh", reason="left out: asyncssh (ghostedge[devices]) is not installed")
    if shutil.which("sshd", path="/usr/sbin:/usr/local/sbin") is None or shutil.which("ssh-keygen") is None:
        pytest.skip("left out: no OpenSSH server is installed (apt-get install openssh-server)")
    folder = tmp_path / "sshd"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.stop()
