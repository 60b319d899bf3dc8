"""Write activations, which XNNPACK does not have on integers alone, as parts of operators that it has."""

from __future__ import annotations

import numpy as np

from ghostedge.tflite.graph import ACTIVATIONS, Graph, Operator, options
from ghostedge.tflite.quantize.weights import weighted_operators
from ghostedge.tflite.rewrites.for_xnnpack import depthwise

__all__ = ["fuse_activations", "hard_swish_as_products"]

_FUSED = {kind: code for code, kind in ACTIVATIONS.items() if kind in ("RELU", "RELU6")}

#: Operators that can end with an activation.
_FUSABLE = ("ADD", "AVERAGE_POOL_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MAX_POOL_2D", "MUL", "SUB")

#: Operators that pass a factor on.
_LINEAR = ("PAD", "RESHAPE", "STRIDED_SLICE", "TRANSPOSE")


def fuse_activations(graph: Graph) -> int:
    """Make each RELU and RELU6 of a feature map a part of what makes the map (LiteRT 2.1.0: int8 ones split a network).

    1. Behind an operator that can end with an activation: it does.
    2. Behind a CONCATENATION: its parts are activated, each by this rule.
    3. Behind others: a DEPTHWISE_CONV_2D 1 x 1 of ones.

    What lies before an activation and has other readers is not touched: case 3 is made of it.
    """
    found = [op for op in graph.operators if op.kind in _FUSED and len(graph.shape(op.output)) == 4]
    for operator in found:
        source = _activated(graph, operator.inputs[0], _FUSED[operator.kind], operator)
        maker = graph.producer(source)
        assert maker is not None
        maker.outputs = [operator.output]
        graph.replace(operator, [])
    return len(found)


def _activated(graph: Graph, tensor: int, activation: int, reader: Operator) -> int:
    """A tensor with the values of `tensor`, which `reader` reads, after an activation."""
    maker = graph.producer(tensor)
    alone = maker is not None and graph.readers(tensor) == (reader,) and tensor not in graph.outputs
    if maker is not None and alone and maker.kind in _FUSABLE and maker.options.fusedActivationFunction == 0:
        maker.options.fusedActivationFunction = activation
        return tensor
    if maker is not None and alone and maker.kind == "CONCATENATION":
        maker.inputs = [_activated(graph, part, activation, maker) for part in maker.inputs]
        return tensor
    already = maker is not None and maker.kind in _FUSABLE and maker.options.fusedActivationFunction == activation
    if already and reader.kind == "CONCATENATION":  # elsewhere the output of `reader` itself must be made
        return tensor
    name, shape = f"{graph.name(tensor)}/activated", graph.shape(tensor)
    made = graph.add_tensor(shape, "FLOAT32", name)
    ones, zeros = np.ones((1, 1, 1, shape[3]), np.float32), np.zeros(shape[3], np.float32)
    convolution = depthwise(graph, tensor, made, ones, zeros, name)
    convolution.options.fusedActivationFunction = activation
    graph.replace(reader, [convolution, reader])
    return made


def hard_swish_as_products(graph: Graph) -> int:
    """HARD_SWISH, x * relu6(x + 3) / 6 -> ADD with RELU6, MUL, and the sixth in the weights behind it, or a MUL.

    LiteRT 2.1.0 gives no int8 HARD_SWISH to XNNPACK: each one splits a quantised network in two partitions.
    """
    found = [op for op in graph.operators if op.kind == "HARD_SWISH"]
    for operator in found:
        source, target, name = operator.inputs[0], operator.output, operator.name
        shape = graph.shape(target)
        shifted, product = (graph.add_tensor(shape, "FLOAT32", f"{name}/{role}") for role in ("shifted", "product"))
        three, sixth = (graph.add_constant(np.array([v], np.float32), f"{name}/{v:.2g}") for v in (3, 1 / 6))
        made = [
            graph.make("ADD", [source, three], [shifted], options("Add", fusedActivationFunction=_FUSED["RELU6"])),
            graph.make("MUL", [shifted, source], [product], options("Mul")),
        ]
        absorbing = _absorbers(graph, target)
        if absorbing:
            for reader in absorbing:
                weights = graph.constant(reader.inputs[1])
                assert weights is not None
                own = graph.add_constant(weights / np.float32(6), f"{graph.name(reader.inputs[1])}/sixth")
                reader.inputs = [reader.inputs[0], own, *reader.inputs[2:]]
            for reader in graph.readers(target):
                reader.inputs = [product if tensor == target else tensor for tensor in reader.inputs]
        else:
            made.append(graph.make("MUL", [product, sixth], [target], options("Mul")))
        graph.replace(operator, made)
    return len(found)


def _absorbers(graph: Graph, tensor: int) -> list[Operator]:
    """The operators whose weights take up a factor of a tensor; none where a way does not end in one."""
    weighted = {id(operator) for operator, _ in weighted_operators(graph)}
    found: list[Operator] = []
    if tensor in graph.outputs or not graph.readers(tensor):
        return []
    for reader in graph.readers(tensor):
        if id(reader) in weighted and reader.inputs[0] == tensor:
            found.append(reader)
        elif reader.kind in _LINEAR and (further := _absorbers(graph, reader.output)):
            found += further
        else:
            return []
    return found
