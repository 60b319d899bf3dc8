"""Write files whole or not at all, and hash them."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ghostedge.errors import GhostedgeError, OutputError
from ghostedge.signals import forget, note

#: The prefix of every file that is still being written; a leftover after ``kill -9`` may be deleted.
PARTIAL_PREFIX = ".partial-"

#: What `open_regular` says of a pipe.
NOT_REGULAR = "it is a pipe or a device, not a file"

#: A process that was just killed lets go of its locks within this time.
_LOCK_S = 1.0


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


@contextmanager
def scratch_folder(place: Path | None = None, prefix: str = "ghostedge-") -> Iterator[Path]:
    """An empty folder for the block, gone after it, and after a kill too.

    Args:
        place: its path; None for a new one among the system's temporary files.
        prefix: what the name of a new one begins with.

    Raises:
        OutputError: it cannot be made.
    """
    try:
        if place is None:
            place = Path(tempfile.mkdtemp(prefix=prefix))
        else:
            shutil.rmtree(place, ignore_errors=True)  # what a kill left
            place.mkdir(parents=True)
    except OSError as exc:
        raise output_error(place or Path(tempfile.gettempdir()), exc) from exc
    note(place)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
        forget(place)


def open_regular(path: Path | str) -> io.FileIO:
    """Open a file for reading, unbuffered; a pipe, which might never end, or a device is refused.

    Raises:
        OSError: as of `open`; ``EINVAL`` for what is not a regular file.
    """
    # Without O_NONBLOCK the opening itself waits for a pipe's writer. Regular files do not know the flag.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    kind = os.fstat(handle).st_mode
    if stat.S_ISREG(kind):
        return open(handle, "rb", buffering=0)
    os.close(handle)
    number, reason = (errno.EISDIR, os.strerror(errno.EISDIR)) if stat.S_ISDIR(kind) else (errno.EINVAL, NOT_REGULAR)
    raise OSError(number, reason, str(path))


def paths_of(files: Path | str | Iterable[Path | str]) -> tuple[Path, ...]:
    """One file, or several, as an argument names them."""
    return tuple(map(Path, [files] if isinstance(files, Path | str) else files))


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits. Raises: OSError, also for a pipe."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def locked(path: Path, busy: GhostedgeError) -> Iterator[None]:
    """Hold the lock file `path` for the block, and remove it; the system lets go of it however this process ends.

    Raises:
        GhostedgeError: `busy`, where another process holds it.
        OutputError: the file cannot be made.
    """
    import filelock

    lock = filelock.FileLock(path, timeout=_LOCK_S)
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
        with contextlib.suppress(OSError):  # in a folder that was made read-only meanwhile it stays, and holds nobody
            path.unlink(missing_ok=True)  # while it is held: whoever waits for it sees that and makes another
        lock.release()
