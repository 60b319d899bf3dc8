"""Round the weights of an OpenVINO model that is being quantised, and let its biases take the mean error."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.quantize.rounding import LEVELS, PAIR_LIMIT, InputMoments, Integers, MomentSums, round_integers

__all__ = [
    "WEIGHTED",
    "Limit",
    "exact_network",
    "observe_inputs",
    "overflowing",
    "pairs",
    "round_ir",
    "saturating",
    "to_rows",
    "weighted",
]

#: The operators with weights, which are their second input.
WEIGHTED = ("Convolution", "GroupConvolution", "MatMul")

#: ``"pairs"``: no two products that are added in 16 bits can overflow; ``"half"``: no two products at all;
#: ``"whole"``: all of int8.
Limit = Literal["pairs", "half", "whole"]


def weighted(model: Any) -> Iterator[tuple[str, str, Any]]:
    """The operators with weights, in the model's order: name, kind, operator."""
    for operator in model.get_ordered_ops():
        if (kind := operator.get_type_name()) in WEIGHTED:
            yield operator.get_friendly_name(), kind, operator


def exact_network(model: Any, outputs: Sequence[Any]) -> Any:
    """Compile a model to give some values inside it, in float32; equal inputs give equal values.

    Args:
        model: an `openvino.Model`.
        outputs: the outputs of its operators to give, in this order.
    """
    ov = require("openvino", "export")
    # One thread adds in one order.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    return ov.compile_model(ov.Model(list(outputs), model.get_parameters()), "CPU", settings)


def observe_inputs(model: Any, batch: Iterable[NDArray[np.float32]]) -> dict[str, InputMoments]:
    """Run a float model on calibration images: operator with constant weights -> what it reads.

    Args:
        model: an `openvino.Model` with one input; it is left as it is.
        batch: images, each of the input's shape without its first axis.

    Raises:
        ConvertError: there is no image.
    """
    probe = model.clone()
    operators = [
        operator
        for _, _, operator in weighted(probe)
        if operator.input_value(1).get_node().get_type_name() == "Constant"
    ]
    network = exact_network(probe, [operator.input_value(0) for operator in operators])
    sums, count = MomentSums(), 0
    for image in batch:
        values = network(image[None])
        count += 1
        for place, operator in enumerate(operators):
            _add(sums, operator, values[place])
    if not count:
        raise ConvertError("there is no calibration image")
    return sums.moments()


def _add(sums: MomentSums, operator: Any, value: NDArray[np.float32]) -> None:
    name, kind = operator.get_friendly_name(), operator.get_type_name()
    if kind == "MatMul":
        sums.add(name, value.reshape(1, -1, value.shape[-1]))
        return
    attributes = operator.get_attributes()
    (top, left), (bottom, right) = attributes["pads_begin"], attributes["pads_end"]
    shape = tuple(operator.get_input_shape(1))
    sums.add_convolution(
        name,
        value[0].transpose(1, 2, 0),
        (shape[-2], shape[-1]),
        tuple(attributes["strides"]),
        tuple(attributes["dilations"]),
        ((top, bottom), (left, right)),
        shape[0] if kind == "GroupConvolution" else 1,
    )


def to_rows(weights: NDArray[Any], kind: str) -> NDArray[Any]:
    """Weights as (groups, outputs of a group, inputs of an output), channels of a tap beside each other.

    Args:
        weights: Convolution (out, in, rows, columns), GroupConvolution (groups, out, in, rows, columns), MatMul
            (out, in).
        kind: of the operator.
    """
    if kind == "MatMul":
        return weights[None]
    grouped = weights if kind == "GroupConvolution" else weights[None]
    return np.ascontiguousarray(grouped.transpose(0, 1, 3, 4, 2)).reshape(*grouped.shape[:2], -1)


def from_rows(rows: NDArray[Any], kind: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """The weights of that shape which `to_rows` turned into `rows`."""
    if kind == "MatMul":
        return rows.reshape(shape)
    inner = (*rows.shape[:2], shape[-2], shape[-1], shape[-3])
    return np.ascontiguousarray(rows.reshape(inner).transpose(0, 1, 4, 2, 3)).reshape(shape)


def pairs(kind: str, shape: tuple[int, ...]) -> NDArray[np.intp] | None:
    """Which two inputs of a row of `to_rows` a CPU without VNNI multiplies and adds in 16 bits.

    oneDNN's kernels take four channels of one tap at once, and VPMADDUBSW adds the products of the first two and of the
    last two (``jit_uni_x8s8s32x_conv_kernel.cpp`` and its 1 x 1 sibling, ``jit_avx2_gemm_s8u8s32_kern.cpp``). Depthwise
    convolutions have one channel a row: they are widened to 16 bits before they are multiplied, and added in 32.

    Args:
        kind: of the operator.
        shape: of its weights.

    Returns:
        (inputs,), the partner of each, itself where it has none; None for no pairs at all.
    """
    channels, taps = (shape[1], 1) if kind == "MatMul" else (shape[-3], shape[-2] * shape[-1])
    if channels == 1:
        return None
    within = np.arange(channels, dtype=np.intp)
    partner = np.where((within ^ 1) < channels, within ^ 1, within)
    return np.asarray((np.arange(taps)[:, None] * channels + partner).reshape(-1))


def round_ir(
    quantised: Any,
    model: Any,
    moments: Mapping[str, InputMoments],
    limits: Mapping[str, Limit],
    *,
    compensated: bool = True,
    bias_correction: bool = True,
) -> int:
    """Give the operators of a quantised model new int8 weights, one step an output, and the biases that fit them.

    A bias makes up for what the new weights change in the mean of an output: it loses ``E[(new - old) x]``
    (Nagel et al., Data-Free Quantization through Weight Equalization and Bias Correction, 2019, section 4.2).

    Args:
        quantised: an `openvino.Model` as NNCF made it of `model`; changed in place.
        model: the float model.
        moments: operator -> what it reads, of `observe_inputs`.
        limits: operator -> how large its weights may be; ``"pairs"`` for an operator that is not in it.
        compensated: whether weights make up for each other's rounding; otherwise each goes to the nearest integer.
        bias_correction: whether biases are changed.

    Returns:
        How many operators were rounded.
    """
    exact = {operator.get_friendly_name(): operator for operator in model.get_ops()}
    rounded = 0
    for name, kind, operator in weighted(quantised):
        if name not in moments or (before := _integers(operator)) is None:
            continue
        weights = exact[name].input_value(1).get_node().get_data()
        limit = limits.get(name, "pairs")
        made = round_integers(
            to_rows(weights, kind),
            moments[name].covariance if compensated else None,
            PAIR_LIMIT // 2 if limit == "half" else LEVELS,
            pairs(kind, weights.shape) if limit == "pairs" else None,
        )
        if bias_correction:
            shift = (made.real() - before.real()) @ moments[name].mean[:, :, None]
            _shift_bias(operator, shift.reshape(-1))
        _replace(operator, made)
        rounded += 1
    return rounded


def saturating(model: Any) -> dict[str, int]:
    """Operators of a quantised model whose products can overflow 16 bits -> how many of their pairs can."""
    found = {}
    for name, kind, operator in weighted(model):
        if (integers := _integers(operator)) is not None and (
            count := overflowing(integers.values, pairs(kind, tuple(operator.get_input_shape(1))))
        ):
            found[name] = count
    return found


def overflowing(rows: NDArray[np.int8], partners: NDArray[np.intp] | None) -> int:
    """How many pairs of weights, in rows of `to_rows`, have products whose sum can exceed 16 bits; see `pairs`."""
    if partners is None:
        return 0
    values = rows.astype(np.int32)
    other = np.where(partners == np.arange(len(partners)), 0, values[:, :, partners])
    up, down = values.clip(0) + other.clip(0), (-values).clip(0) + (-other).clip(0)
    return int((np.maximum(up, down) > PAIR_LIMIT).sum()) // 2


def _parts(operator: Any) -> tuple[Any, Any] | None:
    """The constants of an operator's int8 weights and of their steps; None for weights of another form."""
    product = operator.input_value(1).get_node()
    if product.get_type_name() != "Multiply":
        return None
    widened, steps = (product.input_value(index).get_node() for index in (0, 1))
    if widened.get_type_name() != "Convert" or steps.get_type_name() != "Constant":
        return None
    values = widened.input_value(0).get_node()
    return (values, steps) if values.get_type_name() == "Constant" else None


def _integers(operator: Any) -> Integers | None:
    parts = _parts(operator)
    if parts is None:
        return None
    values, steps = (part.get_data() for part in parts)
    rows = to_rows(values, operator.get_type_name())
    steps = np.broadcast_to(steps.reshape(-1), rows.shape[0] * rows.shape[1])
    return Integers(rows, steps.reshape(*rows.shape[:2], 1))


def _replace(operator: Any, made: Integers) -> None:
    ov = require("openvino", "export")
    parts = _parts(operator)
    assert parts is not None
    values, steps = parts
    shape = tuple(values.get_output_shape(0))
    product = operator.input_value(1).get_node()
    new_values = ov.op.Constant(from_rows(made.values, operator.get_type_name(), shape))
    new_steps = ov.op.Constant(made.steps.reshape(steps.get_output_shape(0)))
    product.input_value(0).get_node().input(0).replace_source_output(new_values.output(0))
    product.input(1).replace_source_output(new_steps.output(0))


def _shift_bias(operator: Any, shift: NDArray[np.float64]) -> None:
    """Subtract `shift`, (outputs,), from the bias that is added to an operator's output, if there is one."""
    ov = require("openvino", "export")
    for port in operator.output(0).get_target_inputs():
        adding = port.get_node()
        if adding.get_type_name() != "Add":
            continue
        bias = adding.input_value(1 - port.get_index()).get_node()
        if bias.get_type_name() == "Constant" and bias.get_data().size == shift.size:
            data = bias.get_data()
            new = ov.op.Constant((data - shift.reshape(data.shape)).astype(np.float32))
            adding.input(1 - port.get_index()).replace_source_output(new.output(0))
