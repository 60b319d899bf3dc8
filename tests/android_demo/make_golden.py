"""Write what the Java tests of android_demo/core are held to: answers of the Python side, a small artifact, and golden
vectors for it.

    python -m tests.android_demo.make_golden

Pictures are not in the file: both sides make them by one rule, byte i = the upper 8 of the 32 bits of i * 2654435761.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.data.golden import SUFFIX, Golden, golden_beside, write_golden
from ghostedge.data.preprocess import resize_and_crop, to_spec
from ghostedge.evaluation.columns import rows_of_logits
from ghostedge.model import InputSpec, Model
from tests.scripts import load_script

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
LINEAR_SOURCE = hashlib.sha256(b"linear").hexdigest()
LINEAR_BOUNDS = {"min_snr_db": 60.0, "min_top1_agreement": 0.98}
#: The model of tests/data/linear.
WEIGHTS = np.array([[1, 0, -1, 0.5], [0, 1, -1, 0.5], [0.25, -0.25, 1, 0.5]], np.float32)
BIAS = np.array([0.1, -0.2, 0.3, 0.0], np.float32)


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
        "golden_file": golden_file(),
        "beside": beside(),
        "misfits": misfits(),
        "bounds": bounds(),
        "words": words(),
        "verification": verifications(),
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
    from ghostedge.runtimes.tflite import to_integers

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
            fields: dict[str, Any] = {"layout": layout, "colour_order": order, "range": value_range, "dtype": dtype}
            spec = replace(base, **fields)
            tensor: NDArray[Any] = to_spec(crop, spec)
            if tensor.dtype != kind:
                tensor = to_integers(tensor, {"dtype": np.dtype(kind), "quantization": (scale, zero)})
            case = {"spec": spec.to_dict(), "type": kind, "scale": scale, "zero": zero}
            cases.append({**case, "sha256": digest(tensor)})
    return cases


def dequantise() -> list[dict[str, Any]]:
    """The 256 values of a byte as logits."""
    from ghostedge.runtimes.tflite import to_reals

    cases = []
    for kind, scale, zero in (("int8", 0.1573, -31), ("uint8", 0.0391, 117), ("int8", 0.0, 0), ("uint8", 0.0, 0)):
        integers = np.arange(256, dtype=np.uint8).view(kind)
        logits = to_reals(integers, {"quantization": (scale, zero)})
        cases.append({"type": kind, "scale": scale, "zero": zero, "sha256": digest(logits)})
    return cases


@cache
def edge_benchmark() -> ModuleType:
    """benchmarks/edge_benchmark.py."""
    return load_script(ROOT / "benchmarks" / "edge_benchmark.py")


def summaries() -> list[dict[str, Any]]:
    """What edge_benchmark.py makes of samples."""
    benchmark = edge_benchmark()
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


def linear_golden() -> Golden:
    """Golden vectors of the model of tests/data/linear."""
    random = np.random.default_rng(4)
    colours = random.integers(40, 216, (6, 1, 1, 3))
    crops = np.clip(colours + random.integers(-40, 40, (6, 8, 8, 3)), 0, 255).astype(np.uint8)
    means = to_spec(crops, LINEAR_SPEC).astype(np.float64).mean(axis=(1, 2))
    names = ("a.jpeg", "Bär.jpeg", "c d.png", "❄.jpg", "e.jpeg", "f.jpeg")
    return Golden(crops, (means @ WEIGHTS + BIAS).astype(np.float32), names, LINEAR_LABELS, LINEAR_SOURCE)


def golden_file() -> list[dict[str, Any]]:
    """What is in linear.golden.npz."""
    vectors = linear_golden()
    return [
        {
            "crops": digest(vectors.crops),
            "logits": vectors.logits.tolist(),
            "names": list(vectors.names),
            "source_sha256": vectors.source_sha256,
        }
    ]


def beside() -> list[dict[str, Any]]:
    """Which golden file in its folder ghostedge takes for a model."""
    cases = []
    for model, names in (
        ("net_fp16.tflite", []),
        ("net_fp16.tflite", ["net"]),
        ("net_fp16.tflite", ["other"]),
        ("net_fp16.tflite", ["other", "third"]),
        ("net_fp16.tflite", ["a", "net", "net_fp16", "net_fp32"]),
        ("net_fp16.tflite", [".partial-net", "other"]),
    ):
        files = ["net_fp16.tflite", *(f"{name}{SUFFIX}" for name in names), "x.npz"]
        with TemporaryDirectory() as folder:
            for file in files:
                (Path(folder) / file).touch()
            found = golden_beside(Path(folder) / model)
        cases.append({"model": model, "files": files, "golden": found.name if found else None})
    return cases


def misfits() -> list[dict[str, Any]]:
    """What edge_benchmark.py says of golden vectors for another model."""
    edge, cases = edge_benchmark(), []
    for source, height, classes in (("0" * 64, 8, 4), (LINEAR_SOURCE, 9, 4), (LINEAR_SOURCE, 8, 5)):
        arrays = arrays_of(np.zeros((1, classes), np.float32), source, height)
        runtime = Scripted([np.zeros(4, np.float32)], [0], LINEAR_BOUNDS, None, 0.0)
        runtime.description["source_sha256"] = LINEAR_SOURCE
        spec = edge.input_spec({"input": LINEAR_SPEC.to_dict()}, (1, 8, 8, 3))
        try:
            verification = edge.Verification("x.golden.npz", arrays, "m.tflite", runtime, spec)
            runtime.run()
            verification.run({})
        except edge.BenchmarkError as exc:
            said = str(exc).removeprefix("--")
            cases.append({"source": source, "height": height, "classes": classes, "said": said})
    return cases


def bounds() -> list[dict[str, Any]]:
    """What edge_benchmark.py holds answers to."""
    cases = []
    for said in ({}, LINEAR_BOUNDS, {"min_snr_db": 25}, {"min_snr_db": 20.5, "min_top1_agreement": 0.8}):
        for precision in ("f32", "f16"):
            found = bounds_of(said, precision)
            cases.append({"said": said, "precision": precision, "bounds": found})
    return cases


def bounds_of(said: Mapping[str, float], precision: str | None) -> Any:
    """The bounds of a model that says these of itself."""
    job = {"min_snr_db": None, "min_top1_agreement": None}
    runtime = SimpleNamespace(description={"bounds": said}, details={"inference_precision": precision})
    return edge_benchmark().bounds_of(job, runtime)


def words() -> list[dict[str, Any]]:
    """How Python writes numbers; halves tell it from Java's own way."""
    values = [17.25, 17.15, 17.05, 17.35, 0.05, 0.0, 0.25, -3.25, 70.649, 40.0, 18.5, 0.7, 0.85, 0.125, 0.625, 0.005,
              0.995, 1.0, 38.25, 60.12345678, 100.0, 1 / 3, 2 / 3]  # fmt: skip
    return [{"value": v, "fixed": f"{v:.1f}", "percent": f"{v:.0%}", "general": f"{v:g}"} for v in values]


class Scripted:
    """A runtime of edge_benchmark.py whose answers are given: inference i gives row ``order[i]``, in `seconds`."""

    shape, dtype, quantization = (1, 8, 8, 3), "float32", None

    def __init__(
        self,
        rows: Sequence[NDArray[np.float32]],
        order: Sequence[int],
        said: dict[str, float],
        precision: str | None,
        seconds: float,
    ) -> None:
        self._rows, self._order, self._seconds = rows, order, seconds
        self.now, self.count = 0.0, 0
        self.description: dict[str, Any] = {"bounds": said}
        self.details = {"inference_precision": precision}

    def set_input(self, tensor: Any) -> None:
        """Any picture: the answers are given."""

    def run(self) -> None:
        """The next answer."""
        self.now += self._seconds
        self.count += 1

    def output(self) -> Any:
        """The row of the last inference."""
        return self._rows[self._order[self.count - 1]][None]


def arrays_of(wanted: NDArray[np.float32], source: str = LINEAR_SOURCE, height: int = 8) -> dict[str, Any]:
    """The arrays of a golden file with these answers."""
    return {
        "crops_u8": np.zeros((len(wanted), height, 8, 3), np.uint8),
        "logits": wanted,
        "names": np.array([f"photo{index}.jpeg" for index in range(len(wanted))]),
        "source_sha256": np.array(source),
    }


def verifications() -> list[dict[str, Any]]:
    """What edge_benchmark.py says of answers, inference by inference."""
    random = np.random.default_rng(5)
    wanted = short(random.normal(0, 3, (8, 10)))
    near = short(wanted + random.normal(0, 1e-3, wanted.shape))
    far = short(wanted + random.normal(0, 0.6, wanted.shape))
    other = short(random.normal(0, 3, wanted.shape))
    tied = np.repeat(short([[5, 1, 0, 4.99]]), 8, axis=0)
    flipped = tied + short([[0, 0, 0, 0.02]]) * (np.arange(8) % 4 > 0)[:, None].astype(np.float32)
    holed, endless, zero, negative = near.copy(), near.copy(), near.copy(), near.copy()
    holed[3, 2], endless[3, 2], zero[0, 0], negative[0, 0] = np.nan, np.inf, 0.0, -0.0
    nothing = np.zeros((2, 3), np.float32)
    little = nothing + np.float32(1 / 1024)
    repeats = edge_benchmark().REPEATS
    # Name, the right answers, the model's to each picture, other answers to the first picture by the inference that
    # gives them (-1: the one after timing), bounds, precision, seconds an inference.
    plans: list[tuple[str, NDArray[np.float32], NDArray[np.float32], dict[int, NDArray[np.float32]], Any, Any, float]]
    plans = [
        ("exact", wanted, wanted, {}, LINEAR_BOUNDS, "f32", 0.01),
        ("near", wanted, near, {}, LINEAR_BOUNDS, None, 0.01),
        ("far", wanted, far, {}, LINEAR_BOUNDS, "f32", 0.01),
        ("far in float16", wanted, far, {}, LINEAR_BOUNDS, "f16", 0.01),
        ("near in float16", wanted, near, {}, {"min_snr_db": 90.0, "min_top1_agreement": 0.98}, "f16", 0.01),
        ("another model", wanted, other, {}, {}, None, 0.01),
        ("other best classes", tied, flipped, {}, {}, None, 0.01),
        ("equal best classes", short([[5, 5, 0, 1]]), short([[5, 4.99, 0, 1]]), {}, {}, None, 0.01),
        ("right only the first time", wanted, near, dict.fromkeys(range(2, repeats + 1), other[0]), {}, None, 0.01),
        ("wrong once", wanted, near, {7: other[0]}, {}, None, 0.01),
        ("another bit once", wanted, near, {50: np.nextafter(near[0], np.float32(9))}, {}, None, 0.01),
        ("two others", wanted, near, {5: far[0], 9: near[1]}, {}, None, 0.01),
        ("not a number once", wanted, near, {12: holed[3]}, {}, None, 0.01),
        ("minus zero once", wanted, zero, {3: negative[0]}, {}, None, 0.01),
        ("not a number", wanted, holed, {}, {}, None, 0.01),
        ("not a number, always the same", wanted, np.roll(holed, 5, axis=0), {}, {}, None, 0.01),
        ("infinite", wanted, endless, {}, {}, None, 0.01),
        ("no signal", nothing, little, {}, {}, None, 0.01),
        ("another after timing", wanted, near, {-1: far[0]}, {}, None, 0.01),
        ("one picture", wanted[:1], near[:1], {}, LINEAR_BOUNDS, None, 0.01),
        ("slow", wanted, near, {}, {}, None, 1.5),
        ("very slow", wanted, near, {3: other[0]}, {}, None, 30.0),
    ]
    return [verification(*plan) for plan in plans]


def short(values: Any) -> NDArray[np.float32]:
    """Numbers that take few digits in JSON, to the bit."""
    rounded: NDArray[np.float32] = (np.rint(np.asarray(values) * 1024) / 1024).astype(np.float32)
    return rounded


def verification(
    name: str,
    wanted: NDArray[np.float32],
    found: NDArray[np.float32],
    others: dict[int, NDArray[np.float32]],
    said: dict[str, float],
    precision: str | None,
    seconds: float,
) -> dict[str, Any]:
    """One case, with the record that edge_benchmark.py makes of it."""
    edge: Any = edge_benchmark()
    rows = [*found, *others.values()]
    place = {inference: len(found) + index for index, inference in enumerate(others)}
    count = edge.REPEATS
    while True:  # a slow device makes fewer repeats: as many as are made with that order
        order = [place.get(inference, 0) for inference in range(1, count + 1)]
        order += [*range(1, len(found)), place.get(-1, 0)]
        runtime = Scripted(rows, order, said, precision, seconds)
        edge.time = SimpleNamespace(perf_counter=lambda runtime=runtime: runtime.now)
        spec = edge.input_spec({"input": LINEAR_SPEC.to_dict()}, runtime.shape)
        checked = edge.Verification(__file__, arrays_of(wanted), "m.tflite", runtime, spec)
        runtime.run()
        record = checked.run(bounds_of(said, precision))
        if record["repeats"]["inferences"] == count:
            break
        count = record["repeats"]["inferences"]
    checked.again(record)
    assert runtime.count == len(order)
    del record["golden"]
    return {
        "name": name,
        "wanted": wanted.tolist(),
        "rows": [[value if np.isfinite(value) else words_of(value) for value in row.tolist()] for row in rows],
        "order": order,
        "seconds": seconds,
        "said": said,
        "precision": precision,
        "record": record,
    }


def words_of(value: float) -> str:
    """NaN and infinity, which JSON has not, as Java reads them."""
    return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def described_linear() -> bytes:
    """tests/data/linear/fp32.tflite with the metadata that `ghostedge export` embeds."""
    from ghostedge.tflite.flatbuffer import unpack
    from ghostedge.tflite.metadata import embed

    path = ROOT / "tests" / "data" / "linear" / "fp32.tflite"
    described = Model(path, "tflite", LINEAR_SPEC, LINEAR_LABELS, source_sha256=LINEAR_SOURCE, bounds=LINEAR_BOUNDS)
    return embed(unpack(path.read_bytes(), path.name), described, "linear", "image", "logits")


def main() -> None:
    """Write the three files."""
    RESOURCES.mkdir(parents=True, exist_ok=True)
    (RESOURCES / "golden.json").write_text(text(), encoding="utf-8")
    (RESOURCES / "linear_described.tflite").write_bytes(described_linear())
    write_golden(RESOURCES / "linear.golden.npz", linear_golden())


def text() -> str:
    """golden.json, one case a line."""
    parts = []
    for name, cases in golden().items():
        lines = ",\n".join(f"  {json.dumps(case, ensure_ascii=False)}" for case in cases)
        parts.append(f'"{name}": [\n{lines}\n]')
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    main()
