"""The fp32 chain from JPEG to logits in PyTorch, and the faults that users plant in it without noticing.

Each fault is one that a real converter or a real app makes; `faults.py` measures what it costs.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MethodType

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - the name everybody knows
from numpy.typing import NDArray
from timm import create_model
from timm.models.ghostnet import GhostModuleV2
from torch import Tensor, nn

from ghostedge.data.datasets import labels_for, open_dataset
from ghostedge.data.preprocess import decode, normalise, resize_and_crop
from ghostedge.ghostnet.checkpoint import load_checkpoint
from ghostedge.ghostnet.import_weights import PYTORCH_NAMES
from ghostedge.model import InputSpec

SPEC = InputSpec()
Pixels = NDArray[np.uint8]  # (n, 224, 224, 3), RGB


@dataclasses.dataclass(frozen=True)
class Images:
    """Labelled JPEGs, still encoded.

    Attributes:
        ids: file names.
        labels: int32 (n,).
        encoded: the files' bytes.
    """

    ids: tuple[str, ...]
    labels: NDArray[np.int32]
    encoded: tuple[bytes, ...]

    @classmethod
    def of(cls, folder: Path, classes: tuple[str, ...]) -> Images:
        """Read the class folders in `folder`; labels are places in `classes`."""
        dataset = open_dataset(folder)
        encoded = tuple(dataset.source(i).read() for i in range(len(dataset.image_ids)))
        return cls(
            tuple(name.decode() for name in dataset.image_ids), labels_for(dataset, len(classes), classes), encoded
        )

    def pixels(self, spec: InputSpec = SPEC) -> Pixels:
        """Decode, resize and crop, bit for bit as MindSpore does: uint8 (n, 224, 224, 3), RGB."""
        return np.stack([resize_and_crop(decode(data), spec) for data in self.encoded])


def load_network(path: Path) -> nn.Module:
    """A GhostNetV2-1x checkpoint in timm's network, in inference mode, gates as in the official variant."""
    checkpoint = load_checkpoint(path)
    if (checkpoint.variant.name, checkpoint.variant.gate_upsampling) != ("1x", "bilinear_align_corners"):
        raise SystemExit(f"{path} is no GhostNetV2-1x of the official variant")
    model = set_gates(create_model("ghostnetv2_100", pretrained=False, num_classes=checkpoint.num_classes))
    state = {PYTORCH_NAMES[name]: torch.from_numpy(array.copy()) for name, array in checkpoint.weights.items()}
    counters = {name: value for name, value in model.state_dict().items() if name.endswith(".num_batches_tracked")}
    model.load_state_dict(state | counters)
    return model.to(memory_format=torch.channels_last).eval()


@torch.inference_mode()
def logits_of(model: nn.Module, batch: NDArray[np.float32], size: int = 64) -> NDArray[np.float32]:
    """Logits float32 (n, classes) of normalised pictures float32 (n, 224, 224, 3), `size` at a time."""
    parts = (torch.from_numpy(batch[i : i + size]).permute(0, 3, 1, 2) for i in range(0, len(batch), size))
    return np.concatenate([model(part).numpy() for part in parts])


def sound_gate(module: GhostModuleV2, x: Tensor) -> Tensor:
    """The gate of the official network before it is upsampled."""
    return torch.sigmoid(module.short_conv(F.avg_pool2d(x, kernel_size=2, stride=2)))


def shifted_gate(module: GhostModuleV2, x: Tensor) -> Tensor:
    """The gate with MindSpore's padding order read as ONNX's.

    MindSpore pads (top, bottom, left, right), ONNX (top, left, bottom, right). The 1x5 convolution's (0, 0, 2, 2) so
    lands at the bottom and on the right, the 5x1's (2, 2, 0, 0) at the top and on the left: the size comes out right
    and the gate shifted by two pixels, which is why nobody gets an error.
    """
    conv, norm, wide, wide_norm, tall, tall_norm = module.short_conv
    x = norm(conv(F.avg_pool2d(x, kernel_size=2, stride=2)))
    x = F.pad(x, (0, 2, 0, 2))  # PyTorch's order: left, right, top, bottom
    x = wide_norm(F.conv2d(x, wide.weight, groups=wide.groups))
    x = F.pad(x, (2, 0, 2, 0))
    x = tall_norm(F.conv2d(x, tall.weight, groups=tall.groups))
    return torch.sigmoid(x)


def set_gates(
    model: nn.Module,
    gate: Callable[[GhostModuleV2, Tensor], Tensor] = sound_gate,
    mode: str = "bilinear",
    align_corners: bool | None = True,
) -> nn.Module:
    """Make each DFC gate of timm's network compute `gate` and upsample it as told; by default as the official one."""

    def forward(self: GhostModuleV2, x: Tensor) -> Tensor:
        primary = self.primary_conv(x)
        ghost = torch.cat([primary, self.cheap_operation(primary)], dim=1)
        grown = F.interpolate(gate(self, x), size=ghost.shape[-2:], mode=mode, align_corners=align_corners)
        return ghost[:, : self.out_chs] * grown

    for module in model.modules():
        if isinstance(module, GhostModuleV2):
            module.forward = MethodType(forward, module)
    return model


#: Faults of the network: name -> what to do to the gates.
NETWORK_FAULTS: Mapping[str, Callable[[nn.Module], nn.Module]] = {
    "gates upsampled with nearest": lambda model: set_gates(model, mode="nearest", align_corners=None),
    "gates upsampled with half-pixel centres": lambda model: set_gates(model, align_corners=False),
    "pads of 1x5 and 5x1 in MindSpore's order": lambda model: set_gates(model, gate=shifted_gate),
}


def _halved(pixels: Pixels) -> NDArray[np.float32]:
    return normalise((pixels // 2).astype(np.uint8), SPEC)


#: Faults of the input: name -> (how the image is resized, how the pixels become the network's input).
INPUT_FAULTS: Mapping[str, tuple[InputSpec, Callable[[Pixels], NDArray[np.float32]]]] = {
    "Pillow's antialiased resize": (
        dataclasses.replace(SPEC, resize_rule="pillow_bilinear"),
        lambda pixels: normalise(pixels, SPEC),
    ),
    "BGR instead of RGB": (SPEC, lambda pixels: normalise(pixels, SPEC)[..., ::-1].copy()),
    "pixels 0..127 instead of 0..255": (SPEC, _halved),
}
