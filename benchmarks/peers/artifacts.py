"""Make ours and the peers' artifacts of one GhostNetV2 from the same weights.

The weights are made by the rule of tests/data/oracle: not trained, but the logits tell every fault of a conversion. The
network is timm's ghostnetv2_100, or the official variant of it (timm_network.py); ghostedge takes both in through
import-weights.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import environments
import numpy as np
from environments import HERE, ROOT
from numpy.typing import NDArray
from PIL import Image

from ghostedge.data.images import list_images, sample_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.lazy import require
from ghostedge.model import InputSpec
from ghostedge.pipeline.plan import needs_calibration
from ghostedge.pipeline.recipe import recipes

#: onnx2tf looks at one picture to recognise layouts, and downloads it unless a file of this name is there.
_ONNX2TF_PICTURE = "calibration_image_sample_data_20x128x128x3_float32.npy"

_FORMATS = {
    ".tflite": "TFLite",
    ".mnn": "MNN",
    ".param": "ncnn",
    ".pte": "ExecuTorch",
    ".xml": "OpenVINO",
    ".onnx": "ONNX",
    ".safetensors": "PyTorch",
}
#: Formats that people choose between, on a phone or board and on a PC.
_RIVALS = ({"TFLite", "MNN", "ncnn", "ExecuTorch"}, {"OpenVINO", "ONNX"})
#: Suffix -> that of the file with the weights beside it.
_BESIDE = {".xml": ".bin", ".param": ".bin"}

#: Variant of the network -> option of import-weights.
VARIANTS = {"official": "bilinear_align_corners", "timm": "nearest"}

#: Peers whose artifacts converters.py makes, each in an environment of its own.
CONVERTED = ("mnn", "ncnn", "onnxruntime", "executorch")

#: Arithmetic -> the least signal-to-noise ratio, dB, at which logits are those of the network. Wrong weights or another
#: upsampling leave 35 and less in float32; 8 bits leave 20 to 40 of the right ones.
_LEAST_SNR_DB = {"fp32": 80.0, "fp16": 40.0}
_LEAST_SNR_DB_8_BITS = 15.0


_LITERT_TORCH, _QUANTIZER = "litert_torch_fp32.tflite", "litert-torch + AI Edge Quantizer"
_SLICES = "litert_torch_slices_fp32.tflite"
_ONNX2TF, _MNN, _NCNN = "onnx2tf/onnx2tf_float32.tflite", "mnn/mnn_fp32.mnn", "ncnn/ncnn_fp32.param"
_PTE, _IR = "executorch/executorch_fp32.pte", "openvino/timm_fp32.xml"
#: Name, file, precision, setting and base of the peers' contestants (`Contestant`). What is made from _SLICES is made
#: from _LITERT_TORCH where the variant has none (in_peers_environment.py).
_PEERS = (
    ("litert-torch", _LITERT_TORCH, "fp32", "fp32", ""),
    ("litert-torch, gates by slices", _SLICES, "fp32", "fp32", ""),
    ("onnx2tf", _ONNX2TF, "fp32", "fp32", ""),
    ("onnx2tf", "onnx2tf/onnx2tf_float16.tflite", "fp16", "fp32", _ONNX2TF),
    (_QUANTIZER, "litert_torch_dynamic.tflite", "dynamic", "fp32", _SLICES),
    (_QUANTIZER, "litert_torch_int8.tflite", "int8, float io", "fp32", _SLICES),
    ("onnx2tf", "onnx2tf/onnx2tf_integer_quant.tflite", "int8, float io", "fp32", _ONNX2TF),
    ("onnx2tf", "onnx2tf/onnx2tf_full_integer_quant.tflite", "int8", "fp32", _ONNX2TF),
    ("MNN", _MNN, "fp32", "fp32", ""),
    ("MNN, precision low", _MNN, "fp16", "fp16", _MNN),
    ("MNN, 8-bit weights", "mnn/mnn_w8.mnn", "dynamic", "int8", _MNN),
    ("MNN", "mnn/mnn_int8.mnn", "int8", "int8", _MNN),
    ("ncnn", _NCNN, "fp32", "fp32", ""),
    ("ncnn", _NCNN, "fp16", "fp16", _NCNN),
    ("ExecuTorch", _PTE, "fp32", "fp32", ""),
    ("ExecuTorch", "executorch/executorch_fp16.pte", "fp16", "fp32", _PTE),
    ("ExecuTorch", "executorch/executorch_int8.pte", "int8", "fp32", _PTE),
    ("ovc", _IR, "fp32", "fp32", ""),
    ("ovc + NNCF", "nncf/timm_int8.xml", "int8", "fp32", _IR),
    ("torch.onnx", "timm.onnx", "fp32", "fp32", ""),
    ("torch.onnx + ONNX Runtime", "onnxruntime/onnxruntime_int8.onnx", "int8", "fp32", "timm.onnx"),
)


@dataclass(frozen=True)
class Contestant:
    """One artifact of the comparison.

    Attributes:
        name: as it stands in the table, e.g. ``"litert-torch"`` or ``"ghostedge"``.
        file: what is run.
        precision: ``"fp32"``, ``"fp16"``, ``"int8"``, ...
        ours: whether ghostedge made it.
        setting: the arithmetic that the runtime is asked for, where it chooses (runtimes.py).
        base: name of the file in float32 that it was made from, or is; 8 bits and float16 leave room for a fault that
            float32 shows.
    """

    name: str
    file: Path
    precision: str
    ours: bool
    setting: str = "fp32"
    base: str = ""

    @property
    def format(self) -> str:
        """``"TFLite"``, ``"OpenVINO"``, ``"MNN"``, ...: what the file is."""
        return _FORMATS[self.file.suffix]

    @property
    def environment(self) -> str | None:
        """Name of the environment that runs it (environments.py); None: ghostedge's own."""
        return environments.OF_SUFFIX.get(self.file.suffix)

    @property
    def key(self) -> str:
        """A name that no other contestant has."""
        return f"{self.name} {self.precision} {self.file.name}"

    @property
    def size_bytes(self) -> int:
        """Of the file, with the weights beside it."""
        beside = _BESIDE.get(self.file.suffix)
        return self.file.stat().st_size + (self.file.with_suffix(beside).stat().st_size if beside else 0)

    def is_held_to(self, peer: Contestant) -> bool:
        """Whether `peer` is one to be compared with: chosen for the same devices, of one arithmetic (int8 or float).

        PyTorch has nobody of its own format, and is held to all.
        """
        same = self.format == "PyTorch" or any({self.format, peer.format} <= rivals for rivals in _RIVALS)
        return same and not peer.ours and ("int8" in self.precision) == ("int8" in peer.precision)

    def fault(self, snr_db: float | None) -> str | None:
        """Why its answers are not the network's, in a few words; None where they are.

        Args:
            snr_db: of its logits against PyTorch's; None for identical ones.
        """
        least = _LEAST_SNR_DB.get(self.precision, _LEAST_SNR_DB_8_BITS)
        return None if snr_db is None or snr_db >= least else f"{snr_db:.1f} dB, {least:g} are the network's"


@contextlib.contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to fill; it becomes `folder` when the block succeeds."""
    partial = Path(tempfile.mkdtemp(prefix=f"partial-{folder.name}-", dir=folder.parent))
    try:
        yield partial
        partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _run(command: list[str | Path], cwd: Path | None = None, accepted: tuple[int, ...] = (0,)) -> None:
    said = [str(part) for part in command]
    # The tools call each other: onnx2tf wants onnxsim in the path.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(said, capture_output=True, text=True, check=False, cwd=cwd, env=os.environ | {"PATH": path})
    if done.returncode not in accepted:
        raise SystemExit(f"{' '.join(said)} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def write_weights(path: Path) -> None:
    """timm's parameter names with the oracle's values, as .safetensors, unless it is there."""
    if path.exists():
        return
    from safetensors.numpy import save_file

    oracle = ROOT / "tests" / "data" / "oracle"
    spec = importlib.util.spec_from_file_location("oracle_rule", oracle / "rule.py")
    assert spec is not None and spec.loader is not None  # noqa: PT018
    rule = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(rule)
    names = json.loads((oracle / "names_timm.json").read_text())
    save_file({name: rule.value(name, tuple(shape)) for name, shape in names}, path)


def pictures(folder: Path | None) -> NDArray[np.float32]:
    """Photos as every contestant gets them: float32 (n, 3, 224, 224), normalised.

    Args:
        folder: of photos; None for those of the package.
    """
    found = preprocess_batch(list_images(folder) if folder else sample_images(), InputSpec())
    return np.asarray(found, np.float32)


def make_ours(weights: Path, folder: Path, images: Path | None, options: list[str]) -> None:
    """import-weights, then an export of every recipe of export/; both keep what is there and unchanged.

    Without photos to calibrate on, the recipes that need them are left out. An artifact that its recipe's bounds reject
    takes no part.
    """
    ghostedge: list[str | Path] = [sys.executable, "-m", "ghostedge"]
    checkpoint = weights.with_suffix(".ckpt")
    if not checkpoint.exists():
        upsampling = ["--gate-upsampling", VARIANTS[weights.stem]]
        _run([*ghostedge, "import-weights", weights, "--output", checkpoint, *upsampling])
    made = [name for name, recipe in sorted(recipes().items()) if images or not needs_calibration(recipe)]
    chosen = [part for name in made for part in ("--recipe", name)]
    photos = ["--images", str(images), "--calibration", str(images)] if images else []
    export = [*ghostedge, "export", "--checkpoint", checkpoint, *chosen, *photos, "--output", folder]
    _run([*export, "--name", "ghostnetv2_100", *options], accepted=(0, 2))


def make_peers(weights: Path, folder: Path, calibration: NDArray[np.float32], pythons: Path) -> dict[str, str]:
    """Every peer's artifact that is not there yet; returns the peers that made none -> why.

    Args:
        weights: ``timm.safetensors`` or ``official.safetensors``.
        folder: where they go.
        calibration: float32 (n, 3, 224, 224), normalised.
        pythons: the folder of the environments.
    """
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "calibration.npy"
    np.save(images, calibration)
    _run([environments.python("peers", pythons), HERE / "in_peers_environment.py", weights, folder,
          "--calibration", images])  # fmt: skip
    if not (folder / "onnx2tf").exists():
        with _whole(folder / "onnx2tf") as partial:
            _onnx2tf(folder / "timm.onnx", calibration, partial)
    if not (folder / "openvino").exists():
        with _whole(folder / "openvino") as partial:
            output = partial / "timm_fp32.xml"
            ovc = Path(sys.executable).with_name("ovc")
            _run([ovc, folder / "timm.onnx", "--output_model", output, "--compress_to_fp16=False"])
    if not (folder / "nncf").exists():
        with _whole(folder / "nncf") as partial:
            _nncf(folder / "openvino" / "timm_fp32.xml", calibration, partial / "timm_int8.xml")
    return _convert(weights, folder, images, calibration, pythons)


def _convert(
    weights: Path, folder: Path, images: Path, calibration: NDArray[np.float32], pythons: Path
) -> dict[str, str]:
    photos = folder / "photos"
    if not photos.exists():
        with _whole(photos) as partial:
            for number, picture in enumerate(calibration):
                save_picture(picture, partial / f"{number:04}.png")
    missing = {}
    for peer in CONVERTED:
        if (folder / peer).exists():
            continue
        try:
            python = environments.python(peer, pythons)
            with _whole(folder / peer) as partial:
                script = [python, HERE / "converters.py", peer, folder / "timm.onnx", weights, partial]
                _run([*script, "--calibration", images, "--photos", photos])
        except (environments.NotInstallableError, SystemExit) as exc:
            missing[peer] = str(exc).strip().splitlines()[-1]
    return missing


def save_picture(picture: NDArray[np.float32], path: Path) -> None:
    """A normalised picture, float32 (3, 224, 224), as the 8-bit file that it came from."""
    spec = InputSpec()
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    pixels = 255 * (picture.transpose(1, 2, 0) * std + mean)
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(path)


def _onnx2tf(onnx: Path, calibration: NDArray[np.float32], output: Path) -> None:
    """As its README says for int8: -oiqt with pictures of one's own; the mean and std are in the pictures already."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        np.save(folder / "calibration.npy", calibration.transpose(0, 2, 3, 1))
        # For layouts alone; any picture of the shape and range serves.
        noise = np.random.default_rng(0).random((20, 128, 128, 3), dtype=np.float32)
        np.save(folder / _ONNX2TF_PICTURE, noise)
        quantise = ["-oiqt", "-cind", "input", "calibration.npy", "[[[[0.,0.,0.]]]]", "[[[[1.,1.,1.]]]]"]
        command = [Path(sys.executable).with_name("onnx2tf"), "-i", onnx, "-o", "made", *quantise]
        _run([*command, "--non_verbose"], cwd=folder)
        for kind in ("float32", "float16", "integer_quant", "full_integer_quant"):
            shutil.copyfile(folder / "made" / f"{onnx.stem}_{kind}.tflite", output / f"onnx2tf_{kind}.tflite")


def _nncf(ir: Path, calibration: NDArray[np.float32], output: Path) -> None:
    """`nncf.quantize` as its documentation begins: the model, the pictures, nothing chosen."""
    ov, nncf = require("openvino", "export"), require("nncf", "export")
    pictures = nncf.Dataset([picture[None] for picture in calibration])
    ov.save_model(nncf.quantize(ov.Core().read_model(ir), pictures, subset_size=len(calibration)), output)


def contestants(weights: Path, ours: Path, peers: Path) -> list[Contestant]:
    """The peers' artifacts, and whatever ghostedge's export folder holds."""
    instead = {} if (peers / _SLICES).exists() else {_SLICES: _LITERT_TORCH}
    found = [
        Contestant(name, peers / file, precision, False, setting, Path(instead.get(base, base)).name)
        for name, file, precision, setting, base in _PEERS
    ]
    found.append(Contestant("PyTorch eager", weights, "fp32", False))
    for suffix in _FORMATS:
        for file in sorted(ours.glob(f"*{suffix}")):
            precision = file.stem.removeprefix("ghostnetv2_100").strip("_") or "fp32"
            if precision != "equalised":  # what int8 is made from; nobody deploys it
                found.append(Contestant("ghostedge", file, precision, True))
    return [each for each in found if each.file.exists()]
