"""Make ours and the peers' artifacts of one GhostNetV2 from the same weights.

The weights are made by the rule of tests/data/oracle: not trained, but the logits tell every fault of a conversion. The
network is timm's ghostnetv2_100, whose gates upsample by repetition; ghostedge takes it in through import-weights.
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

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.images import list_images, sample_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.lazy import require
from ghostedge.model import InputSpec
from ghostedge.pipeline.plan import needs_calibration
from ghostedge.pipeline.recipe import recipes

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

#: onnx2tf looks at one picture to recognise layouts, and downloads it unless a file of this name is there.
_ONNX2TF_PICTURE = "calibration_image_sample_data_20x128x128x3_float32.npy"

_FORMATS = {".tflite": "TFLite", ".xml": "OpenVINO", ".onnx": "ONNX", ".safetensors": "PyTorch"}


@dataclass(frozen=True)
class Contestant:
    """One artifact of the comparison.

    Attributes:
        name: as it stands in the table, e.g. ``"litert-torch"`` or ``"ghostedge"``.
        file: what is run.
        precision: ``"fp32"``, ``"fp16"``, ``"int8"``, ...
        ours: whether ghostedge made it.
    """

    name: str
    file: Path
    precision: str
    ours: bool

    @property
    def format(self) -> str:
        """``"TFLite"``, ``"OpenVINO"``, ``"ONNX"`` or ``"PyTorch"``."""
        return _FORMATS[self.file.suffix]

    @property
    def key(self) -> str:
        """A name that no other contestant has."""
        return f"{self.name} {self.file.name}"

    @property
    def size_bytes(self) -> int:
        """Of the file, with OpenVINO's weights beside it."""
        weights = self.file.with_suffix(".bin")
        return self.file.stat().st_size + (weights.stat().st_size if self.file.suffix == ".xml" else 0)

    def is_held_to(self, peer: Contestant) -> bool:
        """Whether `peer` is one to be compared with: of one format and arithmetic (int8 or floating point).

        PyTorch has nobody of its own format, and is held to all.
        """
        same = self.format in (peer.format, "PyTorch")
        return same and not peer.ours and ("int8" in self.precision) == ("int8" in peer.precision)


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
        _run([*ghostedge, "import-weights", weights, "--output", checkpoint])
    made = [name for name, recipe in sorted(recipes().items()) if images or not needs_calibration(recipe)]
    chosen = [part for name in made for part in ("--recipe", name)]
    photos = ["--images", str(images), "--calibration", str(images)] if images else []
    export = [*ghostedge, "export", "--checkpoint", checkpoint, *chosen, *photos, "--output", folder]
    _run([*export, "--name", "ghostnetv2_100", *options], accepted=(0, 2))


def peers_python(folder: Path) -> Path:
    """The interpreter of the peers' environment; makes the environment where it is not there."""
    python = folder / "bin" / "python"
    stamp = folder / "installed"
    requirements = HERE.parent / "peers-requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        beside = Path(sys.executable).with_name("uv")
        uv = str(beside) if beside.exists() else shutil.which("uv")
        if uv is None:
            raise SystemExit("'uv' is not installed; run: make install")
        if not python.exists():
            _run([uv, "venv", "--python", "3.11", folder])
        _run([uv, "pip", "install", "--python", python, "-r", requirements])
        stamp.write_text(requirements.read_text())
    return python


def make_peers(weights: Path, folder: Path, calibration: NDArray[np.float32], python: Path) -> None:
    """Every peer's artifact that is not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    images = folder / "calibration.npy"
    np.save(images, calibration)
    _run([python, HERE / "in_peers_environment.py", weights, folder, "--calibration", images])
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
    found = [
        Contestant("litert-torch", peers / "litert_torch_fp32.tflite", "fp32", False),
        Contestant("onnx2tf", peers / "onnx2tf" / "onnx2tf_float32.tflite", "fp32", False),
        Contestant("onnx2tf", peers / "onnx2tf" / "onnx2tf_float16.tflite", "fp16", False),
        Contestant("litert-torch + AI Edge Quantizer", peers / "litert_torch_dynamic.tflite", "dynamic", False),
        Contestant("litert-torch + AI Edge Quantizer", peers / "litert_torch_int8.tflite", "int8, float io", False),
        Contestant("onnx2tf", peers / "onnx2tf" / "onnx2tf_integer_quant.tflite", "int8, float io", False),
        Contestant("onnx2tf", peers / "onnx2tf" / "onnx2tf_full_integer_quant.tflite", "int8", False),
        Contestant("ovc", peers / "openvino" / "timm_fp32.xml", "fp32", False),
        Contestant("ovc + NNCF", peers / "nncf" / "timm_int8.xml", "int8", False),
        Contestant("torch.onnx", peers / "timm.onnx", "fp32", False),
        Contestant("PyTorch eager", weights, "fp32", False),
    ]
    for suffix in _FORMATS:
        for file in sorted(ours.glob(f"*{suffix}")):
            precision = file.stem.removeprefix("ghostnetv2_100").strip("_") or "fp32"
            if precision != "equalised":  # what int8 is made from; nobody deploys it
                found.append(Contestant("ghostedge", file, precision, True))
    return [each for each in found if each.file.exists()]
