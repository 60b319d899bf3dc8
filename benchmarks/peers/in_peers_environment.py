"""Make what the peers make of timm's ghostnetv2_100: run by the peers' own Python, which has torch and litert-torch.

    python in_peers_environment.py WEIGHTS.safetensors OUTPUT [--calibration IMAGES.npy]

Writes to OUTPUT, each file unless it is there: ``timm.onnx``; ``litert_torch_fp32.tflite``, with channels last at its
input and output as its users set it for a phone; of that ``litert_torch_dynamic.tflite``, by the AI Edge Quantizer's
dynamic recipe; with calibration images ``litert_torch_int8.tflite``, by its static recipe, whose input and output are
left in float32. timm's variant also as ``litert_torch_slices_fp32.tflite``, since litert-torch's nearest upsampling is
another, and what is quantised is then made from that one.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from timm_network import network

OPSET = 17


def to_onnx(model: torch.nn.Module, path: Path) -> None:
    """PyTorch's TorchScript exporter: no package beside torch, one plain graph."""
    picture = torch.randn(1, 3, 224, 224)
    names = {"input_names": ["input"], "output_names": ["logits"]}
    torch.onnx.export(model, (picture,), str(path), opset_version=OPSET, dynamo=False, **names)


def to_tflite(model: torch.nn.Module, path: Path) -> None:
    """litert-torch."""
    import litert_torch

    channels_last = litert_torch.to_channel_last_io(model, args=[0])
    litert_torch.convert(channels_last, (torch.randn(1, 224, 224, 3),)).export(str(path))


def to_dynamic(tflite: Path, path: Path) -> None:
    """The AI Edge Quantizer's dynamic int8 recipe on litert-torch's file."""
    from ai_edge_quantizer import quantizer, recipe

    quantizer.Quantizer(str(tflite), recipe.dynamic_wi8_afp32()).quantize().export_model(str(path), overwrite=True)


def to_int8(tflite: Path, images: Path, path: Path) -> None:
    """The AI Edge Quantizer's static int8 recipe on litert-torch's file."""
    from ai_edge_quantizer import quantizer, recipe
    from ai_edge_quantizer.utils import tfl_interpreter_utils

    (signature,) = tfl_interpreter_utils.create_tfl_interpreter(str(tflite)).get_signature_list().items()
    name, parts = signature
    (argument,) = parts["inputs"]
    data = [{argument: picture[None].transpose(0, 2, 3, 1)} for picture in np.load(images)]
    tool = quantizer.Quantizer(str(tflite), recipe.static_wi8_ai8())
    ranges = tool.calibrate({name: data})
    tool.quantize(ranges).export_model(str(path), overwrite=True)


def make(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file whole or not at all, unless it is there."""
    if path.exists():
        return
    partial = path.with_name(f"partial-{os.getpid()}-{path.name}")
    write(partial)
    partial.replace(path)
    print(path.name, flush=True)


def main() -> None:
    """Parse the command line and make what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="WEIGHTS.safetensors")
    parser.add_argument("output", type=Path, metavar="OUTPUT")
    parser.add_argument("--calibration", type=Path, metavar="IMAGES.npy", help="float32 (n, 3, 224, 224), normalised")
    args = parser.parse_args()
    model, tflite = network(args.weights), args.output / "litert_torch_fp32.tflite"
    make(args.output / "timm.onnx", lambda path: to_onnx(model, path))
    make(tflite, lambda path: to_tflite(model, path))
    if args.weights.stem == "timm":
        sliced, tflite = network(args.weights, slices=True), args.output / "litert_torch_slices_fp32.tflite"
        make(tflite, lambda path: to_tflite(sliced, path))
    make(args.output / "litert_torch_dynamic.tflite", lambda path: to_dynamic(tflite, path))
    if args.calibration:
        make(args.output / "litert_torch_int8.tflite", lambda path: to_int8(tflite, args.calibration, path))


if __name__ == "__main__":
    main()
