"""The record of an export: what was made from what, by which tools, and how close it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ghostedge.compare import Difference
from ghostedge.errors import ManifestError
from ghostedge.files import atomic_write, sha256_file
from ghostedge.model import InputSpec

__all__ = ["FILE_NAME", "ArtifactRecord", "FileRecord", "Manifest"]

FILE_NAME = "manifest.json"
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class FileRecord:
    """One file: its name relative to the manifest, its SHA-256 and its size."""

    name: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, path: Path) -> FileRecord:
        """Hash and measure `path`."""
        return cls(path.name, sha256_file(path), path.stat().st_size)

    def matches(self, folder: Path) -> bool:
        """Whether the file is in `folder` with these bytes."""
        path = folder / self.name
        return path.is_file() and path.stat().st_size == self.size_bytes and sha256_file(path) == self.sha256


@dataclass(frozen=True)
class ArtifactRecord:
    """One artifact of an export.

    Attributes:
        recipe: the recipe's name.
        recipe_sha256: the hash of what the recipe says.
        target: the format.
        precision: the precision.
        files: what it consists of; the first is the one to open.
        source: the name of the file it was made from.
        input: what its input tensor holds.
        classes: how many logits it gives.
        build_key: the hash of everything that decides its bytes; equal keys need no new build.
        verify_key: the hash of everything that decides its difference.
        packages: distribution -> version of what made it.
        build_seconds: the time its stage took; outputs of one stage share it.
        runtime: what ran it for the comparison, as the runtime says itself.
        difference: to the model it was made from.
        reference_difference: to the first model of the export, that is MindSpore's own run.
        bounds: what `difference` was held to, by name.
        calibration: of a quantised artifact: the images it was calibrated on, as `CalibrationSet.to_dict` gives them.
        float16_difference: like `reference_difference`, but computed in float16; None for an artifact that no CPU
            computes so.
        cpu_differences: of an int8 IR: kind of x86 CPU, for people -> like `reference_difference`, as that kind
            computes it; empty for other artifacts.
    """

    recipe: str
    recipe_sha256: str
    target: str
    precision: str
    files: tuple[FileRecord, ...]
    source: str
    input: InputSpec
    classes: int
    build_key: str
    verify_key: str
    packages: Mapping[str, str]
    build_seconds: float
    runtime: Mapping[str, Any]
    difference: Difference
    reference_difference: Difference
    bounds: Mapping[str, float]
    calibration: Mapping[str, Any] = field(default_factory=dict)
    float16_difference: Difference | None = None
    cpu_differences: Mapping[str, Difference] = field(default_factory=dict)

    def intact(self, folder: Path) -> bool:
        """Whether every file is in `folder` with the recorded bytes."""
        return all(file.matches(folder) for file in self.files)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            **{k: v for k, v in vars(self).items() if k not in ("files", "input")},
            "files": [vars(file) for file in self.files],
            "input": self.input.to_dict(),
            "packages": dict(self.packages),
            "runtime": dict(self.runtime),
            "difference": self.difference.to_dict(),
            "reference_difference": self.reference_difference.to_dict(),
            "bounds": dict(self.bounds),
            "calibration": dict(self.calibration),
            "float16_difference": None if self.float16_difference is None else self.float16_difference.to_dict(),
            "cpu_differences": {kind: found.to_dict() for kind, found in self.cpu_differences.items()},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ArtifactRecord:
        """Read what `to_dict` wrote."""
        converted: dict[str, Any] = {
            "files": tuple(FileRecord(**file) for file in data["files"]),
            "input": InputSpec.from_dict(data["input"]),
            "difference": Difference.from_dict(data["difference"]),
            "reference_difference": Difference.from_dict(data["reference_difference"]),
        }
        if data.get("float16_difference") is not None:
            converted["float16_difference"] = Difference.from_dict(data["float16_difference"])
        of_cpus = data.get("cpu_differences", {})  # what ghostedge 1.1 and older wrote has none
        converted["cpu_differences"] = {kind: Difference.from_dict(found) for kind, found in of_cpus.items()}
        return cls(**{**data, **converted})


@dataclass(frozen=True)
class Manifest:
    """One export.

    Attributes:
        source: the file the export began with: name, sha256, size, and what was recognised in it.
        images: name and SHA-256 of the verification images.
        artifacts: recipe name -> record.
        environment: Python, platform, ghostedge.
        warnings: what a reader of the numbers should know.
        peak_memory_mib: the most memory the export's process and its largest child held, MiB.
        golden: the file of golden vectors (`ghostedge.data.golden`), if there is one.
        golden_key: the hash of everything that decides its bytes.
    """

    source: Mapping[str, Any]
    images: tuple[Mapping[str, str], ...]
    artifacts: Mapping[str, ArtifactRecord] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    peak_memory_mib: Mapping[str, int] = field(default_factory=dict)
    golden: FileRecord | None = None
    golden_key: str = ""

    def with_artifact(self, record: ArtifactRecord) -> Manifest:
        """A manifest in which `record` takes the place of an older one of the same recipe."""
        return replace(self, artifacts={**self.artifacts, record.recipe: record})

    def to_json(self) -> str:
        """Indented JSON, the form of ``manifest.json``."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": dict(self.source),
            "images": [dict(image) for image in self.images],
            "environment": dict(self.environment),
            "warnings": list(self.warnings),
            "peak_memory_mib": dict(self.peak_memory_mib),
            "golden": None if self.golden is None else {**vars(self.golden), "key": self.golden_key},
            "artifacts": {name: record.to_dict() for name, record in self.artifacts.items()},
        }
        return json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json`` into `folder`, whole or not at all. Raises: OutputError."""
        atomic_write(folder / FILE_NAME, self.to_json())
        return folder / FILE_NAME

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """The manifest of `folder`, or None where there is none.

        Raises:
            ManifestError: damaged, or of another schema version.
        """
        path = folder / FILE_NAME
        advice = "move it away, or choose another --output"
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as exc:
            raise ManifestError(f"{path} cannot be read ({exc}); {advice}") from exc
        try:
            if (version := data["schema_version"]) != SCHEMA_VERSION:
                raise ManifestError(
                    f"{path} has schema version {version}, this ghostedge writes {SCHEMA_VERSION}; {advice}"
                )
            golden = dict(data.get("golden") or {})
            golden_key = golden.pop("key", "")
            return cls(
                source=data["source"],
                images=tuple(data["images"]),
                artifacts={name: ArtifactRecord.from_dict(record) for name, record in data["artifacts"].items()},
                environment=data["environment"],
                warnings=tuple(data["warnings"]),
                peak_memory_mib=data["peak_memory_mib"],
                golden=FileRecord(**golden) if golden else None,
                golden_key=golden_key,
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ManifestError(f"{path} is damaged ({type(exc).__name__}: {exc}); {advice}") from exc
