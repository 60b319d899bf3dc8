"""Write what the Java tests of android_demo/core are held to: answers of the Python side, and a small artifact.

    python tests/android_demo/make_golden.py

Pictures are not in the file: both sides make them by one rule, byte i = the upper 8 of the 32 bits of i * 2654435761.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.preprocess import resize_and_crop, to_spec
from ghostedge.description import Description
from ghostedge.evaluation.ledger import rows_of_logits
from ghostedge.types import InputSpec

ROOT = Path(__file__).resolve().parents[2]
RESOURCES = ROOT / "android_demo" / "core" / "src" / "test" / "resources"

#: (width, height): photos and camera frames, upright and lying; enlarged, halved, kept; one pixel; as good as a line.
SIZES = [
    (1280, 720), (720, 1280), (640, 480), (480, 640), (1920, 1080), (500, 375), (375, 500), (333, 500), (512, 512),
    (256, 256), (255, 256), (257, 256), (300, 256), (256, 300), (224, 224), (223, 225), (128, 128), (100, 75),
    (75, 100), (64, 48), (31, 57), (57, 31), (17, 3), (3, 17), (2, 2), (2, 1), (1, 2), (1, 1), (1, 9), (9, 1),
    (1000, 7), (7, 1000), (21, 5), (5, 21), (513, 511), (511, 513), (1023, 769), (769, 1023), (401, 267), (267, 401),
    (4000, 30), (30, 4000), (96, 97), (97, 96), (1024, 1024), (449, 448), (448, 449),
]  # fmt: skip

#: (resize, height, width) of the model's input.
INPUTS = [(256, 224, 224), (235, 224, 224), (36, 32, 32), (9, 8, 8), (50, 31, 44)]

LINEAR_SPEC = InputSpec(height=8, width=8, resize=9, layout="NHWC")
LINEAR_LABELS = ("cat", "Zürich", 'a "quoted" name', "snow ❄")


def picture(width: int, height: int) -> NDArray[np.uint8]:
    """uint8 (height, width, 3) by the rule above."""
    index = np.arange(3 * width * height, dtype=np.uint64)
    return ((index * 2654435761 % 2**32) >> 24).astype(np.uint8).reshape(height, width, 3)


def digest(values: NDArray[Any]) -> str:
    """SHA-256 of the little-endian bytes."""
    return hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()


def golden() -> dict[str, Any]:
    """The whole file."""
    return {
        "preprocess": preprocess(),
        "encode": encode(),
        "dequantise": dequantise(),
        "summary": summaries(),
        "top5": top5(),
        "labels": list(LINEAR_LABELS),
    }


def preprocess() -> list[dict[str, Any]]:
    """Crops of every size for every input."""
    cases = []
    for (width, height), (resize, rows, columns) in itertools.product(SIZES, INPUTS):
        spec = InputSpec(height=rows, width=columns, resize=resize)
        case = {"width": width, "height": height, "resize": resize, "rows": rows, "columns": columns}
        cases.append({**case, "sha256": digest(resize_and_crop(picture(width, height), spec))})
    return cases


def encode() -> list[dict[str, Any]]:
    """Input tensors of one crop: every range, layout, colour order and type."""
    from ghostedge.runtimes.tflite import _quantise

    base = InputSpec(height=6, width=5, resize=8)
    crop = picture(base.width, base.height)[None]
    cases = []
    for layout, order in itertools.product(("NHWC", "NCHW"), ("RGB", "BGR")):
        for kind, value_range, dtype, scale, zero in (
            ("float32", "normalised", "float32", 0.0, 0),
            ("float32", "raw", "float32", 0.0, 0),
            ("uint8", "raw", "uint8", 1.0, 0),
            ("int8", "normalised", "float32", 0.018658448, -14),
            ("uint8", "normalised", "float32", 0.018658448, 114),
            ("int8", "normalised", "float32", 0.0078125, 3),
            ("int8", "raw", "float32", 1.0, -128),
        ):
            spec = replace(base, layout=layout, colour_order=order, range=value_range, dtype=dtype)
            tensor: NDArray[Any] = to_spec(crop, spec)
            if tensor.dtype != kind:
                tensor = _quantise(tensor, {"dtype": np.dtype(kind), "quantization": (scale, zero)})
            case = {"spec": spec.to_dict(), "type": kind, "scale": scale, "zero": zero}
            cases.append({**case, "sha256": digest(tensor)})
    return cases


def dequantise() -> list[dict[str, Any]]:
    """The 256 values of a byte as logits."""
    from ghostedge.runtimes.tflite import _dequantise

    cases = []
    for kind, scale, zero in (("int8", 0.1573, -31), ("uint8", 0.0391, 117), ("int8", 0.0, 0), ("uint8", 0.0, 0)):
        integers = np.arange(256, dtype=np.uint8).view(kind)
        logits = _dequantise(integers, {"quantization": (scale, zero)})
        cases.append({"type": kind, "scale": scale, "zero": zero, "sha256": digest(logits)})
    return cases


def summaries() -> list[dict[str, Any]]:
    """What edge_benchmark.py makes of samples."""
    location = importlib.util.spec_from_file_location("edge_benchmark", ROOT / "benchmarks" / "edge_benchmark.py")
    assert location is not None
    assert location.loader is not None
    benchmark = importlib.util.module_from_spec(location)
    location.loader.exec_module(benchmark)
    random = np.random.default_rng(0)
    cases = []
    for count in (1, 2, 3, 10, 19, 20, 21, 99, 100, 101, 1024):
        samples = [round(float(value), 6) for value in random.gamma(9, 1.3, count)]
        cases.append({"samples": samples, "summary": benchmark.summarise(samples)})
    return cases


def top5() -> list[dict[str, Any]]:
    """Best classes, logits and log-sum-exp, ties and few classes included."""
    random = np.random.default_rng(1)
    rows = [random.normal(0, 3, count).astype(np.float32) for count in (1000, 10, 5, 4, 1)]
    rows += [np.zeros(8, np.float32), np.array([1, 3, 3, 2, 3, 3, 3, 3], np.float32)]
    rows += [np.array([80, 90, -90, 100, 99.5, 3], np.float32)]
    cases = []
    for row in rows:
        found = rows_of_logits(np.array(["x"]), np.array([0], np.int32), row[None], [None], keep_logits=False)
        cases.append(
            {
                "logits": [float(value) for value in row],
                "classes": found.top5_class[0].tolist(),
                "log_sum_exp": float(found.log_sum_exp[0]),
            }
        )
    return cases


def described_linear() -> bytes:
    """tests/data/linear/fp32.tflite with the metadata that `ghostedge export` embeds."""
    from ghostedge.tflite.metadata import embed
    from ghostedge.tflite.model import unpack

    model = unpack((ROOT / "tests" / "data" / "linear" / "fp32.tflite").read_bytes(), "fp32.tflite")
    return embed(model, Description(LINEAR_SPEC, LINEAR_LABELS, "fp32"), "linear", "image", "logits")


def main() -> None:
    """Write both files."""
    RESOURCES.mkdir(parents=True, exist_ok=True)
    (RESOURCES / "golden.json").write_text(text(), encoding="utf-8")
    (RESOURCES / "linear_described.tflite").write_bytes(described_linear())


def text() -> str:
    """golden.json, one case a line."""
    parts = []
    for name, cases in golden().items():
        lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in cases)
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
