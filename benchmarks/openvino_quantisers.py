"""Compare the options of the OpenVINO quantiser: how far each int8 IR is from the float32 one, size, time.

    python benchmarks/openvino_quantisers.py --model net_fp32.xml --images PHOTOS --calibrate 40

Calibrates on a seeded choice of the photos, measures on the others, prints a Markdown table.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ghostedge.artifact import open_artifact
from ghostedge.compare import compare
from ghostedge.data.calibration import choose_calibration
from ghostedge.data.images import list_images
from ghostedge.data.preprocess import preprocess
from ghostedge.runtimes.openvino import OpenVinoRuntime
from ghostedge.stages.quantize_openvino import QuantizeOpenVINOStage
from ghostedge.types import Artifact, StageOutput

BASE = {"preset": "mixed", "bias_correction": "fast", "estimator": "histogram", "saturation_fix": "first"}

#: What NNCF does unasked comes first, what it advises for networks like MobileNetV3 second, the recipe third.
CHOICES: tuple[dict[str, Any], ...] = (
    {**BASE, "preset": "performance", "estimator": "mean_minmax"},
    {**BASE, "bias_correction": "full"},
    BASE,
    {**BASE, "estimator": "minmax"},
    {**BASE, "estimator": "mean_minmax"},
    {**BASE, "estimator": "mean_quantile"},
    {**BASE, "bias_correction": "none"},
    {**BASE, "preset": "performance"},
    {**BASE, "saturation_fix": "none"},
    {**BASE, "saturation_fix": "all"},
    {**BASE, "bias_correction": "none", "estimator": "minmax"},
    {**BASE, "bias_correction": "full", "estimator": "minmax"},
)


def main() -> None:
    """Run every choice and print its row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a float32 IR of ghostedge")
    parser.add_argument("--images", type=Path, required=True, help="photos to calibrate and to measure on")
    parser.add_argument("--calibrate", type=int, default=40, help="how many to calibrate on")
    arguments = parser.parse_args()
    source = open_artifact(arguments.model)
    calibration = choose_calibration(arguments.images, arguments.calibrate)
    used = {image.image_id for image in calibration.images}
    batch = np.concatenate(
        [preprocess(path, source.input) for path in list_images(arguments.images) if path.name not in used]
    )
    reference = logits(source, batch)
    print("| preset | bias correction | ranges | saturation fix | SNR, dB | top-1 agreement | MB | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for options in CHOICES:
        with tempfile.TemporaryDirectory() as folder:
            output = StageOutput(Path(folder) / "q.xml", "int8", source.input, source.labels, options, calibration)
            began = time.monotonic()
            (made,) = QuantizeOpenVINOStage().build(source, (output,))
            seconds = time.monotonic() - began
            found = compare(reference, logits(made, batch))
            size = sum(file.stat().st_size for file in made.files) / 1e6
            names = " | ".join(options[key] for key in ("preset", "bias_correction", "estimator", "saturation_fix"))
            print(
                f"| {names} | {found.snr_db:.1f} | {found.top1_agreement:.0%} | {size:.1f} | {seconds:.0f} |",
                flush=True,
            )


def logits(artifact: Artifact, batch: NDArray[Any]) -> NDArray[np.float32]:
    """Logits of a batch that `artifact` takes."""
    with OpenVinoRuntime(artifact) as runtime:
        return runtime.run(batch)


if __name__ == "__main__":
    main()
