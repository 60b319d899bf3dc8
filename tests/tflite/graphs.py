"""Small .tflite graphs for tests, and what LiteRT computes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.lazy import require
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph

DATA = Path(__file__).parents[1] / "data"

#: tests/data/linear/fp32.tflite: MEAN of an image's pixels, FULLY_CONNECTED.
LINEAR = DATA / "linear" / "fp32.tflite"


def linear(name: str = "fp32") -> Graph:
    """A model of tests/data/linear."""
    return unpack(LINEAR.with_stem(name).read_bytes(), name)


def empty() -> Graph:
    """A graph without operators and tensors."""
    graph = linear()
    graph.operators, graph.model.signatureDefs, graph.model.metadata = (), None, None
    graph.tensors.clear()
    return graph


def kinds(graph: Graph) -> list[str]:
    """The kinds of its operators, in execution order."""
    return [operator.kind for operator in graph.operators]


def run(model: Graph | bytes, batch: int = 1) -> NDArray[Any]:
    """What a model gives for random images."""
    data = pack(model) if isinstance(model, Graph) else model
    interpreter = require("ai_edge_litert.interpreter", "tflite").Interpreter(model_content=data)
    (taken,) = interpreter.get_input_details()
    shape = (batch, *taken["shape"][1:])
    interpreter.resize_tensor_input(taken["index"], shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(taken["index"], np.random.default_rng(0).standard_normal(shape, dtype=np.float32))
    interpreter.invoke()
    return np.asarray(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
