"""Read counts of ARM64 instructions, as ``benchmarks/arm64/cost.py --json`` prints them: a cost without a device."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ghostedge.errors import UsageError
from ghostedge.stored import as_type, parse_json


@dataclass(frozen=True)
class Count:
    """One entry; what it has besides is passed over.

    Attributes:
        model: the artifact's file name.
        cpu: whose kernels were taken.
        xnnpack: whether by XNNPACK.
        instructions: of one inference.
        sha256: of the artifact; empty where the counts do not say.
        litert: the version of LiteRT; empty where the counts do not say.
    """

    model: str
    cpu: str
    xnnpack: bool
    instructions: float
    sha256: str = ""
    litert: str = ""

    @property
    def where(self) -> str:
        """``"cortex-a72"``, or ``"cortex-a72, no XNNPACK"``."""
        return self.cpu if self.xnnpack else f"{self.cpu}, no XNNPACK"


def read_counts(path: Path) -> tuple[Count, ...]:
    """Read the counts. Raises: UsageError: missing or damaged."""
    what = f"--instructions {path}"
    try:
        return as_type(parse_json(path.read_bytes(), what, UsageError), tuple[Count, ...], what, UsageError)
    except (OSError, UsageError) as exc:
        said = f"{what} cannot be read: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
        raise UsageError(f"{said}; benchmarks/arm64/cost.py --json prints it") from exc
