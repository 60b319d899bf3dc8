"""Make the tiny models beside this file: float32 (1, 32, 32, 3) pictures in, 10 logits out, a few kB each.

    python tests/data/tiny/make.py

They are kept as files, so that tests of the benchmark need none of TensorFlow (15 s to import), ONNX and a converter.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent


def main() -> None:
    """Write tiny_fp32.tflite, tiny_int8.tflite, tiny.onnx and tiny.xml with tiny.bin."""
    random = np.random.default_rng(0)
    kernel = random.normal(0, 0.3, (3, 3, 3, 8)).astype(np.float32)  # HWIO
    dense = random.normal(0, 0.5, (8, 10)).astype(np.float32)
    _tflite(kernel, dense)
    _onnx(kernel, dense)


def _tflite(kernel: np.ndarray, dense: np.ndarray) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3), tf.float32)])
    def model(image):  # type: ignore[no-untyped-def]
        features = tf.nn.relu(tf.nn.conv2d(image, kernel, 2, "SAME"))
        return tf.matmul(tf.reduce_mean(features, (1, 2)), dense)

    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.get_concrete_function()])
    (HERE / "tiny_fp32.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    random = np.random.default_rng(1)
    converter.representative_dataset = lambda: (
        [random.uniform(-2, 2, (1, 32, 32, 3)).astype(np.float32)] for _ in range(10)
    )
    (HERE / "tiny_int8.tflite").write_bytes(converter.convert())


def _onnx(kernel: np.ndarray, dense: np.ndarray) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        # TensorFlow's SAME with stride 2 pads below and right only.
        helper.make_node("Conv", ["image", "kernel"], ["c"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [
            numpy_helper.from_array(np.ascontiguousarray(kernel.transpose(3, 2, 0, 1)), "kernel"),
            numpy_helper.from_array(dense, "dense"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, HERE / "tiny.onnx")

    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    openvino.save_model(openvino.convert_model(HERE / "tiny.onnx"), HERE / "tiny.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
