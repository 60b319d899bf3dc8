"""The plain data and the contracts that the rooms of ghostedge share: models, images to calibrate on, stages."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self, get_args

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ArtifactError
from ghostedge.files import sha256_file
from ghostedge.stored import as_type, parse_json, plain

Format = Literal["checkpoint", "mindir", "onnx", "openvino", "tflite"]

ResizeRule = Literal["opencv_linear", "pillow_bilinear", "tensorflow_bilinear"]

#: See `InputSpec.resize_rule`.
RESIZE_RULES: tuple[ResizeRule, ...] = get_args(ResizeRule)

_FIELD_CHOICES: dict[str, tuple[str, ...]] = {
    "layout": ("NCHW", "NHWC"),
    "dtype": ("float32", "uint8"),
    "range": ("normalised", "raw"),
    "resize_rule": RESIZE_RULES,
    "colour_order": ("RGB", "BGR"),
}


class _SpecError(ArtifactError, ValueError):
    """A ValueError too, so that msgspec says which field of what is read it is."""


@dataclass(frozen=True)
class InputSpec:
    """What a model's input tensor holds and how an image becomes it.

    The image is decoded to RGB, its shorter side is resized to `resize` pixels by `resize_rule`, the centre
    `height` x `width` is cut out, and, when `range` is ``"normalised"``, each channel becomes
    ``(x - 255 * mean) / (255 * std)`` with x in 0..255. This is the evaluation transform of MindSpore's model zoo.

    Attributes:
        layout: ``"NCHW"`` or ``"NHWC"``.
        dtype: ``"float32"`` or ``"uint8"``; ``"uint8"`` only with ``range="raw"``.
        range: ``"normalised"``, or ``"raw"`` for 0..255.
        height: rows of the input, pixels.
        width: columns of the input, pixels.
        resize: the shorter side before the centre crop, pixels.
        resize_rule: ``"opencv_linear"`` (MindSpore's Resize: no antialiasing), ``"pillow_bilinear"`` (antialiased) or
            ``"tensorflow_bilinear"`` (``tf.image.resize`` as it is by default: no antialiasing, no rounding).
        mean: per channel R, G, B on the scale 0..1.
        std: per channel R, G, B on the scale 0..1.
        colour_order: the order of the channels in the tensor; `mean` and `std` stay in the order R, G, B.
    """

    layout: Literal["NCHW", "NHWC"] = "NCHW"
    dtype: Literal["float32", "uint8"] = "float32"
    range: Literal["normalised", "raw"] = "normalised"
    height: int = 224
    width: int = 224
    resize: int = 256
    resize_rule: ResizeRule = "opencv_linear"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    colour_order: Literal["RGB", "BGR"] = "RGB"

    def __post_init__(self) -> None:
        for name in ("height", "width", "resize"):
            if type(getattr(self, name)) is not int:
                raise _SpecError(f"InputSpec.{name} is {getattr(self, name)!r}; it must be a whole number of pixels")
        for name, choices in _FIELD_CHOICES.items():
            if getattr(self, name) not in choices:
                raise _SpecError(f"InputSpec.{name} is {getattr(self, name)!r}; it must be one of {', '.join(choices)}")
        if self.dtype == "uint8" and self.range != "raw":
            raise _SpecError("InputSpec: dtype uint8 needs range raw (0..255)")
        if min(self.height, self.width) < 1 or self.resize < max(self.height, self.width):
            raise _SpecError(f"InputSpec: cannot cut {self.height}x{self.width} out of a shorter side of {self.resize}")
        if not (_three_numbers(self.mean) and _three_numbers(self.std) and min(self.std) > 0):
            raise _SpecError("InputSpec: mean and std must hold three finite numbers each, std above zero")

    def shape(self, batch: int = 1) -> tuple[int, int, int, int]:
        """The shape of a batch of `batch` images in this layout."""
        if self.layout == "NCHW":
            return (batch, 3, self.height, self.width)
        return (batch, self.height, self.width, 3)

    @property
    def geometry(self) -> InputSpec:
        """What decides which pixels a model sees, all else at its default: equal geometries share one crop."""
        return InputSpec(height=self.height, width=self.width, resize=self.resize, resize_rule=self.resize_rule)

    def span(self) -> tuple[float, float]:
        """All that an image can put into the tensor: 0..255, or black to white of the channels that go farthest."""
        if self.range == "raw":
            return 0.0, 255.0
        ends = [(value - mean) / std for mean, std in zip(self.mean, self.std, strict=True) for value in (0.0, 1.0)]
        return min(ends), max(ends)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `from_dict` reads it back."""
        found: dict[str, Any] = plain(self)
        return found

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read what `to_dict` wrote. Raises: ArtifactError for an unknown field or an impossible value."""
        known = {f.name for f in dataclasses.fields(cls)}
        unknown = sorted(set(data) - known)
        if unknown:
            raise ArtifactError(
                f"InputSpec has no field {', '.join(map(repr, unknown))} (fields: {', '.join(sorted(known))})"
            )
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        try:
            return cls(**fields)
        except TypeError as exc:
            raise ArtifactError(f"InputSpec: {exc}") from exc


def _three_numbers(values: Any) -> bool:
    return (
        isinstance(values, tuple)
        and len(values) == 3
        and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        and all(map(math.isfinite, values))
    )


#: Where a model file holds its description: ONNX ``metadata_props`` key, OpenVINO ``rt_info`` entry, MindIR
#: ``user_info`` key; in a TFLite file the associated file ``KEY + ".json"``.
KEY = "ghostedge"

_SCHEMA_VERSION = 1

#: `Model.network` of a MindIR of another origin, and of what is made from it.
OTHER_NETWORK = "other"


@dataclass(frozen=True)
class Model:
    """A model file: what is needed to run it, what it was made from, and what it must keep to.

    All but the first two fields is embedded in the file itself, so that the file alone is enough to run it correctly.

    Attributes:
        path: the file a user names: ``.ckpt``, ``.mindir``, ``.onnx``, ``.xml`` or ``.tflite``.
        format: which family of runtimes can run it.
        input: what its input tensor holds.
        labels: class names in the order of the logits; empty when unknown.
        precision: ``"fp32"``, ``"fp16"``, ...; the name that recipes use.
        calibration: of a quantised model: id -> SHA-256 of the images it was calibrated on, so that they can be told
            from those it is evaluated on.
        source_sha256: of the checkpoint or MindIR that the export began with; empty when unknown. Golden vectors of the
            same export carry the same.
        bounds: ``min_snr_db`` and ``min_top1_agreement`` of its recipe, which its answers must keep to wherever it
            runs; empty when unknown.
        network: ``"mindcv:NAME"``, or `OTHER_NETWORK` for a MindIR that does not say; empty for GhostNetV2.
    """

    path: Path
    format: Format
    input: InputSpec
    labels: tuple[str, ...] = ()
    precision: str = "fp32"
    calibration: Mapping[str, str] = field(default_factory=dict, hash=False)
    source_sha256: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict, hash=False)
    network: str = ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file the model consists of: OpenVINO IR keeps its weights in a ``.bin`` beside the ``.xml``."""
        if self.format == "openvino":
            return (self.path, self.path.with_suffix(".bin"))
        return (self.path,)

    @functools.cached_property
    def sha256(self) -> str:
        """The hash of the bytes of `path`, taken when it is first asked for."""
        return sha256_file(self.path)

    def to_json(self) -> str:
        """The description to embed: one line of JSON with sorted keys, so that equal models have equal bytes."""
        data: dict[str, Any] = {
            "schema_version": _SCHEMA_VERSION,
            "input": self.input.to_dict(),
            "labels": list(self.labels),
            "precision": self.precision,
        }
        if self.calibration:
            data["calibration"] = dict(self.calibration)
        if self.source_sha256:
            data["source_sha256"] = self.source_sha256
        if self.bounds:
            data["bounds"] = dict(self.bounds)
        if self.network:
            data["network"] = self.network
        return json.dumps(data, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str, path: Path, model_format: Format) -> Self:
        """The model at `path`, of whose description `to_json` wrote `text`.

        Raises:
            ArtifactError: the JSON is damaged or of another schema version.
        """
        try:
            data = parse_json(text, "it", ArtifactError)
            version = data.get("schema_version") if isinstance(data, dict) else None
            if version != _SCHEMA_VERSION:
                raise ArtifactError(f"it has schema version {version}, this ghostedge reads {_SCHEMA_VERSION}")
            model = as_type({**data, "path": path, "format": model_format}, cls, "it", ArtifactError)
            if missing := sorted({"labels", "precision"} - data.keys()):
                raise ArtifactError(f"it lacks {' and '.join(missing)}")
            return model
        except ArtifactError as exc:
            raise ArtifactError(
                f"{path}: the embedded description is damaged or of another version ({exc}); update ghostedge or "
                "export it again"
            ) from exc


@dataclass(frozen=True)
class CalibrationImage:
    """One image on which activation ranges are measured.

    Attributes:
        image_id: its id in the data set, as `ghostedge.data.datasets` gives it.
        sha256: of its encoded bytes, hexadecimal.
        encoded: its bytes as they are in the data set (JPEG or PNG).
    """

    image_id: str
    sha256: str
    encoded: bytes = field(repr=False)


@dataclass(frozen=True)
class CalibrationSet:
    """The images on which a quantiser measures activation ranges, and how they were chosen.

    Attributes:
        source: the name of the folder, tar or list they come from.
        images: in the order of their choice.
        seed: of the choice.
        available: how many images there were to choose from.
        notes: what a reader of the results should know, one line each.
    """

    source: str
    images: tuple[CalibrationImage, ...]
    seed: int
    available: int
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, for the manifest; without the images' bytes."""
        return {
            "source": self.source,
            "seed": self.seed,
            "available": self.available,
            "count": len(self.images),
            "notes": list(self.notes),
            "images": [{"id": image.image_id, "sha256": image.sha256} for image in self.images],
        }


class Runtime(Protocol):
    """One loaded model. Loading happens in the constructor, so that timing `run` times inference alone.

    Constructors take ``(artifact: Model, threads: int = 1)`` and raise `ArtifactError` for a file that is not such
    a model and `MissingExtraError` where the vendor's package is absent.

    Attributes:
        artifact: what was loaded.
        input: the `InputSpec` of the batches `run` takes.
        info: what ran, for reports: at least ``name`` and ``version``; further keys are the runtime's own.
    """

    artifact: Model
    input: InputSpec
    info: dict[str, Any]

    def run(self, batch: NDArray[Any]) -> NDArray[np.float32]:
        """Logits of a batch.

        Args:
            batch: ``input.dtype``, shape ``input.shape(n)``, any n >= 1.

        Returns:
            float32 (n, classes), dequantised where the model's output is an integer.

        Raises:
            ArtifactError: `batch` has another shape or dtype.
        """
        ...

    def close(self) -> None:
        """Free the model. Calling it twice is harmless."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


@dataclass(frozen=True)
class StageOutput:
    """A model that a stage is asked to make.

    Attributes:
        model: what it shall be. The stage writes its file whole or not at all, with ``model.to_json()`` inside. Its
            `Model.calibration` names the images of `calibration`.
        options: the recipe's ``[options]`` table, for this stage alone.
        calibration: the images to measure activation ranges on; only for precisions in `Stage.calibrated`.
        notes: what a user should know of what was made, one line each; the stage adds them.
    """

    model: Model
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration: CalibrationSet | None = None
    notes: list[str] = field(default_factory=list, compare=False)

    def __post_init__(self) -> None:
        if self.calibration is not None:
            known = {image.image_id: image.sha256 for image in self.calibration.images}
            object.__setattr__(self, "model", dataclasses.replace(self.model, calibration=known))

    @property
    def path(self) -> Path:
        """Where the model shall be."""
        return self.model.path

    @property
    def precision(self) -> str:
        """``"fp32"``, ``"fp16"``, ..."""
        return self.model.precision

    @property
    def input(self) -> InputSpec:
        """The input that the model shall have."""
        return self.model.input

    @property
    def labels(self) -> tuple[str, ...]:
        """Its class names."""
        return self.model.labels


class Stage(Protocol):
    """One arrow between two models: from one format to another, or from float to quantised.

    Attributes:
        source: the format it reads.
        target: the format it writes.
        precisions: the precisions it can write.
        calibrated: those of them that need calibration images.
        packages: distributions whose versions decide what comes out (they are part of the manifest).
    """

    source: Format
    target: Format
    precisions: tuple[str, ...]
    calibrated: tuple[str, ...] = ()
    packages: tuple[str, ...]

    def check(self, output: StageOutput) -> None:
        """Refuse, before anything is made, an output whose options or precision this stage does not know.

        Raises:
            GhostedgeError: with one line that names the option.
        """

    def prepare(self) -> None:
        """Start in the background what `build` will need and what needs no source; calling it is optional."""

    def close(self) -> None:
        """Stop what `prepare` started, or a `build` in another thread. Harmless at any time."""

    def build(self, source: Model, outputs: tuple[StageOutput, ...]) -> tuple[Model, ...]:
        """Make every output from `source`; outputs of one stage share the expensive part of the conversion.

        Raises:
            ConvertError: the model cannot be converted.
            OutputError: a file cannot be written.
            MissingExtraError: the vendor's package is absent.
        """
        ...
