"""The baseline of a gate, a JSON file to commit: what was measured, and by how much each number may become worse.

The bounds are in the file and not in the command, so that who widens one does it where a reviewer sees it.
`python -m ghostedge.regression.baseline` writes the file's JSON Schema after a change of a type here.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import ghostedge
from ghostedge.errors import BaselineError, GhostedgeError
from ghostedge.files import atomic_write
from ghostedge.model import InputSpec
from ghostedge.stored import as_type, json_schema, parse_json, plain

SCHEMA_VERSION = 1

#: The JSON Schema (2020-12) of the file.
SCHEMA_PATH = Path(__file__).with_name("baseline.schema.json")

CostKind = Literal["size", "instructions", "latency"]


@dataclass(frozen=True)
class Bounds:
    """By how much each number may become worse.

    Attributes:
        max_drop_points: the drop of top-1 accuracy against the reference, percentage points, above 0 and below 100.
        max_size_growth_percent: of an artifact's files against the baseline, 0 or more, as the two below.
        max_instructions_growth_percent: of the instructions an inference.
        max_latency_growth_percent: of the median latency.
    """

    max_drop_points: float = 0.5
    max_size_growth_percent: float = 1.0
    max_instructions_growth_percent: float = 1.0
    max_latency_growth_percent: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.max_drop_points < 100:
            raise BaselineError(f"max_drop_points is {self.max_drop_points:g}; it must be above 0 and below 100")
        for name, value in vars(self).items():
            if not (math.isfinite(value) and value >= 0):
                raise BaselineError(f"{name} is {value:g}; it must be 0 or more")

    def growth_percent(self, kind: CostKind) -> float:
        """The bound on the growth of a cost."""
        found: float = getattr(self, f"max_{kind}_growth_percent")
        return found


@dataclass(frozen=True)
class Artifact:
    """One model.

    Attributes:
        file: its file name, which tells artifacts apart.
        sha256: of that file; as a record of what was measured, for it changes with every build.
        source_sha256: of the checkpoint or MindIR that it was made from; empty where it does not say.
        input: what its input tensor holds; None where it does not say.
        weights_sha256: of an OpenVINO IR: of the ``.bin`` beside it; otherwise empty.
    """

    file: str
    sha256: str
    source_sha256: str
    input: InputSpec | None
    weights_sha256: str = ""


@dataclass(frozen=True)
class Reference:
    """The reference ledger: its file name, its SHA-256 and how many images it holds."""

    file: str
    sha256: str
    images: int


@dataclass(frozen=True)
class Accuracy:
    """What one ledger says of an artifact beside the reference, over the labelled images.

    Attributes:
        artifact: the artifact's file name.
        ledger: the ledger's file name, which tells ledgers of one artifact apart.
        images: how many.
        losses: images that only the reference gets right.
        gains: images that only the artifact gets right.
        top1_percent: the artifact's top-1 accuracy.
    """

    artifact: str
    ledger: str
    images: int
    losses: int
    gains: int
    top1_percent: float


@dataclass(frozen=True)
class Cost:
    """One number of an artifact that is better when it is smaller.

    Attributes:
        artifact: the artifact's file name.
        kind: what it is.
        where: the CPU whose instructions were counted, or the device and the run; empty for a size.
        value: in `unit`.
        unit: ``"bytes"``, ``"instructions"`` or ``"ms"``.
        by: the runtime and its version; empty where it is not known.
    """

    artifact: str
    kind: CostKind
    where: str
    value: int | float
    unit: Literal["bytes", "instructions", "ms"]
    by: str = ""


@dataclass(frozen=True)
class Measured:
    """All that a gate looks at.

    Attributes:
        artifacts: the models.
        reference: the ledger that accuracies are held to; None without accuracies.
        accuracies: one a ledger.
        costs: sizes, counts of instructions, latencies.
    """

    artifacts: tuple[Artifact, ...]
    reference: Reference | None
    accuracies: tuple[Accuracy, ...]
    costs: tuple[Cost, ...]

    def only(self, artifact: str) -> Measured:
        """What is known of one artifact."""
        return Measured(
            tuple(each for each in self.artifacts if each.file == artifact),
            self.reference,
            tuple(each for each in self.accuracies if each.artifact == artifact),
            tuple(each for each in self.costs if each.artifact == artifact),
        )


@dataclass(frozen=True)
class Baseline:
    """What a gate holds a change to.

    Attributes:
        bounds: by how much each number may become worse.
        measured: the numbers.
        ghostedge_version: that wrote it.
    """

    bounds: Bounds
    measured: Measured
    ghostedge_version: str = ghostedge.__version__

    def to_json(self) -> str:
        """Indented JSON; equal baselines have equal bytes."""
        return json.dumps({"schema_version": SCHEMA_VERSION, **plain(self)}, indent=2, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        """Write the file, whole or not at all. Raises: OutputError."""
        atomic_write(path, self.to_json())

    @classmethod
    def read(cls, path: Path) -> Baseline:
        """Read what `write` wrote. Raises: BaselineError: missing, damaged or of another schema version."""
        what = f"the baseline {path}"
        try:
            data = parse_json(path.read_bytes(), what, BaselineError)
        except FileNotFoundError as exc:
            raise BaselineError(f"{what} does not exist; 'ghostedge gate --update' writes it") from exc
        except OSError as exc:
            raise BaselineError(f"{what} cannot be read: {exc.strerror}") from exc
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise BaselineError(
                f"{what} has schema version {version}, this ghostedge reads {SCHEMA_VERSION}; move it away and write "
                "it anew with 'ghostedge gate --update'"
            )
        try:
            found = as_type(data, cls, what, BaselineError)
        except GhostedgeError as exc:  # what Bounds and InputSpec refuse does not name the file
            raise BaselineError(f"{what} is damaged: {str(exc).removeprefix(f'{what}: ')}") from exc
        if not found.measured.artifacts:
            raise BaselineError(f"{what} has no artifact, so that anything would pass; move it away and --update")
        return found


def schema() -> Mapping[str, Any]:
    """The JSON Schema of the file."""
    found = dict(json_schema(Baseline, **{"$id": SCHEMA_PATH.name, "title": "ghostedge baseline"}))
    definitions: dict[str, Any] = found["$defs"]
    top = definitions["Baseline"]
    top["properties"] = {"schema_version": {"const": SCHEMA_VERSION}, **top["properties"]}
    for name, kind in (("Baseline", Baseline), ("Bounds", Bounds)):  # `write` leaves no field out
        definitions[name]["required"] = [*([] if kind is Bounds else ["schema_version"]), *_names(kind)]
    for part in definitions.values():
        part["additionalProperties"] = False
    # The version that writes the file is no default of its schema: each release would change it.
    top["properties"]["ghostedge_version"] = {"type": "string"}
    return found


def _names(kind: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


if __name__ == "__main__":
    atomic_write(SCHEMA_PATH, json.dumps(schema(), indent=2) + "\n")
