"""Make the tiny TFLite models beside this file; needs TensorFlow: `.venv/bin/python tests/data/linear/make_tflite.py`.

All compute ``mean over the pixels @ WEIGHTS + BIAS`` of a (1, 8, 8, 3) image; tests/conftest.py holds the same numbers.

fp32: as it is. int8: quantised, int8 input and output. uint8: quantised, uint8 pixels in, uint8 out.
split: the mean also goes through a CUMSUM, which XNNPACK does not have, before the product.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

WEIGHTS = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)
BIAS = np.array([0.1, -0.2, 0.3, 0.0], np.float32)

FOLDER = Path(__file__).parent


class Linear(tf.Module):
    """The model; `split` puts a cumulative sum in the middle."""

    def __init__(self, split: bool = False) -> None:
        super().__init__()
        self.split = split

    @tf.function(input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32)])
    def __call__(self, image: Any) -> Any:
        mean = tf.reduce_mean(image, axis=[1, 2])
        if self.split:
            mean = tf.cumsum(mean, axis=1)
        return tf.linalg.matmul(mean, WEIGHTS) + BIAS


def converter(model: Linear) -> Any:
    return tf.lite.TFLiteConverter.from_concrete_functions([model.__call__.get_concrete_function()], model)


def images(scale: float, offset: float) -> Iterator[list[Any]]:
    """Images of one colour, whose means reach to the ends of the range."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        yield [(np.ones((1, 8, 8, 1)) * rng.random((1, 1, 1, 3)) * scale + offset).astype(np.float32)]


def main() -> None:
    (FOLDER / "fp32.tflite").write_bytes(converter(Linear()).convert())
    (FOLDER / "split.tflite").write_bytes(converter(Linear(split=True)).convert())
    for name, kind, (scale, offset) in (("int8", tf.int8, (4, -1)), ("uint8", tf.uint8, (255, 0))):
        quantiser = converter(Linear())
        quantiser.optimizations = [tf.lite.Optimize.DEFAULT]
        quantiser.representative_dataset = lambda scale=scale, offset=offset: images(scale, offset)
        quantiser.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        quantiser.inference_input_type = quantiser.inference_output_type = kind
        (FOLDER / f"{name}.tflite").write_bytes(quantiser.convert())


if __name__ == "__main__":
    main()
