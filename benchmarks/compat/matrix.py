"""The rows, columns and cells of the matrix, as plain data."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

#: In place of a version: the one that locks/export.txt pins, with what it pins beside it; the newest on the index.
PINNED, NEWEST = "pinned", "newest"


@dataclass(frozen=True)
class Package:
    """What a package is used for: heading, formats it is given, its name in the script (None: not run by that)."""

    title: str
    formats: tuple[str, ...]
    runtime: str | None


PACKAGES = {
    "onnxruntime": Package("ONNX Runtime", ("onnx",), "onnxruntime"),
    "ai-edge-litert": Package("LiteRT", ("tflite",), "litert"),
    "tflite-runtime": Package("tflite-runtime", ("tflite",), "tflite-runtime"),
    # It reads ONNX too, and the script takes it for that where ONNX Runtime is not installed.
    "openvino": Package("OpenVINO", ("openvino", "onnx"), "openvino"),
    "onnx": Package("onnx", ("onnx",), None),
}

#: Characters of a reason in a cell, and below the tables.
SHORT, NOTE = 70, 300


@dataclass(frozen=True)
class Environment:
    """A row of the matrix: one package in one version, `PINNED` or `NEWEST` among them, on one Python."""

    package: str
    version: str
    python: str

    @property
    def name(self) -> str:
        """Of its folder, and for people."""
        return f"{self.package}-{self.version}-py{self.python}"


@dataclass(frozen=True)
class Model:
    """An artifact of the export: its file, format and precision; on a CPU with the instructions of `isa` alone."""

    path: Path
    form: str
    precision: str
    isa: str | None = None

    @property
    def title(self) -> str:
        """Of its column: the precision and the file's ending."""
        return f"{self.precision} {self.path.suffix}" + (f", {self.isa} alone" if self.isa else "")

    @property
    def name(self) -> str:
        """Of its cells."""
        return self.path.name + (f", {self.isa} alone" if self.isa else "")


@dataclass(frozen=True)
class Cell:
    """How one artifact did in one environment.

    Attributes:
        artifact: the file's name.
        state: "right", "wrong", "not run", or "known": it is not right, and `KNOWN` says so.
        reason: why it is not right, whole; None where it is.
        numbers: SNR, agreement and delegation, as far as there are any.
        brief: the reason for the table, where it is not the beginning of `reason`.
    """

    artifact: str
    state: str
    reason: str | None = None
    numbers: dict[str, Any] = field(default_factory=dict)
    brief: str | None = None

    @property
    def text(self) -> str:
        """For the table."""
        if self.state == "right" and not self.numbers:
            return "passes"
        parts = []
        if self.numbers:
            snr = self.numbers["snr_db"]
            alike = "identical" if self.numbers["finite"] else "not finite"
            parts.append(alike if snr is None else f"{round(snr, 1) + 0.0:.1f} dB")  # + 0.0: not "-0.0"
            parts.append(f"{self.numbers['top1_agreement']:.0%}")
            if (delegate := self.numbers["delegate"]) is not None:
                count, share = delegate["partitions"], delegate["delegated_share"]
                shared = f" ({share:.0%})" if count and share != 1 else ""
                parts.append(f"{count or 'no'} part{'' if count == 1 else 's'}{shared}")
        if self.reason is not None:
            parts.append(f"**{self.state}**: {self.brief or shortened(self.reason)}")
        return ", ".join(parts)


@dataclass(frozen=True)
class Row:
    """What became of an environment: what it holds and its cells, or why it could not be made."""

    environment: Environment
    versions: dict[str, str]
    python: str | None
    cells: tuple[Cell, ...]
    unavailable: str | None = None

    @property
    def version(self) -> str:
        """The exact version, where one was found."""
        return self.versions.get(self.environment.package, self.environment.version)

    @property
    def code(self) -> int:
        """The exit code that this row asks for."""
        states = {cell.state for cell in self.cells}
        return 2 if "wrong" in states else 1 if self.unavailable or "not run" in states else 0


def without_folders(text: str) -> str:
    """`text` with the bare names of files: where they lie on this machine is nobody's business."""
    return re.sub(r"(?<![\w.])/(?:[^/\s'\"]+/)+", "", text)


def shortened(text: str, most: int = SHORT) -> str:
    """`text` in at most so many characters."""
    return text if len(text) <= most else text[: most - 3].rstrip() + "..."
