"""Compare the Android demo's preprocessing, on a desktop JVM, with OpenCV's resize of the same 1280 x 720 frame.

    python benchmarks/android_preprocess.py          # JDK and OpenCV; no Android tools

Rounds of the two take turns, so that what else the machine does falls on both; what is printed are ratios of medians.
OpenCV resizes the whole picture to 455 x 256 on one thread; the demo computes the 224 x 224 that are cut out of it.
"""

from __future__ import annotations

import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

CORE = Path(__file__).resolve().parents[1] / "android_demo" / "core" / "src"
ROUNDS, SAMPLES = 15, 60


def main() -> None:
    """Measure and print."""
    cv2.setNumThreads(1)
    frame = np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)
    sources = [*(CORE / "main" / "java").rglob("*.java")]
    sources += [
        CORE / "test" / "java" / "org" / "ghostedge" / "core" / f"{name}.java"
        for name in ("PreprocessBenchmark", "TestData")
    ]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["javac", "-nowarn", "-d", folder, *sources], check=True)
        command = ["java", "-cp", folder, "org.ghostedge.core.PreprocessBenchmark"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as java:
            assert java.stdin is not None
            assert java.stdout is not None
            rows = []
            for _ in range(ROUNDS):
                print(SAMPLES, file=java.stdin, flush=True)
                ours = [float(text) for text in java.stdout.readline().split()]
                rows.append([*ours, _opencv(frame)])
            java.stdin.close()
    # The first third compiles: HotSpot turns to its best code only then.
    crop, whole, camera, opencv = (statistics.median(column) for column in zip(*rows[ROUNDS // 3 :], strict=True))
    print(f"resize and crop:                      {crop / opencv:.2f} x OpenCV's resize")
    print(f"resize, crop and normalise:           {whole / opencv:.2f} x")
    print(f"camera frame (YUV, turned), the same: {camera / opencv:.2f} x")


def _opencv(frame: np.ndarray) -> float:
    """Median milliseconds of OpenCV's resize."""
    times = []
    for _ in range(SAMPLES):
        started = time.perf_counter_ns()
        cv2.resize(frame, (455, 256), interpolation=cv2.INTER_LINEAR)
        times.append((time.perf_counter_ns() - started) / 1e6)
    return statistics.median(times)


if __name__ == "__main__":
    main()
