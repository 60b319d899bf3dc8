"""The stages that make one model format from another, by target; vendor libraries load only when a stage runs."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.types import Stage

__all__ = ["STAGES", "make_stage"]

STAGES: dict[str, str] = {
    "mindir": "ghostedge.stages.mindir:MindIRStage",
    "onnx": "ghostedge.stages.onnx:OnnxStage",
    "openvino": "ghostedge.stages.openvino:OpenVinoStage",
    "tflite": "ghostedge.stages.tflite:TFLiteStage",
}


def make_stage(target: str) -> Stage:
    """The stage that writes `target`. Raises: UsageError with the nearest name for an unknown one."""
    stage: Stage = resolve(STAGES[choose("target", target, STAGES)])()
    return stage
