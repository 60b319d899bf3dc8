"""Say of executed blocks of instructions which kinds are in them and in which functions of libraries they lie."""

from __future__ import annotations

import bisect
import collections
import functools
import struct
import subprocess
from pathlib import Path
from typing import NamedTuple

from instructions import Instruction, decode


class _Mapping(NamedTuple):
    """A part of a file in the guest's memory: first address, one behind the last, place in the file, the file."""

    start: int
    end: int
    offset: int
    path: str


class Executed(NamedTuple):
    """How often each kind of instruction was executed.

    Attributes:
        functions: by function. One without a name is called by its library, e.g. ``"libm.so.6"``; what lies outside of
            all files ``""``.
        blocks: by block: instructions that are always executed one after the other, such as the body of a loop.
    """

    functions: dict[str, collections.Counter[Instruction]]
    blocks: list[collections.Counter[Instruction]]


def attribute(blocks: str, maps: str) -> Executed:
    """Kinds of instructions, by function and by block.

    Args:
        blocks: lines of the address of a block, hexadecimal, its number of instructions and how often it was executed.
        maps: the guest's /proc/self/maps.
    """
    parts = _mappings(maps)
    starts = [part.start for part in parts]
    bases: dict[str, int] = {}  # a file -> where it would begin in memory
    for part in parts:
        bases.setdefault(part.path, part.start - part.offset)
    symbols = {path: _symbols(path) for path in bases}
    bytes_of = {path: Path(path).read_bytes() for path in bases}
    found = Executed(collections.defaultdict(collections.Counter), [])
    for line in blocks.splitlines():
        address, length, times = int(line.split()[0], 16), *map(int, line.split()[1:])
        at = bisect.bisect_right(starts, address) - 1
        if at < 0 or address >= parts[at].end:
            found.blocks.append(collections.Counter({Instruction("other"): length * times}))
            found.functions[""].update(found.blocks[-1])
            continue
        start, _, offset, path = parts[at]
        addresses, names = symbols[path]
        place = bisect.bisect_right(addresses, address - bases[path]) - 1
        block: collections.Counter[Instruction] = collections.Counter()
        for word in struct.unpack_from(f"<{length}I", bytes_of[path], address - start + offset):
            block[decode(word)] += times
        found.blocks.append(block)
        found.functions[names[place] if place >= 0 else Path(path).name].update(block)
    return found


def _mappings(maps: str) -> list[_Mapping]:
    lines = [line.split() for line in maps.splitlines()]
    # A file that holds no code may be gone by now: ONNX Runtime maps a database.
    code = {fields[5] for fields in lines if len(fields) == 6 and "x" in fields[1] and Path(fields[5]).is_file()}
    parts = []
    for fields in lines:
        if len(fields) == 6 and fields[5] in code:
            start, end = (int(edge, 16) for edge in fields[0].split("-"))
            parts.append(_Mapping(start, end, int(fields[2], 16), fields[5]))
    return sorted(parts)


@functools.cache
def _symbols(library: str) -> tuple[list[int], list[str]]:
    """The addresses of the functions of a library's symbol table, ascending, and their names."""
    done = subprocess.run(["nm", "--defined-only", library], capture_output=True, text=True, check=False)
    rows = [line.split(maxsplit=2) for line in done.stdout.splitlines()]
    table = dict(sorted((int(row[0], 16), row[2]) for row in rows if len(row) == 3 and row[1] in "tTwW"))
    return list(table), list(table.values())
