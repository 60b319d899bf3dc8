"""An Android device as the adb server sees one: adbd's side of the protocol on a TCP port, over a folder.

Shell commands run in this machine's shell with `/sdcard` and `/data/local/tmp` in the folder, and with fakes of what
only Android has (`am`, `pm`, `dumpsys`, ...) first in the path. The demo app is played by edge_benchmark.py, so that a
record is one of the real LiteRT. `unplug` and `plug` are the cable.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

from ghostedge.latency.devices import SCRIPT

CNXN, AUTH, OPEN, OKAY, WRTE, CLSE = (int.from_bytes(name, "little") for name in
                                      (b"CNXN", b"AUTH", b"OPEN", b"OKAY", b"WRTE", b"CLSE"))  # fmt: skip
_VERSION, _MAX_DATA = 0x01000001, 256 * 1024
_BANNER = b"device::ro.product.name=fake;ro.product.model=Fake;ro.product.device=fake;features=shell_v2,cmd\0"
_STDOUT, _STDERR, _EXIT = 1, 2, 3

_COMMANDS = {
    "pm": '[ -e "$STATE/installed" ] && echo package:/data/app/base.apk',
    # One that has ended may wait for long until this machine's first process takes note.
    "pidof": 'grep -q "^State:.[^Z]" "/proc/$(cat "$STATE/app.pid")/status" 2>/dev/null && cat "$STATE/app.pid"',
    "dumpsys": """case "$1" in
power) echo "  mWakefulness=$(cat "$STATE/wakefulness")" ;;
window) printf 'KeyguardServiceDelegate\\n  showing=%s\\n' "$([ -e "$STATE/locked" ] && echo true || echo false)" ;;
esac""",
    "input": 'echo Awake > "$STATE/wakefulness"',
    "wm": 'grep -q swipe "$STATE/locked" 2>/dev/null && rm "$STATE/locked"',
    "cmd": 'if [ -e "$STATE/no_fixed" ]; then echo "Failed to set FIXED_PERFORMANCE mode"; '
    'else echo "$3" >> "$STATE/fixed"; fi',
    "df": 'if [ -e "$STATE/free_kb" ]; then echo Filesystem 1K-blocks Used Available Use% Mounted on; '
    'echo "/dev/fuse 1000000 1 $(cat "$STATE/free_kb") 99% /storage"; else exec /bin/df "$@"; fi',
    "am": """[ "$1" = force-stop ] && { kill -- "-$(cat "$STATE/app.pid")"; exit; }
[ -e "$STATE/am_error" ] && { cat "$STATE/am_error"; exit 0; }
mkdir -p "$SDCARD/Android/data/org.ghostedge.demo/files/models" "$SDCARD/Android/data/org.ghostedge.demo/files/records"
echo "$*" >> "$STATE/am.log"
echo "Status: ok"
case "$*" in *--es*) setsid app "$@" >"$STATE/app.log" 2>&1 </dev/null & sleep 0.2 ;; esac""",
    "app": """echo $$ > "$STATE/app.pid"
while [ $# -gt 0 ]; do
  case "$2" in
  model) model=$3 ;; threads) threads=$3 ;; mode) mode=$3 ;; out) out=$3 ;; minutes) minutes=$3 ;; golden) golden=$3 ;;
  esac
  shift
done
sleep "$(cat "$STATE/seconds")"
[ -e "$STATE/dies" ] && exit 1
records="$SDCARD/Android/data/org.ghostedge.demo/files/records"
[ "$mode" != sustained ] && [ -n "$minutes" ] && { echo "minutes of no mode sustained" > "$records/$out.error"; exit; }
how=$([ "$mode" = quick ] && echo --quick; [ "$mode" = verify ] && echo --verify-only)
made="$MADE/$(cat "$model" ${golden:+"$golden"} | sha256sum | cut -c1-16)-$mode-$threads"
# 2: the record says that the answers are wrong.
[ -e "$made" ] || "$PYTHON" "$SCRIPT" "$model" $how ${golden:+--golden "$golden"} --threads "$threads" \
  --min-samples 5 --min-seconds 0 --warmup-limit 0 --output "$made" 2> "$STATE/said" || [ $? = 2 ] || {
  grep error: "$STATE/said" | sed 's/.*error: //' > "$records/$out.error"; rm -r "$made"; exit 1; }
cp "$made"/*.json "$records/$out.partial" && mv "$records/$out.partial" "$records/$out" """,
}


class FakePhone:
    """One device; `state` holds what a test sets: ``installed``, ``locked``, ``free_kb``, ``seconds``, ...

    The app's records are made once and kept in the folder `made`, for all phones.
    """

    def __init__(self, folder: Path, made: Path, authorised: bool = True) -> None:
        self.authorised = authorised
        self.state, self.sdcard, self.tmp = folder / "state", folder / "sdcard", folder / "tmp"
        commands = folder / "bin"
        for each in (self.state, self.sdcard, self.tmp, commands):
            each.mkdir(parents=True)
        for name, content in _COMMANDS.items():
            path = commands / name
            path.write_text(f"#!/bin/sh\n{content}\n")
            path.chmod(0o755)
        (self.state / "installed").touch()
        (self.state / "wakefulness").write_text("Awake\n")
        (self.state / "seconds").write_text("0")
        self._environment = os.environ | {
            "PATH": f"{commands}:/usr/bin:/bin",
            "STATE": str(self.state),
            "SDCARD": str(self.sdcard),
            "TMPDIR": str(self.tmp),
            "PYTHON": sys.executable,
            "SCRIPT": str(SCRIPT),
            "MADE": str(made),
        }
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.serial = f"127.0.0.1:{self.port}"
        self.commands: list[str] = []
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        self.plug()

    def plug(self) -> None:
        """Be there."""
        self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=False)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def unplug(self) -> None:
        """Be gone; what runs in the device runs on."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for each in self._connections:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._connections.clear()

    def close(self) -> None:
        """Be gone for good, with what runs in the device."""
        self.unplug()
        with contextlib.suppress(OSError, ValueError):
            os.killpg(int((self.state / "app.pid").read_text()), 9)

    def path(self, text: str) -> str:
        """A command or path of the device as one of this machine."""
        text = re.sub(r"/sdcard(?=/|\b)", str(self.sdcard), text)
        return text.replace("/data/local/tmp", str(self.tmp))

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=_Transport(self, connection).serve, daemon=True).start()

    def run(self, command: str) -> subprocess.Popen[bytes]:
        """Start a shell command of the device."""
        self.commands.append(command)
        return subprocess.Popen(
            ["/bin/sh", "-c", self.path(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd=self.tmp,
        )


class _Transport:
    """One connection of the adb server: messages of 24 bytes and a payload, many streams in one."""

    def __init__(self, phone: FakePhone, connection: socket.socket) -> None:
        self._phone, self._connection = phone, connection
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with contextlib.suppress(OSError, EOFError):
            while True:
                command, arg0, arg1, length, _, _ = struct.unpack("<6I", self._receive(24))
                self._take(command, arg0, arg1, self._receive(length))
        for stream in self._streams.values():
            stream.end()

    def _receive(self, count: int) -> bytes:
        content = b""
        while len(content) < count:
            part = self._connection.recv(count - len(content))
            if not part:
                raise EOFError
            content += part
        return content

    def send(self, command: int, arg0: int, arg1: int, data: bytes = b"") -> None:
        head = struct.pack("<6I", command, arg0, arg1, len(data), sum(data) & 0xFFFFFFFF, command ^ 0xFFFFFFFF)
        with self._sending:
            self._connection.sendall(head + data)

    def _take(self, command: int, arg0: int, arg1: int, data: bytes) -> None:
        if command == CNXN or (command == AUTH and arg0 == 2):  # 2: a signature, of a key that we do not know
            if self._phone.authorised:
                self.send(CNXN, _VERSION, _MAX_DATA, _BANNER)
            else:
                self.send(AUTH, 1, 0, bytes(20))
        elif command == OPEN:
            stream = _Stream(self, len(self._streams) + 1, arg0)
            self._streams[stream.own] = stream
            self.send(OKAY, stream.own, arg0)
            service = data.rstrip(b"\0").decode()
            threading.Thread(target=self._serve, args=(stream, service), daemon=True).start()
        elif command == WRTE and arg1 in self._streams:
            self._streams[arg1].received.put(data)
            self.send(OKAY, arg1, arg0)
        elif command == OKAY and arg1 in self._streams:
            self._streams[arg1].ready.release()
        elif command == CLSE and arg1 in self._streams:
            self._streams[arg1].end()

    def _serve(self, stream: _Stream, service: str) -> None:
        with contextlib.suppress(OSError, EOFError):
            if service.startswith("shell,v2:"):
                self._shell(stream, service.removeprefix("shell,v2:"))
            elif service == "sync:":
                self._sync(stream)
            self.send(CLSE, stream.own, stream.other)

    def _shell(self, stream: _Stream, command: str) -> None:
        process = self._phone.run(command)
        # A background process keeps the pipes open, and does not keep adbd: wait for the shell alone.
        assert process.stdout
        assert process.stderr
        code = process.wait()
        for kind, pipe in ((_STDOUT, process.stdout), (_STDERR, process.stderr)):
            os.set_blocking(pipe.fileno(), False)
            while part := pipe.read(60_000) or b"":
                stream.write(struct.pack("<BI", kind, len(part)) + part)
            pipe.close()
        stream.write(struct.pack("<BIB", _EXIT, 1, code & 0xFF))

    def _sync(self, stream: _Stream) -> None:
        while True:
            kind, length = stream.read(4), struct.unpack("<I", stream.read(4))[0]
            text = stream.read(length).decode()
            if kind == b"STAT":
                try:
                    found = Path(self._phone.path(text)).stat()
                    stream.write(b"STAT" + struct.pack("<3I", found.st_mode, found.st_size, int(found.st_mtime)))
                except OSError:
                    stream.write(b"STAT" + bytes(12))
            elif kind == b"SEND":
                self._take_file(stream, Path(self._phone.path(text.rpartition(",")[0])))
            else:
                return

    def _take_file(self, stream: _Stream, path: Path) -> None:
        content = b""
        while True:
            kind, number = stream.read(4), struct.unpack("<I", stream.read(4))[0]
            if kind == b"DONE":
                break
            content += stream.read(number)
        if (self._phone.state / "read_only").exists():
            reason = b"No space left on device"
            stream.write(b"FAIL" + struct.pack("<I", len(reason)) + reason)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        stream.write(b"OKAY" + bytes(4))


class _Stream:
    """One service's two directions; a write waits for the other side's word that the last one arrived."""

    def __init__(self, transport: _Transport, own: int, other: int) -> None:
        self.own, self.other = own, other
        self.received: queue.Queue[bytes | None] = queue.Queue()
        self.ready = threading.Semaphore(1)
        self._transport, self._rest, self._ended = transport, b"", False

    def read(self, count: int) -> bytes:
        while len(self._rest) < count:
            part = self.received.get()
            if part is None:
                raise EOFError
            self._rest += part
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def write(self, data: bytes) -> None:
        for start in range(0, len(data), _MAX_DATA):
            self.ready.acquire()
            if self._ended:
                raise EOFError
            self._transport.send(WRTE, self.own, self.other, data[start : start + _MAX_DATA])

    def end(self) -> None:
        self._ended = True
        self.received.put(None)
        self.ready.release()
