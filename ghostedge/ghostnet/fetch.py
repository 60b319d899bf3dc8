"""Download a published checkpoint: resumable, verified, and recorded beside the file."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import ghostedge
from ghostedge.errors import CheckpointError, FetchError, UsageError
from ghostedge.files import atomic_write, locked, output_error, sha256_file
from ghostedge.ghostnet.ckpt_format import parse_ckpt
from ghostedge.lazy import choose, require
from ghostedge.stored import as_type, parse_json

if TYPE_CHECKING:
    import httpx

#: Checkpoint name -> the address where its authors published it.
PUBLISHED: dict[str, str] = {
    "ghostnetv2_1x": "https://download.mindspore.cn/model_zoo/research/cv/ghostnetv2/ghostnetv2_1x.ckpt"
}

_TIMEOUT_SECONDS = 30.0
_MAX_WAIT_SECONDS = 30.0
_RETRIED_STATUS = (408, 425, 429, 500, 502, 503, 504)
_SUFFIXES = re.compile(r"\.(ckpt|safetensors|pth|pt|bin|pth\.tar|tgz)$")


@dataclass(frozen=True)
class Record:
    """What is written beside a downloaded file, as ``<file>.json``, and beside its part until it is whole.

    Attributes:
        url: where it came from.
        size_bytes: its size; -1 of a part whose server does not say.
        sha256: the hash of its bytes; empty of a part.
        etag: the server's name for this version of the file; empty where it gave none.
        last_modified: the server's date of the file; empty where it gave none.
    """

    url: str
    size_bytes: int = -1
    sha256: str = ""
    etag: str = ""
    last_modified: str = ""

    @property
    def validator(self) -> str:
        """What `If-Range` may carry (RFC 9110, 13.1.5): a strong ETag, else the date; empty where there is neither."""
        return self.etag if self.etag.startswith('"') else self.last_modified


@dataclass(frozen=True)
class Fetched:
    """A checkpoint that is here, whole and verified.

    Attributes:
        path: the file.
        record: what is known of it.
        received_bytes: what came over the network in this call; 0 where the file was already here.
    """

    path: Path
    record: Record
    received_bytes: int


class _InterruptedError(Exception):
    """The transfer stopped for a reason that may pass."""

    def __init__(self, reason: str, wait_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


def fetch(
    name: str,
    folder: Path,
    *,
    url: str | None = None,
    sha256: str | None = None,
    on_progress: Callable[[int, int | None], None] = lambda done, total: None,
    attempts: int = 5,
    backoff_seconds: float = 0.5,
) -> Fetched:
    """Download checkpoint `name` into `folder`, unless it is there and matches its record.

    What came before a cut line, a crash or Ctrl-C is kept as ``<file>.part`` and continued, in this call and the next,
    where the server still has the same version (strong ETag or date) and honours ranges; else it starts over. The file
    takes its name when its size, its hash (with `sha256`) and its form as a checkpoint are right.

    Args:
        name: a key of `PUBLISHED`; with `url` any name, which the file gets.
        folder: where; made if it is not there.
        url: another http(s) address.
        sha256: the hash it must have, 64 hexadecimal digits.
        on_progress: called with the bytes that are here and the bytes in all (None where the server does not say).
        attempts: how often in a row a transfer may stop without a byte that was not here before.
        backoff_seconds: the wait after the first such stop; it doubles.

    Raises:
        FetchError: the download failed for good; the message says why and what is kept.
        OutputError: the disk is full or the folder cannot be written; what came is kept.
        UsageError: an unknown name, an impossible URL or hash.
    """
    if url is None:
        url = PUBLISHED[choose("checkpoint", name, PUBLISHED)]
    _check_arguments(name, url, sha256)
    suffix = _SUFFIXES.search(urllib.parse.urlsplit(url).path)
    path = folder / f"{name}{suffix[0] if suffix else '.ckpt'}"
    wanted = sha256.lower() if sha256 else None
    if (record := _already_here(path, url, wanted)) is not None:
        return Fetched(path, record, 0)
    part, lock = (path.with_name(f"{path.name}.part{suffix}") for suffix in ("", ".lock"))
    busy = FetchError(f"{part} is being downloaded by another process; wait for it")
    try:
        with locked(lock, busy), contextlib.ExitStack() as end:
            end.callback(lock.unlink, missing_ok=True)
            # Another process may have finished it between the first look and the lock.
            if (record := _already_here(path, url, wanted)) is not None:
                return Fetched(path, record, 0)
            download = _Download(path, end.enter_context(open(part, "ab+")), url, wanted, on_progress)
            end.callback(download.tidy)
            return download.run(attempts, backoff_seconds)
    except OSError as exc:
        raise output_error(path, exc) from exc


def _check_arguments(name: str, url: str, sha256: str | None) -> None:
    if not re.fullmatch(r"[\w.-]+", name) or name.startswith("."):
        raise UsageError(f"'{name}' cannot be a file name; use letters, digits, '_', '-' and '.'")
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"cannot download '{url}': give an address that begins with http:// or https://")
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UsageError(f"'{sha256}' is not a SHA-256, which has 64 hexadecimal digits")


def _already_here(path: Path, url: str, wanted: str | None) -> Record | None:
    """The record of a file that is here, whole, and the one that is asked for."""
    if not path.is_file():
        return None
    record = _read_record(_record_path(path))
    if record is None:
        if wanted is not None and sha256_file(path) == wanted:
            record = Record("", path.stat().st_size, wanted)
            _write_record(_record_path(path), record)
            return record
        raise FetchError(f"{path} is there, but was not fetched by ghostedge; move it away or choose another --output")
    if record.sha256 != (wanted or record.sha256) or (wanted is None and record.url not in (url, "")):
        return None
    return record if path.stat().st_size == record.size_bytes and sha256_file(path) == record.sha256 else None


class _Download:
    """One file on its way: what is here of it, and of which version."""

    def __init__(
        self, path: Path, part: IO[bytes], url: str, wanted: str | None, on_progress: Callable[[int, int | None], None]
    ) -> None:
        self.path = path
        self.part = part
        self.url = url
        self.wanted = wanted
        self.on_progress = on_progress
        self.received = 0
        self.furthest = self._here()
        self.source_path = path.with_name(f"{path.name}.part.json")
        source = _read_record(self.source_path)
        self.source = source if source is not None and source.url == url else Record(url)

    def run(self, attempts: int, backoff_seconds: float) -> Fetched:
        failures, furthest = 0, self.furthest
        while not self._here() == self.source.size_bytes > 0:  # else a run stopped between last byte and renaming
            try:
                with _network_errors(self.url):
                    self._transfer()
                break
            except _InterruptedError as exc:
                # Only new ground counts: a server that starts over and cuts at the same place must not go on for ever.
                failures = 1 if self.furthest > furthest else failures + 1
                furthest = self.furthest
                if failures >= attempts:
                    raise FetchError(f"{self.url}: {exc}; {self._kept()}") from exc
                time.sleep(min(max(backoff_seconds * 2 ** (failures - 1), exc.wait_seconds), _MAX_WAIT_SECONDS))
        return self._finish()

    def _here(self) -> int:
        return self.part.seek(0, os.SEEK_END)

    def _kept(self) -> str:
        here = self._here()
        if here and self.source.validator:
            return f"{here} bytes are kept, run it again to continue"
        return "check the network and the address, and run it again"

    def _restart(self, source: Record) -> None:
        """Forget what is here; what comes is `source`. The file is cut first: a crash in between leaves it empty."""
        self.part.truncate(0)
        self.source = source
        _write_record(self.source_path, source)

    def _transfer(self) -> None:
        """One request, from where the part ends if that can be told apart. Raises: _InterruptedError, FetchError."""
        httpx = require("httpx", "fetch")
        start = self._here() if self.source.validator else 0
        headers = {"User-Agent": f"ghostedge/{ghostedge.__version__}", "Accept-Encoding": "identity"}
        if start:
            headers |= {"Range": f"bytes={start}-", "If-Range": self.source.validator}
        options = {"headers": headers, "timeout": _TIMEOUT_SECONDS, "follow_redirects": True}
        trusted = ssl.create_default_context()  # what this system trusts, a company's own certificates among it
        with httpx.stream("GET", self.url, verify=trusted, **options) as response:
            self._check(response)
            source = _source(self.url, response)
            if response.status_code == 206:
                begin = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
                if begin is None or int(begin[1]) != start or source != self.source:
                    self._restart(Record(self.url))
                    raise _InterruptedError("the file changed on the server between two attempts")
            else:
                self._restart(source)  # the first request, a server without ranges, or another version of the file
            self._receive(response)

    def _check(self, response: httpx.Response) -> None:
        """Raise what an answer without the file's bytes means."""
        status, headers = f"{response.status_code} ({response.reason_phrase})", response.headers
        if response.status_code == 416:
            reason = f"the server announced {self.source.size_bytes} bytes but has none after {self._here()}"
            self._restart(Record(self.url))
            raise _InterruptedError(reason)
        if response.status_code in _RETRIED_STATUS:
            wait = headers.get("Retry-After", "")
            raise _InterruptedError(f"the server answers {status}", float(wait) if wait.isdigit() else 0.0)
        if not response.is_success:
            raise FetchError(f"{self.url}: the server answers {status}; check the address")
        kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind in ("text/html", "application/xhtml+xml"):
            raise FetchError(f"{self.url}: the server sends a web page ({kind}), not a checkpoint; check the address")
        if headers.get("Content-Encoding", "identity") != "identity":
            raise FetchError(f"{self.url}: the server compresses the file against the request; give another --url")

    def _receive(self, response: httpx.Response) -> None:
        """Append the body to the part."""
        here, size = self._here(), self.source.size_bytes
        total = None if size < 0 else size
        self.on_progress(here, total)
        try:
            for chunk in response.iter_raw():  # as it comes: a size would hold back what is lost when the line is cut
                self.part.write(chunk)
                here += len(chunk)
                self.received += len(chunk)
                self.furthest = max(self.furthest, here)
                self.on_progress(here, total)
        except require("httpx", "fetch").RemoteProtocolError as exc:
            if total is None:
                raise
            raise _InterruptedError(f"the line was cut after {here} of {total} bytes") from exc

    def _finish(self) -> Fetched:
        """Verify the part, record it, and give it its name."""
        self.part.flush()
        os.fsync(self.part.fileno())
        self.part.seek(0)
        data = self.part.read()
        digest = hashlib.sha256(data).hexdigest()
        try:
            self._verify(data, digest)
        except FetchError:
            self._discard()
            raise
        record = replace(self.source, size_bytes=len(data), sha256=digest)
        # The record first: a crash in between leaves a whole part, and the next call ends here without a byte.
        _write_record(_record_path(self.path), record)
        Path(self.part.name).replace(self.path)
        self.source_path.unlink(missing_ok=True)
        return Fetched(self.path, record, self.received)

    def _verify(self, data: bytes, digest: str) -> None:
        if self.source.size_bytes not in (-1, len(data)):
            raise FetchError(f"{self.url}: {len(data)} bytes came, not the {self.source.size_bytes} announced")
        if self.wanted is not None and digest != self.wanted:
            raise FetchError(
                f"{self.url}: what came has SHA-256 {digest}, not {self.wanted}; "
                "it was thrown away, check the address and --sha256"
            )
        if self.path.suffix == ".ckpt":
            try:
                parse_ckpt(data, "what came")
            except CheckpointError as exc:
                raise FetchError(f"{self.url}: {exc}") from exc

    def tidy(self) -> None:
        """Leave no empty part behind."""
        part = Path(self.part.name)
        if part.exists() and part.stat().st_size == 0:
            self._discard()

    def _discard(self) -> None:
        Path(self.part.name).unlink(missing_ok=True)
        self.source_path.unlink(missing_ok=True)


@contextlib.contextmanager
def _network_errors(url: str) -> Iterator[None]:
    """Tell apart what may pass (`_InterruptedError`) from what will not (`FetchError`)."""
    httpx = require("httpx", "fetch")
    try:
        yield
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        causes = [exc]
        while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None:
            causes.append(cause)
        for cause in causes:
            if isinstance(cause, socket.gaierror):
                host = urllib.parse.urlsplit(url).hostname
                raise FetchError(f"{url}: cannot find '{host}'; check the network connection and the address") from exc
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise FetchError(f"{url}: the server's certificate is not trusted ({cause.verify_message})") from exc
        if isinstance(exc, httpx.TimeoutException):
            raise _InterruptedError(f"nothing came for {_TIMEOUT_SECONDS:.0f} s") from exc
        raise _InterruptedError(f"the connection failed ({exc or type(exc).__name__})") from exc


def _source(url: str, response: httpx.Response) -> Record:
    """The version of the file that a response belongs to."""
    headers = response.headers
    partial = response.status_code == 206
    size = headers.get("Content-Range", "").rpartition("/")[2] if partial else headers.get("Content-Length", "")
    known = {"etag": headers.get("ETag", ""), "last_modified": headers.get("Last-Modified", "")}
    return Record(url, int(size) if size.isdigit() else -1, **known)


def _record_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write_record(path: Path, record: Record) -> None:
    atomic_write(path, json.dumps(asdict(record), indent=2) + "\n")


def _read_record(path: Path) -> Record | None:
    """What `_write_record` wrote; None where it is not there, damaged, or of another version of ghostedge."""
    try:
        data = parse_json(path.read_bytes(), str(path), FetchError)
        if not isinstance(data, dict) or set(data) - {entry.name for entry in fields(Record)}:
            return None
        return as_type(data, Record, str(path), FetchError)
    except (OSError, FetchError):
        return None
