"""MindSpore's own ONNX exporters beside MindSpore itself: which operators they refuse, and which they write wrongly.

    python benchmarks/mindspore_exporter.py [--checkpoint C.ckpt --images PHOTOS]

Exports networks of one operator, and GhostNetV2 itself, by ``mindspore.export(file_format="ONNX")`` and by
``mindspore.onnx.export``, runs what comes out in ONNX Runtime on the same input and prints a Markdown table. Needs
MindSpore, onnx and onnxruntime, whichever versions are to be looked at. With a checkpoint and photos it also says what
the shifted convolutions cost: the exporter refuses the resizes, so the gates of that network are left without theirs.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("GLOG_v", "4")
os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")

import mindspore as ms
import numpy as np
import onnx
import onnxruntime
from mindspore import nn, ops
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.data.images import list_images
from ghostedge.data.preprocess import preprocess_batch
from ghostedge.errors import first_line
from ghostedge.ghostnet.cell import build_cell
from ghostedge.ghostnet.checkpoint import load_checkpoint
from ghostedge.model import InputSpec

#: How MindSpore exports ONNX: name -> (cell, example, path without suffix) -> nothing.
EXPORTERS: dict[str, Callable[[Any, Any, str], Any]] = {
    'mindspore.export(file_format="ONNX")': lambda cell, x, path: ms.export(
        cell, x, file_name=path, file_format="ONNX"
    ),
}
if hasattr(ms, "onnx"):
    EXPORTERS["mindspore.onnx.export"] = lambda cell, x, path: ms.onnx.export(cell, x, file_name=path)


class One(nn.Cell):  # type: ignore[misc]
    """A network of one operator, given its further arguments."""

    def __init__(self, operator: Any, *arguments: Any) -> None:
        super().__init__()
        self.operator, self.arguments = operator, arguments

    def construct(self, x):  # type: ignore[no-untyped-def]
        """The operator's answer."""
        return self.operator(x, *self.arguments)


def convolution(kernel: tuple[int, int], padding: tuple[int, int, int, int], groups: int) -> Any:
    """8 channels to 8, with weights that tell every direction from every other."""
    cell = nn.Conv2d(8, 8, kernel, pad_mode="pad", padding=padding, group=groups, has_bias=False)
    weights = np.random.default_rng(0).standard_normal(cell.weight.shape).astype(np.float32)
    cell.weight.set_data(ms.Tensor(weights))
    return cell


def cases() -> Iterator[tuple[str, Any, tuple[int, ...]]]:
    """Name, network and input shape of what GhostNetV2 is made of and where exporters go wrong."""
    image = (1, 8, 7, 7)
    yield "Conv2d 3x3, pad 1 1 1 1", convolution((3, 3), (1, 1, 1, 1), 1), image
    yield "Conv2d 1x5, pad 0 0 2 2", convolution((1, 5), (0, 0, 2, 2), 8), image
    yield "Conv2d 5x1, pad 2 2 0 0", convolution((5, 1), (2, 2, 0, 0), 8), image
    yield "ResizeBilinearV2, corners aligned", One(ops.ResizeBilinearV2(align_corners=True), (7, 7)), (1, 8, 3, 3)
    yield "ResizeNearestNeighborV2", One(ops.ResizeNearestNeighborV2(), (7, 7)), (1, 8, 3, 3)
    yield "ops.interpolate, nearest", One(lambda x: ops.interpolate(x, size=(7, 7), mode="nearest")), (1, 8, 3, 3)


def try_export(export: Callable[..., Any], cell: Any, x: NDArray[np.float32]) -> str:
    """What comes of one exporter, in a few words."""
    cell.set_train(False)
    expected = cell(ms.Tensor(x)).asnumpy()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        try:
            export(cell, ms.Tensor(x), str(path))
        except Exception as exc:  # what an exporter raises is an open set
            return f"refused: {first_line(exc)[:110]}"
        file = path.with_suffix(".onnx")
        opset = onnx.load(file).opset_import[0].version
        try:
            session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {session.get_inputs()[0].name: x})
        except Exception as exc:
            return f"opset {opset}, does not run: {first_line(exc)[:110]}"
    if found.shape != expected.shape:
        return f"opset {opset}, WRONG: shape {found.shape}, not {expected.shape}"
    flat = [each.reshape(len(each), -1) for each in (expected, found)]
    difference = compare(*flat)
    verdict = "right" if difference.snr_db > 80 else "WRONG, without a word"
    return f"opset {opset}, {verdict}: {difference.snr_db:.1f} dB, largest difference {difference.max_abs:.2g}"


def without_resizes(cell: Any) -> Any:
    """GhostNetV2 with every gate's resize replaced by operators that the exporters know: a matrix for each axis."""

    class Matrices(nn.Cell):  # type: ignore[misc]
        def construct(self, x, size):  # type: ignore[no-untyped-def]
            rows, columns = matrix(x.shape[2], size[0]), matrix(x.shape[3], size[1])
            return ops.matmul(ops.matmul(rows, x), columns.transpose())

    for _, each in cell.cells_and_names():
        if hasattr(each, "upsample"):
            each.upsample = Matrices()
    return cell


def matrix(source: int, target: int) -> Any:
    """Bilinear interpolation with aligned corners along one axis: float32 (target, source)."""
    positions = np.arange(target) * (source - 1) / max(target - 1, 1)
    lower = np.minimum(positions.astype(int), max(source - 2, 0))
    weights = np.zeros((target, source), np.float32)
    weights[np.arange(target), lower] = 1 - (positions - lower)
    weights[np.arange(target), np.minimum(lower + 1, source - 1)] += positions - lower
    return ms.Tensor(weights)


def main() -> int:
    """Parse the arguments, try everything, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, help="GhostNetV2 to export whole")
    parser.add_argument("--images", type=Path, help="photos to run it on (default: noise)")
    args = parser.parse_args()
    print(f"MindSpore {ms.__version__}, ONNX Runtime {onnxruntime.__version__}\n")
    print(f"| Network | {' | '.join(f'`{name}`' for name in EXPORTERS)} |\n|{'---|' * (1 + len(EXPORTERS))}")
    networks = [
        (name, cell, np.random.default_rng(1).standard_normal(shape).astype(np.float32))
        for name, cell, shape in cases()
    ]
    if args.checkpoint:
        spec = InputSpec()
        batch = np.random.default_rng(2).standard_normal(spec.shape(4)).astype(np.float32)
        if args.images:
            batch = preprocess_batch(list_images(args.images)[:32], spec).astype(np.float32)
        found = load_checkpoint(args.checkpoint)
        networks += [
            ("GhostNetV2", build_cell(found.variant, found.weights), batch),
            ("GhostNetV2, resizes as matrices", without_resizes(build_cell(found.variant, found.weights)), batch),
        ]
    for name, cell, x in networks:
        print(f"| {name} | {' | '.join(try_export(export, cell, x) for export in EXPORTERS.values())} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
