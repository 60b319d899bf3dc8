"""Measure the error of each layer of a quantised .tflite model; `ghostedge.explain` runs this file."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ArtifactError, GhostedgeError, first_line
from ghostedge.explain.error_sums import ErrorSums
from ghostedge.explain.roles import Role, roles
from ghostedge.runtimes.tflite import to_integers, to_reals
from ghostedge.tflite.flatbuffer import pack, unpack
from ghostedge.tflite.graph import Graph
from ghostedge.tflite.quantize.activations import inspecting_interpreter
from ghostedge.tflite.rewrites.to_explain import replace_weights, split_at_activations

__all__ = ["layer_errors"]

_INTEGERS = ("INT8", "UINT8", "INT16", "INT4")

#: Quantised weights agree with their own float ones to 40 dB at 8 bits and 16 dB at 4, with another network's to 0 dB.
_SAME_WEIGHTS_DB = 6.0

#: The end of the messages that two files are not one network.
_GIVE_SOURCE = "give the float model it was made from, of ghostedge's int8 the one named ..._equalised.tflite"


def _pairs(exact: Graph, quantised: Graph, *, same_input: bool) -> dict[int, int]:
    """The float model's activation -> the quantised one's, paired by name; inputs and outputs by their place.

    Where a quantiser keeps the name on the float side of a QUANTIZE or DEQUANTIZE, the integer side is taken. Inputs
    that do not hold the same numbers are no pair.
    """
    named = {quantised.name(tensor): tensor for tensor in sorted(quantised.computed)}
    for theirs, ours in zip(quantised.outputs, exact.outputs, strict=False):
        named[exact.name(ours)] = theirs
    inputs = dict(zip(exact.inputs, quantised.inputs, strict=False))
    order = {tensor: place for place, operator in enumerate(exact.operators) for tensor in operator.outputs}
    found = {}
    for tensor in sorted(exact.computed, key=lambda tensor: order.get(tensor, -1)):
        other = inputs.get(tensor, named.get(exact.name(tensor)))
        if tensor in inputs and not same_input:
            continue
        if other is None or exact.dtype(tensor) != "FLOAT32" or exact.shape(tensor) != quantised.shape(other):
            continue
        other = _integer_side(quantised, other)
        if quantised.dtype(other) == "FLOAT32" or len(quantised.scales(other)) == 1:
            found[tensor] = other
    return found


def _integer_side(graph: Graph, tensor: int) -> int:
    if graph.dtype(tensor) != "FLOAT32":
        return tensor
    made, readers = graph.producer(tensor), graph.readers(tensor)
    if made is not None and made.kind == "DEQUANTIZE":
        return made.reads[0]
    if len(readers) == 1 and readers[0].kind == "QUANTIZE":
        return readers[0].output
    return tensor


def layer_errors(quantised_path: Path, exact_path: Path, images: Path) -> dict[str, Any]:
    """The results of `ghostedge.explain.explain` as plain JSON types.

    Args:
        quantised_path: the quantised .tflite.
        exact_path: the float one.
        images: an .npz archive with ``batch``, and ``quantised`` where the quantised model takes other numbers.
    """
    quantised, exact = _File(quantised_path), _File(exact_path)
    with np.load(images) as archive:
        batches = dict(archive)
    batch: NDArray[Any] = batches["batch"]
    own_batch: NDArray[Any] = batches.get("quantised", batch)
    _check_kinds(exact, quantised)
    common = _pairs(exact.graph, quantised.graph, same_input="quantised" not in batches)
    _check_common(exact, quantised, common)
    _check_batch(exact, batch)
    _check_batch(quantised, own_batch)
    comparison = _Comparison(exact, quantised, common)
    for number, (image, own) in enumerate(zip(batch, own_batch, strict=True), start=1):
        comparison.add(number, image, own)
    return comparison.result()


class _File:
    """A .tflite file with its graph."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, path.read_bytes()
        self.graph = self.copy()

    def copy(self) -> Graph:
        """Its graph, to be changed."""
        return unpack(self.data, str(self.path))

    def load(self) -> _Run:
        """Load it with every tensor kept. Raises: ArtifactError."""
        try:
            return _Run(self.data, keep=True)
        except (ValueError, RuntimeError) as exc:
            raise ArtifactError(f"{self.path} is not a model that LiteRT runs: {first_line(exc)}") from exc


# -- What the files must be ---------------------------------------------------------------------------------


def _check_kinds(exact: _File, quantised: _File) -> None:
    def integers(graph: Graph) -> bool:
        return any(graph.dtype(i) in _INTEGERS and graph.scales(i) for i in range(len(graph.tensors)))

    if not integers(quantised.graph):
        raise ArtifactError(
            f"{quantised.path} is not quantised: no tensor of it has a step; name the quantised model, then "
            "--against the float one"
        )
    if integers(exact.graph):
        raise ArtifactError(
            f"{exact.path} is quantised itself; --against takes the float model that {quantised.path} was made from"
        )


def _check_common(exact: _File, quantised: _File, common: Mapping[int, int]) -> None:
    ends = [file.graph.shape(file.graph.outputs[0]) for file in (exact, quantised)]
    inner = {t for t in exact.graph.computed if exact.graph.producer(t) is not None and exact.graph.readers(t)}
    if ends[0] != ends[1] or (inner and inner.isdisjoint(common)):
        raise ArtifactError(
            f"{quantised.path} and {exact.path} are not of one network: no activation of the one has the name and the "
            f"shape of one of the other; {_GIVE_SOURCE}"
        )


def _check_batch(file: _File, batch: NDArray[Any]) -> None:
    wanted, given = file.graph.shape(file.graph.inputs[0]), (1, *batch.shape[1:])
    if given != wanted:
        raise ArtifactError(
            f"{file.path} takes {wanted}, its input spec gives {given}; give the right one with --input-spec"
        )


# -- Running ------------------------------------------------------------------------------------------------


class _Run:
    """A model in LiteRT; its tensors are read as real numbers."""

    def __init__(self, data: bytes, *, keep: bool = False) -> None:
        self.interpreter = inspecting_interpreter(data, keep=keep)
        self._details = {details["index"]: details for details in self.interpreter.get_tensor_details()}
        (self.image, *_), (self.logits, *_) = (
            [details["index"] for details in ends]
            for ends in (self.interpreter.get_input_details(), self.interpreter.get_output_details())
        )

    def set_image(self, image: NDArray[Any]) -> None:
        """Give one image to the model's first input; real numbers become integers where it takes those."""
        details = self._details[self.image]
        real = image.dtype == np.float32 and details["dtype"] != np.float32
        self.interpreter.set_tensor(self.image, (to_integers(image, details) if real else image)[None])

    def read(self, tensor: int) -> NDArray[np.float32]:
        """A tensor's value."""
        value: NDArray[Any] = self.interpreter.get_tensor(tensor)
        return value if value.dtype == np.float32 else to_reals(value, self._details[tensor])


class _Comparison:
    """Both models, and the float one with dequantised weights, each whole and cut at the activations they share.

    Raises:
        ArtifactError: LiteRT does not take a file, or their weights are not of one training.
    """

    def __init__(self, exact: _File, quantised: _File, common: Mapping[int, int]) -> None:
        self.exact, self.quantised, self.common = exact, quantised, common
        whole, cut, cut_weights = exact.copy(), exact.copy(), exact.copy()
        self.replaced = replace_weights(whole, quantised.graph)
        if self.replaced and np.median(list(self.replaced.values())) < _SAME_WEIGHTS_DB:
            raise ArtifactError(
                f"the weights of {quantised.path} are not those of {exact.path}: the same layers, but "
                f"rescaled or of another training; {_GIVE_SOURCE}"
            )
        replace_weights(cut_weights, quantised.graph)
        self.fed, self.fed_weights = (split_at_activations(graph, common) for graph in (cut, cut_weights))
        self.whole = {"exact": exact.load(), "quantised": quantised.load(), "weights": _Run(pack(whole))}
        self.cut, self.cut_weights = _Run(pack(cut)), _Run(pack(cut_weights))
        self.sums = {tensor: ErrorSums(quantised.graph, theirs) for tensor, theirs in common.items()}
        self.logits: dict[str, list[NDArray[Any]]] = {name: [] for name in self.whole}

    def add(self, number: int, image: NDArray[Any], own: NDArray[Any]) -> None:
        """Run one image, `own` as the quantised model takes it. Raises: ArtifactError for what is not finite."""
        for name, run in self.whole.items():
            run.set_image(own if name == "quantised" else image)
            run.interpreter.invoke()
            self.logits[name].append(run.read(run.logits).reshape(1, -1))
        exact, quantised = self.whole["exact"], self.whole["quantised"]
        given = {tensor: quantised.read(theirs) for tensor, theirs in self.common.items()}
        for run, inputs in ((self.cut, self.fed), (self.cut_weights, self.fed_weights)):
            if exact.image not in inputs:
                run.set_image(image)
            for tensor, stand_in in inputs.items():
                run.interpreter.set_tensor(stand_in, given[tensor])
            run.interpreter.invoke()
        for tensor, theirs in self.common.items():
            x, y = exact.read(tensor), given[tensor]
            if not np.isfinite(x).all() or not np.isfinite(y).all():
                path = self.quantised.path if np.isfinite(x).all() else self.exact.path
                raise ArtifactError(
                    f"activation '{self.exact.graph.name(tensor)}' of {path} is not finite on image {number}; "
                    "its weights or its input are damaged"
                )
            is_input = self.exact.graph.producer(tensor) is None
            f, g = (x, x) if is_input else (self.cut.read(tensor), self.cut_weights.read(tensor))
            self.sums[tensor].add(x, y, f, g, quantised.interpreter.get_tensor(theirs))

    def result(self) -> dict[str, Any]:
        """What `layer_errors` gives."""
        graph, known = self.exact.graph, roles(self.exact.graph)
        rows = {name: np.concatenate(parts) for name, parts in self.logits.items()}
        layers = []
        for tensor, sums in self.sums.items():
            operator = graph.producer(tensor)
            role = Role("input", "input") if operator is None else known[operator]
            layers.append(sums.result(graph.name(tensor), role, operator))
        return {
            "layers": layers,
            "weights": compare(rows["exact"], rows["weights"]).to_dict(),
            "activations": compare(rows["weights"], rows["quantised"]).to_dict(),
            "whole": compare(rows["exact"], rows["quantised"]).to_dict(),
            "weight_operators": len(self.replaced),
            "unmatched": [
                graph.name(tensor)
                for tensor in sorted(graph.computed - self.common.keys())
                if graph.dtype(tensor) == "FLOAT32" and graph.producer(tensor) is not None
            ],
        }


if __name__ == "__main__":
    try:
        print(json.dumps(layer_errors(*map(Path, sys.argv[1:]))))
    except (GhostedgeError, ValueError, RuntimeError) as exc:  # LiteRT raises the latter two for what it cannot prepare
        reason = str(exc) if isinstance(exc, GhostedgeError) else f"LiteRT cannot run the models: {first_line(exc)}"
        raise SystemExit(reason) from exc
