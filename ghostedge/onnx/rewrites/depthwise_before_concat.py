"""Convolve the parts of a concatenation depthwise before they are put together, where that makes them smaller."""

from __future__ import annotations

import numpy as np

from ghostedge.onnx.graph import View, attributes, is_depthwise, make_node

__all__ = ["depthwise_before_concat"]


def depthwise_before_concat(view: View) -> None:
    """Concat(a, b, ...), depthwise Conv of stride 2 -> Concat(Conv(a), Conv(b), ...).

    The values are the same to the last bit, and a quarter of the pixels is copied.

    What stays: other readers of the concatenation, stride 1 (nothing becomes smaller, and more small convolutions cost
    more than one large one), parts that are no multiple of four channels.
    """
    for conv in view.nodes("Conv"):
        concat = view.producer(conv.input[0])
        if concat is None or concat.op_type != "Concat" or not is_depthwise(view, conv):
            continue
        weight = view.constant(conv.input[1])
        bias = view.constant(conv.input[2]) if len(conv.input) > 2 else None
        assert weight is not None
        fields = attributes(conv)
        parts = [view.shape(name)[1:2] for name in concat.input]
        alone = view.only_reader(concat.output[0]) is not None
        if not alone or attributes(concat)["axis"] not in (1, -3) or () in parts or any(c % 4 for (c,) in parts):
            continue
        if np.prod(fields.get("strides", [1, 1])) < 4:
            continue
        name = conv.name or conv.output[0]
        ends = np.cumsum([c for (c,) in parts])[:-1]
        new, outputs = [], []
        for index, (value, rows) in enumerate(zip(concat.input, np.split(np.arange(len(weight)), ends), strict=True)):
            inputs = [value, view.add_constant(f"{name}/weight{index}", weight[rows])]
            if bias is not None:
                inputs.append(view.add_constant(f"{name}/bias{index}", bias[rows]))
            outputs.append(f"{conv.output[0]}/part{index}")
            new.append(make_node("Conv", inputs, outputs[-1], f"{name}/part{index}", fields | {"group": len(rows)}))
        new.append(make_node("Concat", outputs, conv.output[0], f"{name}/concat", {"axis": 1}))
        view.replace(conv, *new)
        view.remove_unread(concat)
