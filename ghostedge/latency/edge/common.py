"""The error, the record and the files that every part uses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Run = Callable[[], object]
Record = dict[str, Any]
VERSION = "1.1"
SCHEMA_VERSION = 2


class BenchmarkError(Exception):
    """One line: what is wrong and what to do."""


def one_line(exc: BaseException) -> str:
    """An exception's message on one line."""
    return " ".join(str(exc).split())[:400] or type(exc).__name__


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A name to write to; it becomes `path` when the block succeeds, and is removed when it does not."""
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        partial.replace(path)
    except OSError as exc:
        reason = "the disk is full" if exc.errno == 28 else exc.strerror
        raise BenchmarkError(f"cannot write {path}: {reason}") from exc
    finally:
        with contextlib.suppress(OSError):
            partial.unlink()


def sha256_of(path: Path | str) -> str:
    """SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def say(text: str) -> None:
    """Progress, for people, on stderr."""
    print(text, file=sys.stderr, flush=True)
