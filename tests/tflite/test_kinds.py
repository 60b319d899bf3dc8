"""What other networks are made of, each kind once: close to the ONNX, all of it on XNNPACK in one partition.

A shuffle and a split of channels, a sum of some channels, hard swish, a hard sigmoid's gate, BatchNorm without a
convolution before it, and pools that pad.
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from ghostedge.compare import compare
from ghostedge.data.calibration import calibration_batch
from ghostedge.lazy import require
from ghostedge.model import CalibrationImage, CalibrationSet, InputSpec, Model, StageOutput
from ghostedge.runtimes import open_runtime
from ghostedge.tflite.coverage import coverage
from ghostedge.tflite.flatbuffer import unpack
from ghostedge.tflite.from_onnx import TFLiteStage
from ghostedge.tflite.quantize.stage import QuantizeTFLiteStage

pytestmark = pytest.mark.slow

NCHW = InputSpec(height=32, width=32, resize=36)
NHWC = InputSpec(layout="NHWC", height=32, width=32, resize=36)


class Network:
    """Writes an ONNX network line by line."""

    def __init__(self) -> None:
        self.onnx = pytest.importorskip("onnx")
        self.rng = np.random.default_rng(5)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(self.onnx.numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **fields: Any) -> Any:
        made = [f"{kind.lower()}{len(self.nodes)}_{index}" for index in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), made, made[0], **fields))
        return made[0] if outputs == 1 else made

    def conv(self, x: str, channels: int, outputs: int, size: int = 1, stride: int = 1, group: int = 1) -> str:
        shape = (outputs, channels // group, size, size)
        weight = self.rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        constants = [
            self.constant(value.astype(np.float32)) for value in (weight, self.rng.standard_normal(outputs) / 5)
        ]
        return str(self.node("Conv", x, *constants, pads=[size // 2] * 4, strides=[stride] * 2, group=group))

    def floats(self, *shape: int, low: float = 0.5, high: float = 1.5) -> str:
        return self.constant(self.rng.uniform(low, high, shape).astype(np.float32))

    def model(self) -> Any:
        """A network of 3 x 32 x 32 to 7 logits."""
        x = self.node("HardSwish", self.conv("input", 3, 12, 3, 2))
        x = self.node("MaxPool", x, kernel_shape=[3, 3], strides=[1, 1], auto_pad="SAME_UPPER")
        statistics = [self.floats(12), self.floats(12, low=-0.5), self.floats(12, low=-0.5), self.floats(12)]
        x = self.node("Relu", self.node("BatchNormalization", x, *statistics))
        pooled = self.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
        x = self.node("Relu", self.conv(x, 12, 12, 3, 2, group=3))
        x = self.node("Relu", self.node("Concat", pooled, x, axis=1))
        order = np.arange(24).reshape(2, 12).T.reshape(-1)
        x = self.node("Gather", x, self.constant(order), axis=1)
        kept, x = self.node("Split", x, self.constant(np.array([12, 12])), outputs=2, axis=1)
        x = self.node("Relu", self.conv(x, 12, 12))
        gate = self.conv(self.node("GlobalAveragePool", x), 12, 12)
        x = self.node("Mul", x, self.node("HardSigmoid", gate, alpha=1 / 6, beta=0.5))
        x = self.node("Concat", kept, x, axis=1)
        wider = self.node("Pad", x, self.constant(np.array([0, 0, 0, 0, 0, 8, 0, 0])))
        x = self.node("Add", self.conv(x, 24, 32), wider)
        x = self.node("Mul", x, self.node("Sigmoid", x))
        x = self.node("Flatten", self.node("GlobalAveragePool", x))
        weight = (self.rng.standard_normal((7, 32)) / 3).astype(np.float32)
        self.nodes.append(
            self.onnx.helper.make_node("Gemm", [x, self.constant(weight), self.floats(7)], ["logits"], "last", transB=1)
        )
        make, kind = self.onnx.helper.make_tensor_value_info, self.onnx.TensorProto.FLOAT
        graph = self.onnx.helper.make_graph(
            self.nodes,
            "kinds",
            [make("input", kind, ["n", 3, 32, 32])],
            [make("logits", kind, ["n", 7])],
            self.constants,
        )
        model = self.onnx.helper.make_model(graph, opset_imports=[self.onnx.helper.make_opsetid("", 17)], ir_version=8)
        self.onnx.checker.check_model(model, full_check=True)
        return model


def pictures() -> CalibrationSet:
    """16 pictures of blurred noise, 40 x 48 pixels."""
    rng = np.random.default_rng(3)
    images = []
    for index in range(16):
        small = (rng.integers(0, 256, (6, 7, 3)) * rng.uniform(0.3, 1)).astype(np.uint8)
        data = io.BytesIO()
        Image.fromarray(small).resize((48, 40), Image.Resampling.BICUBIC).save(data, "PNG")
        encoded = data.getvalue()
        images.append(CalibrationImage(f"{index}.png", hashlib.sha256(encoded).hexdigest(), encoded))
    return CalibrationSet("noise", tuple(images), 0, 16)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Model]:
    """Precision -> the network as TFLite; and as ONNX."""
    folder = tmp_path_factory.mktemp("kinds")
    source = Model(folder / "kinds.onnx", "onnx", NCHW)
    require("onnx", "export").save(Network().model(), source.path)
    outputs = [
        StageOutput(Model(folder / f"{precision}.tflite", "tflite", NHWC, precision=precision))
        for precision in ("fp32", "equalised")
    ]
    floats = TFLiteStage().build(source, tuple(outputs))
    int8 = Model(folder / "int8.tflite", "tflite", NHWC, precision="int8")
    quantised = QuantizeTFLiteStage().build(floats[1], (StageOutput(int8, calibration=pictures()),))
    return {"onnx": source} | {model.precision: model for model in (*floats, *quantised)}


def logits(model: Model) -> NDArray[np.float32]:
    with open_runtime(model) as runtime:
        return np.concatenate([runtime.run(image[None]) for image in calibration_batch(pictures(), runtime.input)])


# 8-bit steps, twenty layers deep: measured 2x dB.
@pytest.mark.parametrize(("precision", "bound"), [("fp32", 110), ("equalised", 110), ("int8", 20)])
def test_it_answers_like_the_onnx_wholly_on_xnnpack(made: dict[str, Model], precision: str, bound: float) -> None:
    assert compare(logits(made["onnx"]), logits(made[precision])).snr_db > bound
    path: Path = made[precision].path
    assert coverage(path).whole
    assert unpack(path.read_bytes(), path.name).spatial_transposes() == ()
