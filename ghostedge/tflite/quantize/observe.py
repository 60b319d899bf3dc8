"""Run a float .tflite model on the calibration images and observe its activations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.quantize.observation import Observation, Observer
from ghostedge.quantize.rounding import InputMoments
from ghostedge.tflite.edit import tensor_name
from ghostedge.tflite.interpreter import inspecting_interpreter
from ghostedge.tflite.model import tensor_type
from ghostedge.tflite.quantize.weights import MomentsObserver

__all__ = ["observe"]


def observe(
    data: bytes, model: Any, batch: Iterable[NDArray[Any]]
) -> tuple[dict[str, Observation], dict[str, InputMoments]]:
    """Observe the input, all float activations of a model, and what meets its weights.

    Args:
        data: the model's file, as LiteRT loads it.
        model: the same, unpacked.
        batch: images, each of the shape and type of the model's input without its first axis.

    Returns:
        Tensor name -> observation; the name of a weighted operator's output -> what the operator reads.

    Raises:
        ConvertError: an activation is not finite; the message names the first one and the image.
    """
    graph = model.subgraphs[0]
    made = [int(graph.inputs[0]), *(int(output) for operator in graph.operators for output in operator.outputs)]
    watched = [index for index in made if tensor_type(graph.tensors[index]) == "FLOAT32"]
    interpreter = inspecting_interpreter(data)
    observer, moments = Observer(), MomentsObserver(model)
    count = 0
    for image in batch:
        interpreter.set_tensor(int(graph.inputs[0]), image[None])
        interpreter.invoke()
        count += 1
        for index in watched:
            if not observer.add(tensor_name(graph, index), interpreter.get_tensor(index)):
                raise ConvertError(
                    f"activation '{tensor_name(graph, index)}' is not finite on calibration image {count}; "
                    "the weights or the input are damaged"
                )
        moments.add(interpreter)
    if not count:
        raise ConvertError("there is no calibration image")
    return observer.observations(), moments.moments()
