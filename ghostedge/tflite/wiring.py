"""Follow the tensors of a .tflite graph: what makes each, what reads it, and which depend on the input."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ghostedge.tflite.model import ints, operator_name, tensor_type, text

__all__ = ["CONVERSIONS", "Wiring"]

#: Operators that change how a tensor is stored and not what it says.
CONVERSIONS = frozenset({"QUANTIZE", "DEQUANTIZE"})


class Wiring:
    """An index of the first subgraph of a model; operators and tensors go by their position in it.

    Args:
        model: what `ghostedge.tflite.model.unpack` gave; it is not changed, and changes after this are not seen.

    Attributes:
        producer: tensor -> the operator that makes it.
        readers: tensor -> the operators that read it, in execution order.
        computed: the graph's inputs and every tensor that depends on one; all others are constants, stored or computed
            from stored ones (a float16 model's DEQUANTIZE).
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.graph: Any = model.subgraphs[0]
        self.producer: dict[int, int] = {}
        self.readers: dict[int, list[int]] = {}
        self.computed: set[int] = set(ints(self.graph.inputs))
        for place, operator in enumerate(self.graph.operators):
            for tensor in dict.fromkeys(self.reads(place)):
                self.readers.setdefault(tensor, []).append(place)
            outputs = ints(operator.outputs)
            self.producer |= dict.fromkeys(outputs, place)
            if self.computed.intersection(self.reads(place)):
                self.computed.update(outputs)

    def reads(self, operator: int) -> tuple[int, ...]:
        """The tensors an operator reads, without optional ones that are left out."""
        return tuple(index for index in ints(self.graph.operators[operator].inputs) if index != -1)

    def activations(self, operator: int) -> tuple[int, ...]:
        """Those of them that depend on the input."""
        return tuple(index for index in self.reads(operator) if index in self.computed)

    def output(self, operator: int) -> int:
        """The first tensor an operator makes."""
        return ints(self.graph.operators[operator].outputs)[0]

    def kind(self, operator: int) -> str:
        """The name of an operator's kind, e.g. ``"CONV_2D"``."""
        return operator_name(self.model, self.graph.operators[operator])

    def name(self, tensor: int) -> str:
        """A tensor's name."""
        return text(self.graph.tensors[tensor].name)

    def shape(self, tensor: int) -> tuple[int, ...]:
        """A tensor's shape."""
        return ints(self.graph.tensors[tensor].shape)

    def dtype(self, tensor: int) -> str:
        """A tensor's element type, e.g. ``"INT8"``."""
        return tensor_type(self.graph.tensors[tensor])

    def scales(self, tensor: int) -> tuple[float, ...]:
        """A tensor's scales: none, one, or one a channel."""
        quantisation = self.graph.tensors[tensor].quantization
        absent = quantisation is None or quantisation.scale is None
        return () if absent else tuple(float(scale) for scale in quantisation.scale)

    def back(self, tensor: int, through: Collection[str] = CONVERSIONS) -> int:
        """The tensor that `tensor` is made of, before all operators of the kinds `through`."""
        while (place := self.producer.get(tensor)) is not None and self.kind(place) in through:
            tensor = self.reads(place)[0]
        return tensor
