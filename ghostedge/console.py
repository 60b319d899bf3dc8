"""What commands show people: tables in columns, and progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Collection, Sequence
from typing import Self


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
        self._rewrites = sys.stderr.isatty()
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
        print(f"\r\x1b[K{text}" if self._rewrites else text, end="" if self._rewrites else "\n", file=sys.stderr)
        sys.stderr.flush()
        self._open = self._rewrites

    def _end_status(self) -> None:
        if self._open:
            print(file=sys.stderr)
            self._open = False
