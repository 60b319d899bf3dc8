"""GhostNetV2's layers as MindSpore Cells; `ghostedge.ghostnet.cell` imports this where MindSpore is needed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from mindspore import nn, ops

from ghostedge.ghostnet.variants import HEAD_CHANNELS, Block, Variant

__all__ = ["GhostNetV2"]


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

    def __init__(self, block: Block, upsampling: str) -> None:
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
    """The whole network; shapes are in `ghostedge.ghostnet.cell.build_cell`."""

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
        """Logits of a batch."""
        x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
        x = self.act2(self.conv_head(self.mean(x, (2, 3))))
        return self.classifier(self.flatten(x))
