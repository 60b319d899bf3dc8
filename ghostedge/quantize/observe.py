"""Run a float model on the calibration images and keep what is needed of every activation."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.quantize.ranges import Range
from ghostedge.tflite.edit import tensor_name
from ghostedge.tflite.interpreter import inspecting_interpreter
from ghostedge.tflite.model import tensor_type

__all__ = ["Observation", "observe"]

#: Values kept of an activation and an image; a few hundred images give the quantiles to 1 in 100,000.
_SAMPLES = 512


@dataclass(frozen=True)
class Observation:
    """What an activation was over all images.

    Attributes:
        whole: the least and the greatest value.
        samples: float32 (n,): values spread evenly over positions and channels, of every image.
        channel_mean: float64 (channels,): the mean over images and positions, channels last.
    """

    whole: Range
    samples: NDArray[np.float32]
    channel_mean: NDArray[np.float64]


def observe(data: bytes, model: Any, batch: Iterable[NDArray[Any]]) -> dict[str, Observation]:
    """Observe the input and all float activations of a model.

    Args:
        data: the model's file, as LiteRT loads it.
        model: the same, unpacked.
        batch: images, each of the shape and type of the model's input without its first axis.

    Returns:
        Tensor name -> observation.

    Raises:
        ConvertError: an activation is not finite; the message names the first one and the image.
    """
    graph = model.subgraphs[0]
    made = [int(graph.inputs[0]), *(int(output) for operator in graph.operators for output in operator.outputs)]
    watched = [index for index in made if tensor_type(graph.tensors[index]) == "FLOAT32"]
    interpreter = inspecting_interpreter(data)
    offsets = np.random.default_rng(0)
    samples: dict[int, list[NDArray[np.float32]]] = {index: [] for index in watched}
    low, high = dict.fromkeys(watched, np.inf), dict.fromkeys(watched, -np.inf)
    total: dict[int, Any] = dict.fromkeys(watched, 0.0)
    count = 0
    for image in batch:
        interpreter.set_tensor(int(graph.inputs[0]), image[None])
        interpreter.invoke()
        for index in watched:
            value = interpreter.get_tensor(index)
            least, most = float(value.min()), float(value.max())
            if not np.isfinite(least + most):
                raise ConvertError(
                    f"activation '{tensor_name(graph, index)}' is not finite on calibration image {count + 1}; "
                    "the weights or the input are damaged"
                )
            low[index], high[index] = min(low[index], least), max(high[index], most)
            flat = value.reshape(-1)
            # An odd step meets every channel; the offset moves the grid from image to image.
            step = max(1, flat.size // _SAMPLES) | 1
            samples[index].append(flat[int(offsets.integers(step)) :: step].copy())
            total[index] = total[index] + value.reshape(-1, value.shape[-1]).mean(axis=0, dtype=np.float64)
        count += 1
    if not count:
        raise ConvertError("there is no calibration image")
    return {
        tensor_name(graph, index): Observation(
            Range.of(low[index], high[index]), np.concatenate(samples[index]), total[index] / count
        )
        for index in watched
    }
