"""Tell what each operator of a .tflite GhostNetV2 is, from the graph: converters drop the checkpoint's names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ghostedge.tflite.wiring import CONVERSIONS, Wiring

__all__ = ["Role", "roles"]

#: What upsamples a gate: a resize, or copies of its rows and columns (`ghostedge.tflite.rewrites.nearest`).
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


def roles(model: Any) -> dict[int, Role]:
    """Operator -> role, for every operator that depends on the input.

    A block ends with the addition of its shortcut. Within it the first concatenation is that of ``ghost1``, the second
    that of ``ghost2``. A gate is what leads through a LOGISTIC to a product with a concatenation; SE is what leads from
    the MEAN of a tensor to a product with the same tensor. A network of another kind gets the kinds of its operators.
    """
    return _Reader(Wiring(model)).read()


class _Reader:
    def __init__(self, wiring: Wiring) -> None:
        self.wiring = wiring
        self.operators = [p for p in range(len(wiring.graph.operators)) if wiring.output(p) in wiring.computed]
        self.found: dict[int, Role] = {}

    def read(self) -> dict[int, Role]:
        earlier: set[int] = set()
        block = 0
        for addition in [p for p in self.operators if self.wiring.kind(p) == "ADD" and self._is_block_end(p)]:
            if not block:
                stem = next((p for p in sorted(self._before(addition)) if self._is_convolution(p)), None)
                if stem is not None:
                    self._set(stem, "stem", "conv_stem")
                    earlier = self._before(stem) | {stem}
            members = sorted((self._before(addition) | {addition}) - earlier)
            self._set(addition, "shortcut add", f"blocks.{block}.add")
            self._block(members, f"blocks.{block}")
            earlier |= set(members)
            block += 1
        if block:
            self._head([p for p in self.operators if p not in earlier], f"blocks.{block}")
        return {p: self.found.get(p) or Role(self._plain(p)) for p in self.operators}

    def _set(self, operator: int, kind: str, place: str) -> None:
        self.found.setdefault(operator, Role(kind, place))

    # -- a block ------------------------------------------------------------------------------------------------

    def _block(self, members: list[int], block: str) -> None:
        for place in members:  # before the ghost modules: a gate's convolutions are depthwise as well
            if self.wiring.kind(place) == "MUL":
                self._squeeze_excite(place, f"{block}.se")
        concatenations = [p for p in members if self.wiring.kind(p) == "CONCATENATION" and self._only_source(p) is None]
        for number, place in enumerate(concatenations, start=1):
            self._ghost(place, f"{block}.ghost{number}")
        shortcut = self._shortcut(members[-1])
        for number, place in enumerate(shortcut):
            self._set(place, "shortcut", f"{block}.shortcut.{number}")
        for place in members:
            if place not in self.found and self._is_depthwise(place):
                self._set(place, "depthwise", f"{block}.dw")
            elif place not in self.found:
                self._set(place, self._plain(place), block)

    def _ghost(self, concatenation: int, ghost: str) -> None:
        first, *others = (self._source(tensor) for tensor in self.wiring.activations(concatenation))
        for cheap in others:
            if first is not None and cheap is not None and first in self._sources(cheap):
                self._set(first, "primary", f"{ghost}.primary_conv")
                self._set(cheap, "cheap", f"{ghost}.cheap_operation")
        self._set(concatenation, "concat", f"{ghost}.concat")
        for place in self._readers(self.wiring.output(concatenation)):
            if self.wiring.kind(place) == "MUL":
                self._gate(place, concatenation, ghost)

    def _gate(self, product: int, concatenation: int, ghost: str) -> None:
        others = [t for t in self.wiring.activations(product) if self._source(t) != concatenation]
        chain = list(self._chain(self.wiring.producer.get(self.wiring.back(others[-1])) if others else None))
        kinds = [self.wiring.kind(place) for place in chain]
        sigmoid = next((place for place, kind in enumerate(kinds) if kind in ("LOGISTIC", "TANH")), len(kinds))
        # A sigmoid may be written as a tanh plus one (`ghostedge.onnx.rewrites.sigmoid_as_tanh`).
        if sigmoid == len(kinds) or not set(kinds[:sigmoid]) <= _UPSAMPLING | CONVERSIONS | {"ADD"}:
            return
        self._set(product, "gate mul", f"{ghost}.mul")
        for place in chain[:sigmoid]:
            if self.wiring.kind(place) == "ADD":
                self._set(place, "gate sigmoid", f"{ghost}.sigmoid")
            for copier in (place, *(self.wiring.producer[t] for t in self.wiring.activations(place))):
                if self.wiring.kind(copier) in _UPSAMPLING:
                    self._set(copier, "gate resize", f"{ghost}.upsample")
        self._set(chain[sigmoid], "gate sigmoid", f"{ghost}.sigmoid")
        layers = [place for place in chain[sigmoid + 1 :] if self.wiring.kind(place) not in _AROUND]
        convolutions: list[int] = []
        for place in layers:
            if self._is_pooling(place):
                self._set(place, "gate pool", f"{ghost}.pool")
                break
            if not self._is_convolution(place):
                break
            convolutions.insert(0, place)
        for number, place in enumerate(convolutions):
            height, width = self._kernel(place)
            self._set(place, f"gate {height}x{width}", f"{ghost}.short_conv.{number}")

    def _squeeze_excite(self, product: int, se: str) -> None:
        operands = [self.wiring.back(tensor) for tensor in self.wiring.activations(product)]
        if len(operands) != 2:
            return
        for scale, scaled in (operands, operands[::-1]):
            chain = list(self._chain(self.wiring.producer.get(scale)))
            ends = [i for i, place in enumerate(chain) if self.wiring.kind(place) == "MEAN"]
            if not ends or self.wiring.back(self.wiring.activations(chain[ends[0]])[0]) != scaled:
                continue
            self._set(product, "SE mul", f"{se}.mul")
            self._set(chain[ends[0]], "SE mean", f"{se}.mean")
            convolutions = [place for place in chain[: ends[0]] if self._is_convolution(place)][::-1]
            for place, name in zip(convolutions, ("reduce", "expand"), strict=False):
                self._set(place, f"SE {name}", f"{se}.conv_{name}")
            for place in chain[: ends[0]]:
                self._set(place, "SE scale", f"{se}.scale")
            return

    def _shortcut(self, addition: int) -> list[int]:
        """A depthwise and a 1x1 convolution that lead to the block's end beside its ghost modules; or nothing."""
        for tensor in self.wiring.activations(addition):
            last = self._source(tensor)
            if last is None or last in self.found or not self._is_convolution(last):
                continue
            first = next(iter(self._sources(last)), None)
            if first is not None and first not in self.found and self._is_depthwise(first):
                return [first, last]
        return []

    def _head(self, members: list[int], last: str) -> None:
        names = iter((last, "conv_head", "classifier"))
        for place in members:
            if self._is_convolution(place) or self.wiring.kind(place) == "FULLY_CONNECTED":
                self._set(place, "head", next(names, "head"))
            else:
                self._set(place, "head", "mean" if self.wiring.kind(place) == "MEAN" else "head")

    # -- questions to the graph ---------------------------------------------------------------------------------

    def _before(self, operator: int) -> set[int]:
        """Every operator that `operator` depends on."""
        seen: set[int] = set()
        pending = [operator]
        while pending:
            for tensor in self.wiring.activations(pending.pop()):
                place = self.wiring.producer.get(tensor)
                if place is not None and place not in seen:
                    seen.add(place)
                    pending.append(place)
        return seen

    def _source(self, tensor: int) -> int | None:
        return self.wiring.producer.get(self.wiring.back(tensor, _AROUND))

    def _sources(self, operator: int) -> list[int]:
        """What makes the operator's activations, pads and conversions left out."""
        return [p for tensor in self.wiring.activations(operator) if (p := self._source(tensor)) is not None]

    def _readers(self, tensor: int) -> Iterator[int]:
        for place in self.wiring.readers.get(tensor, ()):
            if self.wiring.kind(place) in CONVERSIONS:
                yield from self._readers(self.wiring.output(place))
            else:
                yield place

    def _chain(self, operator: int | None) -> Iterator[int]:
        """`operator` and what leads to it, as long as it has one activation, or cuts of one."""
        while operator is not None and (source := self._only_source(operator)) is not None:
            yield operator
            operator = self.wiring.producer.get(source)

    def _only_source(self, operator: int) -> int | None:
        """The one tensor of which all activations of an operator are the whole or a cut; None where there are more."""
        sources = {self.wiring.back(tensor, ("STRIDED_SLICE",)) for tensor in self.wiring.activations(operator)}
        return sources.pop() if len(sources) == 1 else None

    def _is_block_end(self, operator: int) -> bool:
        """An addition of two tensors of which one comes from a concatenation: ghost2 ends with one."""
        sources = self._sources(operator)
        return len(self.wiring.activations(operator)) == 2 and any(
            self.wiring.kind(place) == "CONCATENATION" for place in sources
        )

    def _is_convolution(self, operator: int) -> bool:
        return self.wiring.kind(operator) in ("CONV_2D", "DEPTHWISE_CONV_2D")

    def _is_depthwise(self, operator: int) -> bool:
        """Also a CONV_2D of as many groups as channels, which is how some converters write one."""
        if self.wiring.kind(operator) == "DEPTHWISE_CONV_2D":
            return True
        if self.wiring.kind(operator) != "CONV_2D":
            return False
        image, weight = self.wiring.reads(operator)[:2]
        return self.wiring.shape(weight)[-1] == 1 < self.wiring.shape(image)[-1]

    def _is_pooling(self, operator: int) -> bool:
        """An average pooling, also one that is written as a resize, or as a depthwise 2x2 convolution with stride 2."""
        return self.wiring.kind(operator) in ("AVERAGE_POOL_2D", "RESIZE_BILINEAR") or (
            self._is_depthwise(operator) and self._kernel(operator) == (2, 2)
        )

    def _kernel(self, operator: int) -> tuple[int, int]:
        height, width = self.wiring.shape(self.wiring.reads(operator)[1])[1:3]
        return height, width

    def _plain(self, operator: int) -> str:
        return "depthwise" if self._is_depthwise(operator) else self.wiring.kind(operator).lower().replace("_2d", "")
