"""Measure the error of each layer of a quantised .tflite model; `ghostedge.explain.explain` runs this file."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.errors import ArtifactError, GhostedgeError, first_line
from ghostedge.tflite.dequantise import replace_weights
from ghostedge.tflite.interpreter import inspecting_interpreter
from ghostedge.tflite.model import ints, pack, unpack
from ghostedge.tflite.quantize.roles import Role, roles
from ghostedge.tflite.split_at_activations import cut
from ghostedge.tflite.wiring import Wiring

__all__ = ["Pair", "layer_errors", "pairs"]

_INTEGERS = ("INT8", "UINT8", "INT16", "INT4")

#: Weights of one network differ by the step of their quantisation: 40 dB at 8 bits, 16 at 4. Those of another by 0.
_SAME_WEIGHTS_DB = 6.0

#: y - g of a sound layer is a few times what even rounding makes: integer kernels round more than once.
_ROUNDING_EXCESS = 8.0

#: Fewer values of a channel than this cannot tell an offset from chance.
_OFFSET_VALUES = 32

#: What ends the messages that two files are not one network.
_GIVE_SOURCE = "give the float model it was made from, of ghostedge's int8 the one named ..._equalised.tflite"


@dataclass(frozen=True)
class Pair:
    """An activation that both models have: its index in the float and in the quantised model."""

    exact: int
    quantised: int


def pairs(exact: Wiring, quantised: Wiring, *, same_input: bool = True) -> list[Pair]:
    """Pair the float activations of two models by name; input and output of the graphs by their place.

    Where a quantiser keeps the name on the float side of a QUANTIZE or DEQUANTIZE, the integer side is taken.

    Args:
        exact: the float model.
        quantised: the model made from it.
        same_input: whether the inputs hold the same numbers; else they are no pair.
    """
    named = {quantised.name(tensor): tensor for tensor in sorted(quantised.computed)}
    for theirs, ours in zip(ints(quantised.graph.outputs), ints(exact.graph.outputs), strict=False):
        named[exact.name(ours)] = theirs
    inputs = dict(zip(ints(exact.graph.inputs), ints(quantised.graph.inputs), strict=False))
    found = []
    for tensor in sorted(exact.computed, key=lambda index: exact.producer.get(index, -1)):
        other = inputs.get(tensor, named.get(exact.name(tensor)))
        if tensor in inputs and not same_input:
            continue
        if other is None or exact.dtype(tensor) != "FLOAT32" or exact.shape(tensor) != quantised.shape(other):
            continue
        other = _integer_side(quantised, other)
        if quantised.dtype(other) == "FLOAT32" or len(quantised.scales(other)) == 1:
            found.append(Pair(tensor, other))
    return found


def _integer_side(wiring: Wiring, tensor: int) -> int:
    if wiring.dtype(tensor) != "FLOAT32":
        return tensor
    made, readers = wiring.producer.get(tensor), wiring.readers.get(tensor, [])
    if made is not None and wiring.kind(made) == "DEQUANTIZE":
        return wiring.reads(made)[0]
    if len(readers) == 1 and wiring.kind(readers[0]) == "QUANTIZE":
        return wiring.output(readers[0])
    return tensor


def layer_errors(
    quantised_path: Path, exact_path: Path, batch: NDArray[Any], quantised_batch: NDArray[Any] | None = None
) -> dict[str, Any]:
    """See `ghostedge.explain.explain.explain`, of which these are the results as plain JSON types."""
    files = {path: path.read_bytes() for path in (quantised_path, exact_path)}
    models = {path: unpack(data, str(path)) for path, data in files.items()}
    exact, quantised = Wiring(models[exact_path]), Wiring(models[quantised_path])
    _check_kinds(exact, exact_path, quantised, quantised_path)
    common = pairs(exact, quantised, same_input=quantised_batch is None)
    _check_common(exact, exact_path, quantised, quantised_path, common)
    _check_batch(exact, exact_path, batch)
    _check_batch(quantised, quantised_path, batch if quantised_batch is None else quantised_batch)

    whole_weights = unpack(files[exact_path], str(exact_path))
    replaced = replace_weights(whole_weights, models[quantised_path])
    if replaced and np.median(list(replaced.values())) < _SAME_WEIGHTS_DB:
        raise ArtifactError(
            f"the weights of {quantised_path} are not those of {exact_path}: the same layers, but "
            f"rescaled or of another training; {_GIVE_SOURCE}"
        )
    cut_weights = unpack(files[exact_path], str(exact_path))
    replace_weights(cut_weights, models[quantised_path])
    chosen = [pair.exact for pair in common]
    cut_exact = unpack(files[exact_path], str(exact_path))
    fed, fed_weights = cut(cut_exact, chosen), cut(cut_weights, chosen)

    run = _Runs(
        exact=_load(exact_path, files[exact_path]),
        quantised=_load(quantised_path, files[quantised_path]),
        weights=inspecting_interpreter(pack(whole_weights), keep=False),
        cut_exact=inspecting_interpreter(pack(cut_exact), keep=False),
        cut_weights=inspecting_interpreter(pack(cut_weights), keep=False),
    )
    sums = {pair: _Sums(quantised, pair.quantised) for pair in common}
    logits: dict[str, list[NDArray[Any]]] = {"exact": [], "weights": [], "quantised": []}
    for number, image in enumerate(batch):
        own = image if quantised_batch is None else quantised_batch[number]
        _set_input(run.exact, exact, image)
        _set_input(run.weights, exact, image)
        _set_input(run.quantised, quantised, own)
        for interpreter in (run.exact, run.weights, run.quantised):
            interpreter.invoke()
        given = {pair.exact: _read(run.quantised, quantised, pair.quantised) for pair in common}
        for interpreter, inputs in ((run.cut_exact, fed), (run.cut_weights, fed_weights)):
            if ints(exact.graph.inputs)[0] not in inputs:
                _set_input(interpreter, exact, image)
            for tensor, stand_in in inputs.items():
                interpreter.set_tensor(stand_in, given[tensor])
            interpreter.invoke()
        for pair in common:
            x = run.exact.get_tensor(pair.exact)
            if not np.isfinite(x).all() or not np.isfinite(given[pair.exact]).all():
                path = exact_path if not np.isfinite(x).all() else quantised_path
                raise ArtifactError(
                    f"activation '{exact.name(pair.exact)}' of {path} is not finite on image {number + 1}; "
                    "its weights or its input are damaged"
                )
            is_input = pair.exact not in exact.producer
            f = x if is_input else run.cut_exact.get_tensor(pair.exact)
            g = x if is_input else run.cut_weights.get_tensor(pair.exact)
            sums[pair].add(x, given[pair.exact], f, g, run.quantised.get_tensor(pair.quantised))
        outputs = {
            "exact": (run.exact, exact),
            "weights": (run.weights, exact),
            "quantised": (run.quantised, quantised),
        }
        for name, (interpreter, wiring) in outputs.items():
            logits[name].append(_read(interpreter, wiring, ints(wiring.graph.outputs)[0]).reshape(1, -1))

    rows = {name: np.concatenate(parts) for name, parts in logits.items()}
    known = roles(models[exact_path])
    matched = {pair.exact for pair in common}
    return {
        "layers": [_layer(exact, quantised, pair, known, sums[pair]) for pair in common],
        "weights": compare(rows["exact"], rows["weights"]).to_dict(),
        "activations": compare(rows["weights"], rows["quantised"]).to_dict(),
        "whole": compare(rows["exact"], rows["quantised"]).to_dict(),
        "weight_operators": len(replaced),
        "unmatched": [
            exact.name(tensor)
            for tensor in sorted(exact.computed - matched)
            if exact.dtype(tensor) == "FLOAT32" and tensor in exact.producer
        ],
    }


@dataclass(frozen=True)
class _Runs:
    exact: Any
    quantised: Any
    weights: Any
    cut_exact: Any
    cut_weights: Any


# -- What the files must be ---------------------------------------------------------------------------------


def _check_kinds(exact: Wiring, exact_path: Path, quantised: Wiring, quantised_path: Path) -> None:
    def integers(wiring: Wiring) -> bool:
        return any(wiring.dtype(i) in _INTEGERS and wiring.scales(i) for i in range(len(wiring.graph.tensors)))

    if not integers(quantised):
        raise ArtifactError(
            f"{quantised_path} is not quantised: no tensor of it has a step; name the quantised model, then "
            "--against the float one"
        )
    if integers(exact):
        raise ArtifactError(
            f"{exact_path} is quantised itself; --against takes the float model that {quantised_path} was made from"
        )


def _check_common(exact: Wiring, exact_path: Path, quantised: Wiring, quantised_path: Path, common: list[Pair]) -> None:
    ends = [wiring.shape(ints(wiring.graph.outputs)[0]) for wiring in (exact, quantised)]
    inner = [pair for pair in common if pair.exact in exact.producer and exact.readers.get(pair.exact)]
    layers = [t for t in exact.computed if t in exact.producer and exact.readers.get(t)]
    if ends[0] != ends[1] or (layers and not inner):
        raise ArtifactError(
            f"{quantised_path} and {exact_path} are not of one network: no activation of the one has the name and the "
            f"shape of one of the other; {_GIVE_SOURCE}"
        )


def _check_batch(wiring: Wiring, path: Path, batch: NDArray[Any]) -> None:
    wanted = wiring.shape(ints(wiring.graph.inputs)[0])
    if (1, *batch.shape[1:]) != wanted:
        raise ArtifactError(
            f"{path} takes {wanted}, its input spec gives {(1, *batch.shape[1:])}; give the right one with --input-spec"
        )


def _load(path: Path, data: bytes) -> Any:
    try:
        return inspecting_interpreter(data)
    except (ValueError, RuntimeError) as exc:
        raise ArtifactError(f"{path} is not a model that LiteRT runs: {first_line(exc)}") from exc


# -- Running ------------------------------------------------------------------------------------------------


def _set_input(interpreter: Any, wiring: Wiring, image: NDArray[Any]) -> None:
    index = ints(wiring.graph.inputs)[0]
    kind = wiring.dtype(index)
    if kind != "FLOAT32" and image.dtype == np.float32:
        image = _quantise(image, wiring, index)
    interpreter.set_tensor(index, image[None])


def _quantise(real: NDArray[np.float32], wiring: Wiring, tensor: int) -> NDArray[Any]:
    limits = np.iinfo(wiring.dtype(tensor).lower())
    scale, zero = _parameters(wiring, tensor)
    return np.asarray(np.clip(np.rint(real / np.float32(scale)) + zero, limits.min, limits.max), limits.dtype)


def _parameters(wiring: Wiring, tensor: int) -> tuple[float, int]:
    points = wiring.graph.tensors[tensor].quantization.zeroPoint
    return wiring.scales(tensor)[0], 0 if points is None or len(points) == 0 else int(points[0])


def _read(interpreter: Any, wiring: Wiring, tensor: int) -> NDArray[np.float32]:
    """A tensor's value as real numbers."""
    value: NDArray[Any] = interpreter.get_tensor(tensor)
    if wiring.dtype(tensor) == "FLOAT32":
        return value
    scale, zero = _parameters(wiring, tensor)
    return (value.astype(np.float32) - np.float32(zero)) * np.float32(scale)


# -- Adding up ----------------------------------------------------------------------------------------------


class _Sums:
    """Sums over all images of one layer; those of the own error for each channel (last axis)."""

    def __init__(self, wiring: Wiring, tensor: int) -> None:
        self.scale, self.zero, self.limits = None, 0, None
        if wiring.dtype(tensor) != "FLOAT32":
            self.scale, self.zero = _parameters(wiring, tensor)
            self.limits = np.iinfo(wiring.dtype(tensor).lower())
        shape = wiring.shape(tensor)
        self.channels = shape[-1] if shape else 1
        self.count = self.ends = self.saturated = 0
        self.signal = self.noise = self.dot = self.energy = self.expected = self.arrived = 0.0
        self.weights = self.rest = self.clipped = 0.0
        self.own, self.shift = np.zeros(self.channels), np.zeros(self.channels)

    def add(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.float32],
        f: NDArray[np.float32],
        g: NDArray[np.float32],
        stored: NDArray[Any],
    ) -> None:
        """Add one image: the letters are those of `ghostedge.explain.explain`, `stored` is y before dequantisation."""
        x, y, f, g, stored = (value.reshape(-1, self.channels) for value in (x, y, f, g, stored))
        own = y - f
        squared = np.square(own)
        self.count += x.size
        self.signal += _sum(np.square(x))
        self.noise += _sum(np.square(y - x))
        self.arrived += _sum(np.square(f - x))
        self.dot += _sum(x * y)
        self.energy += _sum(np.square(y))
        self.expected += _sum(np.square(f))
        self.weights += _sum(np.square(g - f))
        self.rest += _sum(np.square(y - g))
        self.own += squared.sum(axis=0, dtype=np.float64)
        self.shift += own.sum(axis=0, dtype=np.float64)
        if self.scale is not None and self.limits is not None:
            half = self.scale / 2
            lowest, highest = ((end - self.zero) * self.scale for end in (self.limits.min, self.limits.max))
            low, high = stored == self.limits.min, stored == self.limits.max
            beyond = (low & (f < lowest - half)) | (high & (f > highest + half))
            self.ends += int(np.count_nonzero(low | high))
            self.saturated += int(np.count_nonzero(beyond))
            self.clipped += _sum(squared[beyond])


def _sum(values: NDArray[Any]) -> float:
    return float(values.sum(dtype=np.float64))


def _db(signal: float, noise: float) -> float | None:
    if not noise:
        return None
    return 10 * math.log10(signal / noise) if signal else -300.0  # noise where the float layer gives zeros alone


def _layer(exact: Wiring, quantised: Wiring, pair: Pair, known: Mapping[int, Role], sums: _Sums) -> dict[str, Any]:
    place = exact.producer.get(pair.exact)
    role = Role("input", "input") if place is None else known[place]
    name = exact.name(pair.exact)
    own = float(sums.own.sum())
    worst = int(sums.own.argmax())
    arrived, accumulated = _db(sums.signal, sums.arrived), _db(sums.signal, sums.noise)
    norm = math.sqrt(sums.signal * sums.energy)
    offset = 0.0
    if own and sums.count >= _OFFSET_VALUES * sums.channels:
        offset = float((sums.shift**2).sum()) / (sums.count / sums.channels) / own
    excess = None if sums.scale is None else sums.rest / sums.count / (sums.scale**2 / 12)
    shares = {
        "weights_share": sums.weights / own if own else 0.0,
        "clipped_share": sums.clipped / own if own else 0.0,
        "offset_share": offset,
    }
    return {
        "name": name,
        "place": _place(role, name),
        "kind": role.kind,
        "operator": "" if place is None else exact.kind(place),
        "dtype": quantised.dtype(pair.quantised).lower(),
        "scale": sums.scale,
        "zero_point": None if sums.scale is None else sums.zero,
        "sqnr_db": accumulated,
        "mse": sums.noise / sums.count,
        "cosine": sums.dot / norm if norm else float(sums.signal == sums.energy),
        "own_sqnr_db": _db(sums.expected, own),
        "drop_db": None if arrived is None or accumulated is None else arrived - accumulated,
        **shares,
        "step_excess": excess,
        "ends": sums.ends / sums.count,
        "saturated": sums.saturated / sums.count,
        "worst_channel": worst,
        "worst_channel_share": float(sums.own[worst]) / own if own else 0.0,
        "cause": _cause(own, shares, excess),
    }


def _place(role: Role, name: str) -> str:
    """Where a layer is; of one without a name in the checkpoint (a pad) its block and the end of its tensor's name."""
    end = name.rsplit("/", 1)[-1] or name
    if not role.place:
        return end
    only_block = role.place.startswith("blocks.") and role.place.count(".") == 1 and role.kind != "head"
    return f"{role.place}.{end}" if only_block else role.place


def _cause(own: float, shares: Mapping[str, float], excess: float | None) -> str:
    if not own:
        return "none"
    for cause, share in (("range", "clipped_share"), ("weights", "weights_share"), ("offset", "offset_share")):
        if shares[share] > 0.5:
            return cause
    if excess is None:  # a float output: where there are integer weights, LiteRT quantised the input for them
        return "input" if shares["weights_share"] else "arithmetic"
    return "rounding" if excess < _ROUNDING_EXCESS else "arithmetic"


def _main(quantised: str, exact: str, images: str) -> None:
    with np.load(images) as archive:
        batches = dict(archive)
    result = layer_errors(Path(quantised), Path(exact), batches["batch"], batches.get("quantised"))
    print(json.dumps(result))


if __name__ == "__main__":
    try:
        _main(*sys.argv[1:])
    except (GhostedgeError, ValueError, RuntimeError) as exc:  # LiteRT raises the latter two for what it cannot prepare
        reason = str(exc) if isinstance(exc, GhostedgeError) else f"LiteRT cannot run the models: {first_line(exc)}"
        raise SystemExit(reason) from exc
