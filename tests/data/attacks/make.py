"""Write the hostile files of this folder and the list of them, README.md: ``python -m tests.data.attacks.make``."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from ghostedge.tflite.flatbuffer import pack, unpack
from tests.fuzz.targets import TARGETS

HERE = Path(__file__).parent
RECORD = json.loads(TARGETS["record"].whole())
NESTED = b"[" * 2000
DIGITS = "9" * 401


def record(**fields: object) -> bytes:
    return json.dumps({**RECORD, **fields}).encode()


def without(field: str) -> bytes:
    return json.dumps({key: value for key, value in RECORD.items() if key != field}).encode()


def recipe(old: str, new: str) -> bytes:
    text = TARGETS["recipe"].whole().decode()
    assert old in text
    return text.replace(old, new, 1).encode()


def flipped(name: str, at: int, bit: int) -> bytes:
    data = bytearray(TARGETS[name].whole())
    data[at] ^= 1 << bit
    return bytes(data)


def lines(change: dict[str, object] | None = None, line: int = 1, raw: bytes | None = None) -> bytes:
    """A ledger of JSON Lines without its checksum, one line of it changed."""
    found = TARGETS["json_lines"].whole().split(b"\n")[:-2]
    found[line] = raw if raw is not None else json.dumps({**json.loads(found[line]), **(change or {})}).encode()
    return b"\n".join(found) + b"\n"


def tar(name: str, size: int, content: bytes = b"") -> bytes:
    entry = tarfile.TarInfo(name)
    entry.size = size
    return entry.tobuf() + content + bytes(1024)


def npz(**arrays: object) -> bytes:
    buffer = io.BytesIO()
    with np.load(io.BytesIO(TARGETS["golden"].whole())) as whole:
        np.savez_compressed(buffer, **{**{name: whole[name] for name in whole.files}, **arrays})
    return buffer.getvalue()


def zipped(members: dict[str, bytes]) -> bytes:
    """A golden file with these members in place of, or beside, its own."""
    buffer = io.BytesIO()
    whole = zipfile.ZipFile(io.BytesIO(TARGETS["golden"].whole()))
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in ({name: whole.read(name) for name in whole.namelist()} | members).items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def without_output() -> bytes:
    graph = unpack(TARGETS["tflite"].whole(), "a.tflite")
    graph.operators[0].raw.outputs = []
    return pack(graph)


def bomb() -> bytes:
    """A .npy whose header asks for 2^40 bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        head = "{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776,), }".ljust(117).encode() + b"\n"
        archive.writestr(zipfile.ZipInfo("crops_u8.npy"), b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head)
    return buffer.getvalue()


ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 9))

ATTACKS: dict[str, tuple[bytes, str]] = {
    "record/nested.json": (NESTED, "nested so deeply that a recursive parser ends with RecursionError"),
    "record/memory_list.json": (record(memory=[]), "a list where an object is expected"),
    "record/no_file.json": (
        record(artifact={key: value for key, value in RECORD["artifact"].items() if key != "file"}),
        "a field is missing below the first level",
    ),
    "record/digits.json": (
        record(load_ms=0).replace(b'"load_ms": 0', f'"load_ms": {DIGITS}'.encode()),
        "a number of 401 digits, which no float can hold",
    ),
    "record/nan.json": (
        record(latency_ms={**RECORD["latency_ms"], "p50": float("nan")}),
        "NaN, which JSON does not have",
    ),
    "record/overflow.json": (
        record(load_ms=0).replace(b'"load_ms": 0', b'"load_ms": 1e999'),
        "a number that Python reads as infinity",
    ),
    "record/negative.json": (record(latency_ms={**RECORD["latency_ms"], "p50": -5}), "a negative latency"),
    "record/text.json": (record(samples_ms=["1", "2"]), "texts where numbers are expected"),
    "record/surrogate.json": (record(name="\ud800"), "half a surrogate pair, which cannot be written as UTF-8"),
    "record/no_name.json": (without("name"), "a field is missing"),
    "manifest/nested.json": (b'{"schema_version": 1, "artifacts": ' + NESTED, "nested too deeply"),
    "manifest/deep.json": (
        b'{"schema_version": 1, "source": ' + b'{"a": ' * 500 + b"1" + b"}" * 500 + b"}",
        "whole JSON, deeper than recursive code of ours may go",
    ),
    "manifest/device.json": (
        TARGETS["manifest"].whole().replace(b'"sha256": "000', b'"sha256": 3, "x": "000'),
        "a number where a hash is expected",
    ),
    "input_spec/nested.json": (NESTED, "nested too deeply"),
    "input_spec/fraction.json": (b'{"height": 224.5}', "half a pixel"),
    "input_spec/letters.json": (b'{"mean": ["a", "b", "c"]}', "texts where numbers are expected"),
    "recipe/nested.toml": (recipe("[bounds]", f"a = {NESTED.decode()}\n[bounds]"), "nested too deeply"),
    "recipe/input.toml": (recipe("[input]", "input = 3\n[more]"), "a number where a table is expected"),
    "recipe/options.toml": (
        TARGETS["recipe"].whole().partition(b"[options]")[0].replace(b"[bounds]", b'options = ["a"]\n[bounds]'),
        "a list where a table is expected",
    ),
    "recipe/digits.toml": (
        recipe("min_snr_db = ", f"min_snr_db = {DIGITS} # "),
        "a bound of 401 digits",
    ),
    "recipe/mean.toml": (
        recipe("[input]", '[input]\nmean = ["a", "b", "c"]'),
        "texts where numbers are expected",
    ),
    "json_lines/nested.jsonl": (lines(raw=NESTED), "a line that is nested too deeply"),
    "json_lines/flipped.jsonl": (
        TARGETS["json_lines"].whole().replace(b'"label": 1', b'"label": 2', 1),
        "one label is another one: only the checksum knows",
    ),
    "json_lines/metadata.jsonl": (
        lines({"metadata": {"schema_version": 1, "classes": "7", "host": []}}, 0),
        "metadata of other types",
    ),
    "json_lines/infinite.jsonl": (lines({"log_sum_exp": 1e300}), "a number that float32 cannot hold"),
    "json_lines/surrogate.jsonl": (lines({"image_id": "\ud800.JPEG"}), "half a surrogate pair in a name"),
    "ledger/flipped.parquet": (flipped("ledger", 60, 3), "one bit of a page is another one"),
    "ledger/cut.parquet": (TARGETS["ledger"].whole()[:-100], "cut short"),
    "ledger/not_a_ledger.parquet": (TARGETS["shard"].whole(), "whole Parquet with other columns"),
    "tflite/cut.tflite": (TARGETS["tflite"].whole()[:700], "cut within a table"),
    "tflite/no_output.tflite": (without_output(), "an operator that makes nothing"),
    "tflite/offset.tflite": (b"\xff\xff\xff\x7fTFL3" + bytes(64), "the root lies outside of the file"),
    "onnx/not_utf8.onnx": (TARGETS["onnx"].whole().replace(b"conv", b"c\xffnv"), "a name that is not UTF-8"),
    "onnx/description.onnx": (
        TARGETS["onnx"].whole().replace(b'"schema_version": 1', b'"schema_version": 9'),
        "a description of another version",
    ),
    "openvino/entities.xml": (
        f'<?xml version="1.0"?><!DOCTYPE net [<!ENTITY e0 "{"a" * 10}">{ENTITIES}]><net name="&e8;"/>'.encode(),
        "entities that grow to a gigabyte (billion laughs)",
    ),
    "openvino/negative.xml": (
        TARGETS["openvino"].whole().replace(b'offset="0" size="12"', b'offset="-9" size="12"'),
        "a constant before the beginning of the weights",
    ),
    "checkpoint/newline.ckpt": (b"\n\x05" + b"\n\x03a\nb", "a name of two lines, which an error quotes"),
    "golden/bomb.npz": (bomb(), "an array of 2^40 bytes in a file of 300"),
    "golden/name.npz": (
        zipped({"\u00e9": b""}).replace(b"\xc3\xa9", b"\xff\xa9"),
        "a name that is not the UTF-8 it says it is",
    ),
    "golden/bytes.npz": (zipped({"logits.npy": b"no array"}), "a member that is no array"),
    "golden/pickle.npz": (npz(names=np.array([{"a": 1}], object)), "a pickle, which could run code"),
    "golden/shape.npz": (npz(logits=np.zeros((1, 2), np.float32)), "fewer answers than pictures"),
    "labels/not_utf8.txt": (b"tench\n\xff\n", "not UTF-8"),
    "truth_text/digits.txt": (f"a.JPEG {'9' * 5000}\nb.JPEG 0\n".encode(), "a label of 5,000 digits"),
    "truth_csv/field.csv": (f'file,index\n"{"a" * 200_000}",1\n'.encode(), "a field beyond the limit of Python's csv"),
    "tar/size.tar": (tar("a.JPEG", 8**11 - 1), "a member of 8 GiB in a file of 2 KiB"),
    "tar/empty.tar": (bytes(1024), "no member at all"),
    "jpeg/cut.jpg": (TARGETS["jpeg"].whole()[:400], "cut short"),
    "png/bomb.png": (
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 100_000, 100_000) + b"\x08\x02\0\0\0" + bytes(4),
        "a picture of 10^10 pixels",
    ),
    "checkpoint/cut.ckpt": (TARGETS["checkpoint"].whole()[:-20], "cut within a tensor"),
    "checkpoint/huge.ckpt": (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f", "a field that is longer than any file"),
    "safetensors/header.safetensors": (b"\xff" * 8 + b"{}", "a header of 2^64 bytes"),
    "report/nested.json": (NESTED, "nested too deeply"),
    "report/nan.json": (b'{"comparisons": [{"result": NaN}]}', "NaN, which JSON does not have"),
}


def main() -> None:
    """Write all."""
    said = [
        "# Hostile files",
        "",
        "Each attacks one reader (`tests/fuzz/targets.py`), which refuses it in one line.",
        "",
    ]
    for name, (data, what) in sorted(ATTACKS.items()):
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        said.append(f"- `{name}`: {what}")
    (HERE / "README.md").write_text("\n".join([*said, ""]))


if __name__ == "__main__":
    main()
