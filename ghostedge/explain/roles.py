"""Tell what each operator of a .tflite GhostNetV2 is, from the graph: converters drop the checkpoint's names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ghostedge.tflite.graph import CONVERSIONS, Graph, Operator

__all__ = ["Role", "roles"]

#: What upsamples a gate: a resize, or copies of its rows and columns (`ghostedge.tflite.rewrites.for_xnnpack`).
_UPSAMPLING = frozenset({"RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "CONCATENATION", "RESHAPE", "STRIDED_SLICE"})

#: Operators without weights that stand between a layer and its input.
_AROUND = CONVERSIONS | {"PAD", "PADV2", "MIRROR_PAD", "RESHAPE"}


@dataclass(frozen=True)
class Role:
    """What an operator does in the network.

    Attributes:
        kind: ``"gate 1x5"`` (of the DFC gates: pool, 1x1, 1x5, 5x1, sigmoid, resize, mul), ``"SE reduce"``,
            ``"primary"``, ``"cheap"``, ``"depthwise"``, ``"shortcut"``, ``"stem"``, ``"head"``, ...; of an operator
            that is none of them its kind in lower case.
        place: where it is, in the checkpoint's manner (``"blocks.2.ghost1.short_conv.1"``); empty where unknown.
    """

    kind: str
    place: str = ""


def roles(graph: Graph) -> dict[Operator, Role]:
    """Operator -> role, for every operator that depends on the input.

    A block ends with the addition of its shortcut. Within it the first concatenation is that of ``ghost1``, the second
    that of ``ghost2``. A gate is what leads through a LOGISTIC to a product with a concatenation; SE is what leads from
    the MEAN of a tensor to a product with the same tensor. A network of another kind gets the kinds of its operators.
    """
    return _Reader(graph).read()


class _Reader:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.operators = [operator for operator in graph.operators if operator.output in graph.computed]
        self.found: dict[Operator, Role] = {}

    def read(self) -> dict[Operator, Role]:
        earlier: set[Operator] = set()
        block = 0
        for addition in [op for op in self.operators if op.kind == "ADD" and self._is_block_end(op)]:
            before = self._before(addition) | {addition}
            if not block:
                stem = next((op for op in self.graph.operators if op in before and _is_convolution(op)), None)
                if stem is not None:
                    self._set(stem, "stem", "conv_stem")
                    earlier = self._before(stem) | {stem}
            members = [op for op in self.graph.operators if op in before and op not in earlier]
            self._set(addition, "shortcut add", f"blocks.{block}.add")
            self._block(members, f"blocks.{block}")
            earlier |= set(members)
            block += 1
        if block:
            self._head([op for op in self.operators if op not in earlier], f"blocks.{block}")
        return {op: self.found.get(op) or Role(self._plain(op)) for op in self.operators}

    def _set(self, operator: Operator, kind: str, place: str) -> None:
        self.found.setdefault(operator, Role(kind, place))

    # -- a block ------------------------------------------------------------------------------------------------

    def _block(self, members: list[Operator], block: str) -> None:
        for operator in members:  # before the ghost modules: a gate's convolutions are depthwise as well
            if operator.kind == "MUL":
                self._squeeze_excite(operator, f"{block}.se")
        concatenations = [op for op in members if op.kind == "CONCATENATION" and self._only_source(op) is None]
        for number, concatenation in enumerate(concatenations, start=1):
            self._ghost(concatenation, f"{block}.ghost{number}")
        for number, operator in enumerate(self._shortcut(members[-1])):
            self._set(operator, "shortcut", f"{block}.shortcut.{number}")
        for operator in members:
            if operator not in self.found and self._is_depthwise(operator):
                self._set(operator, "depthwise", f"{block}.dw")
            elif operator not in self.found:
                self._set(operator, self._plain(operator), block)

    def _ghost(self, concatenation: Operator, ghost: str) -> None:
        first, *others = (self._source(tensor) for tensor in concatenation.activations)
        for cheap in others:
            if first is not None and cheap is not None and first in self._sources(cheap):
                self._set(first, "primary", f"{ghost}.primary_conv")
                self._set(cheap, "cheap", f"{ghost}.cheap_operation")
        self._set(concatenation, "concat", f"{ghost}.concat")
        for reader in self._readers(concatenation.output):
            if reader.kind == "MUL":
                self._gate(reader, concatenation, ghost)

    def _gate(self, product: Operator, concatenation: Operator, ghost: str) -> None:
        others = [tensor for tensor in product.activations if self._source(tensor) is not concatenation]
        chain = list(self._chain(self.graph.producer(self.graph.back(others[-1])) if others else None))
        sigmoid = next((place for place, op in enumerate(chain) if op.kind in ("LOGISTIC", "TANH")), len(chain))
        # A sigmoid may be written as a tanh plus one (`ghostedge.onnx.rewrites.sigmoid_as_tanh`).
        behind = {operator.kind for operator in chain[:sigmoid]}
        if sigmoid == len(chain) or not behind <= _UPSAMPLING | CONVERSIONS | {"ADD"}:
            return
        self._set(product, "gate mul", f"{ghost}.mul")
        for operator in chain[:sigmoid]:
            if operator.kind == "ADD":
                self._set(operator, "gate sigmoid", f"{ghost}.sigmoid")
            for copier in (operator, *map(self.graph.producer, operator.activations)):
                if copier is not None and copier.kind in _UPSAMPLING:
                    self._set(copier, "gate resize", f"{ghost}.upsample")
        self._set(chain[sigmoid], "gate sigmoid", f"{ghost}.sigmoid")
        convolutions: list[Operator] = []
        for layer in (operator for operator in chain[sigmoid + 1 :] if operator.kind not in _AROUND):
            if self._is_pooling(layer):
                self._set(layer, "gate pool", f"{ghost}.pool")
                break
            if not _is_convolution(layer):
                break
            convolutions.insert(0, layer)
        for number, convolution in enumerate(convolutions):
            height, width = self._kernel(convolution)
            self._set(convolution, f"gate {height}x{width}", f"{ghost}.short_conv.{number}")

    def _squeeze_excite(self, product: Operator, se: str) -> None:
        operands = [self.graph.back(tensor) for tensor in product.activations]
        if len(operands) != 2:
            return
        for scale, scaled in (operands, operands[::-1]):
            chain = list(self._chain(self.graph.producer(scale)))
            end = next((place for place, operator in enumerate(chain) if operator.kind == "MEAN"), None)
            if end is None or self.graph.back(chain[end].activations[0]) != scaled:
                continue
            self._set(product, "SE mul", f"{se}.mul")
            self._set(chain[end], "SE mean", f"{se}.mean")
            convolutions = [operator for operator in chain[:end] if _is_convolution(operator)][::-1]
            for convolution, name in zip(convolutions, ("reduce", "expand"), strict=False):
                self._set(convolution, f"SE {name}", f"{se}.conv_{name}")
            for operator in chain[:end]:
                self._set(operator, "SE scale", f"{se}.scale")
            return

    def _shortcut(self, addition: Operator) -> list[Operator]:
        """A depthwise and a 1x1 convolution that lead to the block's end beside its ghost modules; or nothing."""
        for tensor in addition.activations:
            last = self._source(tensor)
            if last is None or last in self.found or not _is_convolution(last):
                continue
            first = next(iter(self._sources(last)), None)
            if first is not None and first not in self.found and self._is_depthwise(first):
                return [first, last]
        return []

    def _head(self, members: list[Operator], last: str) -> None:
        names = iter((last, "conv_head", "classifier"))
        for operator in members:
            if _is_convolution(operator) or operator.kind == "FULLY_CONNECTED":
                self._set(operator, "head", next(names, "head"))
            else:
                self._set(operator, "head", "mean" if operator.kind == "MEAN" else "head")

    # -- questions to the graph ---------------------------------------------------------------------------------

    def _before(self, operator: Operator) -> set[Operator]:
        """Every operator that `operator` depends on."""
        seen: set[Operator] = set()
        pending = [operator]
        while pending:
            for tensor in pending.pop().activations:
                producer = self.graph.producer(tensor)
                if producer is not None and producer not in seen:
                    seen.add(producer)
                    pending.append(producer)
        return seen

    def _source(self, tensor: int) -> Operator | None:
        return self.graph.producer(self.graph.back(tensor, _AROUND))

    def _sources(self, operator: Operator) -> list[Operator]:
        """What makes the operator's activations, pads and conversions left out."""
        return [source for tensor in operator.activations if (source := self._source(tensor)) is not None]

    def _readers(self, tensor: int) -> Iterator[Operator]:
        for reader in self.graph.readers(tensor):
            if reader.kind in CONVERSIONS:
                yield from self._readers(reader.output)
            else:
                yield reader

    def _chain(self, operator: Operator | None) -> Iterator[Operator]:
        """`operator` and what leads to it, as long as it has one activation, or cuts of one."""
        while operator is not None and (source := self._only_source(operator)) is not None:
            yield operator
            operator = self.graph.producer(source)

    def _only_source(self, operator: Operator) -> int | None:
        """The one tensor of which all activations of an operator are the whole or a cut; None where there are more."""
        sources = {self.graph.back(tensor, ("STRIDED_SLICE",)) for tensor in operator.activations}
        return sources.pop() if len(sources) == 1 else None

    def _is_block_end(self, operator: Operator) -> bool:
        """An addition of two tensors of which one comes from a concatenation: ghost2 ends with one."""
        concatenated = any(source.kind == "CONCATENATION" for source in self._sources(operator))
        return concatenated and len(operator.activations) == 2

    def _is_depthwise(self, operator: Operator) -> bool:
        """Also a CONV_2D of as many groups as channels, which is how some converters write one."""
        if operator.kind == "DEPTHWISE_CONV_2D":
            return True
        if operator.kind != "CONV_2D":
            return False
        image, weight = operator.reads[:2]
        return self.graph.shape(weight)[-1] == 1 < self.graph.shape(image)[-1]

    def _is_pooling(self, operator: Operator) -> bool:
        """An average pooling, also one that is written as a resize, or as a depthwise 2x2 convolution with stride 2."""
        return operator.kind in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR") or (
            self._is_depthwise(operator) and self._kernel(operator) == (2, 2)
        )

    def _kernel(self, operator: Operator) -> tuple[int, int]:
        height, width = self.graph.shape(operator.reads[1])[1:3]
        return height, width

    def _plain(self, operator: Operator) -> str:
        return "depthwise" if self._is_depthwise(operator) else operator.kind.lower().replace("_2d", "")


def _is_convolution(operator: Operator) -> bool:
    return operator.kind in ("CONV_2D", "DEPTHWISE_CONV_2D")
