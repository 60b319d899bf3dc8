"""Look into model files without running them: operators, sizes, inputs, quantisation, what runs fast."""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ghostedge.compare import Difference
from ghostedge.errors import ArtifactError, ManifestError
from ghostedge.files import sha256_file
from ghostedge.formats import FORMATS, read_description
from ghostedge.lazy import resolve
from ghostedge.manifest import Manifest
from ghostedge.model import Format, Model
from ghostedge.tflite.coverage import Coverage


@contextlib.contextmanager
def damage_of(path: Path) -> Iterator[None]:
    """What a graph lacks that no writer leaves out, such as the output of an operator, is an ArtifactError."""
    try:
        yield
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as exc:
        raise ArtifactError(f"{path} is damaged ({type(exc).__name__}: {exc}); export it again") from exc


@dataclass(frozen=True)
class Port:
    """An input or output of the model.

    Attributes:
        name: as in the file.
        dtype: ``"float32"``, ``"int8"``, ...
        shape: sizes; a name or ``"?"`` where any size goes.
        scale: quantisation step; 0 where the tensor is not quantised.
        zero_point: the integer that means 0.
    """

    name: str
    dtype: str
    shape: tuple[int | str, ...]
    scale: float = 0.0
    zero_point: int = 0


@dataclass(frozen=True)
class Weights:
    """The constants that carry values: all but integers for shapes, axes and indices.

    A handful of numbers of the graph itself, a Clip's bounds or a Resize's scales, are among them.

    Attributes:
        parameters: how many numbers.
        stored_bytes: what they take in the file.
        dtypes: dtype -> how many numbers.
    """

    parameters: int
    stored_bytes: int
    dtypes: Mapping[str, int]

    @classmethod
    def of(cls, constants: Iterable[tuple[str, int, int]]) -> Weights:
        """Add up constants, given as (dtype, numbers, bytes)."""
        dtypes: Counter[str] = Counter()
        stored = 0
        for dtype, count, size in constants:
            dtypes[dtype] += count
            stored += size
        return cls(sum(dtypes.values()), stored, dict(dtypes.most_common()))


@dataclass(frozen=True)
class ModelSummary:
    """What `inspect` found.

    Attributes:
        path: the file.
        format: of the file.
        files: name -> bytes, of each file the artifact consists of.
        producer: what wrote it, as far as it says so; may be empty.
        inputs: what it takes.
        outputs: what it gives.
        operators: kind -> how many, most frequent first; constants do not count.
        weights: its parameters.
        macs: multiply-adds of convolutions and matrix products for one image; None where a size is unknown.
        quantised_per_tensor: tensors with one quantisation step.
        quantised_per_channel: tensors with a quantisation step a channel.
        description: what ghostedge embedded; None in a file of other origin.
        xnnpack: what LiteRT's XNNPACK runs of it; TFLite only.
        spatial_transposes: tensors made by transposing a feature map; TFLite only.
        allows_float16: whether CPUs with float16 arithmetic compute it in float16; TFLite only.
        overflowing_pairs: int8 IR: pairs of weights whose products CPUs without VNNI may cut off as they add them in 16
            bits (`ghostedge.openvino.weights.pairs`); None for others.
        cpu_differences: int8 IR: kind of CPU -> what its export measured on it, from the manifest beside the file.
    """

    path: Path
    format: Format
    files: Mapping[str, int]
    producer: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    operators: Mapping[str, int]
    weights: Weights
    macs: int | None
    quantised_per_tensor: int = 0
    quantised_per_channel: int = 0
    description: Model | None = None
    xnnpack: Coverage | None = None
    spatial_transposes: tuple[str, ...] = ()
    allows_float16: bool = False
    overflowing_pairs: int | None = None
    cpu_differences: Mapping[str, Difference] = field(default_factory=dict)

    @property
    def file_bytes(self) -> int:
        """The size of all its files."""
        return sum(self.files.values())

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        plain = dataclasses.asdict(self) | {"path": str(self.path), "file_bytes": self.file_bytes}
        if self.description is not None:
            plain["description"] = {
                "input": self.description.input.to_dict(),
                "labels": list(self.description.labels),
                "precision": self.description.precision,
            }
        del plain["cpu_differences"]
        if self.cpu_differences:
            plain["cpu_differences"] = {kind: found.to_dict() for kind, found in self.cpu_differences.items()}
        return plain


def inspect(path: Path | str) -> ModelSummary:
    """What a model file holds; nothing of the model is run.

    >>> import ghostedge
    >>> summary = ghostedge.inspect("model_fp32.tflite")
    >>> summary.format, summary.macs, summary.weights.parameters, summary.inputs[0].shape
    ('tflite', 55376, 304, (1, 32, 32, 3))

    Args:
        path: ``.mindir``, ``.onnx``, ``.xml`` (OpenVINO IR, its ``.bin`` beside it) or ``.tflite``, of any origin.

    Raises:
        ArtifactError: it is missing, empty, damaged or not such a model.
        MissingExtraError: the package that reads this format is not installed.
    """
    path = Path(path)
    kind = FORMATS.get(path.suffix.lower())
    if kind == "checkpoint":
        raise ArtifactError(f"{path} is a checkpoint: weights without a graph; export it to MindIR and inspect that")
    description = read_description(path)  # refuses a file whose name is not that of a model
    try:
        summary: ModelSummary = resolve(f"ghostedge.inspection.{kind}:inspect_{kind}")(path)
    except OSError as exc:
        raise ArtifactError(f"cannot read {path}: {exc.strerror or exc}") from exc
    return dataclasses.replace(summary, description=description, cpu_differences=_cpu_differences(summary))


def _cpu_differences(summary: ModelSummary) -> Mapping[str, Difference]:
    """What the manifest beside an int8 IR says of this very file; nothing where there is none."""
    if summary.overflowing_pairs is None:
        return {}
    try:
        manifest = Manifest.read(summary.path.parent)
    except ManifestError:
        return {}
    sha256 = sha256_file(summary.path)
    records = () if manifest is None else manifest.artifacts.values()
    return next((record.cpu_differences for record in records if record.files[0].sha256 == sha256), {})


def operator_macs(path: Path) -> dict[str, int]:
    """Multiply-accumulates an image of each operator with weights: by its name (OpenVINO IR), by its output's (TFLite).

    Raises:
        ArtifactError: damaged, or a format whose operators have no names to go by.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind not in ("openvino", "tflite"):
        raise ArtifactError(f"{path}: operators are counted one by one in OpenVINO IR and TFLite only")
    counted: Mapping[str, int | None] = resolve(f"ghostedge.inspection.{kind}:{kind}_macs")(path)
    return {name: count for name, count in counted.items() if count}


def macs(positions: Sequence[int], weight: Sequence[int]) -> int | None:
    """Multiply-adds of a product that uses every weight once at every position.

    Args:
        positions: sizes whose product is the number of positions: rows and columns of a convolution's output, rows of
            a matrix; a size below 1 is unknown.
        weight: the weight's sizes.

    Returns:
        None where a size is unknown.
    """
    sizes = (*positions, *weight)
    return math.prod(sizes) if all(size > 0 for size in sizes) else None


def total(counts: Iterable[int | None]) -> int | None:
    """The sum; None where one of them is unknown."""
    found = list(counts)
    return None if None in found else sum(filter(None, found))
