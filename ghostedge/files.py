"""Write files whole or not at all, and hash them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ghostedge.errors import GhostedgeError, OutputError

#: The prefix of every file that is still being written; a leftover after ``kill -9`` may be deleted.
PARTIAL_PREFIX = ".partial-"


def output_error(path: Path, exc: OSError) -> OutputError:
    """Translate an ``OSError`` met while writing `path` into one line that says what to do."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"cannot write {path}: the disk is full; free some space and run again")
    if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return OutputError(f"cannot write {path}: permission denied; choose another --output")
    if exc.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
        return OutputError(f"cannot write {path}: a file of another kind is in its place; choose another --output")
    return OutputError(f"cannot write {path}: {exc.strerror or exc}")


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a path beside `path` to write to; it takes `path`'s place when the block succeeds.

    Yields:
        A file name in the same directory with the same suffix (converters look at the suffix).
        If the block raises, whatever was written there is removed and `path` is as it was.

    Raises:
        OutputError: the directory cannot be made, or an ``OSError`` came out of the block.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{secrets.token_hex(4)}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        with open(partial, "rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as exc:
        raise output_error(path, exc) from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def atomic_write(path: Path, data: bytes | str) -> None:
    """Write `data` (text as UTF-8) to `path`, whole or not at all. Raises: OutputError."""
    with atomic_path(path) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, busy: GhostedgeError) -> Iterator[None]:
    """Hold the lock file `path` for the block; the system lets go of it when this process ends, however it ends.

    Raises:
        GhostedgeError: `busy`, where another process holds it.
        OutputError: the file cannot be made.
    """
    import filelock

    lock = filelock.FileLock(path, blocking=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except filelock.Timeout:
        raise busy from None
    except OSError as exc:
        raise output_error(path, exc) from exc
    try:
        yield
    finally:
        lock.release()
