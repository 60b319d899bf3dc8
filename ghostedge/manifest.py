"""The record of an export: what was made from what, by which tools, and how close it is."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ghostedge.compare import Difference
from ghostedge.errors import ManifestError
from ghostedge.files import atomic_write, sha256_file
from ghostedge.model import InputSpec
from ghostedge.stored import as_type, parse_json, plain

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
        try:
            return path.is_file() and path.stat().st_size == self.size_bytes and sha256_file(path) == self.sha256
        except OSError:  # also of a name that is too long
            return False


@dataclass(frozen=True, kw_only=True)
class ArtifactRecord:
    """One artifact of an export; its fields are in the order of the file.

    Attributes:
        recipe: the recipe's name.
        recipe_sha256: the hash of what the recipe says.
        target: the format.
        precision: the precision.
        source: the name of the file it was made from.
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
        files: what it consists of; the first is the one to open.
        input: what its input tensor holds.
    """

    recipe: str
    recipe_sha256: str
    target: str
    precision: str
    source: str
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
    files: tuple[FileRecord, ...]
    input: InputSpec

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.size_bytes for file in self.files)

    def intact(self, folder: Path) -> bool:
        """Whether every file is in `folder` with the recorded bytes."""
        return all(file.matches(folder) for file in self.files)


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
        return dataclasses.replace(self, artifacts={**self.artifacts, record.recipe: record})

    def to_json(self) -> str:
        """Indented JSON, the form of ``manifest.json``."""
        document = {
            "schema_version": SCHEMA_VERSION,
            "source": self.source,
            "images": self.images,
            "environment": self.environment,
            "warnings": self.warnings,
            "peak_memory_mib": self.peak_memory_mib,
            "golden": None if self.golden is None else {**plain(self.golden), "key": self.golden_key},
            # JSON has no infinity: the SNR of identical logits is null.
            "artifacts": _each_snr(plain(self.artifacts), lambda snr: None if math.isinf(snr) else round(snr, 2)),
        }
        return json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json`` into `folder`, whole or not at all. Raises: OutputError."""
        atomic_write(folder / FILE_NAME, self.to_json())
        return folder / FILE_NAME

    @classmethod
    def read(cls, folder: Path, advice: str = "move it away, or choose another --output") -> Manifest | None:
        """The manifest of `folder`, or None where there is none; `advice` is what to do about a damaged one.

        Raises:
            ManifestError: damaged, or of another schema version.
        """
        path = folder / FILE_NAME
        try:
            data = parse_json(path.read_bytes(), str(path), ManifestError)
            version = data.get("schema_version") if isinstance(data, dict) else None
            if version != SCHEMA_VERSION:
                raise ManifestError(f"{path} has schema version {version}, this ghostedge reads {SCHEMA_VERSION}")
            golden = data.get("golden")
            key = golden.get("key", "") if isinstance(golden, dict) else ""
            numbers = _each_snr(data, lambda snr: math.inf if snr is None else snr)
            whole = {"artifacts": None, **numbers, "golden_key": key}
            return as_type(whole, cls, f"{path} is damaged", ManifestError)
        except FileNotFoundError:
            return None
        except (ManifestError, OSError) as exc:
            said = f"{path} cannot be read ({exc.strerror})" if isinstance(exc, OSError) else str(exc)
            raise ManifestError(f"{said}; {advice}") from exc

    @classmethod
    def of_export(cls, folder: Path) -> Manifest:
        """The manifest of `folder`, which must have one.

        Raises:
            ManifestError: there is none, or as in `read`.
        """
        manifest = cls.read(folder, "give the whole --output of ghostedge export")
        if manifest is None:
            raise ManifestError(f"{folder} holds no {FILE_NAME}; give the --output of ghostedge export")
        return manifest


def check_files(folder: Path) -> dict[FileRecord, Literal["whole", "changed", "missing"]]:
    """Compare every file of an export, the golden vectors too, with what its manifest records.

    Raises:
        ManifestError: there is no manifest in `folder`, or a damaged one.
    """
    manifest = Manifest.of_export(folder)
    there = {path.name for path in folder.iterdir()}
    records = [file for artifact in manifest.artifacts.values() for file in artifact.files]
    records += [manifest.golden] if manifest.golden else []
    return {
        record: "whole" if record.matches(folder) else "changed" if record.name in there else "missing"
        for record in records
    }


def _each_snr(value: Any, convert: Callable[[Any], Any]) -> Any:
    """`value`, plain JSON, with every ``snr_db`` in it converted."""
    if not isinstance(value, dict):
        return value
    return {key: convert(entry) if key == "snr_db" else _each_snr(entry, convert) for key, entry in value.items()}
