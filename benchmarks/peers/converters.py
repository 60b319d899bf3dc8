"""Make a peer's artifacts from timm's network or its ONNX: run by the Python of that peer's environment.

    python converters.py PEER ONNX WEIGHTS.safetensors OUTPUT --calibration IMAGES.npy [--photos DIR]

PEER is one of `CONVERTERS`. Everything is written to OUTPUT, which must be empty. Each tool is used as its own
documentation has it; what was chosen beyond that is said at the place.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

Paths = argparse.Namespace


def mnn(paths: Paths) -> None:
    """mnnconvert; with 8-bit weights; and mnnquant, which calibrates by photos that it reads itself."""
    # What the command-line tools wrap. They install a package that reports their use, and mnnquant's, in 3.6.1, hands
    # its arguments on as three strings where a list is expected, and ends in std::length_error.
    import _tools

    float32 = str(paths.output / "mnn_fp32.mnn")
    common = ["mnnconvert", "-f", "ONNX", "--modelFile", str(paths.onnx), "--bizCode", "MNN"]
    _tools.mnnconvert([*common, "--MNNModel", float32])
    _tools.mnnconvert([*common, "--MNNModel", str(paths.output / "mnn_w8.mnn"), "--weightQuantBits", "8"])
    mean, std = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])
    settings = {
        "format": "RGB",
        "mean": mean.tolist(),
        "normal": (1 / std).tolist(),
        "width": 224,
        "height": 224,
        "path": f"{paths.photos}/",
        "used_image_num": len(list(paths.photos.iterdir())),
        "feature_quantize_method": "EMA",  # KL and ADMM, the other two, crash in 3.6.1 ("Segmentation fault")
        "batch_size": 1,  # that of the ONNX; with another one the gates' Resize fails and the tool crashes
        "weight_quantize_method": "MAX_ABS",
    }
    config = paths.output / "mnnquant.json"
    config.write_text(json.dumps(settings))
    _tools.mnnquant(["mnnquant", float32, str(paths.output / "mnn_int8.mnn"), str(config)])


def ncnn(paths: Paths) -> None:
    """pnnx, which names its files after its input. ncnn's tools for int8 are in no package."""
    copied = paths.output / "timm.onnx"
    copied.write_bytes(paths.onnx.read_bytes())
    # The program itself: the package's entry point imports PyTorch.
    package = importlib.util.find_spec("pnnx")
    assert package is not None
    assert package.submodule_search_locations is not None
    tool = Path(package.submodule_search_locations[0]) / "pnnx"
    # fp16=0: weights stay in float32, so that the runtime's precision is the only one that is chosen.
    command = [str(tool), str(copied), "inputshape=[1,3,224,224]", "fp16=0"]
    subprocess.run(command, check=True, cwd=paths.output)
    for kind in ("param", "bin"):
        (paths.output / f"timm.ncnn.{kind}").rename(paths.output / f"ncnn_fp32.{kind}")
    for other in paths.output.glob("timm*"):
        other.unlink()


def onnxruntime(paths: Paths) -> None:
    """Static quantisation as its documentation begins: pre-processing, QDQ, int8 per channel."""
    from onnxruntime import quantization
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Photos(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = _batches(paths.calibration)

        def get_next(self) -> dict[str, Any] | None:
            picture = next(self._left, None)
            return None if picture is None else {"input": picture}

    prepared = paths.output / "prepared.onnx"
    quant_pre_process(str(paths.onnx), str(prepared))
    quantization.quantize_static(
        str(prepared),
        str(paths.output / "onnxruntime_int8.onnx"),
        Photos(),
        quant_format=quantization.QuantFormat.QDQ,
        activation_type=quantization.QuantType.QInt8,
        weight_type=quantization.QuantType.QInt8,
        per_channel=True,
    )
    prepared.unlink()


def executorch(paths: Paths) -> None:
    """XNNPACK's partitioner on float32, on float16, and on what its quantiser makes with the calibration photos.

    The input is channels last in memory; weights that are so, the delegate's passes refuse. Written so that the
    partitioner takes the network whole: gates of timm's network grow by slices, for it does not take nearest
    upsampling, the last pooling is a mean, and slices of all channels are left out (`_without_aliases`). In float16
    hard sigmoids are spelled out too, which would be decomposed into float32.
    """
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from timm.models._efficientnet_blocks import SqueezeExcite
    from timm_network import network
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    class Mean(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return features.mean((2, 3), keepdim=True)

    class HardSigmoid(torch.nn.Module):
        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.relu6(features + 3.0) / 6.0

    def lowered(model: torch.nn.Module, picture: torch.Tensor, name: str) -> None:
        exported = _without_aliases(torch.export.export(model, (picture,)).run_decompositions({}))
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()]).to_executorch()
        (paths.output / name).write_bytes(program.buffer)

    model = network(paths.weights, slices=True)
    model.global_pool = Mean()
    pictures = [
        torch.from_numpy(each).contiguous(memory_format=torch.channels_last) for each in _batches(paths.calibration)
    ]
    with torch.no_grad():
        lowered(model, pictures[0], "executorch_fp32.pte")
        quantiser = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
        prepared = prepare_pt2e(_without_aliases(torch.export.export(model, (pictures[0],))).module(), quantiser)
        for picture in pictures:
            prepared(picture)
        lowered(convert_pt2e(prepared), pictures[0], "executorch_int8.pte")
        for module in model.modules():
            if isinstance(module, SqueezeExcite):
                module.gate = HardSigmoid()
        lowered(model.half(), pictures[0].half(), "executorch_fp16.pte")


def _without_aliases(exported: Any) -> Any:
    """An exported program whose aliases, such as slices that take everything, are what they are made from.

    The partitioner takes no alias: each one would end a part of the network, with a copy into another layout.
    """
    import torch

    for node in list(exported.graph.nodes):
        if node.target is torch.ops.aten.alias.default:
            node.replace_all_uses_with(node.args[0])
            exported.graph.erase_node(node)
    exported.graph_module.recompile()
    return exported


def _batches(path: Path) -> Iterator[Any]:
    """float32 (1, 3, 224, 224), normalised."""
    for picture in np.load(path):
        yield np.ascontiguousarray(picture[None])


CONVERTERS: dict[str, Callable[[Paths], None]] = {
    "mnn": mnn,
    "ncnn": ncnn,
    "onnxruntime": onnxruntime,
    "executorch": executorch,
}


def main() -> None:
    """Parse the command line and convert."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=CONVERTERS)
    for name in ("onnx", "weights", "output"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--calibration", type=Path, metavar="IMAGES.npy", help="float32 (n, 3, 224, 224), normalised")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="the same as files, 224 x 224, for who reads files")
    args = parser.parse_args()
    CONVERTERS[args.peer](args)


if __name__ == "__main__":
    main()
