"""Say of an AArch64 instruction word of which kind it is and how many bytes it loads or stores.

The kinds are those that the software optimisation guides of Arm's cores give different throughputs. The fields of the
words are those of the Arm Architecture Reference Manual (DDI 0487), chapter C4.
"""

from __future__ import annotations

import functools
from typing import NamedTuple


class Instruction(NamedTuple):
    """What an instruction needs of a core.

    Attributes:
        kind: one of `KINDS`.
        size: bytes loaded or stored; 0 of other kinds.
        wide: whether a vector instruction works on 128 bits.
    """

    kind: str
    size: int = 0
    wide: bool = False


#: Kind -> what belongs to it.
KINDS = {
    "load": "loads, prefetches, atomics",
    "store": "stores",
    "float multiply": "FMUL, FMLA, FMADD and the like, of any width of number",
    "float": "floating-point additions, comparisons, maxima",
    "float convert": "conversions, rounding, estimates",
    "float divide": "divisions and square roots",
    "dot": "SDOT, UDOT, USDOT, SUDOT, BFDOT",
    "matrix": "SMMLA, UMMLA, USMMLA, BFMMLA",
    "widening multiply": "SMULL, SMLAL and the like",
    "vector multiply": "MUL, MLA, SQDMULH, SQRDMULH and the like on vectors of integers",
    "vector shift": "shifts of vectors, with rounding and saturation too; saturating narrowing",
    "vector": "other integer and logical operations on vectors; moves, permutations, table look-ups",
    "integer": "integer and logical operations, address arithmetic",
    "integer multiply": "multiplications and divisions of integers",
    "branch": "branches, calls, returns",
    "other": "system instructions, and what is not known here (SVE, SME)",
}


def _field(word: int, high: int, low: int) -> int:
    return word >> low & (1 << (high - low + 1)) - 1


@functools.cache
def decode(word: int) -> Instruction:
    """The kind of one instruction.

    Args:
        word: 32 bits, as they lie in memory, little-endian.
    """
    group = _field(word, 28, 25)
    if group & 0b0101 == 0b0100:
        return _load_or_store(word)
    if group & 0b0111 == 0b0111:
        kind = _float_or_vector(word)
        vector = not _field(word, 31, 31) and not _field(word, 28, 28)
        return Instruction(kind, 0, bool(vector and _field(word, 30, 30)))
    if group & 0b1110 == 0b1000:
        return Instruction("integer")
    if group & 0b0111 == 0b0101:
        return Instruction("integer multiply" if _is_integer_multiply(word) else "integer")
    if group & 0b1110 == 0b1010:
        return Instruction("other" if _field(word, 31, 22) == 0b1101010100 else "branch")
    return Instruction("other")


def _is_integer_multiply(word: int) -> bool:
    three_sources = _field(word, 28, 24) == 0b11011
    two_sources = _field(word, 30, 21) == 0b0011010110
    return three_sources or (two_sources and _field(word, 15, 11) == 0b00001)  # the second: UDIV, SDIV


def _load_or_store(word: int) -> Instruction:
    is_vector, top = bool(_field(word, 26, 26)), _field(word, 31, 30)
    row = _field(word, 29, 27)
    if _field(word, 31, 31) == 0 and row == 0b001 and is_vector:
        return _structure(word)
    if row == 0b001:  # exclusive, ordered, compare and swap
        return Instruction("load" if _field(word, 22, 22) else "store", 1 << top)
    if row == 0b011:  # literal; LDAPUR and the like are in the same row
        return Instruction("load", (4 << top) if is_vector else 8 if top == 1 else 4)
    if row == 0b101:  # pairs
        each = (4 << top) if is_vector else 8 if top == 2 else 4
        return Instruction("load" if _field(word, 22, 22) else "store", 2 * each)
    operation = _field(word, 23, 22)
    if is_vector:
        size = 16 if top == 0 and operation & 0b10 else 1 << top
        return Instruction("load" if operation & 1 else "store", size)
    atomic = _field(word, 24, 24) == 0 and _field(word, 21, 21) and _field(word, 11, 10) == 0
    return Instruction("load" if operation or atomic else "store", 1 << top)


def _structure(word: int) -> Instruction:
    """LD1 to LD4 and ST1 to ST4."""
    kind = "load" if _field(word, 22, 22) else "store"
    if not _field(word, 24, 24):
        registers = {0b0000: 4, 0b0010: 4, 0b0100: 3, 0b0110: 3, 0b0111: 1, 0b1000: 2, 0b1010: 2}
        return Instruction(kind, registers.get(_field(word, 15, 12), 1) * (16 if _field(word, 30, 30) else 8))
    opcode, size = _field(word, 15, 13), _field(word, 11, 10)
    count = ((opcode & 1) << 1 | _field(word, 21, 21)) + 1
    scale = opcode >> 1
    element = 1 << size if scale == 3 else 8 if scale == 2 and size == 1 else 1 << scale
    return Instruction(kind, count * element)


def _float_or_vector(word: int) -> str:
    low = _field(word, 28, 24)
    if not _field(word, 30, 30) and low == 0b11111:
        return "float multiply"  # FMADD and the like
    if not _field(word, 30, 30) and low == 0b11110:
        return _scalar_float(word)
    if _field(word, 31, 31):
        return "vector"  # cryptography
    if low & 0b01111 == 0b01111:
        return _by_element(word) if not _field(word, 10, 10) else _shift_by_immediate(word)
    return _vector(word)


def _scalar_float(word: int) -> str:
    if not _field(word, 21, 21):
        return "float convert"
    form = _field(word, 11, 10)
    if form == 0b10:
        opcode = _field(word, 15, 12)
        return {0b0000: "float multiply", 0b0001: "float divide", 0b1000: "float multiply"}.get(opcode, "float")
    if form == 0 and _field(word, 15, 10) == 0:  # between integer and floating point; FMOV too
        return "float" if _field(word, 20, 16) in (0b00110, 0b00111) else "float convert"
    if form == 0 and _field(word, 14, 10) == 0b10000:
        opcode = _field(word, 20, 15)
        return "float divide" if opcode == 0b000011 else "float" if opcode < 0b000011 else "float convert"
    return "float"


def _by_element(word: int) -> str:
    unsigned, opcode = _field(word, 29, 29), _field(word, 15, 12)
    if opcode in (0b1110, 0b1111):
        return "dot"
    if opcode in (0b0001, 0b0101, 0b1001) or (opcode in (0b0000, 0b0100) and not unsigned):
        return "float multiply"
    if unsigned and opcode & 0b0001 and opcode < 0b1101:  # FCMLA
        return "float multiply"
    if unsigned and opcode in (0b1000, 0b1100):  # FMLAL2, FMLSL2
        return "float multiply"
    if opcode in (0b0000, 0b0100, 0b1000, 0b1100, 0b1101):
        return "vector multiply"
    return "widening multiply"


def _shift_by_immediate(word: int) -> str:
    if not _field(word, 22, 19):
        return "vector"  # MOVI, FMOV and the like
    return "float convert" if _field(word, 15, 11) in (0b11100, 0b11111) else "vector shift"


def _vector(word: int) -> str:
    bit21, bit10 = _field(word, 21, 21), _field(word, 10, 10)
    if bit21:
        if bit10:
            return _three_same(word)
        return _three_different(word) if not _field(word, 11, 11) else _two_registers(word)
    if not bit10:
        return "vector"  # table look-ups, permutations
    if _field(word, 15, 15):
        return _three_same_extra(word)
    if _field(word, 22, 22) and not _field(word, 14, 14):
        return _float_opcode(_field(word, 13, 11) | 0b11000, bool(_field(word, 29, 29)), bool(_field(word, 23, 23)))
    return "vector"  # DUP, INS, SMOV, UMOV


def _float_opcode(opcode: int, unsigned: bool, second: bool) -> str:
    """Of "three registers of one type", single, double and half precision; `second`: the upper half of the table."""
    if opcode in (0b11001, 0b11011):
        return "float multiply" if opcode == 0b11001 or not second else "float"
    if opcode == 0b11111:
        return "float divide" if unsigned and not second else "float multiply"  # the other: FRECPS, FRSQRTS
    return "float"


def _three_same(word: int) -> str:
    unsigned, opcode = bool(_field(word, 29, 29)), _field(word, 15, 11)
    if opcode >= 0b11000:
        if opcode == 0b11101 and not unsigned:
            return "float multiply"  # FMLAL, FMLSL
        return _float_opcode(opcode, unsigned, bool(_field(word, 23, 23)))
    if opcode in (0b10010, 0b10011, 0b10110):
        return "vector multiply"
    return "vector shift" if opcode in (0b01000, 0b01001, 0b01010, 0b01011) else "vector"


def _three_same_extra(word: int) -> str:
    opcode, size = _field(word, 14, 11), _field(word, 23, 22)
    if opcode in (0b0010, 0b0011):
        return "dot"
    if opcode in (0b0100, 0b0101):
        return "matrix"
    if opcode in (0b0000, 0b0001):
        return "vector multiply"
    if opcode == 0b1101 and size == 0b01:
        return "matrix"
    if opcode == 0b1111 and size in (0b01, 0b11):
        return "dot" if size == 0b01 else "float multiply"  # BFDOT; BFMLAL
    return "float multiply"  # FCMLA, FCADD


def _three_different(word: int) -> str:
    return "widening multiply" if _field(word, 15, 12) >= 0b1000 else "vector"


def _two_registers(word: int) -> str:
    if _field(word, 20, 17) == 0b1000:  # across lanes
        return "float" if _field(word, 16, 12) in (0b01100, 0b01111) else "vector"
    opcode = _field(word, 16, 12)
    if opcode in (0b10110, 0b10111, 0b11000, 0b11001, 0b11010, 0b11011, 0b11100, 0b11101, 0b11110):
        return "float convert"
    if opcode == 0b11111:
        return "float divide"
    if opcode == 0b10100 or (opcode == 0b10010 and _field(word, 29, 29)):  # SQXTN, UQXTN, SQXTUN
        return "vector shift"
    return "float" if 0b01100 <= opcode <= 0b01111 else "vector"
