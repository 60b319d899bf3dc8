"""Write an average pool that halves an image as a bilinear resize."""

from __future__ import annotations

import numpy as np

from ghostedge.onnx.graph import View, attributes, make_node

__all__ = ["pool_as_resize"]


def pool_as_resize(view: View) -> None:
    """AveragePool 2 x 2 of stride 2 -> Resize to half the size, linear, half_pixel.

    Each output lies in the middle of four inputs, and each of them weighs a quarter. XNNPACK's bilinear resize executes
    two thirds of the ARM64 instructions of a depthwise convolution of 2 x 2, and in int8, which computes that with nine
    taps, half (56 x 56 x 24: 0.061 M and 0.085 M, int8 0.086 M and 0.181 M; LiteRT 2.1.0, Cortex-A72 and A76). In a
    quantised network input and output share their scale.

    What stays: an odd height or width, whose last row or column the pool leaves out; pads, ``ceil_mode``, dilations.
    """
    for node in view.nodes("AveragePool"):
        fields, shape = attributes(node), view.shape(node.input[0])
        halves = list(fields["kernel_shape"]) == list(fields.get("strides", [1, 1])) == [2, 2]
        halves &= len(shape) == 4 and all(size > 0 and size % 2 == 0 for size in shape[2:])
        plain = not any(fields.get("pads", [])) and not fields.get("ceil_mode", 0)
        plain &= fields.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")
        plain &= all(step == 1 for step in fields.get("dilations", []))
        if not halves or not plain:
            continue
        name = node.name or node.output[0]
        scales = view.add_constant(f"{name}/scales", np.array([1, 1, 0.5, 0.5], np.float32))
        resize = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        view.replace(node, make_node("Resize", [node.input[0], "", scales], node.output[0], name, resize))
