"""Time a model on a machine that is reached by ssh: a Raspberry Pi, a board, a phone with an ssh server.

The script and the models are carried to ``~/.cache/ghostedge/JOB`` on the device, where JOB is a digest of all that is
asked for. The script runs there on its own, detached from the connection, so that a lost connection stops nothing: it
is made again, and when that fails for good, the same command later finds the job and goes on. When the records are
here, the folder there is removed.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from ghostedge.errors import DeviceError, UsageError
from ghostedge.files import atomic_write
from ghostedge.latency.devices.base import RECONNECT_S, BenchmarkRequest, Patience
from ghostedge.latency.devices.job import SILENCE_S, Job, Log, check_code, check_room, fetch_record
from ghostedge.lazy import require

__all__ = ["SshDevice"]

_CONNECT_S = 15.0
#: The device is looked at less and less often: each look is a little work there.
_FIRST_POLL_S, _LAST_POLL_S = 0.2, 2.0
_RETRY_S = 2.0
_BLOCK_BYTES = 1 << 20


class SshDevice:
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
        self.name = f"ssh:{address}"
        self._user, self._host, self._port = user or None, host, port
        self._python, self._folder, self._reconnect_s = python or "python3", folder, reconnect_s
        self._identity, self._known_hosts = identity, known_hosts
        self._ssh = require("asyncssh", "devices")

    async def benchmark(
        self, request: BenchmarkRequest, output: Path, progress: Callable[[str], None]
    ) -> tuple[Path, ...]:
        """See `Device.benchmark`."""
        job, log = Job(request, self._python, self._folder), Log(progress)
        patience = Patience(self._reconnect_s, _RETRY_S)
        while True:
            try:
                async with self._connected() as connection:
                    patience.answered()
                    code, files = await self._go_on(connection, job, log, output, progress)
                break
            except asyncio.CancelledError:
                await self._stop(job)
                raise
            except self._lost() as exc:
                pause_s = patience.lost(exc, f"{self.name}: the connection is lost")
                progress("connection lost; trying again")
                await asyncio.sleep(pause_s)
            except self._ssh.Error as exc:
                raise DeviceError(f"{self.name}: {exc.reason}; is its disk full or its home folder read-only?") from exc
        check_code(code, log.lines, f"{self.name}: ")
        return files

    async def _go_on(
        self, connection: Any, job: Job, log: Log, output: Path, progress: Callable[[str], None]
    ) -> tuple[int, tuple[Path, ...]]:
        """All steps, each of which finds what is done already: the script's exit code and the records."""
        async with connection.start_sftp_client() as sftp:
            await self._prepare(connection, sftp, job, progress)
            await self._start(connection, sftp, job)
            code = await self._follow(connection, sftp, job, log)
            files = await self._fetch(sftp, job, output)
        with contextlib.suppress(*self._lost()):  # all is here: a folder left there is no reason to measure again
            await self._run(connection, f"rm -rf {job.folder} && rmdir {self._folder} 2>/dev/null")
        return code, files

    # -- the connection -----------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Any]:
        """A connection; what goes wrong while it is made becomes one line.

        Raises: DeviceError; `_UnreachableError`, one that is worth another try.
        """
        ssh, where = self._ssh, self.name.removeprefix("ssh:")
        options: dict[str, Any] = {
            "connect_timeout": _CONNECT_S,
            "keepalive_interval": 10,
            "keepalive_count_max": 3,
        }
        if self._user:
            options["username"] = self._user
        if self._port:
            options["port"] = self._port
        if self._identity:
            options["client_keys"] = [str(self._identity)]
        if self._known_hosts:
            options["known_hosts"] = str(self._known_hosts)
        for file in filter(None, (self._identity, self._known_hosts)):
            if not file.is_file():
                raise UsageError(f"{file} does not exist")
        try:
            connection = await ssh.connect(self._host, **options)
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
            raise _UnreachableError(
                f"{where} cannot be reached ({reason}); is it switched on, in this network, and ssh enabled?"
            ) from exc
        async with connection:
            yield connection

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

    def _lost(self) -> tuple[type[BaseException], ...]:
        ssh = self._ssh
        lost = (ssh.ConnectionLost, ssh.DisconnectError, ssh.SFTPConnectionLost, ssh.SFTPNoConnection)
        return (_UnreachableError, ssh.ChannelOpenError, ConnectionError, *lost)

    async def _run(self, connection: Any, command: str) -> Any:
        done = await connection.run(command, check=False, encoding="utf-8", errors="replace")
        if done.exit_status is None:  # the command has no end: the connection has
            raise _UnreachableError(f"{self.name}: the connection is lost")
        return done

    # -- the job ------------------------------------------------------------------------------------------------------

    async def _prepare(self, connection: Any, sftp: Any, job: Job, progress: Callable[[str], None]) -> None:
        """Carry what is not there yet; what came over a connection that was lost is kept."""
        found = await self._run(connection, job.python_version())
        job.check_python(self.name, found.exit_status, str(found.stdout), "install Python or give --python")
        await self._run(connection, f"mkdir -p {job.folder}/files")
        missing = {}
        for file, remote in job.files.items():
            have = await self._size(sftp, remote)
            if have != file.stat().st_size:
                missing[file] = remote
        check_room(self.name, "disk", missing, await self._free_bytes(sftp, job.folder))
        try:
            for file, remote in missing.items():
                progress(f"sending {file.name} ({file.stat().st_size / 1e6:.1f} MB)")
                await self._send(sftp, file, remote)
        except self._ssh.SFTPError as exc:
            if isinstance(exc, self._lost()):
                raise
            raise DeviceError(f"{self.name}: a file cannot be written there ({exc.reason}); is its disk full?") from exc

    async def _size(self, sftp: Any, remote: str) -> int | None:
        try:
            size: int = (await sftp.stat(remote)).size
        except self._ssh.SFTPNoSuchFile:
            return None
        return size

    async def _free_bytes(self, sftp: Any, folder: str) -> int | None:
        """None where the server does not tell (statvfs is OpenSSH's extension)."""
        try:
            found = await sftp.statvfs(folder)
        except self._ssh.SFTPError:
            return None
        free: int = found.bavail * found.frsize
        return free

    async def _send(self, sftp: Any, file: Path, remote: str) -> None:
        partial = remote + ".partial"
        await sftp.makedirs(str(PurePosixPath(remote).parent), exist_ok=True)
        offset = await self._size(sftp, partial) or 0
        if offset > file.stat().st_size:
            offset = 0
        with open(file, "rb") as source:
            source.seek(offset)
            async with sftp.open(partial, "ab" if offset else "wb") as target:
                while block := source.read(_BLOCK_BYTES):
                    await target.write(block)
        await sftp.posix_rename(partial, remote)

    async def _start(self, connection: Any, sftp: Any, job: Job) -> None:
        """Start the script, detached, unless it runs or has finished."""
        if await self._size(sftp, f"{job.folder}/exit_code") is not None:
            return
        if await self._is_running(connection, job):
            return
        async with sftp.open(f"{job.folder}/run.sh", "w") as file:
            await file.write(job.runner())
        # With a session of its own it outlives the connection and can be stopped as a whole.
        await self._run(
            connection,
            f"cd {job.folder} && rm -f pid log.txt; if command -v setsid >/dev/null; then s=setsid; else s=; fi; "
            "$s nohup sh run.sh >/dev/null 2>&1 </dev/null & sleep 0.2",
        )

    async def _is_running(self, connection: Any, job: Job) -> bool:
        done = await self._run(connection, job.is_running())
        return bool(done.exit_status == 0)

    async def _follow(self, connection: Any, sftp: Any, job: Job, log: Log) -> int:
        """Wait for the end, showing what the script says. Over sftp: nothing is started on the device for it."""
        log.begin()
        heard, pause_s = time.monotonic(), _FIRST_POLL_S
        while True:
            ended = await self._read(sftp, f"{job.folder}/exit_code")
            if log.feed(await self._read(sftp, f"{job.folder}/log.txt", log.offset)):
                heard = time.monotonic()
            if ended.strip():
                return int(ended)
            if time.monotonic() - heard > SILENCE_S:
                heard = time.monotonic()
                if not await self._is_running(connection, job) and not await self._size(
                    sftp, f"{job.folder}/exit_code"
                ):
                    raise DeviceError(f"{self.name}: the script was ended there; run the same command again to go on")
            await asyncio.sleep(pause_s)
            pause_s = min(1.2 * pause_s, _LAST_POLL_S)

    async def _read(self, sftp: Any, remote: str, offset: int = 0) -> bytes:
        """What stands in a small file from `offset` on; nothing where it is not there."""
        try:
            async with sftp.open(remote, "rb") as file:
                content: bytes = await file.read(offset=offset)
        except self._ssh.SFTPNoSuchFile:
            return b""
        return content

    async def _fetch(self, sftp: Any, job: Job, output: Path) -> tuple[Path, ...]:
        """Bring every record here, whole, and see that it is of a model that was sent."""
        files = []
        try:
            names = sorted(str(name) for name in await sftp.listdir(f"{job.folder}/records"))
        except self._ssh.SFTPNoSuchFile:
            return ()
        for name in names:
            if name.startswith(".") or PurePosixPath(name).suffix not in (".json", ".npy") or "/" in name:
                continue
            path = output / name
            content = await self._read(sftp, f"{job.folder}/records/{name}")
            if path.suffix == ".json":
                files.append(fetch_record(content, path, job.sha256s))
            else:
                atomic_write(path, content)
        return tuple(files)

    async def _stop(self, job: Job) -> None:
        """End the script on the device; its finished records stay there and the next call goes on."""
        with contextlib.suppress(Exception):
            async with asyncio.timeout(_CONNECT_S), self._connected() as connection:
                await self._run(connection, job.stop())


class _UnreachableError(DeviceError):
    """The device does not answer: before the first connection an error, later worth another try."""


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
