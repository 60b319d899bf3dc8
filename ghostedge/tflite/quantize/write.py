"""Turn a float .tflite model into a quantised one with AI Edge Quantizer, from ranges that are given."""

from __future__ import annotations

import contextlib
import logging
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from ghostedge.errors import ConvertError, first_line
from ghostedge.lazy import require
from ghostedge.quantize.ranges import Range
from ghostedge.tflite.graph import Graph

__all__ = ["SCHEMES", "state_versions", "write"]

#: Precision -> the recipe of AI Edge Quantizer; its name says the bits of weights and activations.
SCHEMES: Mapping[str, str] = {
    "dynamic": "dynamic_wi8_afp32",
    "int8": "static_wi8_ai8",
    "int16x8": "static_wi8_ai16",
}

#: TensorFlow's version of a FULLY_CONNECTED of float activations whose int8 weights have one scale an output channel
#: (lite/core/kernels/register.cc has it since 2.16).
_PER_CHANNEL_HYBRID_DENSE = 12


def write(
    data: bytes,
    precision: str,
    ranges: Mapping[str, Range],
    keep_float: Collection[str] = (),
    int16: Collection[str] = (),
    dynamic: Collection[str] = (),
    min_weight_elements: int = 0,
) -> bytes:
    """Quantise a model.

    Args:
        data: a float model.
        precision: a key of `SCHEMES`.
        ranges: activation -> what its integers span; a static scheme needs all, ``"dynamic"`` reads none.
        keep_float: operators that stay in float, by the names of their outputs; QUANTIZE and DEQUANTIZE are put around.
        int16: operators that get int16 activations, likewise.
        dynamic: operators of a static scheme that take and give float32 with int8 weights, likewise.
        min_weight_elements: for ``"dynamic"``: operators with fewer weights stay in float.

    Returns:
        The quantised model; its input and output stay float32.

    Raises:
        ConvertError: AI Edge Quantizer refuses the model.
    """
    quantizer = require("ai_edge_quantizer.quantizer", "export")
    recipe = require("ai_edge_quantizer.recipe", "export")
    scheme, static = getattr(recipe, SCHEMES[precision])(), precision != "dynamic"
    if static:
        scheme += [_unquantised("INPUT"), _unquantised("OUTPUT")]
        scheme += [_unquantised("*", name) for name in sorted(keep_float)]
        for names, rules in ((int16, recipe.static_wi8_ai16), (dynamic, recipe.dynamic_wi8_afp32)):
            for name in sorted(names):
                (rule,) = rules()
                scheme.append({**rule, "regex": _exactly(name)})
    else:
        for rule in scheme:
            rule["op_config"]["min_weight_elements"] = min_weight_elements
        # XNNPACK has no dynamically quantised depthwise convolution; each would cut its partition in two.
        scheme.append(_unquantised("DEPTHWISE_CONV_2D"))
    statistics = {name: {"min": np.float32(r.low), "max": np.float32(r.high)} for name, r in ranges.items()}
    with _quiet():
        try:
            result = quantizer.Quantizer(bytearray(data), scheme).quantize(statistics if static else None)
        except (ValueError, RuntimeError, KeyError, NotImplementedError) as exc:
            raise ConvertError(f"AI Edge Quantizer cannot write the model as {precision}: {first_line(exc)}") from exc
    return bytes(result.quantized_model)


def state_versions(graph: Graph) -> int:
    """State the version of dense layers that older runtimes would compute wrongly, so that they refuse the model.

    AI Edge Quantizer 0.4 leaves version 1 on a FULLY_CONNECTED of float activations and weights of one scale a channel.
    tflite-runtime 2.14 takes that and ignores such weights: its answer is the bias (0 dB), without an error.

    Returns:
        How many operators there are of this kind.
    """
    found = 0
    for operator in graph.operators:
        if operator.kind != "FULLY_CONNECTED":
            continue
        activation, weights = operator.inputs[:2]
        hybrid = (graph.dtype(activation), graph.dtype(weights)) == ("FLOAT32", "INT8")
        if hybrid and len(graph.scales(weights)) > 1:
            code = graph.model.operatorCodes[operator.raw.opcodeIndex]
            code.version = max(code.version, _PER_CHANNEL_HYBRID_DENSE)
            found += 1
    return found


def _exactly(name: str) -> str:
    return f"^{re.escape(name)};?$"


def _unquantised(operation: str, name: str | None = None) -> dict[str, Any]:
    return {
        "regex": ".*" if name is None else _exactly(name),
        "operation": operation,
        "algorithm_key": "no_quantize",
        "op_config": {},
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the quantizer, which logs which rules it overwrites, and LiteRT's warning that tensors take memory."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
