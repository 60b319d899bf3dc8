"""Every reader of files that others made: a whole file, and what reads it.

Whatever the bytes are, a reader gives an answer or raises a `GhostedgeError` of one line. `tests/fuzz/test_readers.py`
holds them to it on files damaged by Hypothesis and on those of ``tests/data/attacks``, ``python -m tests.fuzz.damage``
on thousands of damaged files, ``make fuzz`` on what Atheris thinks of.
"""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import numpy as np

from ghostedge.errors import GhostedgeError
from tests.fuzz.stored import (
    fetched,
    golden,
    json_lines,
    ledger,
    manifest,
    parquet,
    read_all,
    read_fetched,
    read_golden,
    read_json_lines,
    read_manifest,
    read_parquet,
    read_record,
    read_report,
    report,
    written,
)

DATA = Path(__file__).parents[1] / "data"


@dataclass(frozen=True)
class Target:
    """One kind of file.

    Attributes:
        file: the name that it must have.
        whole: the bytes of a whole one.
        read: reads the file at a path.
        needs: packages without which it cannot be tried.
    """

    file: str
    whole: Callable[[], bytes]
    read: Callable[[Path], object]
    needs: tuple[str, ...] = ()


def attempt(target: Target, data: bytes) -> str | None:
    """Read `data` as a file of this kind. Returns: why it was refused, None where it was read."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / target.file
        path.write_bytes(data)
        if path.suffix == ".xml":
            path.with_suffix(".bin").write_bytes(bytes(4096))
        try:
            target.read(path)
        except GhostedgeError as exc:
            refused = str(exc)
        else:
            return None
    assert "\n" not in refused, f"more than one line: {refused}"
    return refused


# -- models ----------------------------------------------------------------------------------------------------------


def _ckpt() -> bytes:
    from ghostedge.ghostnet.ckpt_format import write_ckpt

    rng = np.random.default_rng(0)
    weights = {name: rng.random(shape, np.float32) for name, shape in {"a.weight": (4, 3), "b.gamma": (4,)}.items()}
    return written(lambda path: write_ckpt(path, weights, {"note": "a text"}))


def _read_ckpt(path: Path) -> None:
    from ghostedge.ghostnet.checkpoint import load_checkpoint
    from ghostedge.ghostnet.ckpt_format import parse_ckpt

    with contextlib.suppress(GhostedgeError):  # of no network that is known
        load_checkpoint(path)
    parse_ckpt(path.read_bytes(), str(path))


def _safetensors() -> bytes:
    head = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(24)


def _read_safetensors(path: Path) -> object:
    from ghostedge.ghostnet.checkpoint import parse_safetensors

    return parse_safetensors(path.read_bytes(), str(path))


def _mindir() -> bytes:
    with np.load(DATA / "mindir" / "test_read.npz") as archive:
        entries, data = json.loads(archive["index"].tobytes())["entries"], archive["data"].tobytes()
    at = 0
    for name, dtype, shape in entries:
        size = np.dtype(dtype).itemsize * int(np.prod(shape))
        if name.endswith(".mindir"):
            return data[at : at + size]
        at += size
    raise AssertionError("no MindIR is recorded there")


def _read_mindir(path: Path) -> None:
    from ghostedge.mindir.read import describe_mindir, read_mindir

    read_all(path, describe_mindir, read_mindir)


def _read_tflite(path: Path) -> None:
    import ghostedge.inspection.tflite as inspection
    from ghostedge.formats import read_description
    from ghostedge.tflite.coverage import Coverage
    from ghostedge.tflite.flatbuffer import check_tflite

    # It loads the model, in a process of its own.
    with mock.patch.object(inspection, "coverage", return_value=Coverage(0, 0, 0, ())):
        read_all(path, read_description, check_tflite, inspection.inspect_tflite)


def _description() -> str:
    from ghostedge.model import InputSpec, Model

    return Model(Path("a.onnx"), "onnx", InputSpec(height=2, width=2, resize=2), ("a", "b")).to_json()


def _onnx() -> bytes:
    import onnx

    make = onnx.helper
    weight = onnx.numpy_helper.from_array(np.ones((4, 3, 1, 1), np.float32), "w")
    nodes = [make.make_node("Conv", ["x", "w"], ["y"], "conv"), make.make_node("Flatten", ["y"], ["z"], "flat")]
    ports = [make.make_tensor_value_info(name, 1, shape) for name, shape in (("x", ["n", 3, 2, 2]), ("z", ["n", 16]))]
    model = make.make_model(make.make_graph(nodes, "g", ports[:1], ports[1:], [weight]))
    make.set_model_props(model, {"ghostedge": _description()})
    data: bytes = model.SerializeToString()
    return data


def _read_onnx(path: Path) -> None:
    import ghostedge.inspection.onnx as inspection
    from ghostedge.formats import read_description

    # It infers shapes in a process of its own.
    with mock.patch.object(inspection, "_shapes", return_value={}):
        read_all(path, read_description, inspection.inspect_onnx)


_IR = """<?xml version="1.0"?>
<net name="m" version="11"><layers>
<layer id="0" name="x" type="Parameter" version="opset1"><data shape="1,3,8,8" element_type="f32"/>
<output><port id="0" precision="FP32" names="x"><dim>1</dim><dim>3</dim><dim>8</dim><dim>8</dim></port></output></layer>
<layer id="1" name="w" type="Const" version="opset1"><data element_type="i8" shape="4,3,1,1" offset="0" size="12"/>
<output><port id="0" precision="I8"><dim>4</dim><dim>3</dim><dim>1</dim><dim>1</dim></port></output></layer>
<layer id="2" name="c" type="Convolution" version="opset1"><data strides="1,1"/><input><port id="0"><dim>1</dim>
<dim>3</dim><dim>8</dim><dim>8</dim></port><port id="1"><dim>4</dim><dim>3</dim><dim>1</dim><dim>1</dim></port></input>
<output><port id="2" precision="FP32"><dim>1</dim><dim>4</dim><dim>8</dim><dim>8</dim></port></output></layer>
<layer id="3" name="r" type="Result" version="opset1"><input><port id="0"><dim>1</dim></port></input></layer></layers>
<edges><edge from-layer="0" from-port="0" to-layer="2" to-port="0"/><edge from-layer="1" from-port="0" to-layer="2"
to-port="1"/><edge from-layer="2" from-port="2" to-layer="3" to-port="0"/></edges>
<rt_info><ghostedge value={}/></rt_info></net>"""


def _ir() -> bytes:
    from xml.sax.saxutils import quoteattr

    return _IR.format(quoteattr(_description())).encode()


def _read_ir(path: Path) -> None:
    from ghostedge.formats import read_description
    from ghostedge.inspection.openvino import inspect_openvino, openvino_macs

    read_all(path, read_description, openvino_macs, inspect_openvino)


# -- what a user writes or has ---------------------------------------------------------------------------------------


def _read_spec(path: Path) -> object:
    from ghostedge.formats import load_input_spec

    return load_input_spec(path)


def _read_recipe(path: Path) -> object:
    from ghostedge.pipeline.recipe import load_recipe

    return load_recipe(path)


def _read_labels(path: Path) -> object:
    from ghostedge.data.imagenet import load_labels

    return load_labels(path)


def _read_truth(path: Path) -> object:
    from ghostedge.data.datasets.labels import labels_of_file

    return labels_of_file(path.parent, np.array([b"a.JPEG", b"b.JPEG"]), path, ())


def _picture(kind: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(3).integers(0, 256, (24, 20, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _read_picture(path: Path) -> object:
    from ghostedge.data.preprocess import decode

    return decode(path)


def _tar() -> bytes:
    buffer, picture = io.BytesIO(), _picture("JPEG")
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("n01/a.JPEG", "n02/b.JPEG", "n02/\u00fc.JPEG"):
            entry = tarfile.TarInfo(name)
            entry.size = len(picture)
            tar.addfile(entry, io.BytesIO(picture))
    return buffer.getvalue()


def _shard() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    rows = [{"image": {"bytes": _picture("PNG"), "path": f"{name}.png"}, "label": name % 2} for name in range(4)]
    return written(lambda path: parquet.write_table(pa.Table.from_pylist(rows), path))


def _read_dataset(path: Path) -> None:
    from ghostedge.data.datasets import NO_LABELS, open_dataset

    for labels in (None, NO_LABELS):
        with contextlib.suppress(GhostedgeError):
            open_dataset(path, labels)
    dataset = open_dataset(path, NO_LABELS)
    for index in range(len(dataset.image_ids)):
        dataset.source(index).read()


_RECIPE = (Path(__file__).parents[2] / "export" / "tflite_fp16.toml").read_bytes

TARGETS: dict[str, Target] = {
    "checkpoint": Target("a.ckpt", _ckpt, _read_ckpt),
    "safetensors": Target("a.safetensors", _safetensors, _read_safetensors, ("safetensors",)),
    "mindir": Target("a.mindir", _mindir, _read_mindir, ("mindspore",)),
    "tflite": Target(
        "a.tflite",
        (DATA / "tiny_tflite" / "tiny_fp32.tflite").read_bytes,
        _read_tflite,
        ("ai_edge_litert", "flatbuffers"),
    ),
    "onnx": Target("a.onnx", _onnx, _read_onnx, ("onnx",)),
    "openvino": Target("a.xml", _ir, _read_ir),
    "ledger": Target("a.parquet", parquet, read_parquet, ("pyarrow",)),
    "json_lines": Target("a.jsonl", lambda: json_lines(ledger()), read_json_lines, ("pyarrow",)),
    "record": Target("a.json", (DATA / "latency_record.json").read_bytes, read_record),
    "manifest": Target("manifest.json", manifest, read_manifest),
    "golden": Target("a.golden.npz", golden, read_golden),
    "fetched": Target("a.ckpt.json", fetched, read_fetched, ("httpx",)),
    "report": Target("report.json", report, read_report, ("pyarrow",)),
    "input_spec": Target(
        "spec.json", lambda: b'{"layout": "NHWC", "height": 8, "width": 8, "std": [1, 1, 1]}', _read_spec
    ),
    "recipe": Target("tflite_fp16.toml", _RECIPE, _read_recipe),
    "labels": Target("labels.txt", "# names\ntench\nn01440764\tgoldfish\n".encode, _read_labels),
    "truth_text": Target("val.txt", b"a.JPEG 1\nb.JPEG 0\n".__bytes__, _read_truth),
    "truth_csv": Target("labels.csv", b'file,index\n"a.JPEG",1\nb.JPEG,0\n'.__bytes__, _read_truth),
    "jpeg": Target("a.jpg", lambda: _picture("JPEG"), _read_picture),
    "png": Target("a.png", lambda: _picture("PNG"), _read_picture),
    "tar": Target("a.tar", _tar, _read_dataset),
    "shard": Target("a.parquet", _shard, _read_dataset, ("pyarrow",)),
}


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """A copy of `data` with one to three faults: flipped bits, other bytes, cut, doubled, filled with large numbers."""
    out = bytearray(data)
    for _ in range(int(rng.integers(1, 4))):
        if not out:
            break
        at = int(rng.integers(len(out)))
        length = int(rng.integers(1, 64))
        match int(rng.integers(8)):
            case 0 | 1:
                out[at] ^= 1 << int(rng.integers(8))
            case 2:
                out[at] = int(rng.integers(256))
            case 3:
                del out[at:]
            case 4:
                del out[at : at + length]
            case 5:
                out[at:at] = out[at : at + length]
            case 6:
                out[at : at + 4] = rng.choice([b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\0\0\0\x80"])
            case 7:
                words = [b"NaN", b"9" * 400, b"[" * 3000, b'"', b"null", b"{}", b"-1", b"1e999", b"\\ud800", b"\x1b[2J"]
                out[at : at + int(rng.integers(1, 8))] = words[int(rng.integers(len(words)))]
    return bytes(out)


def available(target: Target) -> Iterator[str]:
    """The packages that a target needs and that are not here."""
    import importlib.util

    return (name for name in target.needs if importlib.util.find_spec(name) is None)
