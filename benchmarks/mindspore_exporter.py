"""MindSpore's own ONNX exporters beside MindSpore itself: which operators they refuse, and which they write wrongly.

    python benchmarks/mindspore_exporter.py [--checkpoint C.ckpt --images PHOTOS]

Exports networks of one operator, and GhostNetV2 itself, by ``mindspore.export(file_format="ONNX")`` and by
``mindspore.onnx.export``, runs what comes out in ONNX Runtime on the same input and prints a Markdown table. Needs
MindSpore, onnx and onnxruntime, whichever versions are to be looked at. With a checkpoint and photos it also says what
the shifted convolutions cost: the exporter refuses the resizes, so the gates of that network are left without theirs.
"""

from __future__ import annotations

import argparse
import math
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


class Nearest(nn.Cell):  # type: ignore[misc]
    """``ops.interpolate`` by the nearest neighbour."""

    def construct(self, x):  # type: ignore[no-untyped-def]
        """The image at 7 x 7."""
        return ops.interpolate(x, size=(7, 7), mode="nearest")


def convolution(kernel: tuple[int, int], padding: tuple[int, int, int, int], groups: int) -> Any:
    """8 channels to 8, with weights that tell every direction from every other."""
    cell = nn.Conv2d(8, 8, kernel, pad_mode="pad", padding=padding, group=groups, has_bias=False)
    weights = np.random.default_rng(0).standard_normal(cell.weight.shape).astype(np.float32)
    cell.weight.set_data(ms.Tensor(weights))
    return cell


def cases() -> Iterator[tuple[str, Callable[[], Any], tuple[int, ...]]]:
    """Name, what makes the network, and input shape, of what GhostNetV2 is made of and where exporters go wrong."""
    image, small = (1, 8, 7, 7), (1, 8, 3, 3)
    row, column = ((1, 5), (0, 0, 2, 2), 8), ((5, 1), (2, 2, 0, 0), 8)
    yield "Conv2d 3x3, pad 1 1 1 1", lambda: convolution((3, 3), (1, 1, 1, 1), 1), image
    yield "Conv2d 1x5, pad 0 0 2 2", lambda: convolution(*row), image
    yield "Conv2d 5x1, pad 2 2 0 0", lambda: convolution(*column), image
    yield "both, as in a gate", lambda: nn.SequentialCell([convolution(*row), convolution(*column)]), image
    yield "ResizeBilinearV2, corners aligned", lambda: One(ops.ResizeBilinearV2(align_corners=True), (7, 7)), small
    yield "ResizeNearestNeighborV2", lambda: One(ops.ResizeNearestNeighborV2(), (7, 7)), small
    yield "ops.interpolate, nearest", Nearest, small


def try_export(export: Callable[..., Any], make: Callable[[], Any], x: NDArray[np.float32]) -> str:
    """What comes of one exporter, in a few words."""
    cell = make()
    cell.set_train(False)
    expected = cell(ms.Tensor(x)).asnumpy()
    cell = make()  # one that MindSpore has not run yet
    cell.set_train(False)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        try:
            export(cell, ms.Tensor(x), str(file.with_suffix("")))
        except Exception as exc:  # what an exporter raises is an open set
            return f"refused: {first_line(exc)[:90]}"
        model = onnx.load(file)
    said = f"opset {model.opset_import[0].version}, {judged(model, x, expected)}"
    if "right" not in said and put_pads_right(model):
        said += f"; with its pads in ONNX's order {judged(model, x, expected)}"
    return said


def judged(model: Any, x: NDArray[np.float32], expected: NDArray[np.float32]) -> str:
    """How far an ONNX model's answer is from the expected one."""
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {session.get_inputs()[0].name: x})
    except Exception as exc:
        return f"does not run: {first_line(exc)[:90]}"
    if found.shape != expected.shape:
        return f"WRONG: shape {found.shape}, not {expected.shape}"
    difference = compare(*(each.reshape(len(each), -1) for each in (expected, found)))
    verdict = "right" if difference.snr_db > 80 else "WRONG, without a word"
    return f"{verdict}: {'identical' if math.isinf(difference.snr_db) else f'{difference.snr_db:.1f} dB'}"


def put_pads_right(model: Any) -> bool:
    """Write (top, bottom, left, right), MindSpore's order, as (top, left, bottom, right), ONNX's. Returns: any did."""
    changed = False
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Conv" and attribute.name == "pads" and len(set(attribute.ints)) > 1:
                attribute.ints[1], attribute.ints[2] = attribute.ints[2], attribute.ints[1]
                changed = True
    return changed


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
    onnxruntime.set_default_logger_severity(3)  # it warns of shapes that do not fit, and goes on
    print(f"MindSpore {ms.__version__}, ONNX Runtime {onnxruntime.__version__}\n")
    print(f"| Network | {' | '.join(f'`{name}`' for name in EXPORTERS)} |\n|{'---|' * (1 + len(EXPORTERS))}")
    networks: list[tuple[str, Callable[[], Any], NDArray[np.float32]]] = [
        (name, make, np.random.default_rng(1).standard_normal(shape).astype(np.float32))
        for name, make, shape in cases()
    ]
    if args.checkpoint:
        spec, found = InputSpec(), load_checkpoint(args.checkpoint)
        batch = np.random.default_rng(2).standard_normal(spec.shape(4)).astype(np.float32)
        if args.images:
            batch = preprocess_batch(list_images(args.images)[:32], spec).astype(np.float32)

        def whole() -> Any:
            return build_cell(found.variant, found.weights)

        networks += [
            ("GhostNetV2", whole, batch),
            ("GhostNetV2, resizes as matrices", lambda: without_resizes(whole()), batch),
        ]
    for name, make, x in networks:
        print(f"| {name} | {' | '.join(try_export(export, make, x) for export in EXPORTERS.values())} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
