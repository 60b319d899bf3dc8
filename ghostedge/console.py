"""What commands show people: tables in columns, progress on stderr, text of others without control characters."""

from __future__ import annotations

import codecs
import contextlib
import os
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Self

from ghostedge.errors import OutputError

#: Control characters but tab and newline, and what reorders or breaks lines: a terminal obeys them, so they are shown
#: as JSON writes them.
_HIDDEN = {
    code: f"\\u{code:04x}"
    for first, last in ((0, 8), (11, 31), (127, 159), (0x2028, 0x202E), (0x2066, 0x2069))
    for code in range(first, last + 1)
}

#: What a terminal without them shows for typographic characters of our own.
_PLAIN = {"\u2212": "-", "\u2013": "-", "\u2014": "-", "\u00d7": "x", "\u2026": "..."}


def one_line(text: object) -> str:
    """A message in which names of others may stand, as one line."""
    return " ".join(str(text).split("\n")).translate(_HIDDEN)


def _unencodable(exc: UnicodeError) -> tuple[str, int]:
    """Of what an encoding lacks: our own signs in ASCII, the rest as JSON writes it."""
    assert isinstance(exc, UnicodeEncodeError)
    letter = exc.object[exc.start]
    code = ord(letter)
    pair = [code] if code < 0x10000 else [0xD800 + (code - 0x10000 >> 10), 0xDC00 + (code & 0x3FF)]
    return _PLAIN.get(letter) or "".join(f"\\u{unit:04x}" for unit in pair), exc.start + 1


codecs.register_error("ghostedge", _unencodable)


class _Stream:
    """stdout or stderr, for text that others may have written.

    Control characters are shown and not obeyed; what the encoding lacks is written as JSON would.

    Raises:
        OutputError: nothing can be written to stdout; what cannot be written to stderr is dropped.
        BrokenPipeError: nobody reads stdout.
    """

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name = stream, name

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write text."""
        return self.control(text.translate(_HIDDEN))

    def control(self, text: str) -> int:
        """Write text of our own, which may move the cursor."""
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        with self._writing():
            self._stream.write(text.encode(encoding, "ghostedge").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what is held back."""
        with self._writing():
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return self._stream is not None and bool(self._stream.isatty())

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            if self._stream is None:  # it was closed when we were started
                raise OSError("it is closed")
            yield
        except (OSError, ValueError) as exc:
            # What is held back is not tried again when the interpreter ends.
            with contextlib.suppress(OSError, ValueError, AttributeError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, self._stream.fileno())
                os.close(null)
            if self._name == "stderr":
                return
            if isinstance(exc, BrokenPipeError):
                raise
            raise OutputError(f"cannot write to {self._name}: {getattr(exc, 'strerror', None) or exc}") from exc


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Within the block `print` writes through `_Stream`."""
    kept = sys.stdout, sys.stderr
    if isinstance(sys.stdout, _Stream):  # a command that runs others
        yield
        return
    sys.stdout, sys.stderr = _Stream(sys.stdout, "stdout"), _Stream(sys.stderr, "stderr")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = kept


def aligned(rows: Sequence[Sequence[str]], right: Collection[int] = ()) -> list[str]:
    """The lines of a table: columns two spaces apart, a rule of dashes below the first row, which is the header.

    >>> print(*aligned([("Name", "Size"), ("a.onnx", "7")], right=[1]), sep="\\n")
    Name    Size
    ------  ----
    a.onnx     7

    Args:
        rows: one or more, all of the same length.
        right: the columns whose cells stand at the right, for numbers.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if column in right else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return [lines[0], "  ".join("-" * width for width in widths), *lines[1:]]


def time_left(seconds: float) -> str:
    """``"7 min 31 s left"``, or ``"3 h 12 min left"``."""
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min left" if hours else f"{minutes} min {seconds} s left"


class ProgressWriter:
    """Progress on stderr: lines that stay, and a status that is rewritten in place on a terminal.

    Where stderr is no terminal, the status gets a line of its own every ten seconds.

    Args:
        quiet: show neither; warnings are shown all the same.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet
        self._rewrites = sys.stderr is not None and sys.stderr.isatty()
        self._last = time.monotonic()
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_status()

    def line(self, text: str) -> None:
        """Show a line that stays."""
        if not self.quiet:
            self.warn(text)

    def warn(self, text: str) -> None:
        """Show a line that stays, even where progress is not wanted."""
        self._end_status()
        print(text, file=sys.stderr, flush=True)

    def status(self, text: str, *, last: bool = False) -> None:
        """Show how far the work is, in place of what was shown before.

        Args:
            text: one line.
            last: show it even if the one before has only just been shown.
        """
        wait = 0.2 if self._rewrites else 10.0
        if self.quiet or (time.monotonic() - self._last < wait and not last):
            return
        self._last = time.monotonic()
        if self._rewrites:
            getattr(sys.stderr, "control", sys.stderr.write)("\r\x1b[K")
        print(text, end="" if self._rewrites else "\n", file=sys.stderr, flush=True)
        self._open = self._rewrites

    def _end_status(self) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False
