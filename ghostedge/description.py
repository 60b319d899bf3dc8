"""The JSON that travels inside every artifact: what it takes and gives, what it was made from, what it must keep to."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ghostedge.errors import ArtifactError
from ghostedge.model import InputSpec, StageOutput

__all__ = ["KEY", "Description"]

#: ONNX ``metadata_props`` key and OpenVINO ``rt_info`` entry; in a TFLite file the associated file ``KEY + ".json"``.
KEY = "ghostedge"

_SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Description:
    """What an artifact says about itself.

    Attributes:
        input: what its input tensor holds.
        labels: class names in the order of the logits; empty when unknown.
        precision: the recipe's precision, e.g. ``"fp16"``.
        calibration: of a quantised artifact: id -> SHA-256 of the images it was calibrated on, so that they can be told
            from those it is evaluated on.
        source_sha256: of the checkpoint or MindIR that the export began with; empty when unknown. Golden vectors of the
            same export carry the same.
        bounds: ``min_snr_db`` and ``min_top1_agreement`` of its recipe, which its answers must keep to wherever it
            runs; empty when unknown.
    """

    input: InputSpec
    labels: tuple[str, ...] = ()
    precision: str = "fp32"
    calibration: Mapping[str, str] = field(default_factory=dict)
    source_sha256: str = ""
    bounds: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(cls, output: StageOutput) -> Description:
        """The description of what a stage was asked to make."""
        images = output.calibration.images if output.calibration else ()
        calibration = {image.image_id: image.sha256 for image in images}
        return cls(output.input, output.labels, output.precision, calibration, output.source_sha256, output.bounds)

    def to_json(self) -> str:
        """One line of JSON with sorted keys, so that equal descriptions are equal bytes."""
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
        return json.dumps(data, sort_keys=True, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Description:
        """Read what `to_json` wrote. Raises: ArtifactError for damaged JSON or another schema version."""
        try:
            data: dict[str, Any] = json.loads(text)
            version = data["schema_version"]
            if version != _SCHEMA_VERSION:
                raise ArtifactError(
                    f"the embedded description has schema version {version}, this ghostedge reads {_SCHEMA_VERSION}; "
                    "update ghostedge or export the artifact again"
                )
            return cls(
                input=InputSpec.from_dict(data["input"]),
                labels=tuple(data["labels"]),
                precision=data["precision"],
                calibration=dict(data.get("calibration", {})),
                source_sha256=str(data.get("source_sha256", "")),
                bounds={name: float(value) for name, value in data.get("bounds", {}).items()},
            )
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise ArtifactError(f"the embedded description is damaged ({exc}); export the artifact again") from exc
