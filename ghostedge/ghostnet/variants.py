"""The GhostNetV2 variants as plain data: their blocks, widths, parameter names and shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, cast, get_args

from ghostedge.errors import UsageError
from ghostedge.lazy import choose

#: How a gate grows back to the size of the features that it multiplies. MindSpore 1.8 and 1.9, under which the official
#: checkpoints were made, aligned corners in `ops.interpolate`; the paper's PyTorch code and timm take the nearest.
GateUpsampling = Literal["bilinear_align_corners", "nearest"]

#: Channels of the 1x1 convolution before the classifier, the same in every width.
HEAD_CHANNELS = 1280

#: The last gates pool 2x2 at a stride of 32, so that stage must be at least 2 pixels high and wide: ceil(33 / 32) = 2.
MIN_INPUT_SIZE = 33


@dataclass(frozen=True)
class Block:
    """One ghost bottleneck.

    Attributes:
        kernel: side of the depthwise kernel in the main path (stride 2 only) and in the shortcut, pixels.
        in_channels: channels that come in.
        mid_channels: channels after the expanding ghost module.
        out_channels: channels that go out.
        stride: 1 or 2.
        gated: whether the expanding ghost module carries the DFC attention gate.
        se_channels: channels inside squeeze-and-excitation; None where the block has none.
    """

    kernel: int
    in_channels: int
    mid_channels: int
    out_channels: int
    stride: int
    gated: bool
    se_channels: int | None

    @property
    def has_shortcut(self) -> bool:
        """Whether the residual path needs convolutions because size or channels change."""
        return self.stride != 1 or self.in_channels != self.out_channels


@dataclass(frozen=True)
class Variant:
    """A GhostNetV2 network without its weights and its number of classes.

    Attributes:
        name: ``"1x"``, ``"nose_1x"``, ``"1.3x"`` or ``"1.6x"``.
        stem_channels: channels of the first convolution.
        blocks: the sixteen bottlenecks.
        last_channels: channels of the 1x1 convolution after the blocks.
        gate_upsampling: how the gates grow back to full size. It has no parameters, so weights do not tell it.
    """

    name: str
    stem_channels: int
    blocks: tuple[Block, ...]
    last_channels: int
    gate_upsampling: GateUpsampling


# Kernel, expanded channels, output channels, squeeze-and-excitation, stride: the block table of the model zoo's `1x`,
# of the paper's PyTorch code (Tang et al., GhostNetV2, NeurIPS 2022) and of timm's `ghostnetv2_100`.
_TABLE: tuple[tuple[int, int, int, bool, int], ...] = (
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)

_PLAIN_BLOCKS = 2  # the first two bottlenecks use the ghost module without a gate


def _widen(channels: int, width: float) -> int:
    """`channels` times `width` as the paper's PyTorch code and timm round it: to the nearest multiple of 4.

    The rounding may not take more than a tenth away. The model zoo's MindSpore code rounds up instead, but it cannot
    build any width but 1.0 (its first block always expects 16 channels), so there are no such checkpoints.
    """
    scaled = channels * width
    rounded = max(4, int(scaled + 2) // 4 * 4)
    return rounded + 4 if rounded < 0.9 * scaled else rounded


def _make(name: str, width: float, *, se: bool = True) -> Variant:
    blocks: list[Block] = []
    stem = channels = _widen(16, width)
    for index, (kernel, mid, out, with_se, stride) in enumerate(_TABLE):
        mid_channels = _widen(mid, width)
        blocks.append(
            Block(
                kernel=kernel,
                in_channels=channels,
                mid_channels=mid_channels,
                out_channels=_widen(out, width),
                stride=stride,
                gated=index >= _PLAIN_BLOCKS,
                se_channels=_widen(mid_channels, 0.25) if with_se and se else None,
            )
        )
        channels = blocks[-1].out_channels
    return Variant(name, stem, tuple(blocks), _widen(960, width), "bilinear_align_corners")


#: Variant name -> its data. The model zoo defines `1x` and `nose_1x` (no squeeze-and-excitation) for MindSpore; `1.3x`
#: and `1.6x` exist as PyTorch weights, which `import-weights` brings over with the upsampling they were trained with.
VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (_make("1x", 1.0), _make("nose_1x", 1.0, se=False), _make("1.3x", 1.3), _make("1.6x", 1.6))
}


def get_variant(name: str, gate_upsampling: str = "bilinear_align_corners") -> Variant:
    """The variant `name` with its gates upsampled by `gate_upsampling`. Raises: UsageError for an unknown name."""
    rule = cast(GateUpsampling, choose("gate upsampling", gate_upsampling, get_args(GateUpsampling)))
    return replace(VARIANTS[choose("variant", name, VARIANTS)], gate_upsampling=rule)


def check_input_size(height: int, width: int) -> None:
    """Raise `UsageError` where an input of `height` x `width` pixels is too small for the gates' pooling."""
    if min(height, width) < MIN_INPUT_SIZE:
        raise UsageError(
            f"GhostNetV2 cannot take an input of {height}x{width}: its last gates pool 2x2 at stride 32, "
            f"so height and width must be at least {MIN_INPUT_SIZE}"
        )


def parameter_shapes(variant: Variant, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Every parameter of the network: official name -> shape, in the order of MindSpore's `parameters_dict()`.

    Convolutions are (out, in / groups, kernel height, kernel width), the classifier is (classes, HEAD_CHANNELS).
    """
    shapes: dict[str, tuple[int, ...]] = {"conv_stem.weight": (variant.stem_channels, 3, 3, 3)}
    shapes |= _batch_norm("bn1", variant.stem_channels)
    for index, block in enumerate(variant.blocks):
        name = f"blocks.{index}"
        shapes |= _ghost(f"{name}.ghost1", block.in_channels, block.mid_channels, gated=block.gated)
        if block.stride > 1:
            shapes |= _unit(f"{name}.dw", (block.mid_channels, 1, block.kernel, block.kernel))
        if block.se_channels is not None:
            shapes[f"{name}.se.conv_reduce.weight"] = (block.se_channels, block.mid_channels, 1, 1)
            shapes[f"{name}.se.conv_reduce.bias"] = (block.se_channels,)
            shapes[f"{name}.se.conv_expand.weight"] = (block.mid_channels, block.se_channels, 1, 1)
            shapes[f"{name}.se.conv_expand.bias"] = (block.mid_channels,)
        shapes |= _ghost(f"{name}.ghost2", block.mid_channels, block.out_channels, gated=False)
        if block.has_shortcut:
            shapes |= _unit(f"{name}.shortcut.0", (block.in_channels, 1, block.kernel, block.kernel))
            shapes |= _unit(f"{name}.shortcut.1", (block.out_channels, block.in_channels, 1, 1))
    shapes |= _unit(f"blocks.{len(variant.blocks)}", (variant.last_channels, variant.blocks[-1].out_channels, 1, 1))
    shapes["conv_head.weight"] = (HEAD_CHANNELS, variant.last_channels, 1, 1)
    shapes["conv_head.bias"] = (HEAD_CHANNELS,)
    shapes["classifier.weight"] = (num_classes, HEAD_CHANNELS)
    shapes["classifier.bias"] = (num_classes,)
    return shapes


def _batch_norm(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}.{part}": (channels,) for part in ("moving_mean", "moving_variance", "gamma", "beta")}


def _unit(name: str, weight: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """A convolution without bias and its BatchNorm."""
    return {f"{name}.conv.weight": weight} | _batch_norm(f"{name}.bn", weight[0])


def _ghost(name: str, in_channels: int, out_channels: int, *, gated: bool) -> dict[str, tuple[int, ...]]:
    half = out_channels // 2
    shapes = _unit(f"{name}.primary_conv", (half, in_channels, 1, 1))
    shapes |= _unit(f"{name}.cheap_operation", (half, 1, 3, 3))
    if gated:
        shapes |= _unit(f"{name}.short_conv.0", (out_channels, in_channels, 1, 1))
        shapes |= _unit(f"{name}.short_conv.1", (out_channels, 1, 1, 5))
        shapes |= _unit(f"{name}.short_conv.2", (out_channels, 1, 5, 1))
    return shapes
