"""Int8 that loses accuracy is repaired by the fewest operators in float, and said to be beyond repair where it is."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ghostedge.data.datasets import Dataset, open_dataset
from ghostedge.data.preprocess import preprocess
from ghostedge.errors import UsageError
from ghostedge.model import CalibrationImage, CalibrationSet, Model
from ghostedge.pipeline.tuning import Search
from ghostedge.runtimes import open_runtime
from ghostedge.tflite.flatbuffer import pack, unpack

#: XNNPACK takes no int8 ADD whose scales are 1,000 apart.
REPORT = {"xnnpack": "report"}


def picture(rng: np.random.Generator) -> bytes:
    data = io.BytesIO()
    small = (rng.integers(0, 256, (6, 7, 3)) * rng.uniform(0.3, 1, 3)).astype(np.uint8)
    Image.fromarray(small).resize((48, 40), Image.Resampling.BICUBIC).save(data, "PNG")
    return data.getvalue()


@pytest.fixture(scope="module")
def calibration() -> CalibrationSet:
    encoded = [picture(np.random.default_rng([1, index])) for index in range(24)]
    images = tuple(CalibrationImage(f"{i}", hashlib.sha256(e).hexdigest(), e) for i, e in enumerate(encoded))
    return CalibrationSet("noise", images, 0, 24)


@pytest.fixture(scope="module")
def fragile(tiny_tflite: dict[str, Model], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The small network with one channel of the depthwise convolution at 3,000, which the dense layer leaves out.

    In float it changes nothing; in int8 the activations that share that channel's scale have no room for the others.
    """
    source = tiny_tflite["fp32"]
    graph = unpack(source.path.read_bytes(), "m")
    cheap = next(o for o in graph.operators if o.kind == "DEPTHWISE_CONV_2D")  # the other is a pool
    (dense,) = (o for o in graph.operators if o.kind == "FULLY_CONNECTED")
    bias, weights = graph.constant(cheap.inputs[2]), graph.constant(dense.inputs[1])
    assert bias is not None
    assert weights is not None
    bias, weights = bias.copy(), weights.copy()
    bias[0], weights[:, 8] = 3e3, 0
    graph.set_constant(cheap.inputs[2], bias)
    graph.set_constant(dense.inputs[1], weights)
    path = tmp_path_factory.mktemp("fragile") / "fragile_fp32.tflite"
    path.write_bytes(pack(graph))
    return dataclasses.replace(source, path=path, labels=())


@pytest.fixture(scope="module")
def tuning(fragile: Model, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """80 pictures whose labels are what the float model answers, so that it is right on all of them."""
    folder = tmp_path_factory.mktemp("tuning")
    lines = ["file,index"]
    with open_runtime(fragile) as runtime:
        for index in range(80):
            encoded = picture(np.random.default_rng([2, index]))
            (folder / f"{index:03d}.png").write_bytes(encoded)
            lines.append(f"{index:03d}.png,{int(runtime.run(preprocess(encoded, runtime.input)).argmax())}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return open_dataset(folder)


def search(
    source: Model, calibration: CalibrationSet, tuning: Dataset, folder: Path, max_drop: float, **more: float
) -> Search:
    return Search(source, "int8", source.input, calibration, tuning, folder, max_drop=max_drop, base=REPORT, **more)  # type: ignore[arg-type]


def test_the_fewest_operators_stay_in_float(
    fragile: Model, calibration: CalibrationSet, tuning: Dataset, tmp_path: Path
) -> None:
    told: list[object] = []
    looking = search(fragile, calibration, tuning, tmp_path, 15, max_float_macs=60)
    looking.on_trial = told.append
    repair = looking.run()
    assert [trial.decision.verdict for trial in repair.trials[:4]] == ["FAIL"] * 4  # no remedy widens an int8
    assert repair.chosen.decision.verdict == "PASS"
    assert repair.chosen.options["keep_float"]
    assert repair.chosen.drop.upper_points <= 15
    assert told == list(repair.trials)
    fewer = [
        t for t in repair.trials if len(t.options.get("keep_float", ())) < len(repair.chosen.options["keep_float"])
    ]
    assert {trial.decision.verdict for trial in fewer} <= {"FAIL", "INCONCLUSIVE"}
    report = json.loads((tmp_path / "repair.json").read_text())
    assert report["trials"][report["chosen"]] == repair.chosen.to_dict()

    # Other options are another trial, though all that is searched is the same.
    other = search(fragile, calibration, tuning, tmp_path, 15, max_float_macs=0)
    other.base = {**REPORT, "bias_correction": False}
    assert other._build({"estimator": "mse"}).path != looking._build({"estimator": "mse"}).path

    # What was tried is not tried again: a killed search goes on from its artifacts and ledgers.
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tflite")}
    again = search(fragile, calibration, tuning, tmp_path, 15, max_float_macs=60).run()
    assert again == repair
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.tflite")} == before


def test_a_bound_that_cannot_be_met_is_said_to_be_so(
    fragile: Model, calibration: CalibrationSet, tuning: Dataset, tmp_path: Path
) -> None:
    repair = search(fragile, calibration, tuning, tmp_path, 15, max_float_macs=0).run()
    assert repair.chosen.decision.verdict == "FAIL"


def test_a_model_within_the_bound_is_left_whole(
    tiny_tflite: dict[str, Model], calibration: CalibrationSet, tuning: Dataset, tmp_path: Path
) -> None:
    (trial,) = search(tiny_tflite["fp32"], calibration, tuning, tmp_path, 30).run().trials
    assert trial.decision.verdict == "PASS"
    assert trial.float_macs_percent == 0


def test_images_without_labels_cannot_tune(
    tiny_tflite: dict[str, Model], calibration: CalibrationSet, tmp_path: Path
) -> None:
    from ghostedge.data.datasets import NO_LABELS

    (tmp_path / "a.png").write_bytes(picture(np.random.default_rng(0)))
    with pytest.raises(UsageError, match="images without labels"):
        search(tiny_tflite["fp32"], calibration, open_dataset(tmp_path, NO_LABELS), tmp_path, 1)
