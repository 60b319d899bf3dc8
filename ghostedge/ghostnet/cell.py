"""GhostNetV2 in MindSpore: the Cell with the official checkpoints' parameter names, and the device that it runs on."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.errors import UsageError, first_line
from ghostedge.ghostnet.variants import HEAD_CHANNELS, Variant
from ghostedge.lazy import choose, require

__all__ = ["DEVICE_TARGETS", "LOCK", "build_cell", "mindspore_on"]

DEVICE_TARGETS = ("CPU", "GPU", "Ascend")

#: Held while MindSpore compiles, exports or runs: its compiler has global state, an export builds stages in threads.
LOCK = threading.RLock()


def mindspore_on(device_target: str = "CPU") -> Any:
    """The `mindspore` module, set to run on `device_target`; a process can use one device.

    Raises:
        UsageError: there is no such device here, or MindSpore already runs on another one.
        MissingExtraError: MindSpore is not installed.
    """
    choose("device target", device_target, DEVICE_TARGETS)
    with LOCK:
        ms = require("mindspore", "mindspore")
        in_use = ms.get_context("device_target")
        try:
            ms.set_device(device_target)
        except RuntimeError as exc:
            # MindSpore also refuses to be told what it already does, where other code ran something on it before.
            if in_use != device_target or "has been initialized" not in str(exc):
                raise UsageError(f"MindSpore cannot run on {device_target} in this process: {first_line(exc)}") from exc
    return ms


def build_cell(variant: Variant, weights: Mapping[str, NDArray[np.float32]]) -> Any:
    """The network in inference mode, holding `weights`.

    ``cell(x)`` takes a float32 Tensor (n, 3, h, w), RGB, normalised, h and w at least `MIN_INPUT_SIZE`, and returns the
    logits, float32 (n, classes). There is no dropout: this Cell is for inference and export.

    Args:
        variant: which network, with the upsampling of its gates.
        weights: official parameter name -> float32 array, every name and shape of `parameter_shapes`; the number of
            classes is the length of ``classifier.bias``.

    Raises:
        MissingExtraError: MindSpore is not installed.
    """
    ms = require("mindspore", "mindspore")
    cell = _network_class()(variant, len(weights["classifier.bias"]))
    for name, parameter in cell.parameters_dict().items():
        parameter.set_data(ms.Tensor(weights[name]))
    cell.set_train(False)
    return cell


@cache
def _network_class() -> Any:
    """The Cell classes, made once and not before MindSpore is needed: they must inherit from `nn.Cell`."""
    require("mindspore", "mindspore")
    from mindspore import nn, ops

    def conv(
        in_channels: int, weight: tuple[int, int, int], *, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> Any:
        """A convolution with `weight` = (out, kernel height, kernel width), padded to keep size / stride."""
        out_channels, *kernel = weight
        top, left = (side // 2 for side in kernel)
        return nn.Conv2d(
            in_channels,
            out_channels,
            tuple(kernel),
            stride,
            pad_mode="pad",
            padding=(top, top, left, left),  # MindSpore's order: top, bottom, left, right
            group=groups,
            has_bias=bias,
            weight_init="zeros",  # every parameter is replaced; drawing random ones would take time
        )

    def unit(
        in_channels: int, weight: tuple[int, int, int], *, stride: int = 1, groups: int = 1, relu: bool = False
    ) -> Any:
        """Convolution, BatchNorm and, if asked for, ReLU."""
        parts = [("conv", conv(in_channels, weight, stride=stride, groups=groups)), ("bn", nn.BatchNorm2d(weight[0]))]
        return nn.SequentialCell(OrderedDict([*parts, ("act", nn.ReLU())] if relu else parts))

    class Ghost(nn.Cell):  # type: ignore[misc]
        """Half of the output from a 1x1 convolution, the other half from a cheap depthwise one over it."""

        def __init__(self, in_channels: int, out_channels: int, *, relu: bool) -> None:
            super().__init__()
            half = out_channels // 2
            self.primary_conv = unit(in_channels, (half, 1, 1), relu=relu)
            self.cheap_operation = unit(half, (half, 3, 3), groups=half, relu=relu)
            self.concat = ops.Concat(axis=1)

        def construct(self, x):  # type: ignore[no-untyped-def]
            primary = self.primary_conv(x)
            return self.concat((primary, self.cheap_operation(primary)))

    class GatedGhost(Ghost):
        """A ghost module times its DFC attention gate, which sees the input at half size."""

        def __init__(self, in_channels: int, out_channels: int, upsampling: str) -> None:
            super().__init__(in_channels, out_channels, relu=True)
            self.pool = ops.AvgPool(kernel_size=2, strides=2, pad_mode="valid")
            self.short_conv = nn.SequentialCell(
                unit(in_channels, (out_channels, 1, 1)),
                unit(out_channels, (out_channels, 1, 5), groups=out_channels),
                unit(out_channels, (out_channels, 5, 1), groups=out_channels),
            )
            self.sigmoid = ops.Sigmoid()
            if upsampling == "nearest":
                self.upsample = ops.ResizeNearestNeighborV2(align_corners=False, half_pixel_centers=False)
            else:
                self.upsample = ops.ResizeBilinearV2(align_corners=True, half_pixel_centers=False)
            self.mul = ops.Mul()

        def construct(self, x):  # type: ignore[no-untyped-def]
            gate = self.sigmoid(self.short_conv(self.pool(x)))
            primary = self.primary_conv(x)
            features = self.concat((primary, self.cheap_operation(primary)))
            # The official code asks for a square of the features' width; this is the same for square inputs.
            return self.mul(features, self.upsample(gate, features.shape[2:]))

    class SqueezeExcite(nn.Cell):  # type: ignore[misc]
        """Scale each channel by a hard sigmoid of all channels' means."""

        def __init__(self, channels: int, inner: int) -> None:
            super().__init__()
            self.mean = ops.ReduceMean(keep_dims=True)
            self.conv_reduce = conv(channels, (inner, 1, 1), bias=True)
            self.relu = nn.ReLU()
            self.conv_expand = conv(inner, (channels, 1, 1), bias=True)
            self.relu6 = nn.ReLU6()
            self.mul = ops.Mul()

        def construct(self, x):  # type: ignore[no-untyped-def]
            scale = self.conv_expand(self.relu(self.conv_reduce(self.mean(x, (2, 3)))))
            # The official code multiplies by this rounded sixth where PyTorch's divides by six.
            return self.mul(x, self.relu6(scale + 3.0) * 0.16666667)

    class Bottleneck(nn.Cell):  # type: ignore[misc]
        """Expand, shrink the image where stride is 2, weigh the channels, project, and add the shortcut."""

        def __init__(self, block: Any, upsampling: str) -> None:
            super().__init__()
            mid, kernel = block.mid_channels, block.kernel
            if block.gated:
                self.ghost1 = GatedGhost(block.in_channels, mid, upsampling)
            else:
                self.ghost1 = Ghost(block.in_channels, mid, relu=True)
            self.dw = unit(mid, (mid, kernel, kernel), stride=block.stride, groups=mid) if block.stride > 1 else None
            self.se = SqueezeExcite(mid, block.se_channels) if block.se_channels is not None else None
            self.ghost2 = Ghost(mid, block.out_channels, relu=False)
            self.shortcut = None
            if block.has_shortcut:
                inputs = block.in_channels
                self.shortcut = nn.SequentialCell(
                    unit(inputs, (inputs, kernel, kernel), stride=block.stride, groups=inputs),
                    unit(inputs, (block.out_channels, 1, 1)),
                )
            self.add = ops.Add()

        def construct(self, x):  # type: ignore[no-untyped-def]
            out = self.ghost1(x)
            if self.dw is not None:
                out = self.dw(out)
            if self.se is not None:
                out = self.se(out)
            out = self.ghost2(out)
            return self.add(x if self.shortcut is None else self.shortcut(x), out)

    class GhostNetV2(nn.Cell):  # type: ignore[misc]
        """The whole network; shapes are in `build_cell`."""

        def __init__(self, variant: Variant, num_classes: int) -> None:
            super().__init__()
            self.conv_stem = conv(3, (variant.stem_channels, 3, 3), stride=2)
            self.bn1 = nn.BatchNorm2d(variant.stem_channels)
            self.act1 = nn.ReLU()
            self.blocks = nn.SequentialCell(
                *(Bottleneck(block, variant.gate_upsampling) for block in variant.blocks),
                unit(variant.blocks[-1].out_channels, (variant.last_channels, 1, 1), relu=True),
            )
            self.mean = ops.ReduceMean(keep_dims=True)
            self.conv_head = conv(variant.last_channels, (HEAD_CHANNELS, 1, 1), bias=True)
            self.act2 = nn.ReLU()
            self.flatten = nn.Flatten()
            self.classifier = nn.Dense(HEAD_CHANNELS, num_classes, weight_init="zeros")

        def construct(self, x):  # type: ignore[no-untyped-def]
            x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
            x = self.act2(self.conv_head(self.mean(x, (2, 3))))
            return self.classifier(self.flatten(x))

    return GhostNetV2
