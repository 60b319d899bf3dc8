"""Keep the FakeQuantize operators of an OpenVINO model that 8-bit operators read, and choose the ranges they span."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import ConvertError
from ghostedge.lazy import require
from ghostedge.openvino.weights import exact_network
from ghostedge.quantize.ranges import Observation, Observer, Range, connected, int8_range

__all__ = ["activation_quantisers", "choose_ranges", "drop_needless", "set_range"]

#: Readers in front of which 8 bits only lose accuracy: OpenVINO's CPU plugin interpolates in float32 and multiplies the
#: result in float32; where a mean alone reads an activation, the convolution before it gives float32. The input of
#: squeeze and excitation, which a mean and a product read, is faster in 8 bits.
_FLOAT_READERS = ({"Interpolate", "Multiply"}, {"ReduceMean"})

#: See `int8_range`. The activation between the two convolutions of squeeze and excitation has few values and a long
#: tail: on the demo one image in a hundred goes a third beyond all calibration images, and its clipped channels made
#: 40% of the error of all quantisers. The coarser levels of the wider range cost a tenth of that.
_HEADROOM = 1.6


def activation_quantisers(model: Any) -> list[Any]:
    """The FakeQuantize operators of an `openvino.Model` that quantise activations, in the model's order."""
    return [
        operator
        for operator in model.get_ordered_ops()
        if operator.get_type_name() == "FakeQuantize"
        and operator.input_value(0).get_node().get_type_name() not in ("Constant", "Convert")
    ]


def choose_ranges(model: Any, batch: Iterable[NDArray[np.float32]], estimator: str) -> None:
    """Set every activation quantiser to the range that `estimator` chooses; the model is changed.

    The activations are those of a network whose weights alone are rounded. All inputs of a concatenation get one range:
    the CPU plugin joins integers of one scale as they are, and converts integers of different scales to float32 and
    back.

    Args:
        model: an `openvino.Model` as NNCF quantised it, with one input.
        batch: images, each float32 of the input's shape without its first axis.
        estimator: a key of `ghostedge.quantize.ranges.ESTIMATORS`.

    Raises:
        ConvertError: an activation is not finite.
        UsageError: no such estimator.
    """
    quantisers = {operator.get_friendly_name(): operator for operator in activation_quantisers(model)}
    seen = _observe(model, batch)
    for names in _groups(quantisers):
        chosen = int8_range([seen[name] for name in names], estimator, _HEADROOM)
        for name in names:
            set_range(quantisers[name], chosen)


def set_range(quantiser: Any, wanted: Range) -> None:
    """Let a FakeQuantize span `wanted`, widened until 0 is one of its levels: convolutions pad with zeros.

    A range of no width, which an activation has that is always 0, changes nothing.
    """
    ov = require("openvino", "export")
    levels = quantiser.get_levels() - 1
    low, high = wanted.low, wanted.high
    if high <= low:
        return
    zero = round(-low / (high - low) * levels)
    step = max(-low / zero if zero else 0.0, high / (levels - zero) if zero < levels else 0.0)
    for index, value in enumerate((-zero * step, (levels - zero) * step) * 2, start=1):
        constant = ov.op.Constant(np.full(quantiser.input(index).get_shape(), value, np.float32))
        quantiser.input(index).replace_source_output(constant.output(0))


def drop_needless(model: Any) -> int:
    """Remove the activation quantisers that no operator in 8 bits reads. Returns: how many."""
    needless = [
        operator
        for operator in activation_quantisers(model)
        if any({reader.get_type_name() for reader in _readers(operator)} <= kinds for kinds in _FLOAT_READERS)
    ]
    for operator in needless:
        _bypass(operator)
    return len(needless)


def _bypass(quantiser: Any) -> None:
    for port in quantiser.output(0).get_target_inputs():
        port.replace_source_output(quantiser.input_value(0))


def _readers(operator: Any) -> list[Any]:
    return [port.get_node() for port in operator.output(0).get_target_inputs()]


def _observe(model: Any, batch: Iterable[NDArray[np.float32]]) -> dict[str, Observation]:
    """Quantiser's name -> what it is given."""
    probe = model.clone()
    quantisers = activation_quantisers(probe)
    for operator in quantisers:
        _bypass(operator)
    names = [operator.get_friendly_name() for operator in quantisers]
    network = exact_network(probe, [operator.input_value(0) for operator in quantisers])
    observer = Observer()
    for number, image in enumerate(batch, start=1):
        values = network(image[None])
        for place, name in enumerate(names):
            if not observer.add(name, values[place]):
                raise ConvertError(f"activation '{name}' is not finite on calibration image {number}")
    return observer.observations()


def _groups(quantisers: Mapping[str, Any]) -> list[list[str]]:
    """Names of quantisers that share one range: those whose activations one Concat joins, and what these share."""
    joined: dict[str, list[str]] = {}
    for name, operator in quantisers.items():
        for reader in _readers(operator):
            if reader.get_type_name() == "Concat":
                joined.setdefault(reader.get_friendly_name(), []).append(name)
    return connected(quantisers, joined.values())
