"""The stages that make one model from another, by target; vendor libraries load only when a stage runs."""

from __future__ import annotations

from ghostedge.lazy import choose, resolve
from ghostedge.model import Stage

#: Target -> the stage that makes its float artifacts from another format.
STAGES: dict[str, str] = {
    "mindir": "ghostedge.mindir.from_checkpoint:MindIRStage",
    "onnx": "ghostedge.onnx.from_mindir:OnnxStage",
    "openvino": "ghostedge.openvino.from_onnx:OpenVinoStage",
    "tflite": "ghostedge.tflite.from_onnx:TFLiteStage",
}

#: Target -> the stage that quantises a float artifact of it.
_QUANTISERS: dict[str, str] = {
    "openvino": "ghostedge.openvino.quantize:QuantizeOpenVINOStage",
    "tflite": "ghostedge.tflite.quantize.stage:QuantizeTFLiteStage",
}

#: The precisions that are made from a float artifact of the same target.
QUANTISED: tuple[str, ...] = ("dynamic", "int8", "int16x8", "mixed")

#: Float32, channels rescaled: what precisions with 256 levels an activation are made from.
_EQUALISED = "equalised"


def make_stage(target: str, precision: str = "fp32") -> Stage:
    """The stage that writes `precision` of `target`. Raises: UsageError with the nearest name for an unknown target."""
    choose("target", target, STAGES)
    path = STAGES[target]
    if precision in QUANTISED:
        path = _QUANTISERS.get(target, path)
    elif (target, precision) == ("onnx", _EQUALISED):
        path = "ghostedge.onnx.equalise:EqualiseStage"
    stage: Stage = resolve(path)()
    return stage


def source_precision(target: str, precision: str) -> str:
    """The precision of what the stage that writes `precision` of `target` reads."""
    if precision in ("int8", "mixed") or (precision == _EQUALISED and target != "onnx"):
        return _EQUALISED
    return "fp32"
