"""The stages that make one model from another, by target; vendor libraries load only when a stage runs."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.types import Stage

__all__ = ["QUANTISED", "STAGES", "make_stage"]

#: Target -> the stage that makes its float artifacts from another format.
STAGES: dict[str, str] = {
    "mindir": "ghostedge.stages.mindir:MindIRStage",
    "onnx": "ghostedge.stages.onnx:OnnxStage",
    "openvino": "ghostedge.stages.openvino:OpenVinoStage",
    "tflite": "ghostedge.stages.tflite:TFLiteStage",
}

#: Target -> the stage that quantises its float32 artifact.
_QUANTISERS: dict[str, str] = {
    "openvino": "ghostedge.stages.quantize_openvino:QuantizeOpenVINOStage",
    "tflite": "ghostedge.stages.quantize_tflite:QuantizeTFLiteStage",
}

#: The precisions that are made from the float32 artifact of the same target.
QUANTISED: tuple[str, ...] = ("dynamic", "int8", "int16x8")


def make_stage(target: str, precision: str = "fp32") -> Stage:
    """The stage that writes `precision` of `target`. Raises: UsageError with the nearest name for an unknown target."""
    choose("target", target, STAGES)
    table = _QUANTISERS if precision in QUANTISED and target in _QUANTISERS else STAGES
    stage: Stage = resolve(table[target])()
    return stage
