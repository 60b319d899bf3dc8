"""Time a model on a machine that is reached by ssh: a Raspberry Pi, a board, a phone with an ssh server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ghostedge.errors import DeviceError, UsageError
from ghostedge.latency.devices import BenchmarkRequest, Progress
from ghostedge.latency.devices.remote import RECONNECT_S, Answer, Job, LostError, RemoteDevice
from ghostedge.lazy import require

__all__ = ["SshDevice"]

_CONNECT_S = 15.0
_BLOCK_BYTES = 1 << 20


class SshDevice(RemoteDevice):
    """A machine behind an ssh server. The user's ``~/.ssh/config``, agent and known hosts are used.

    Args:
        address: ``"USER@HOST"``, ``"HOST"`` or ``"USER@HOST:PORT"``; an IPv6 host in brackets.
        python: the Python on the device, as its shell finds it.
        identity: a private key file, instead of those of the user's configuration.
        known_hosts: the file of known hosts, instead of the user's.
        folder: where jobs lie on the device, from the home directory there.
        reconnect_s: for how long a lost connection is tried again, seconds.
    """

    def __init__(
        self,
        address: str,
        *,
        python: str | None = None,
        identity: Path | None = None,
        known_hosts: Path | None = None,
        folder: str = ".cache/ghostedge",
        reconnect_s: float = RECONNECT_S,
    ) -> None:
        user, at, place = address.rpartition("@")
        host, port = _split_port(place)
        if not host or (at and not user):
            raise UsageError(f"--device ssh:{address} names no host; write ssh:USER@HOST or ssh:USER@HOST:PORT")
        super().__init__(f"ssh:{address}", reconnect_s)
        self._user, self._host, self._port = user or None, host, port
        self._python, self._folder = python or "python3", folder
        self._identity, self._known_hosts = identity, known_hosts
        self._ssh = require("asyncssh", "devices")

    def _work(self, request: BenchmarkRequest, progress: Progress) -> Job:
        return Job(request, self._python, self._folder, progress)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[_Session]:
        """A connection; what goes wrong on it becomes one line."""
        ssh = self._ssh
        connection = await self._connect()
        try:
            with _answering(ssh, self.name):
                async with connection, connection.start_sftp_client() as sftp:
                    yield _Session(self.name, connection, sftp, ssh)
        except ssh.Error as exc:
            raise DeviceError(f"{self.name}: {exc.reason}; is its disk full or its home folder read-only?") from exc

    async def _connect(self) -> Any:
        """The connection itself. Raises: DeviceError; LostError, one that is worth another try."""
        ssh, where = self._ssh, self.name.removeprefix("ssh:")
        for file in filter(None, (self._identity, self._known_hosts)):
            if not file.is_file():
                raise UsageError(f"{file} does not exist")
        given = {
            "username": self._user,
            "port": self._port,
            "client_keys": self._identity and [str(self._identity)],
            "known_hosts": self._known_hosts and str(self._known_hosts),
        }
        options: dict[str, Any] = {key: value for key, value in given.items() if value}
        options.update(connect_timeout=_CONNECT_S, keepalive_interval=10, keepalive_count_max=3)
        try:
            return await ssh.connect(self._host, **options)
        except ssh.HostKeyNotVerifiable as exc:
            raise DeviceError(self._host_key_message(where)) from exc
        except ssh.PermissionDenied as exc:
            raise DeviceError(
                f"{where} refuses your key; put it there with: ssh-copy-id {self._copy_id_arguments()}"
            ) from exc
        except (ssh.KeyImportError, ssh.KeyEncryptionError) as exc:
            raise DeviceError(
                f"the private key cannot be used ({exc}); add it to ssh-agent or give --identity"
            ) from exc
        except (OSError, ssh.ConnectionLost, ssh.DisconnectError) as exc:
            reason = getattr(exc, "strerror", None) or str(exc) or "no answer"
            raise LostError(
                f"{where} cannot be reached ({reason}); is it switched on, in this network, and ssh enabled?"
            ) from exc

    def _copy_id_arguments(self) -> str:
        user = f"{self._user}@" if self._user else ""
        return f"-p {self._port} {user}{self._host}" if self._port else f"{user}{self._host}"

    def _host_key_message(self, where: str) -> str:
        """An unknown host and a host that answers with another key than before are two things."""
        file = self._known_hosts or Path.home() / ".ssh" / "known_hosts"
        port = self._port or 22
        known: tuple[Any, ...] = ()
        with contextlib.suppress(OSError, ValueError):
            known = self._ssh.match_known_hosts(str(file), self._host, "", port)[0]
        entry = self._host if port == 22 else f"[{self._host}]:{port}"
        if known:
            return (
                f"{where} answers with another host key than the one in {file}: another machine may be answering in "
                f"its place; if you installed it anew, run: ssh-keygen -f {file} -R '{entry}'"
            )
        return (
            f"the host key of {where} is not known; run once, and compare the fingerprint: "
            f"ssh {self._copy_id_arguments()}"
        )


class _Session:
    """A connection with its file transfer; see `Machine`. Where only sftp is used nothing is started on the device."""

    storage = "disk"

    def __init__(self, name: str, connection: Any, sftp: Any, ssh: Any) -> None:
        self.name = name
        self._connection, self._sftp, self._ssh = connection, sftp, ssh

    async def shell(self, command: str) -> Answer:
        with _answering(self._ssh, self.name):
            done = await self._connection.run(command, check=False, encoding="utf-8", errors="replace")
        if done.exit_status is None:  # the command has no end: the connection has
            raise LostError(f"{self.name}: the connection is lost")
        return Answer(int(done.exit_status), str(done.stdout))

    async def size(self, remote: str) -> int | None:
        with _answering(self._ssh, self.name), contextlib.suppress(self._ssh.SFTPNoSuchFile):
            size: int = (await self._sftp.stat(remote)).size
            return size
        return None

    async def free_bytes(self, folder: str) -> int | None:
        with contextlib.suppress(self._ssh.SFTPError):
            found = await self._sftp.statvfs(folder)  # OpenSSH's extension
            free: int = found.bavail * found.frsize
            return free
        return None

    async def send(self, file: Path, remote: str) -> None:
        """What came over a connection that was lost is kept."""
        partial = remote + ".partial"
        try:
            with _answering(self._ssh, self.name):
                await self._sftp.makedirs(str(PurePosixPath(remote).parent), exist_ok=True)
                offset = await self.size(partial) or 0
                if offset > file.stat().st_size:
                    offset = 0
                with open(file, "rb") as source:
                    source.seek(offset)
                    async with self._sftp.open(partial, "ab" if offset else "wb") as target:
                        while block := source.read(_BLOCK_BYTES):
                            await target.write(block)
                await self._sftp.posix_rename(partial, remote)
        except self._ssh.SFTPError as exc:
            raise DeviceError(f"{self.name}: a file cannot be written there ({exc.reason}); is its disk full?") from exc

    async def read(self, remote: str, offset: int = 0) -> bytes:
        with _answering(self._ssh, self.name), contextlib.suppress(self._ssh.SFTPNoSuchFile):
            async with self._sftp.open(remote, "rb") as file:
                content: bytes = await file.read(offset=offset)
                return content
        return b""


@contextlib.contextmanager
def _answering(ssh: Any, name: str) -> Iterator[None]:
    """What asyncssh raises when a connection is lost is many things; here it is one."""
    sftp_lost = (ssh.SFTPConnectionLost, ssh.SFTPNoConnection)
    try:
        yield
    except (ssh.ConnectionLost, ssh.DisconnectError, ssh.ChannelOpenError, ConnectionError, *sftp_lost) as exc:
        raise LostError(f"{name}: the connection is lost") from exc


def _split_port(place: str) -> tuple[str, int | None]:
    """``"host:22"``, ``"[::1]:22"``, ``"host"`` -> host and port."""
    host, colon, port = place.rpartition(":")
    if place.startswith("["):
        host, _, port = place[1:].partition("]")
        colon, port = port[:1], port[1:]
    elif not colon or ":" in host:
        return place, None
    if colon and not (port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"'{port}' is not a port; write ssh:USER@HOST:PORT")
    return host, int(port) if colon else None
