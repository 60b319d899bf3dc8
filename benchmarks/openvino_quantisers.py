"""Compare ways to quantise an OpenVINO IR: how far each int8 IR is from the float32 one, size, time.

    python benchmarks/openvino_quantisers.py --model net_equalised.xml --images PHOTOS --calibrate 40

Calibrates on a seeded choice of the photos, measures on the others, prints a Markdown table. SNR is given as CPUs with
VNNI compute it and as those without do. The latency is that of one thread, divided by that of the recipe's options, in
turn; on a busy machine read it with care.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.compare import compare
from ghostedge.data.calibration import calibration_batch, choose_calibration
from ghostedge.data.images import list_images
from ghostedge.data.preprocess import preprocess
from ghostedge.formats import open_model
from ghostedge.lazy import require
from ghostedge.model import CalibrationSet, Model, StageOutput
from ghostedge.openvino.from_onnx import finish
from ghostedge.openvino.quantize import QuantizeOpenVINOStage
from ghostedge.pipeline.recipe import recipes
from ghostedge.runtimes.openvino import SATURATING, OpenVinoRuntime, run_on_other_cpu

RECIPE = recipes()["openvino_int8"].options

#: Name -> options of ghostedge's stage.
OURS: Mapping[str, Mapping[str, Any]] = {
    "ghostedge's recipe (mse)": RECIPE,
    "lp": {**RECIPE, "estimator": "lp"},
    "percentile": {**RECIPE, "estimator": "percentile"},
    "minmax": {**RECIPE, "estimator": "minmax"},
    "mse, no bias correction": {**RECIPE, "bias_correction": "none"},
    "mse, full bias correction": {**RECIPE, "bias_correction": "full"},
    "mse, rounded to the nearest": {**RECIPE, "rounding": "nearest"},
    "mse, no saturation fix": {**RECIPE, "saturation_fix": "none"},
    "mse, saturation fix for the first": {**RECIPE, "saturation_fix": "first"},
    "mse, saturation fix for all": {**RECIPE, "saturation_fix": "all"},
}


def nncf_as_it_comes(nncf: Any) -> dict[str, Any]:
    """NNCF's defaults."""
    return {}


def nncf_for_mobilenets(nncf: Any) -> dict[str, Any]:
    """What NNCF advises for networks like MobileNetV3: activations asymmetric, full bias correction; histograms."""
    ranges = require("nncf.quantization.range_estimator", "export").RangeEstimatorParametersSet
    advanced = nncf.AdvancedQuantizationParameters(activations_range_estimator_params=ranges.HISTOGRAM)
    return {"preset": nncf.QuantizationPreset.MIXED, "fast_bias_correction": False, "advanced_parameters": advanced}


def nncf_histogram(nncf: Any) -> dict[str, Any]:
    """The best of its own that was found: as above with the fast bias correction."""
    return nncf_for_mobilenets(nncf) | {"fast_bias_correction": True}


#: Name -> arguments of `nncf.quantize`.
NNCF: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "NNCF as it comes": nncf_as_it_comes,
    "NNCF, mixed, histogram, full bias correction": nncf_for_mobilenets,
    "NNCF, mixed, histogram, fast bias correction": nncf_histogram,
}


def main() -> None:
    """Make every artifact, measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a float32 IR of ghostedge, equalised or not")
    parser.add_argument("--images", type=Path, required=True, help="photos to calibrate and to measure on")
    parser.add_argument("--calibrate", type=int, default=40, help="how many to calibrate on")
    parser.add_argument("--rounds", type=int, default=40, help="of the latencies")
    arguments = parser.parse_args()
    source = open_model(arguments.model)
    calibration = choose_calibration(arguments.images, arguments.calibrate)
    used = {image.image_id for image in calibration.images}
    batch = np.concatenate(
        [preprocess(path, source.input) for path in list_images(arguments.images) if path.name not in used]
    )
    reference = logits(source, batch)
    with tempfile.TemporaryDirectory() as folder:
        rows, made = {}, {}
        for name, artifact, seconds in artifacts(source, calibration, Path(folder)):
            found = compare(reference, logits(artifact, batch))
            other = run_on_other_cpu(artifact, batch)
            snr = (
                {} if other is None else {other.own: found.snr_db, other.other: compare(reference, other.logits).snr_db}
            )
            without = f"{snr[SATURATING]:.1f}" if SATURATING in snr else "–"
            with_vnni = next((value for kind, value in snr.items() if kind != SATURATING), found.snr_db)
            size = sum(file.stat().st_size for file in artifact.files) / 1e6
            rows[name] = (
                f"| {name} | {with_vnni:.1f} | {without} | {found.top1_agreement:.0%} | {size:.1f} | {seconds:.0f} |"
            )
            print(rows[name], file=sys.stderr, flush=True)
            made[name] = artifact
        ratios = latencies(made, batch[:1], arguments.rounds)
    print("| quantiser | SNR, dB | without VNNI | top-1 agreement | MB | seconds | latency |")
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        print(f"{row} {ratios[name]:.2f} |")


def artifacts(source: Model, calibration: CalibrationSet, folder: Path) -> Iterator[tuple[str, Model, float]]:
    """(name, artifact, seconds it took) of every way to quantise."""
    ov, nncf = require("openvino", "export"), require("nncf", "export")
    batch = calibration_batch(calibration, source.input)
    images = nncf.Dataset([batch[i : i + 1] for i in range(len(batch))])
    for number, (name, options) in enumerate([*NNCF.items(), *OURS.items()]):
        path = folder / f"{number}.xml"
        given = {} if callable(options) else options
        output = StageOutput(Model(path, "openvino", source.input, source.labels, "int8"), given, calibration)
        began = time.monotonic()
        if callable(options):
            model = nncf.quantize(ov.Core().read_model(source.path), images, subset_size=len(batch), **options(nncf))
            artifact = finish(ov, model, output, source.input)
        else:
            (artifact,) = QuantizeOpenVINOStage().build(source, (output,))
        yield name, artifact, time.monotonic() - began


def latencies(made: Mapping[str, Model], image: NDArray[Any], rounds: int) -> dict[str, float]:
    """Name -> time of one inference over that of the first of `OURS`, the median of the rounds' ratios."""
    taken: dict[str, list[float]] = {name: [] for name in made}
    with contextlib.ExitStack() as stack:
        runtimes = {name: stack.enter_context(OpenVinoRuntime(artifact)) for name, artifact in made.items()}
        for _ in range(rounds):
            for name, runtime in runtimes.items():
                began = time.perf_counter()
                for _ in range(20):
                    runtime.run(image)
                taken[name].append(time.perf_counter() - began)
    base = taken[next(iter(OURS))]
    return {name: statistics.median(a / b for a, b in zip(values, base, strict=True)) for name, values in taken.items()}


def logits(artifact: Model, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Logits of a batch that `artifact` takes."""
    with OpenVinoRuntime(artifact) as runtime:
        return runtime.run(batch)


if __name__ == "__main__":
    main()
