"""A model of the cycles that a core needs for an instruction mix: how many operations each of its units can start.

It is a lower bound for perfect scheduling and caches that never miss, made for ranking artifacts on one core. It is not
a time: it knows no latencies, no misses, no branch predictor and no clock. docs/notes/arm64.md has it beside a board.

Sources: Arm's software optimisation guides of the Cortex-A72 (UAN 0016A), the Cortex-A76 (PJDOC-466751330-7215) and the
Cortex-A710 (PJDOC-466751330-14951), as LLVM's scheduling models have their throughputs: AArch64SchedA57.td, which LLVM
takes for the A72 too, and AArch64SchedNeoverseN1.td and AArch64SchedNeoverseN2.td, the server siblings of the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from instructions import Instruction


@dataclass(frozen=True)
class Core:
    """What a core can start in a cycle.

    Attributes:
        width: operations that are dispatched.
        units: unit -> how many of it there are. ``vector`` is both vector pipelines together; ``vector 0`` and
            ``vector 1`` are each of them, for what the other one cannot do.
        needs: kind -> the units that an instruction keeps, and how many operations each starts: on at most 64 bits,
            and on 128 bits. Of a load or store: for how many bytes one operation is enough.
    """

    width: int
    units: Mapping[str, int]
    needs: Mapping[str, tuple[tuple[str, ...], int, int]]


_EITHER, _FIRST, _SECOND = ("vector",), ("vector", "vector 0"), ("vector", "vector 1")
_COMMON = {
    "integer": (("integer",), 1, 1),
    "other": (("integer",), 1, 1),
    "integer multiply": (("multi-cycle",), 1, 1),
    "branch": (("branch",), 1, 1),
    "vector": (_EITHER, 1, 1),
    "vector shift": (_SECOND, 1, 1),
    "widening multiply": (_FIRST, 1, 1),
}
_PIPELINES = {"vector": 2, "vector 0": 1, "vector 1": 1}

#: Name of a CPU in profiles.py -> its core.
CORES = {
    # Floating-point work on 128 bits is two operations of 64 bits.
    "cortex-a72": Core(
        width=3,
        units={"load": 1, "store": 1, "integer": 2, "multi-cycle": 1, "branch": 1, **_PIPELINES},
        needs=_COMMON
        | {
            "load": (("load",), 16, 16),
            "store": (("store",), 8, 8),
            "float multiply": (_EITHER, 1, 2),
            "float": (_EITHER, 1, 2),
            "float convert": (_EITHER, 1, 2),
            "float divide": (_FIRST, 17, 34),
            "vector multiply": (_FIRST, 1, 2),
        },
    ),
    "cortex-a76": Core(
        width=4,
        units={"memory": 2, "integer": 3, "multi-cycle": 1, "branch": 1, **_PIPELINES},
        needs=_COMMON
        | {
            "load": (("memory",), 16, 16),
            "store": (("memory",), 8, 8),
            "float multiply": (_EITHER, 1, 1),
            "float": (_EITHER, 1, 1),
            "float convert": (_FIRST, 1, 2),
            "float divide": (_FIRST, 7, 10),
            "dot": (_EITHER, 1, 1),
            "vector multiply": (_FIRST, 1, 2),
        },
    ),
    "cortex-a710": Core(
        width=5,
        units={"memory": 3, "store": 2, "integer": 4, "multi-cycle": 2, "branch": 2, **_PIPELINES},
        needs=_COMMON
        | {
            "load": (("memory",), 16, 16),
            "store": (("memory", "store"), 16, 16),
            "float multiply": (_EITHER, 1, 1),
            "float": (_EITHER, 1, 1),
            "float convert": (_FIRST, 1, 2),
            "float divide": (_FIRST, 4, 8),
            "dot": (_EITHER, 1, 1),
            "matrix": (_EITHER, 1, 1),
            "vector multiply": (_FIRST, 1, 1),
        },
    ),
}


def bounds(core: Core, mix: Mapping[Instruction, int]) -> dict[str, float]:
    """Cycles that each unit needs at least for `mix`, and the dispatch, as if nothing else held it up.

    Raises:
        KeyError: an instruction of `mix` is one that the core does not have.
    """
    started: dict[str, float] = dict.fromkeys(core.units, 0)
    dispatched = 0
    for (kind, size, wide), times in mix.items():
        units, narrow, full = core.needs[kind]
        count = max(1, -(-size // full)) if kind in ("load", "store") else full if wide else narrow
        for unit in units:
            started[unit] += times * count
        dispatched += times * (1 if kind == "float divide" else count)  # a division keeps its pipeline, no slots
    return {"dispatch": dispatched / core.width} | {unit: started[unit] / core.units[unit] for unit in core.units}


def cycles(core: Core, blocks: Iterable[Mapping[Instruction, int]]) -> float:
    """The largest bound of each block, added up: one loop does not fill the units that the next one leaves idle.

    By block and not by function, so that libraries with and without names of functions are treated alike.
    """
    return sum(max(bounds(core, block).values()) for block in blocks)
